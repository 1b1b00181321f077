//! The shape of a stage-2 address space (DDI 0487 D8.2).

use crate::bits::field;

/// A stage-2 address space, as a walker is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tree {
    /// Address of the root table.
    pub root: u64,
    /// Input address bits.
    pub input_bits: u32,
    /// log2 of the granule.
    pub granule: u32,
    /// Level of the root table.
    pub start_level: u32,
    /// Effective output address bits.
    pub output_bits: u32,
}

/// How descriptors are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Regime {
    pub tree: Tree,
    /// A clear access flag does not fault.
    pub access_flag_ignored: bool,
    /// Stage 2 decides the memory type alone.
    pub force_write_back: bool,
    /// The break-before-make level, which says whether nT is allowed.
    pub break_before_make_level: u64,
}

/// The memory attributes of a translation, as the leaf descriptor has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// MemAttr, bits 5:2.
    pub memory: u8,
    /// SH, bits 9:8.
    pub shareability: u8,
    /// XN, bits 54:53.
    pub execute_never: u8,
}

impl Attributes {
    pub(crate) fn of(descriptor: u64) -> Self {
        let byte = |high, low| field(descriptor, high, low).to_le_bytes()[0];
        Attributes {
            memory: byte(5, 2),
            shareability: byte(9, 8),
            execute_never: byte(54, 53),
        }
    }
}

/// The lowest input address bit that a table of `level` resolves.
pub(crate) fn level_shift(granule: u32, level: u32) -> u32 {
    granule + (granule - 3) * (3 - level)
}

/// The address width that an OAS, PS or PASize field means; 6 is 52, and 7 is reserved and means the largest.
pub(crate) const fn physical_bits(encoded: u64) -> u32 {
    match encoded {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        _ => 52,
    }
}
