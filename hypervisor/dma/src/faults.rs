//! Faults: counted for each master, folded into lines, so that a storm is one line and not a flood.

use crate::{GuestId, MasterId};
use alloc::collections::BTreeMap;
use driver_abi::FaultKind;
use partition::OnFault;

/// How many distinct faults of one master get a line of their own within one window.
const LINES_PER_WINDOW: u32 = 8;
/// The window, in microseconds.
const WINDOW_US: u64 = 100_000;
/// How many masters the log tells apart; the streams of any further ones are counted together.
const MASTERS: usize = 1024;

/// One fault, as the core understands it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Who caused it; `None` for a stream that belongs to nobody.
    pub master: Option<MasterId>,
    /// Whose device it is.
    pub guest: Option<GuestId>,
    /// What happened.
    pub kind: FaultKind,
    /// Where, if known.
    pub ipa: Option<u64>,
    /// Whether it was a write.
    pub write: bool,
    /// How many equal ones the driver folded into this record.
    pub count: u32,
}

/// What to do about a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultAction {
    /// Nothing more than the report.
    None,
    /// Make the master's streams abort.
    Quarantine(MasterId),
    /// Stop the guest.
    StopGuest(GuestId),
}

/// A line to print, if any: the fault with the number of events it stands for, and how many were left unsaid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultLine {
    /// Events folded into this line.
    pub events: u64,
    /// Events since the last line of this master that got no line of their own.
    pub unsaid: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    total: u64,
    unsaid: u64,
    window_start_us: u64,
    lines: u32,
}

/// Counts faults and decides which get a line.
#[derive(Debug, Default)]
pub struct FaultLog {
    tallies: BTreeMap<Option<MasterId>, Tally>,
}

impl FaultLog {
    /// An empty log.
    pub fn new() -> Self {
        FaultLog::default()
    }

    /// Counts a fault. Returns the line to print, if it gets one, and what its policy asks for.
    pub fn record(
        &mut self,
        fault: &Fault,
        policy: OnFault,
        now_us: u64,
    ) -> (Option<FaultLine>, FaultAction) {
        let known = self.tallies.contains_key(&fault.master) || self.tallies.len() < MASTERS;
        let tally = self
            .tallies
            .entry(if known { fault.master } else { None })
            .or_default();
        let events = u64::from(fault.count);
        tally.total = tally.total.saturating_add(events);
        if now_us.saturating_sub(tally.window_start_us) >= WINDOW_US {
            tally.window_start_us = now_us;
            tally.lines = 0;
        }
        let line = if tally.lines < LINES_PER_WINDOW {
            tally.lines += 1;
            Some(FaultLine {
                events,
                unsaid: core::mem::take(&mut tally.unsaid),
            })
        } else {
            tally.unsaid = tally.unsaid.saturating_add(events);
            None
        };
        // The event may be older than the attachment: what came while the stream aborted is no reason to punish a device
        // that is live by now.
        let policy = if fault.kind == FaultKind::NOT_ATTACHED {
            OnFault::Log
        } else {
            policy
        };
        let action = match (policy, fault.master, fault.guest) {
            (OnFault::Quarantine, Some(master), _) => FaultAction::Quarantine(master),
            (OnFault::StopGuest, _, Some(guest)) => FaultAction::StopGuest(guest),
            _ => FaultAction::None,
        };
        (line, action)
    }

    /// All events of a master so far.
    pub fn total(&self, master: Option<MasterId>) -> u64 {
        self.tallies.get(&master).map_or(0, |tally| tally.total)
    }
}
