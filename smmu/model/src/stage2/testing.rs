//! Stage-2 tables in raw words, for the tests of every model.

use mmio::TableMemory;

use crate::Memory;

/// Valid, access flag, inner shareable, normal write-back, readable and writable.
pub(crate) const RW: u64 = 1 << 10 | 3 << 8 | 3 << 6 | 0xf << 2 | 1;
/// The same without the right to write.
pub(crate) const RO: u64 = RW & !(1 << 7);

/// A stage-2 tree of the 4 KiB granule.
pub(crate) struct Tree {
    pub memory: Memory,
    pub root: u64,
    pub bits: u32,
    pub level: u32,
}

impl Tree {
    pub(crate) fn store(&mut self, address: u64, value: u64) {
        self.memory.write(address, value);
        self.memory.publish(address, 8);
    }

    /// The address of the descriptor of `ipa` at `level`, with tables made on the way.
    pub(crate) fn descriptor(&mut self, ipa: u64, level: u32) -> u64 {
        let mut table = self.root;
        let mut at = self.level;
        loop {
            let shift = 12 + 9 * (3 - at);
            let mask = if at == self.level { u64::MAX } else { 0x1ff };
            let slot = table + (ipa >> shift & mask) * 8;
            if at == level {
                return slot;
            }
            let next = self.memory.read(slot);
            table = if next & 3 == 3 {
                next & 0xffff_ffff_f000
            } else {
                let new = self.memory.allocate(0x1000, 0x1000).unwrap().address;
                self.store(slot, new | 3);
                new
            };
            at += 1;
        }
    }

    pub(crate) fn map_page(&mut self, ipa: u64, pa: u64, rights: u64) {
        let slot = self.descriptor(ipa, 3);
        self.store(slot, pa | rights | 2);
    }

    pub(crate) fn map_block(&mut self, ipa: u64, pa: u64, level: u32) {
        let slot = self.descriptor(ipa, level);
        self.store(slot, pa | RW);
    }

    pub(crate) fn unmap(&mut self, ipa: u64, level: u32) {
        let slot = self.descriptor(ipa, level);
        self.store(slot, 0);
    }
}
