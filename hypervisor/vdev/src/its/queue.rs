//! The command queue: a ring in guest memory (`GITS_CBASER`, `GITS_CWRITER`, `GITS_CREADR`, IHI 0069 12.19).

use super::GuestMemory;
use super::command::SIZE;

/// `GITS_CBASER`: what is kept of a write. `Valid`, `InnerCache`, `OuterCache`, address, shareability, `Size`.
const BASE_KEPT: u64 = VALID | 7 << 59 | 7 << 53 | ADDRESS | 0x3 << 10 | PAGES;
const VALID: u64 = 1 << 63;
/// Bits 51:12.
const ADDRESS: u64 = 0xff_ffff_ffff << 12;
/// Pages of 4 KiB, less one.
const PAGES: u64 = 0xff;
/// `GITS_CWRITER` and `GITS_CREADR`: an offset, bits 19:5.
const OFFSET: u64 = 0x7fff << 5;
/// `GITS_CWRITER.Retry`, and `GITS_CREADR.Stalled`.
const RETRY: u64 = 1 << 0;
const STALLED: u64 = 1 << 0;

/// Where commands come from.
#[derive(Debug, Clone, Default)]
pub(super) struct CommandQueue {
    base: u64,
    write: u64,
    read: u64,
    stalled: bool,
}

impl CommandQueue {
    fn size(&self) -> u64 {
        ((self.base & PAGES) + 1) << 12
    }

    pub(super) fn has_commands(&self) -> bool {
        self.base & VALID != 0 && !self.stalled && self.read != self.write
    }

    /// The next command. Stalls if it cannot be read.
    pub(super) fn next(&mut self, memory: &mut dyn GuestMemory) -> Option<[u8; SIZE]> {
        let mut raw = [0; SIZE];
        let ipa = (self.base & ADDRESS) + self.read;
        if memory.read(ipa, &mut raw).is_err() {
            self.stalled = true;
            return None;
        }
        let next = self.read + SIZE as u64;
        self.read = if next >= self.size() { 0 } else { next };
        Some(raw)
    }

    pub(super) fn base(&self) -> u64 {
        self.base
    }

    pub(super) fn write_offset(&self) -> u64 {
        self.write
    }

    pub(super) fn read_offset(&self) -> u64 {
        self.read | if self.stalled { STALLED } else { 0 }
    }

    /// Both offsets start anew: the old ones may lie beyond the queue's end.
    pub(super) fn set_base(&mut self, value: u64) {
        *self = CommandQueue {
            base: value & BASE_KEPT,
            ..CommandQueue::default()
        };
    }

    /// An offset beyond the queue's end is ignored, which is UNPREDICTABLE.
    pub(super) fn set_write_offset(&mut self, value: u64) {
        let offset = value & OFFSET;
        if offset < self.size() {
            self.write = offset;
            self.stalled &= value & RETRY == 0;
        }
    }
}
