//! The walk of stage-2 tables (DDI 0487 D8.2 to D8.6, VMSAv8-64, without LPA2).

use alloc::vec::Vec;

use super::tlb::{Branch, Leaf};
use super::tree::{Attributes, Regime, Tree, level_shift};
use crate::bits::{bit, field, mask};

/// Why a walk found no translation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WalkFault {
    /// No valid descriptor.
    Translation,
    /// A table or output address is too large.
    AddressSize,
    /// The access flag is clear.
    AccessFlag,
    /// The descriptor at this address could not be read.
    Abort(u64),
}

/// What a walk found, and passed on its way.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub leaf: Option<Leaf>,
    /// The level of the last descriptor that was read, or of the root.
    pub level: u32,
    pub branches: Vec<Branch>,
    /// Tables read from: base and size.
    pub tables: Vec<(u64, u64)>,
    /// Descriptors that are not legal: address, value, what is wrong.
    pub complaints: Vec<(u64, u64, &'static str)>,
}

/// Where a walk begins.
#[derive(Debug, Clone, Copy)]
struct Position {
    level: u32,
    table: u64,
}

/// Walks for `address`, from a cached table descriptor where there is one. `read` returns `None` for a bus error.
pub(crate) fn walk(
    regime: &Regime,
    address: u64,
    cached: Option<Branch>,
    read: impl Fn(u64) -> Option<u64>,
) -> (Walk, Result<(), WalkFault>) {
    let tree = &regime.tree;
    let mut found = Walk {
        level: tree.start_level,
        ..Walk::default()
    };
    if address >> tree.input_bits != 0 {
        return (found, Err(WalkFault::Translation));
    }
    let mut position = cached.map_or(
        Position {
            level: tree.start_level,
            table: tree.root,
        },
        |branch| Position {
            level: branch.level,
            table: branch.table,
        },
    );
    loop {
        match step(regime, address, position, &read, &mut found) {
            Ok(Some(next)) => position = next,
            Ok(None) => return (found, Ok(())),
            Err(fault) => return (found, Err(fault)),
        }
    }
}

/// Reads one descriptor; `Some` is the next table.
fn step(
    regime: &Regime,
    address: u64,
    Position { level, table }: Position,
    read: &impl Fn(u64) -> Option<u64>,
    found: &mut Walk,
) -> Result<Option<Position>, WalkFault> {
    let tree = &regime.tree;
    found.level = level;
    let shift = level_shift(tree.granule, level);
    let index = index(tree, address, level);
    let table_bytes = if level == tree.start_level {
        8 << (tree.input_bits - shift)
    } else {
        1 << tree.granule
    };
    found.tables.push((table, table_bytes));
    let at = table + index * 8;
    let descriptor = read(at).ok_or(WalkFault::Abort(at))?;
    if !bit(descriptor, 0) {
        return Err(WalkFault::Translation);
    }
    let is_table = bit(descriptor, 1);
    let size = 1u64 << shift;
    let start = address & !(size - 1);
    if level < 3 && is_table {
        let next = descriptor & mask(47, tree.granule);
        if descriptor & mask(63, 59) != 0 {
            found.complaints.push((
                at,
                descriptor,
                "bits 63:59 of a stage-2 table descriptor are reserved",
            ));
        }
        if descriptor & mask(tree.granule - 1, 12) & mask(47, 0) != 0 && tree.granule > 12 {
            found
                .complaints
                .push((at, descriptor, "the next table is not aligned to its size"));
        }
        check_size(descriptor, next, tree)?;
        found.branches.push(Branch {
            start,
            bytes: size,
            level: level + 1,
            granule: tree.granule,
            table: next,
        });
        return Ok(Some(Position {
            level: level + 1,
            table: next,
        }));
    }
    let block_allowed = matches!((tree.granule, level), (12, 1 | 2) | (14 | 16, 2));
    if level < 3 && !block_allowed || level == 3 && !is_table {
        return Err(WalkFault::Translation);
    }
    let output = descriptor & mask(47, shift);
    complain(regime, at, descriptor, shift, found);
    check_size(descriptor, output, tree)?;
    if !bit(descriptor, 10) && !regime.access_flag_ignored {
        return Err(WalkFault::AccessFlag);
    }
    found.leaf = Some(Leaf {
        start,
        bytes: size,
        level,
        granule: tree.granule,
        output,
        readable: bit(descriptor, 6),
        writable: bit(descriptor, 7),
        attributes: Attributes::of(descriptor),
    });
    Ok(None)
}

/// Which descriptor of its table an address selects; the root may be concatenated.
fn index(tree: &Tree, address: u64, level: u32) -> u64 {
    let index = address >> level_shift(tree.granule, level);
    if level == tree.start_level {
        index
    } else {
        index & mask(tree.granule - 4, 0)
    }
}

fn check_size(descriptor: u64, address: u64, tree: &Tree) -> Result<(), WalkFault> {
    // Without 52-bit addresses bits 49:48 belong to the address, and 50 is reserved (DDI 0487 D8.3).
    let too_large = address >> tree.output_bits != 0 || field(descriptor, 49, 48) != 0;
    if too_large {
        Err(WalkFault::AddressSize)
    } else {
        Ok(())
    }
}

/// Reserved bits and encodings of a block or page descriptor (DDI 0487 D8.3, D8.6).
fn complain(regime: &Regime, at: u64, descriptor: u64, shift: u32, found: &mut Walk) {
    let mut low = if shift > 12 { mask(shift - 1, 12) } else { 0 };
    if regime.break_before_make_level > 0 {
        low &= !mask(16, 16); // nT
    }
    let memory = field(descriptor, 5, 2);
    let normal = memory >> 2 != 0;
    let complaints = [
        (descriptor & low != 0, "output address not aligned to the block"),
        (bit(descriptor, 11), "bit 11 is reserved"),
        (bit(descriptor, 50), "bit 50 is reserved"),
        (
            !regime.force_write_back && normal && memory & 3 == 0,
            "reserved MemAttr",
        ),
        (normal && field(descriptor, 9, 8) == 1, "reserved shareability"),
    ];
    let wrong = complaints.into_iter().filter(|&(wrong, _)| wrong);
    found
        .complaints
        .extend(wrong.map(|(_, detail)| (at, descriptor, detail)));
}
