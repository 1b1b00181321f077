//! Registers that hold interrupts' states, at the same offsets in the distributor of a GICv2 (IHI 0048 4.3), in that of a
//! GICv3 and in SGI_base of its redistributors (IHI 0069 12.9, 12.11).

use super::PRIORITY_NORMAL;
use devicetree::Trigger;
use mmio::{Bus, Region};

const ISENABLER: usize = 0x0100;
const ICENABLER: usize = 0x0180;
const ICPENDR: usize = 0x0280;
const ICACTIVER: usize = 0x0380;
const IPRIORITYR: usize = 0x0400;
const ICFGR: usize = 0x0c00;

/// See the module.
pub(super) struct Frame<'r> {
    pub(super) region: &'r Region,
    pub(super) base: usize,
}

impl Frame<'_> {
    /// The 32 interrupts of `group`: off, inactive, normal priority.
    pub(super) fn quiet(&self, group: usize) {
        let word = self.base + 4 * group;
        self.region.write32(word + ICENABLER, u32::MAX);
        self.region.write32(word + ICPENDR, u32::MAX);
        self.region.write32(word + ICACTIVER, u32::MAX);
        for four in 0..8 {
            let priorities = u32::from_ne_bytes([PRIORITY_NORMAL; 4]);
            self.region
                .write32(self.base + IPRIORITYR + 32 * group + 4 * four, priorities);
        }
    }

    pub(super) fn enable(&self, intid: u32) {
        self.set_bit(ISENABLER, intid);
    }

    pub(super) fn disable(&self, intid: u32) {
        self.set_bit(ICENABLER, intid);
    }

    /// Neither pending nor active any more.
    pub(super) fn clear(&self, intid: u32) {
        self.set_bit(ICPENDR, intid);
        self.set_bit(ICACTIVER, intid);
    }

    pub(super) fn is_enabled(&self, intid: u32) -> bool {
        let word = self
            .region
            .read32(self.base + ISENABLER + 4 * (intid / 32) as usize);
        word >> (intid % 32) & 1 != 0
    }

    pub(super) fn set_priority(&self, intid: u32, priority: u8) {
        self.set_field(IPRIORITYR, intid, 8, u32::from(priority));
    }

    pub(super) fn set_trigger(&self, intid: u32, trigger: Trigger) {
        let value = match trigger {
            Trigger::Level => 0b00,
            Trigger::Edge => 0b10,
        };
        self.set_field(ICFGR, intid, 2, value);
    }

    /// Writes a one for `intid` into an array of single bits in which zeroes change nothing.
    fn set_bit(&self, array: usize, intid: u32) {
        self.region
            .write32(self.base + array + 4 * (intid / 32) as usize, 1 << (intid % 32));
    }

    /// Writes `value` for `intid` into an array of fields of `width` bits.
    pub(super) fn set_field(&self, array: usize, intid: u32, width: u32, value: u32) {
        let offset = self.base + array + 4 * (intid * width / 32) as usize;
        let shift = intid * width % 32;
        let mask = ((1 << width) - 1) << shift;
        self.region
            .write32(offset, (self.region.read32(offset) & !mask) | (value << shift));
    }
}
