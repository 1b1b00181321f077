//! What the driver promises, as plain maps: which stream belongs to which space, which IPA leads where with which
//! rights, and which faults were recorded. Every access is held against it, also those between two register writes.

use smmu_model::v2::{Blocked, FaultKind, How, Passed, Smmu as Model};
use smmu_v2::EventKind;
use stage2::Access;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const BLOCK: u64 = 0x20_0000;

/// Pages by IPA.
pub(crate) type Pages = BTreeMap<u64, (u64, Access)>;

/// What becomes of an access.
pub(crate) type Fate = Result<u64, EventKind>;

/// An operation under way: accesses find what was or what will be.
#[derive(Debug, Default)]
pub(crate) struct Moving {
    /// To which space devices belonged before.
    pub(crate) attached: Vec<Option<usize>>,
    /// Whether a space's pages change: which one, what was there, and what may be missing meanwhile.
    pub(crate) pages: Option<(usize, Pages, Vec<Range<u64>>)>,
}

/// A fault that was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) stream: u32,
    pub(crate) ipa: u64,
    pub(crate) write: bool,
    pub(crate) kind: EventKind,
    /// Others came after it.
    pub(crate) more: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Spec {
    /// The streams of each device.
    pub(crate) devices: Vec<Vec<u32>>,
    /// To which space each device belongs.
    pub(crate) attached: Vec<Option<usize>>,
    pub(crate) spaces: Vec<Pages>,
    /// Blocks of 2 MiB that are one entry, by space and IPA.
    pub(crate) blocks: BTreeSet<(usize, u64)>,
    /// What an invalidation that failed has left, by space: it may still be used.
    pub(crate) limbo: Vec<Pages>,
    pub(crate) moving: Option<Moving>,
    /// First faults: of a frame, or of a space in a frame.
    pub(crate) faults: BTreeMap<(usize, Option<usize>), Recorded>,
    /// Faults of which it is not known whether their bank was given up.
    pub(crate) optional: Vec<Recorded>,
    /// Every fault while an interrupt is handled: whether it was recorded depends on what was cleared just then.
    pub(crate) meanwhile: Option<Vec<Recorded>>,
    /// Two frames take turns by page.
    pub(crate) frames: u64,
    /// Accesses that were held against the specification.
    pub(crate) accesses: u64,
    /// The first thing that was not as it should be.
    pub(crate) broken: Option<String>,
}

impl Spec {
    fn device_of(&self, stream: u32) -> Option<usize> {
        self.devices.iter().position(|streams| streams.contains(&stream))
    }

    /// What becomes of an access if devices are attached like this, and pages are found like that.
    fn fate<'p>(
        &self,
        attached: &[Option<usize>],
        stream: u32,
        write: bool,
        find: impl Fn(usize) -> Option<&'p (u64, Access)>,
        ipa: u64,
    ) -> Fate {
        let space = self.device_of(stream).and_then(|device| attached[device]);
        let space = space.ok_or(EventKind::NotAttached)?;
        let (pa, access) = find(space).ok_or(EventKind::Translation)?;
        let allowed = match access {
            Access::Read => !write,
            Access::Write => write,
            Access::ReadWrite => true,
        };
        if allowed {
            Ok(pa + ipa % PAGE)
        } else {
            Err(EventKind::Permission)
        }
    }

    /// What may become of an access at this moment; what it is when all is settled comes first.
    fn fates(&self, stream: u32, ipa: u64, write: bool) -> Vec<Fate> {
        let page = ipa & !(PAGE - 1);
        let found = |space: usize| self.spaces[space].get(&page);
        let mut fates = vec![self.fate(&self.attached, stream, write, found, ipa)];
        let stale = |space: usize| self.limbo[space].get(&page).or_else(|| found(space));
        fates.push(self.fate(&self.attached, stream, write, stale, ipa));
        let Some(moving) = &self.moving else { return fates };
        for attached in [&moving.attached, &self.attached] {
            fates.push(self.fate(attached, stream, write, found, ipa));
            fates.push(self.fate(attached, stream, write, stale, ipa));
            if let Some((changing, old, gaps)) = &moving.pages {
                let before =
                    |space: usize| match space == *changing && gaps.iter().any(|gap| gap.contains(&page)) {
                        true => old.get(&page),
                        false => found(space),
                    };
                let missing =
                    |space: usize| match space == *changing && gaps.iter().any(|gap| gap.contains(&page)) {
                        true => None,
                        false => found(space),
                    };
                fates.push(self.fate(attached, stream, write, before, ipa));
                fates.push(self.fate(attached, stream, write, missing, ipa));
            }
        }
        fates
    }

    /// Lets a device access memory, and holds the outcome against the specification.
    pub(crate) fn access(&mut self, model: &Model, stream: u32, ipa: u64, write: bool) {
        self.accesses += 1;
        let outcome = model.dma(stream, ipa, write);
        let fate = match outcome {
            Ok(Passed {
                address,
                how: How::Translated { .. },
            }) => Ok(address),
            Err(Blocked {
                kind,
                aborted: true,
                stalled: None,
            }) => Err(event_kind(kind)),
            other => return self.complain(format!("stream {stream:#x}, IPA {ipa:#x}: {other:x?}")),
        };
        let allowed = self.fates(stream, ipa, write);
        if !allowed.contains(&fate) {
            let at_rest = self.moving.is_none();
            self.complain(format!(
                "stream {stream:#x}, IPA {ipa:#x}, write {write}: {outcome:x?} instead of {allowed:x?}, rest: {at_rest}"
            ));
        }
        if let Err(kind) = fate {
            self.record(stream, ipa, write, kind);
        }
    }

    fn record(&mut self, stream: u32, ipa: u64, write: bool, kind: EventKind) {
        let frame = usize::try_from((ipa / PAGE) % self.frames).unwrap();
        let owner = self.device_of(stream);
        let attached = |owners: &[Option<usize>]| owner.and_then(|device| owners[device]);
        let space = match kind {
            EventKind::NotAttached => None,
            _ => attached(&self.attached).or_else(|| attached(&self.moving.as_ref()?.attached)),
        };
        let recorded = Recorded {
            stream,
            ipa,
            write,
            kind,
            more: false,
        };
        if let Some(meanwhile) = &mut self.meanwhile {
            return meanwhile.push(recorded);
        }
        let first = self.faults.entry((frame, space));
        first.and_modify(|first| first.more = true).or_insert(recorded);
    }

    pub(crate) fn complain(&mut self, what: String) {
        self.broken.get_or_insert(what);
    }

    /// How many devices belong to a space.
    pub(crate) fn users(&self, space: usize) -> usize {
        self.attached
            .iter()
            .filter(|owner| **owner == Some(space))
            .count()
    }

    /// Faults of spaces without a device may never be told: their bank is given up, and its registers with it.
    pub(crate) fn forget_faults_of_unused(&mut self) {
        let used: BTreeSet<usize> = self.attached.iter().flatten().copied().collect();
        let (kept, unused) = std::mem::take(&mut self.faults)
            .into_iter()
            .partition(|((_, space), _)| space.is_none_or(|space| used.contains(&space)));
        self.faults = kept;
        let unused: BTreeMap<_, Recorded> = unused;
        self.optional.extend(unused.into_values());
    }
}

fn event_kind(kind: FaultKind) -> EventKind {
    match kind {
        FaultKind::UnidentifiedStream | FaultKind::InvalidContext => EventKind::NotAttached,
        FaultKind::Translation => EventKind::Translation,
        FaultKind::Permission => EventKind::Permission,
        FaultKind::AddressSize => EventKind::AddressSize,
        _ => EventKind::Other,
    }
}
