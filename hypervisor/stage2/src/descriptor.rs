//! Descriptors of VMSAv8-64 stage 2, 4 KiB granule (DDI 0487 D8.3).

/// Bit 0: the descriptor is valid. All other bits of an invalid descriptor are ignored by hardware.
const VALID: u64 = 1 << 0;
/// Bit 1 of a valid descriptor: a table (levels 0 to 2) or a page (level 3); clear for a block.
const TABLE_OR_PAGE: u64 = 1 << 1;
/// Bits 47:12: the output address, or that of the next table.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
/// The level of pages.
const PAGE_LEVEL: u8 = 3;

/// Bit 10, AF: set, so that no access faults for its first use.
const ACCESSED: u64 = 1 << 10;
/// Bit 54, XN[1] with XN[0] = 0: no execution at EL1 and EL0.
const EXECUTE_NEVER: u64 = 1 << 54;
/// Bits 7:6, S2AP.
const READ: u64 = 1 << 6;
const WRITE: u64 = 1 << 7;
/// Bits 5:2, MemAttr without FEAT_S2FWB: normal memory, inner and outer write-back cacheable; bits 9:8, SH:
/// inner shareable.
const NORMAL: u64 = 0b1111 << 2 | 0b11 << 8;
/// MemAttr: Device-nGnRE. Stage 1 may still ask for the stricter nGnRnE. SH is ignored for devices.
const DEVICE: u64 = 0b0001 << 2;
const MEMORY_TYPE: u64 = 0b1111 << 2;

/// What a guest and its devices may do with memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Write only: an interrupt doorbell.
    Write,
    /// Read and write.
    ReadWrite,
}

/// What kind of memory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryType {
    /// RAM: normal memory, write-back cacheable, inner shareable.
    Normal,
    /// Device registers: Device-nGnRE.
    Device,
}

/// Everything about a mapping but its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Access rights.
    pub access: Access,
    /// Memory type.
    pub memory: MemoryType,
    /// No instruction is fetched from it.
    pub execute_never: bool,
}

impl Attributes {
    /// A guest's RAM: read, write and execute.
    pub const RAM: Attributes = Attributes {
        access: Access::ReadWrite,
        memory: MemoryType::Normal,
        execute_never: false,
    };
    /// A guest's device registers: read and write.
    pub const DEVICE: Attributes = Attributes {
        access: Access::ReadWrite,
        memory: MemoryType::Device,
        execute_never: true,
    };

    fn encode(self) -> u64 {
        let access = match self.access {
            Access::Read => READ,
            Access::Write => WRITE,
            Access::ReadWrite => READ | WRITE,
        };
        let memory = match self.memory {
            MemoryType::Normal => NORMAL,
            MemoryType::Device => DEVICE,
        };
        ACCESSED | access | memory | if self.execute_never { EXECUTE_NEVER } else { 0 }
    }

    fn decode(descriptor: u64) -> Attributes {
        let access = match (descriptor & READ != 0, descriptor & WRITE != 0) {
            (true, true) => Access::ReadWrite,
            (false, true) => Access::Write,
            _ => Access::Read,
        };
        let memory = if descriptor & MEMORY_TYPE == DEVICE {
            MemoryType::Device
        } else {
            MemoryType::Normal
        };
        Attributes {
            access,
            memory,
            execute_never: descriptor & EXECUTE_NEVER != 0,
        }
    }
}

/// A block or page: where it leads and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) pa: u64,
    pub(crate) attributes: Attributes,
}

impl Leaf {
    /// Its descriptor at `level` (1 to 3).
    pub(crate) fn encode(self, level: u8) -> u64 {
        let kind = if level == PAGE_LEVEL {
            VALID | TABLE_OR_PAGE
        } else {
            VALID
        };
        (self.pa & ADDRESS) | self.attributes.encode() | kind
    }
}

/// What a descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Descriptor {
    /// Nothing is mapped.
    Empty,
    /// A leaf that was made invalid and is to be written anew: its bits are kept, but for the valid bit.
    Broken(Leaf),
    /// A block or page.
    Leaf(Leaf),
    /// The physical address of the next table.
    Table(u64),
}

impl Descriptor {
    /// Reads a descriptor found at `level`. Ours are the only ones there are, so a level 0 block cannot be.
    pub(crate) fn decode(raw: u64, level: u8) -> Descriptor {
        let leaf = Leaf {
            pa: raw & ADDRESS,
            attributes: Attributes::decode(raw),
        };
        if raw == 0 {
            Descriptor::Empty
        } else if raw & VALID == 0 {
            Descriptor::Broken(leaf)
        } else if level < PAGE_LEVEL && raw & TABLE_OR_PAGE != 0 {
            Descriptor::Table(raw & ADDRESS)
        } else {
            Descriptor::Leaf(leaf)
        }
    }
}

/// The descriptor of the table at `address`.
pub(crate) fn table(address: u64) -> u64 {
    (address & ADDRESS) | VALID | TABLE_OR_PAGE
}

/// `leaf`'s descriptor with the valid bit off: hardware sees nothing, we still see what it was.
pub(crate) fn broken(leaf: Leaf, level: u8) -> u64 {
    leaf.encode(level) & !VALID
}

/// A link of a list of unused tables, kept in their first word: invalid as a descriptor, and never 0.
pub(crate) fn link(next: u64) -> u64 {
    (next & ADDRESS) | TABLE_OR_PAGE
}

/// The address in a link; `None` for a word that is none.
pub(crate) fn linked(raw: u64) -> Option<u64> {
    (raw != 0).then_some(raw & ADDRESS)
}
