//! A device's access, from stream ID to outcome (IHI 0070 3.3, 3.11, 7.3).

use super::events::Event;
use super::registers::{cr2, gbpa};
use super::state::State;
use super::ste::{Entry, Stage2, parse};
use super::streams::Found;
use crate::Rule;
use crate::bits::mask;
use crate::stage2::{Attributes, Leaf, Regime, Tagged, WalkFault, walk};

/// What became of an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DmaOutcome {
    /// It goes to `pa`.
    Translated {
        /// Output address.
        pa: u64,
        /// How the memory there is to be used.
        attributes: Attributes,
        /// Whether a cached translation served it.
        cached: bool,
    },
    /// It goes to its own address, untranslated.
    Bypassed {
        /// The address.
        pa: u64,
    },
    /// It is aborted.
    Aborted {
        /// The event that was recorded, or would have been if the queue had taken it.
        event: Option<Event>,
    },
    /// It waits for CMD_RESUME.
    Stalled {
        /// The recorded event, with the tag.
        event: Event,
    },
}

impl DmaOutcome {
    /// Whether it was aborted.
    pub fn is_aborted(&self) -> bool {
        matches!(self, DmaOutcome::Aborted { .. })
    }

    /// The output address, if it was translated.
    pub fn translated(&self) -> Option<u64> {
        match self {
            DmaOutcome::Translated { pa, .. } => Some(*pa),
            _ => None,
        }
    }

    /// The number of the event, if there was one.
    pub fn event_kind(&self) -> Option<u8> {
        match self {
            DmaOutcome::Aborted { event: Some(event) } | DmaOutcome::Stalled { event } => Some(event.kind()),
            _ => None,
        }
    }
}

/// An access under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    pub stream: u32,
    pub address: u64,
    pub write: bool,
}

/// The accesses that wait for a CMD_RESUME.
#[derive(Debug, Default)]
pub(super) struct Stalls {
    waiting: Vec<(u16, Access)>,
    resumed: Vec<(u16, DmaOutcome)>,
    next_tag: u16,
}

impl State {
    pub(super) fn dma(&mut self, stream: u32, address: u64, write: bool) -> DmaOutcome {
        self.moment += 1;
        let access = Access {
            stream,
            address,
            write,
        };
        if !self.translating() {
            // Nothing is recorded while translation is disabled.
            let open = self.registers.gbpa_effective & gbpa::ABORT == 0 && self.fits_output(address);
            return if open {
                DmaOutcome::Bypassed { pa: address }
            } else {
                DmaOutcome::Aborted { event: None }
            };
        }
        match self.find(stream) {
            Found::NoEntry => {
                let recorded = self.registers.cr2 & cr2::RECINVSID != 0;
                let event = Event::configuration(Event::C_BAD_STREAMID, stream);
                self.aborted(recorded.then_some(event))
            }
            Found::FetchAbort(at) => self.aborted(Some(Event::fetch(stream, at))),
            Found::Entry(words) => match parse(&words, &self.config) {
                Entry::Invalid => self.aborted(Some(Event::configuration(Event::C_BAD_STE, stream))),
                Entry::Illegal(bad) => {
                    let subject = format!("STE of stream {stream:#x}: {}", bad.field);
                    self.violation(Rule::IllegalSte, subject, bad.value, "IHI 0070 5.2", bad.detail);
                    self.aborted(Some(Event::configuration(Event::C_BAD_STE, stream)))
                }
                Entry::Abort => self.aborted(None),
                Entry::Bypass if self.fits_output(address) => DmaOutcome::Bypassed { pa: address },
                Entry::Bypass => self.aborted(Some(fault(Event::F_ADDR_SIZE, access, false, 0))),
                Entry::Stage2(stage2) => self.translate(&stage2, access),
            },
        }
    }

    fn fits_output(&self, address: u64) -> bool {
        address >> self.config.output_bits() == 0
    }

    fn aborted(&mut self, event: Option<Event>) -> DmaOutcome {
        if let Some(event) = event {
            self.record_event(event);
        }
        DmaOutcome::Aborted { event }
    }

    fn translate(&mut self, stage2: &Stage2, access: Access) -> DmaOutcome {
        let Access { address, write, .. } = access;
        // Stage 1 is bypassed: an input beyond IAS is its address size fault (3.4).
        if !self.fits_output(address) {
            return self.aborted(Some(fault(Event::F_ADDR_SIZE, access, false, 0)));
        }
        if self.tlb.foreign(stage2.vmid, &stage2.tree) {
            let detail =
                "the TLB holds entries of another tree under it, or two streams disagree on the tree";
            self.violation(Rule::VmidReuse, "VMID", stage2.vmid, "IHI 0070 3.17", detail);
        }
        let hit = self.tlb.leaf(stage2.vmid, address);
        let leaf = match hit.map_or_else(|| self.walk(stage2, address), Ok) {
            Ok(leaf) => leaf,
            Err(reason) => return self.walk_fault(stage2, access, reason),
        };
        if !(if write { leaf.writable } else { leaf.readable }) {
            return self.fault(stage2, Event::F_PERMISSION, access);
        }
        let pa = leaf.output + (address - leaf.start);
        DmaOutcome::Translated {
            pa,
            attributes: leaf.attributes,
            cached: hit.is_some(),
        }
    }

    /// Walks the tables, and caches what it finds.
    fn walk(&mut self, stage2: &Stage2, address: u64) -> Result<Leaf, WalkFault> {
        let (vmid, tree, born) = (stage2.vmid, stage2.tree, self.moment);
        let cached = self.tlb.branch(vmid, address);
        let level = self.config.break_before_make_level();
        let memory = self.memory.clone();
        let (found, result) = walk(&stage2.regime(level), address, cached, |at| {
            memory.device_read(at)
        });
        for (at, descriptor, detail) in found.complaints {
            let subject = format!("descriptor at {at:#x}");
            self.violation(
                Rule::IllegalDescriptor,
                subject,
                descriptor,
                "DDI 0487 D8.3",
                detail,
            );
        }
        for (base, bytes) in found.tables {
            self.tlb.remember_table(vmid, base, bytes);
        }
        for branch in found.branches {
            self.tlb.insert_branch(Tagged {
                vmid,
                tree,
                born,
                item: branch,
            });
        }
        result?;
        let leaf = found.leaf.ok_or(WalkFault::Translation)?;
        for old in self.tlb.conflicts(vmid, &leaf) {
            let same = old.output.wrapping_sub(old.start) == leaf.output.wrapping_sub(leaf.start)
                && (old.readable, old.writable, old.attributes)
                    == (leaf.readable, leaf.writable, leaf.attributes);
            if !same || level == 0 {
                let detail = format!(
                    "{:#x} bytes from it, while {:#x} bytes at {:#x} are cached",
                    leaf.bytes, old.bytes, old.start
                );
                self.violation(Rule::BreakBeforeMake, "IPA", leaf.start, "DDI 0487 D8.16", detail);
            }
        }
        self.tlb.insert_leaf(Tagged {
            vmid,
            tree,
            born,
            item: leaf,
        });
        Ok(leaf)
    }

    fn walk_fault(&mut self, stage2: &Stage2, access: Access, reason: WalkFault) -> DmaOutcome {
        match reason {
            WalkFault::Translation => self.fault(stage2, Event::F_TRANSLATION, access),
            WalkFault::AddressSize => self.fault(stage2, Event::F_ADDR_SIZE, access),
            WalkFault::AccessFlag => self.fault(stage2, Event::F_ACCESS, access),
            // An external abort is always recorded and never stalls.
            WalkFault::Abort(at) => {
                self.aborted(Some(fault(Event::F_WALK_EABT, access, true, at & mask(51, 3))))
            }
        }
    }

    /// A stage-2 fault of the input address: S2S and S2R say what becomes of it.
    fn fault(&mut self, stage2: &Stage2, kind: u8, access: Access) -> DmaOutcome {
        let event = fault(kind, access, true, access.address & mask(51, 12));
        if stage2.stall {
            self.stalls.next_tag = self.stalls.next_tag.wrapping_add(1);
            let tag = self.stalls.next_tag;
            let event = event.stalled(tag);
            self.stalls.waiting.push((tag, access));
            self.record_event(event);
            return DmaOutcome::Stalled { event };
        }
        self.aborted(stage2.record.then_some(event))
    }

    /// CMD_RESUME: the access is tried again, or aborted without a further event (4.6.1).
    pub(super) fn resume_stalled(&mut self, stream: u32, tag: u16, retry: bool) {
        let position = self
            .stalls
            .waiting
            .iter()
            .position(|&(waiting, access)| waiting == tag && access.stream == stream);
        let Some(position) = position else {
            let detail = "no such stalled transaction";
            self.violation(
                Rule::IllegalCommand,
                "CMD_RESUME STAG",
                tag,
                "IHI 0070 4.6.1",
                detail,
            );
            return;
        };
        let (_, access) = self.stalls.waiting.remove(position);
        let outcome = if retry {
            self.dma(access.stream, access.address, access.write)
        } else {
            DmaOutcome::Aborted { event: None }
        };
        self.stalls.resumed.push((tag, outcome));
    }

    /// CMD_STALL_TERM: every stalled access of the stream is aborted (4.6.2).
    pub(super) fn terminate_stalled(&mut self, stream: u32) {
        let stalls = &mut self.stalls;
        for (tag, _) in stalls
            .waiting
            .extract_if(.., |(_, access)| access.stream == stream)
        {
            stalls.resumed.push((tag, DmaOutcome::Aborted { event: None }));
        }
    }

    /// What became of a stalled access, once.
    pub(super) fn take_resumed(&mut self, tag: u16) -> Option<DmaOutcome> {
        let position = self
            .stalls
            .resumed
            .iter()
            .position(|&(resumed, _)| resumed == tag)?;
        Some(self.stalls.resumed.remove(position).1)
    }

    /// Cached translations that a fresh walk would not find.
    pub(super) fn unsettled_translations(&self, left: &mut Vec<String>) {
        let fresh = |tree, address| {
            let regime = Regime {
                tree,
                access_flag_ignored: true,
                force_write_back: true,
                break_before_make_level: self.config.break_before_make_level(),
            };
            walk(&regime, address, None, |at| self.memory.peek(at)).0
        };
        for Tagged { vmid, tree, item, .. } in self.tlb.leaves() {
            if fresh(*tree, item.start).leaf != Some(*item) {
                left.push(format!(
                    "VMID {vmid}: the cached translation of {:#x} is not what the tables say",
                    item.start
                ));
            }
        }
        for Tagged { vmid, tree, item, .. } in self.tlb.branches() {
            if !fresh(*tree, item.start).branches.contains(item) {
                let detail = format!(
                    "VMID {vmid}: the cached table descriptor of {:#x} is not what the tables say",
                    item.start
                );
                left.push(detail);
            }
        }
        for (tag, access) in &self.stalls.waiting {
            left.push(format!(
                "transaction {tag} of stream {:#x} is stalled",
                access.stream
            ));
        }
    }
}

fn fault(kind: u8, access: Access, stage2: bool, word3: u64) -> Event {
    Event::translation(kind, access.stream, access.address, access.write, stage2, word3)
}
