//! Capability lists, walked with a bound because a device may link them into a ring.

use crate::config::offset;
use crate::{Bdf, ConfigSpace, messages, virtio};
use alloc::vec::Vec;

/// One capability of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capability {
    /// The capability ID; extended ones (PCIe 7.6) are above 0xff here: `0x1_0000 | id`.
    pub id: u32,
    /// Where it begins in configuration space.
    pub offset: u16,
    /// Its first words, as far as they are known to be read without effect; the others are zero.
    pub words: [u32; WORDS],
}

/// The most words of a capability that are kept.
pub const WORDS: usize = 6;

/// Capability IDs that Portcullis looks at.
pub mod id {
    /// Power management (Power Management Interface Specification 1.2, 3.2).
    pub const POWER: u32 = 0x01;
    /// Message signalled interrupts (PCI 6.8.1).
    pub const MSI: u32 = 0x05;
    /// Vendor-specific (PCI 6.7, appendix H).
    pub const VENDOR: u32 = 0x09;
    /// PCI Express (PCIe 7.5.3).
    pub const PCI_EXPRESS: u32 = 0x10;
    /// MSI-X (PCI 6.8.2).
    pub const MSI_X: u32 = 0x11;
    /// Access control services, extended (PCIe 7.7.8).
    pub const ACCESS_CONTROL: u32 = 0x1_000d;
    /// Address translation services, extended (PCIe 10.5.1).
    pub const ATS: u32 = 0x1_000f;
    /// Single root I/O virtualisation, extended (PCIe 9.3.3).
    pub const SR_IOV: u32 = 0x1_0010;
}

/// Status bit 4, seen in the command register's word: there is a capability list (PCI 6.2.3).
const STATUS_CAPABILITIES: u32 = 1 << 20;
/// The list has room for so many between 0x40 and 0xff.
const MOST: usize = 48;
/// The extended list has room for so many between 0x100 and 0xfff.
const MOST_EXTENDED: usize = (4096 - 256) / 8;

/// All capabilities of `bdf`, plain ones first; extended ones only behind a PCI Express capability.
pub(crate) fn walk(config: &(impl ConfigSpace + ?Sized), bdf: Bdf) -> Vec<Capability> {
    let mut found = Vec::new();
    if config.read32(bdf, offset::COMMAND) & STATUS_CAPABILITIES == 0 {
        return found;
    }
    let [mut at, ..] = config.read32(bdf, offset::CAPABILITIES).to_le_bytes();
    for _ in 0..MOST {
        at &= !3;
        if at < 0x40 {
            break;
        }
        let [id, next, ..] = config.read32(bdf, u16::from(at)).to_le_bytes();
        let id = u32::from(id);
        let offset = u16::from(at);
        found.push(Capability {
            id,
            offset,
            words: read_words(config, bdf, id, offset),
        });
        at = next;
    }
    if found.iter().any(|capability| capability.id == id::PCI_EXPRESS) {
        walk_extended(config, bdf, &mut found);
    }
    found
}

/// The words of a capability that may be read. A vendor-specific one may have a register whose reading does something,
/// so of those only virtio's are read, each as far as its type says.
fn read_words(config: &(impl ConfigSpace + ?Sized), bdf: Bdf, id: u32, offset: u16) -> [u32; WORDS] {
    let first = config.read32(bdf, offset);
    let count = match id {
        id::POWER => 2,
        id::MSI => messages::msi_words(first),
        id::MSI_X | id::PCI_EXPRESS => 3,
        id::VENDOR if virtio::is_virtio(config.read32(bdf, offset::ID)) => virtio::words(first),
        _ => 1,
    };
    let mut words = [0; WORDS];
    for (word, at) in words.iter_mut().zip((offset..0x100).step_by(4)).take(count) {
        *word = config.read32(bdf, at);
    }
    words
}

fn walk_extended(config: &(impl ConfigSpace + ?Sized), bdf: Bdf, found: &mut Vec<Capability>) {
    let mut at: u16 = 0x100;
    for _ in 0..MOST_EXTENDED {
        let header = config.read32(bdf, at);
        if header == 0 || header == u32::MAX {
            break;
        }
        found.push(Capability {
            id: 0x1_0000 | header & 0xffff,
            offset: at,
            words: [0; WORDS],
        });
        let [.., low, high] = header.to_le_bytes();
        at = u16::from_le_bytes([low, high]) >> 4 & !3;
        if at < 0x100 {
            break;
        }
    }
}
