//! What a context bank's registers say of its stage-2 tables (SMMU_CBn_TCR, SMMU_CBn_TTBR0, SMMU_CBA2Rn).

use super::params::Params;
use crate::bits::{aligned, bit, field, mask};
use crate::stage2::{Regime, Tree, level_shift, physical_bits};

/// The registers that decide it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Raw {
    pub tcr: u32,
    pub ttbr0: u64,
    /// CBA2R.VA64.
    pub aarch64: bool,
    /// SCTLR.AFFD.
    pub access_flag_ignored: bool,
}

/// Why a context bank is not legal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bad {
    pub field: &'static str,
    pub value: u64,
    pub detail: &'static str,
}

/// The size of the input and of the granule, and where the walk starts.
struct Shape {
    input_bits: u32,
    granule: u32,
    start_level: u32,
    /// The widest output that the format knows.
    most_output: u32,
}

fn bad<T>(field: &'static str, value: u64, detail: &'static str) -> Result<T, Bad> {
    Err(Bad { field, value, detail })
}

/// The address space of a stage-2 context bank.
pub(super) fn regime(raw: &Raw, params: &Params) -> Result<Regime, Bad> {
    let tcr = u64::from(raw.tcr);
    if !bit(tcr, 31) {
        return bad("TCR[31]", 0, "it is one for stage 2 and for long descriptors");
    }
    if tcr & (mask(30, 19) | mask(30, 30)) != 0 {
        return bad("TCR", tcr, "reserved bits 30:19 for stage 2");
    }
    if field(tcr, 13, 12) == 1 {
        return bad("TCR.SH0", 1, "reserved shareability");
    }
    let shape = if raw.aarch64 {
        aarch64(tcr, params)?
    } else {
        aarch32_long(tcr, params)?
    };
    if shape.input_bits > params.input_bits().max(32) {
        return bad("TCR.T0SZ", field(tcr, 5, 0), "input wider than IDR2.IAS");
    }
    Ok(Regime {
        tree: tree(raw, &shape, params)?,
        access_flag_ignored: raw.access_flag_ignored,
        force_write_back: false,
        break_before_make_level: 0,
    })
}

/// VMSAv8-64 (DDI 0487 D8.2).
fn aarch64(tcr: u64, params: &Params) -> Result<Shape, Bad> {
    let granule = match field(tcr, 15, 14) {
        0 => 12,
        1 => 16,
        2 => 14,
        reserved => return bad("TCR.TG0", reserved, "reserved granule"),
    };
    if !params.granule(granule) {
        return bad(
            "TCR.TG0",
            granule.into(),
            "granule that IDR2.PTFSv8 does not offer",
        );
    }
    let t0sz = field(tcr, 5, 0);
    let input_bits = match t0sz {
        16..=39 => 64 - u32::from(t0sz.to_le_bytes()[0]),
        _ => return bad("TCR.T0SZ", t0sz, "not in 16..=39"),
    };
    let output = params.output_bits();
    let start_level = match (granule, field(tcr, 7, 6)) {
        (12, 0) => 2,
        (12, 1) => 1,
        (12, 2) if output > 42 => 0,
        (14 | 16, 0) => 3,
        (14 | 16, 1) => 2,
        (16, 2) if output > 42 => 1,
        (14, 2) if output > 40 => 1,
        (_, sl0) => {
            return bad(
                "TCR.SL0",
                sl0,
                "no such start level for this granule and output size",
            );
        }
    };
    Ok(Shape {
        input_bits,
        granule,
        start_level,
        most_output: 48,
    })
}

/// Bits of physical address that AArch32 tables reach.
const AARCH32_OUTPUT: u32 = 40;

/// The AArch32 long-descriptor format (DDI 0487 G5.5): T0SZ is signed, and S repeats its sign.
fn aarch32_long(tcr: u64, params: &Params) -> Result<Shape, Bad> {
    if !params.long_descriptors() {
        return bad("CBA2R.VA64", 0, "AArch32 tables, which IDR0.PTFS does not offer");
    }
    let t0sz = field(tcr, 3, 0);
    if bit(tcr, 4) != bit(tcr, 3) {
        return bad("TCR.S", field(tcr, 4, 4), "it does not repeat the sign of T0SZ");
    }
    if bit(tcr, 5) {
        return bad("TCR[5]", 1, "reserved for long descriptors");
    }
    if field(tcr, 15, 14) != 0 {
        return bad("TCR[15:14]", field(tcr, 15, 14), "reserved for long descriptors");
    }
    let magnitude = u32::from(t0sz.to_le_bytes()[0]);
    let input_bits = if magnitude >= 8 {
        48 - magnitude
    } else {
        32 - magnitude
    };
    let start_level = match field(tcr, 7, 6) {
        0 => 2,
        1 => 1,
        sl0 => return bad("TCR.SL0", sl0, "reserved start level"),
    };
    Ok(Shape {
        input_bits,
        granule: 12,
        start_level,
        most_output: AARCH32_OUTPUT,
    })
}

/// TCR.PASize of AArch64 tables.
fn physical_size(tcr: u64, params: &Params) -> Result<u32, Bad> {
    let encoded = field(tcr, 18, 16);
    if encoded > 5 {
        return bad("TCR.PASize", encoded, "reserved size");
    }
    let output_bits = physical_bits(encoded);
    if output_bits > params.output_bits() {
        return bad("TCR.PASize", encoded, "beyond IDR2.OAS");
    }
    Ok(output_bits)
}

/// SL0 against T0SZ, PASize and TTBR0.
fn tree(raw: &Raw, shape: &Shape, params: &Params) -> Result<Tree, Bad> {
    let tcr = u64::from(raw.tcr);
    let shift = level_shift(shape.granule, shape.start_level);
    // At least one bit is resolved by the root; up to 16 tables may be concatenated for it.
    let root_bits = shape
        .input_bits
        .checked_sub(shift)
        .filter(|&bits| bits >= 1 && bits <= shape.granule - 3 + 4);
    let Some(root_bits) = root_bits else {
        let detail = "does not fit SL0: the root would have no entry, or over 16 tables";
        return bad("TCR.T0SZ", field(tcr, 5, 0), detail);
    };
    let output_bits = match shape.most_output {
        // The format for AArch32 tables has no PASize.
        AARCH32_OUTPUT => AARCH32_OUTPUT.min(params.output_bits()),
        most => physical_size(tcr, params)?.min(most),
    };
    let root = raw.ttbr0;
    if root >> output_bits != 0 {
        return bad("TTBR0", root, "beyond TCR.PASize, or with reserved bits");
    }
    if !aligned(root, (8 << root_bits).max(64)) {
        return bad("TTBR0", root, "not aligned to the size of the root table");
    }
    Ok(Tree {
        root,
        input_bits: shape.input_bits,
        granule: shape.granule,
        start_level: shape.start_level,
        output_bits,
    })
}

/// Bytes of the root table.
pub(super) fn root_bytes(tree: &Tree) -> u64 {
    8 << (tree.input_bits - level_shift(tree.granule, tree.start_level))
}
