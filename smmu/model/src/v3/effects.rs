//! What commands do, from the moment they are exposed to the CMD_SYNC that guarantees them (IHI 0070 4).

use mmio::Block;

use super::commands::Command;
use super::registers::cr0;
use super::state::State;
use crate::Rule;

impl State {
    /// A command can be read by hardware from this moment on: what it invalidates has to be published by now.
    pub(super) fn announce(&mut self, command: Command) {
        match command {
            Command::InvalidateSte { stream, leaf } => self.announce_configuration(stream, stream, leaf),
            Command::InvalidateSteRange { first, last } => self.announce_configuration(first, last, false),
            Command::InvalidateVmid { vmid } => self.check_tables_published(Some(vmid)),
            Command::InvalidateIpa(range) => self.check_tables_published(Some(range.vmid)),
            Command::InvalidateAll => self.check_tables_published(None),
            _ => {}
        }
    }

    /// An invalidation is done; it covers what was cached before it was exposed, and nothing younger.
    pub(super) fn invalidate(&mut self, command: Command, exposed: u64) {
        match command {
            Command::InvalidateSte { stream, leaf } => {
                self.invalidate_configuration(stream, stream, leaf, exposed)
            }
            Command::InvalidateSteRange { first, last } => {
                self.invalidate_configuration(first, last, false, exposed);
            }
            Command::InvalidateVmid { vmid } => self.tlb.invalidate_vmid(vmid, exposed),
            Command::InvalidateIpa(range) => {
                for (start, detail) in self.tlb.invalidate_range(&range, exposed) {
                    self.violation(
                        Rule::RangeHint,
                        "CMD_TLBI_S2_IPA",
                        start,
                        "IHI 0070 4.4.1",
                        detail,
                    );
                }
            }
            Command::InvalidateAll => self.tlb.invalidate_all(exposed),
            _ => {}
        }
    }

    /// The tables that hardware walked for a VMID must not hold unpublished changes when its TLB is invalidated.
    fn check_tables_published(&self, vmid: Option<u16>) {
        for (base, bytes) in self.tlb.tables(vmid) {
            if let Some(word) = self.memory.first_unpublished_descriptor(base, bytes) {
                let detail = "the TLB is invalidated before this descriptor was published";
                self.violation(
                    Rule::Unpublished,
                    "translation table",
                    word,
                    "IHI 0070 3.5.1",
                    detail,
                );
            }
        }
    }

    /// A block is given back: nothing that hardware may read or write can be in it.
    pub(super) fn memory_freed(&mut self, block: Block) {
        let end = block.address + block.size as u64;
        let overlaps = |base: u64, bytes: u64| base < end && base.saturating_add(bytes) > block.address;
        self.stream_memory_freed(overlaps);
        for (queue, enable) in [
            (self.command_queue(), cr0::CMDQEN),
            (self.event_queue(), cr0::EVENTQEN),
        ] {
            if self.may_be_enabled(enable) && overlaps(queue.base, queue.bytes()) {
                let detail = "given back while the queue is enabled";
                self.violation(
                    Rule::NotAllocated,
                    queue.name,
                    queue.base,
                    "IHI 0070 6.3.9",
                    detail,
                );
            }
        }
        if !self.may_be_enabled(cr0::SMMUEN) {
            return;
        }
        for tree in self
            .live_trees()
            .into_iter()
            .filter(|tree| overlaps(tree.root, 8))
        {
            let detail = "given back while a stream's entry, or its cached copy, points to it";
            self.violation(
                Rule::NotAllocated,
                "root table",
                tree.root,
                "IHI 0070 3.21.3",
                detail,
            );
        }
        for (base, bytes) in self
            .tlb
            .cached_tables()
            .filter(|&(base, bytes)| overlaps(base, bytes))
        {
            let detail = format!("given back while its descriptor may be cached: {bytes} bytes");
            self.violation(
                Rule::NotAllocated,
                "translation table",
                base,
                "DDI 0487 D8.14",
                detail,
            );
        }
    }
}
