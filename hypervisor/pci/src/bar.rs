//! Base address registers: what they decode and how much (PCI 6.2.5).

use crate::config::{change_command, command, offset};
use crate::{Bdf, ConfigSpace};
use alloc::vec::Vec;

/// What kind of addresses a BAR or window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Space {
    /// I/O ports. Portcullis never assigns or decodes them.
    Io,
    /// Memory below 4 GiB.
    Memory32,
    /// Memory anywhere.
    Memory64,
}

/// One base address register that is implemented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bar {
    /// Number of the (first) register, 0..=5.
    pub index: u8,
    /// Kind; `Memory64` takes the register after it too.
    pub space: Space,
    /// Whether reads have no side effects.
    pub prefetchable: bool,
    /// Size in bytes, a power of two.
    pub size: u64,
    /// Address on the PCI bus; zero when nobody assigned one.
    pub address: u64,
}

impl Bar {
    /// The low bits that the register shows below its address: kind and prefetchability.
    pub const fn flags(&self) -> u32 {
        match self.space {
            Space::Io => 1,
            Space::Memory32 => (self.prefetchable as u32) << 3,
            Space::Memory64 => (self.prefetchable as u32) << 3 | 4,
        }
    }

    /// Offset of the (first) register.
    pub const fn offset(&self) -> u16 {
        offset::BAR0 + 4 * self.index as u16
    }

    /// Whether the register(s) hold the address.
    pub(crate) fn is_at_address(&self, config: &(impl ConfigSpace + ?Sized), bdf: Bdf) -> bool {
        let [low, high] = halves(self.address);
        config.read32(bdf, self.offset()) & !0xf == low
            && (self.space != Space::Memory64 || config.read32(bdf, self.offset() + 4) == high)
    }

    /// Writes the address into the register(s).
    pub(crate) fn write(&self, config: &(impl ConfigSpace + ?Sized), bdf: Bdf) {
        let [low, high] = halves(self.address);
        config.write32(bdf, self.offset(), low | self.flags());
        if self.space == Space::Memory64 {
            config.write32(bdf, self.offset() + 4, high);
        }
    }
}

/// Low and high half.
pub(crate) fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}

/// Sizes the first `count` BARs of `bdf` with memory and I/O decoding off meanwhile, and puts everything back.
/// A register that answers with an impossible mask counts as not implemented.
pub(crate) fn size_all(config: &(impl ConfigSpace + ?Sized), bdf: Bdf, count: u8) -> Vec<Bar> {
    let before = config.read32(bdf, offset::COMMAND) & (command::IO | command::MEMORY);
    change_command(config, bdf, command::IO | command::MEMORY, 0);
    let mut bars = Vec::new();
    let mut index = 0;
    while index < count {
        let bar = size_one(config, bdf, index, index + 1 < count);
        index += if bar.is_some_and(|bar| bar.space == Space::Memory64) {
            2
        } else {
            1
        };
        bars.extend(bar.filter(|bar| bar.size != 0));
    }
    change_command(config, bdf, 0, before);
    bars
}

/// Sizes BAR `index`. A 64-bit BAR of impossible size is returned with size zero, so that its second register is
/// not taken for a BAR of its own.
fn size_one(config: &(impl ConfigSpace + ?Sized), bdf: Bdf, index: u8, has_next: bool) -> Option<Bar> {
    let at = offset::BAR0 + 4 * u16::from(index);
    let (low, low_mask) = probe(config, bdf, at);
    if low_mask == 0 {
        return None;
    }
    if low & 1 != 0 {
        // The upper half of an I/O BAR's mask may be hard-wired to zero (PCI 6.2.5.1).
        let size = u64::from(!(low_mask & !3 | 0xffff_0000)) + 1;
        let address = u64::from(low & !3);
        let bar = Bar {
            index,
            space: Space::Io,
            prefetchable: false,
            size,
            address,
        };
        return size.is_power_of_two().then_some(bar);
    }
    let prefetchable = low & 8 != 0;
    let address = u64::from(low & !0xf);
    let mask = u64::from(low_mask & !0xf);
    match low >> 1 & 3 {
        0b00 | 0b01 => {
            let size = mask_to_size(mask | 0xffff_ffff << 32);
            let bar = Bar {
                index,
                space: Space::Memory32,
                prefetchable,
                size,
                address,
            };
            (size != 0).then_some(bar)
        }
        0b10 if has_next => {
            let (high, high_mask) = probe(config, bdf, at + 4);
            let size = mask_to_size(mask | u64::from(high_mask) << 32);
            let address = address | u64::from(high) << 32;
            Some(Bar {
                index,
                space: Space::Memory64,
                prefetchable,
                size,
                address,
            })
        }
        _ => None,
    }
}

/// What the register holds, and what it reads after all ones were written.
fn probe(config: &(impl ConfigSpace + ?Sized), bdf: Bdf, at: u16) -> (u32, u32) {
    let before = config.read32(bdf, at);
    config.write32(bdf, at, u32::MAX);
    let mask = config.read32(bdf, at);
    config.write32(bdf, at, before);
    (before, mask)
}

/// The size that an address mask stands for, or zero when its ones are not a run up to bit 63.
fn mask_to_size(mask: u64) -> u64 {
    let size = (!mask).wrapping_add(1);
    if size.is_power_of_two() { size } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_of_ones_is_a_mask() {
        assert_eq!(mask_to_size(!0xfff), 0x1000);
        assert_eq!(mask_to_size(1 << 63), 1 << 63);
        assert_eq!(mask_to_size(0), 0);
        assert_eq!(mask_to_size(!0x1f00), 0);
    }
}
