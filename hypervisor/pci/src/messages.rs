//! Message signalled interrupts: the switches that a function's owner may set (PCI 6.8).
//!
//! A message is a write that the function does, so it goes through its SMMU like any other: its address is one of the
//! owner's, and needs no check here.

use crate::{Bdf, Capability, ConfigSpace, Fabric, Function, id};

/// Message control, in the upper half of the first word: enable, log2 of the vectors that are enabled, whether there is
/// an upper half of the address, whether vectors can be masked (PCI 6.8.1.3). Before that: log2 of the vectors that it has,
/// at most 5.
const MSI_ENABLE: u32 = 1 << 16;
const MSI_CAPABLE: u32 = 17;
const MSI_MOST: u32 = 5;
const MSI_VECTORS: u32 = 20;
const MSI_VECTORS_MASK: u32 = 7 << MSI_VECTORS;
const MSI_64_BIT: u32 = 1 << 23;
const MSI_MASKABLE: u32 = 1 << 24;
/// Message control of MSI-X: vectors, less one, function mask, and enable (PCI 6.8.2.3).
const MSI_X_SIZE: u32 = 0x7ff;
const MSI_X_MASK: u32 = 1 << 30;
const MSI_X_ENABLE: u32 = 1 << 31;

/// What the owner of a function can set in its MSI capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Msi {
    /// Messages are sent, and INTx is not.
    pub enable: bool,
    /// Log2 of the vectors that may be used.
    pub vectors: u8,
    /// Where messages are written to.
    pub address: u64,
    /// What is written; its low bits are the vector.
    pub data: u16,
    /// Vectors that are held back, by bit.
    pub mask: u32,
}

/// What the owner of a function can set in its MSI-X capability. The table is in a BAR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MsiX {
    /// Messages are sent, and INTx is not.
    pub enable: bool,
    /// All vectors are held back.
    pub mask: bool,
}

/// How many words an MSI capability has whose first one is `first`.
pub const fn msi_words(first: u32) -> usize {
    3 + (first & MSI_64_BIT != 0) as usize + 2 * (first & MSI_MASKABLE != 0) as usize
}

impl Function {
    /// How many messages it can tell apart, by MSI or MSI-X; zero if it can send none.
    pub fn messages(&self) -> u32 {
        let of = |capability: &Capability| {
            let [first, ..] = capability.words;
            match capability.id {
                id::MSI => 1 << ((first >> MSI_CAPABLE & 7).min(MSI_MOST)),
                id::MSI_X => (first >> 16 & MSI_X_SIZE) + 1,
                _ => 0,
            }
        };
        self.capabilities.iter().map(of).max().unwrap_or(0)
    }
}

impl Msi {
    /// What the registers `words` of an MSI capability say.
    pub fn from_words(words: &[u32; crate::WORDS]) -> Msi {
        let [first, low, ..] = *words;
        let (high, data, mask) = match (first & MSI_64_BIT != 0, words) {
            (false, [_, _, data, mask, ..]) => (0, *data, *mask),
            (true, [_, _, high, data, mask, _]) => (*high, *data, *mask),
        };
        Msi {
            enable: first & MSI_ENABLE != 0,
            vectors: ((first & MSI_VECTORS_MASK) >> MSI_VECTORS) as u8,
            address: u64::from(high) << 32 | u64::from(low),
            data: (data & 0xffff) as u16,
            mask: if first & MSI_MASKABLE != 0 { mask } else { 0 },
        }
    }

    /// The bits of the registers `words` of an MSI capability that its owner can set.
    pub fn writable(words: &[u32; crate::WORDS]) -> [u32; crate::WORDS] {
        let [first, ..] = *words;
        let mask = if first & MSI_MASKABLE != 0 { u32::MAX } else { 0 };
        if first & MSI_64_BIT != 0 {
            [MSI_ENABLE | MSI_VECTORS_MASK, !3, u32::MAX, 0xffff, mask, 0]
        } else {
            [MSI_ENABLE | MSI_VECTORS_MASK, !3, 0xffff, mask, 0, 0]
        }
    }
}

impl MsiX {
    /// The bits of the first word of an MSI-X capability that its owner can set.
    pub const WRITABLE: u32 = MSI_X_ENABLE | MSI_X_MASK;

    /// What the first word of an MSI-X capability says.
    pub const fn from_word(first: u32) -> MsiX {
        MsiX {
            enable: first & MSI_X_ENABLE != 0,
            mask: first & MSI_X_MASK != 0,
        }
    }
}

impl Fabric {
    /// Where the first capability with that ID is, if all of it lies where plain capabilities may.
    fn place_of(&self, bdf: Bdf, id: u32) -> Option<u16> {
        let found = self.get(bdf)?.capability(id)?;
        let [first, ..] = found.words;
        let words = if id == id::MSI { msi_words(first) } else { 3 };
        (usize::from(found.offset) + 4 * words <= 0x100).then_some(found.offset)
    }

    /// Sets the MSI registers of `bdf`, if it has any. Those that hold what they should are not written: a function that
    /// is disabled for a moment may raise INTx in it.
    pub fn set_msi(&self, config: &(impl ConfigSpace + ?Sized), bdf: Bdf, msi: &Msi) {
        let Some(at) = self.place_of(bdf, id::MSI) else {
            return;
        };
        let change = |at: u16, value: u32| {
            if config.read32(bdf, at) != value {
                config.write32(bdf, at, value);
            }
        };
        let first = config.read32(bdf, at);
        let vectors = u32::from(msi.vectors) << MSI_VECTORS & MSI_VECTORS_MASK;
        let off = first & !(MSI_ENABLE | MSI_VECTORS_MASK) | vectors;
        if !msi.enable {
            change(at, off);
        }
        let [low, high] = crate::bar::halves(msi.address);
        change(at + 4, low & !3);
        let data = if first & MSI_64_BIT != 0 {
            change(at + 8, high);
            at + 12
        } else {
            at + 8
        };
        // The half above the data is reserved, or extended data, which nobody enabled.
        change(data, config.read32(bdf, data) & 0xffff_0000 | u32::from(msi.data));
        if first & MSI_MASKABLE != 0 {
            change(data + 4, msi.mask);
        }
        if msi.enable {
            change(at, off | MSI_ENABLE);
        }
    }

    /// Sets the switches of the MSI-X capability of `bdf`, if it has one.
    pub fn set_msi_x(&self, config: &(impl ConfigSpace + ?Sized), bdf: Bdf, msi_x: MsiX) {
        let Some(at) = self.place_of(bdf, id::MSI_X) else {
            return;
        };
        let enable = if msi_x.enable { MSI_X_ENABLE } else { 0 };
        let mask = if msi_x.mask { MSI_X_MASK } else { 0 };
        let first = config.read32(bdf, at);
        config.write32(bdf, at, first & !MsiX::WRITABLE | enable | mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Class, Port};
    use std::vec::Vec;

    #[test]
    fn messages_are_counted_as_the_capabilities_say() {
        let count = |capabilities: &[(u32, u32)]| {
            let capability = |(id, control): &(u32, u32)| Capability {
                id: *id,
                offset: 0x40,
                words: [control << 16 | id, 0, 0, 0, 0, 0],
            };
            Function {
                capabilities: capabilities.iter().map(capability).collect(),
                ..function()
            }
            .messages()
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[(id::PCI_EXPRESS, 0xffff)]), 0);
        assert_eq!(count(&[(id::MSI, 0x80)]), 1);
        assert_eq!(count(&[(id::MSI, 3 << 1 | 1)]), 8);
        assert_eq!(count(&[(id::MSI, 7 << 1)]), 32, "more are not to be told");
        assert_eq!(count(&[(id::MSI, 2 << 1), (id::MSI_X, 0xc000 | 64)]), 65);
        assert_eq!(count(&[(id::MSI_X, 0x7ff)]), 2048);
    }

    fn function() -> Function {
        let bdf = Bdf::from_requester_id(8);
        Function {
            bdf,
            parent: None,
            vendor: 0x1234,
            device: 0x11e8,
            revision: 0,
            class: Class {
                base: 0,
                sub: 0xff,
                interface: 0,
            },
            subsystem: (0, 0),
            multi_function: false,
            bridge: None,
            port: Port::Conventional,
            pin: None,
            bars: Vec::new(),
            capabilities: Vec::new(),
            found_mastering: false,
            requester_ids: Vec::new(),
            redirects: false,
        }
    }
}
