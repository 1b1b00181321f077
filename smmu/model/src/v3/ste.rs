//! Stream table entries (IHI 0070 5.2).

use super::config::Config;
use crate::bits::{aligned, bit, field, low16, mask};
use crate::stage2::{Regime, Tree, level_shift, physical_bits};

/// The raw words of an entry.
pub(super) type Words = [u64; 8];

/// A legal stage-2 translating entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stage2 {
    pub vmid: u16,
    pub tree: Tree,
    /// S2AFFD: a clear access flag does not fault.
    pub access_flag_ignored: bool,
    /// S2R: faults are recorded.
    pub record: bool,
    /// S2S: faults stall.
    pub stall: bool,
    /// S2FWB: stage 2 decides the memory type alone.
    pub force_write_back: bool,
}

impl Stage2 {
    /// How its descriptors are read.
    pub(super) fn regime(&self, break_before_make_level: u64) -> Regime {
        Regime {
            tree: self.tree,
            access_flag_ignored: self.access_flag_ignored,
            force_write_back: self.force_write_back,
            break_before_make_level,
        }
    }
}

/// Why an entry is not legal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bad {
    /// Field.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// What is wrong.
    pub detail: &'static str,
}

/// What an entry means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// V = 0: C_BAD_STE.
    Invalid,
    /// Config = 0b000: abort without an event.
    Abort,
    /// Config = 0b100.
    Bypass,
    /// Config = 0b110.
    Stage2(Stage2),
    /// V = 1 and not legal: C_BAD_STE.
    Illegal(Bad),
}

const STAGE2_ONLY: u64 = 0b110;
const BYPASS: u64 = 0b100;

/// V and Config of an entry's first word.
fn configuration(word0: u64) -> Option<u64> {
    bit(word0, 0).then(|| field(word0, 3, 1))
}

/// Whether an entry with this first word is in bypass.
pub(super) fn is_bypass(word0: u64) -> bool {
    configuration(word0) == Some(BYPASS)
}

/// Decodes an entry.
pub(super) fn parse(words: &Words, config: &Config) -> Entry {
    let [word0, word1, word2, word3, ..] = *words;
    let illegal = |field, value, detail| Entry::Illegal(Bad { field, value, detail });
    let Some(configuration) = configuration(word0) else {
        return Entry::Invalid;
    };
    if let Some(bad) = reserved(words, config) {
        return Entry::Illegal(bad);
    }
    match configuration {
        0 => Entry::Abort,
        BYPASS => Entry::Bypass,
        STAGE2_ONLY if !config.stage2() => illegal("Config", configuration, "stage 2 without IDR0.S2P"),
        STAGE2_ONLY => match stage2(word1, word2, word3, config) {
            Ok(stage2) => Entry::Stage2(stage2),
            Err(bad) => Entry::Illegal(bad),
        },
        1..=3 => illegal("Config", configuration, "reserved encoding"),
        _ => illegal(
            "Config",
            configuration,
            "stage 1 is not used by this project, and not modelled",
        ),
    }
}

/// Bits that have to be zero in every valid entry of a non-secure stream table, given the features.
fn reserved(words: &Words, config: &Config) -> Option<Bad> {
    let [word0, word1, word2, word3, word4, word5, word6, word7] = *words;
    let mut word1_reserved = mask(11, 8) // S2HWU: IDR3.PBHA
        | mask(12, 12) | mask(18, 17) // DRE, DCP, PPAR: IDR3 and IDR0.ATS, none modelled
        | mask(24, 20) | mask(26, 26) // reserved; S1MPAM
        | mask(63, 52);
    if !config.force_write_back() {
        word1_reserved |= mask(25, 25);
    }
    if !config.ats() {
        word1_reserved |= mask(29, 28);
    }
    if !config.type_override() {
        word1_reserved |= mask(36, 32); // MemAttr, MTCFG
    }
    if !config.permission_override() {
        word1_reserved |= mask(51, 48); // PRIVCFG, INSTCFG
    }
    let mut word2_reserved = mask(63, 59);
    if config.hardware_update() == 0 {
        word2_reserved |= mask(56, 55); // S2HD, S2HA
    }
    let checks = [
        ("STE[0]", word0 & mask(58, 56), "reserved bits"),
        (
            "STE[1]",
            word1 & word1_reserved,
            "bits that are reserved without their feature",
        ),
        (
            "STE[2]",
            word2 & word2_reserved,
            "bits that are reserved without their feature",
        ),
        (
            "STE[2][31:16]",
            word2 & mask(31, 16),
            "bits with no architected meaning",
        ),
        ("STE[3]", word3 & (mask(63, 52) | mask(3, 0)), "reserved bits"),
        ("STE[4]", word4, "no field of it is used"),
        ("STE[5]", word5, "no field of it is used"),
        ("STE[6]", word6, "no field of it is used"),
        ("STE[7]", word7, "no field of it is used"),
    ];
    let found = checks.into_iter().find(|&(_, value, _)| value != 0);
    found.map(|(field, value, detail)| Bad { field, value, detail })
}

/// The stage-2 fields, checked as "ILLEGAL" in 5.2.
fn stage2(word1: u64, word2: u64, word3: u64, config: &Config) -> Result<Stage2, Bad> {
    let bad = |field, value, detail| Err(Bad { field, value, detail });
    if !bit(word2, 51) {
        return bad("S2AA64", 0, "AArch32 tables, which TTF does not offer");
    }
    if bit(word2, 52) {
        return bad("S2ENDI", 1, "big-endian tables, which TTENDIAN does not offer");
    }
    let granule = match field(word2, 47, 46) {
        0 => 12,
        1 => 16,
        2 => 14,
        reserved => return bad("S2TG", reserved, "reserved granule"),
    };
    if !config.granule(granule) {
        return bad("S2TG", granule.into(), "granule that IDR5 does not offer");
    }
    let vmid = field(word2, 15, 0);
    if !config.vmid16() && vmid > 0xff {
        return bad("S2VMID", vmid, "VMID wider than 8 bits without IDR0.VMID16");
    }
    let stall = bit(word2, 57);
    match config.stall_model() {
        1 if stall => return bad("S2S", 1, "stall, with IDR0.STALL_MODEL = 1"),
        2 if !stall => return bad("S2S", 0, "no stall, with IDR0.STALL_MODEL = 2"),
        _ => {}
    }
    if field(word2, 45, 44) == 1 {
        return bad("S2SH0", 1, "reserved shareability");
    }
    let tree = tree(word2, word3, granule, config)?;
    Ok(Stage2 {
        vmid: low16(vmid),
        tree,
        access_flag_ignored: bit(word2, 53),
        record: bit(word2, 58),
        stall,
        force_write_back: bit(word1, 25),
    })
}

/// S2T0SZ, S2SL0, S2PS and S2TTB (5.2; the geometry is DDI 0487 D8.2).
fn tree(word2: u64, word3: u64, granule: u32, config: &Config) -> Result<Tree, Bad> {
    let bad = |field, value, detail| Err(Bad { field, value, detail });
    let t0sz = field(word2, 37, 32);
    if !(16..=39).contains(&t0sz) {
        return bad("S2T0SZ", t0sz, "not in 16..=39");
    }
    let input_bits = 64 - u32::from(low16(t0sz));
    if input_bits > config.output_bits().max(32) {
        return bad(
            "S2T0SZ",
            t0sz,
            "input wider than IAS, which is IDR5.OAS for AArch64 tables",
        );
    }
    let sl0 = field(word2, 39, 38);
    let start_level = match (granule, sl0) {
        (12, 0) => 2,
        (12, 1) => 1,
        (12, 2) if config.output_bits() > 42 => 0,
        (14 | 16, 0) => 3,
        (14 | 16, 1) => 2,
        (16, 2) if config.output_bits() > 42 => 1,
        (14, 2) if config.output_bits() > 40 => 1,
        _ => {
            return bad(
                "S2SL0",
                sl0,
                "no such start level for this granule and output size",
            );
        }
    };
    let shift = level_shift(granule, start_level);
    // At least one bit is resolved by the root; up to 16 tables may be concatenated for it.
    let root_bits = input_bits
        .checked_sub(shift)
        .filter(|&bits| bits >= 1 && bits <= granule - 3 + 4);
    let Some(root_bits) = root_bits else {
        return bad(
            "S2T0SZ",
            t0sz,
            "does not fit S2SL0: the root would have no entry, or over 16 tables",
        );
    };
    let encoded = field(word2, 50, 48);
    if encoded == 7 {
        return bad("S2PS", encoded, "reserved size");
    }
    // A size beyond OAS behaves as OAS.
    let output_bits = physical_bits(encoded).min(config.output_bits()).min(48);
    let root = word3 & mask(51, 4);
    if root >> output_bits != 0 {
        return bad("S2TTB", root, "beyond the effective S2PS");
    }
    if !aligned(root, (8 << root_bits).max(64)) {
        return bad("S2TTB", root, "not aligned to the size of the root table");
    }
    Ok(Tree {
        root,
        input_bits,
        granule,
        start_level,
        output_bits,
    })
}

/// The bits of an entry that the SMMU uses, so that two entries can be compared (5.2; compare the used bits only).
pub(super) fn used(words: &Words) -> Words {
    let [word0, word1, word2, word3, ..] = *words;
    let valid = mask(0, 0);
    let attributes = mask(51, 48) | mask(45, 32); // INSTCFG, PRIVCFG, SHCFG, ALLOCCFG, MTCFG, MemAttr
    match configuration(word0) {
        None => [0; 8],
        Some(0) => [word0 & valid, 0, 0, 0, 0, 0, 0, 0],
        Some(BYPASS) => [word0 & mask(3, 0), word1 & attributes, 0, 0, 0, 0, 0, 0],
        Some(STAGE2_ONLY) => {
            let word1 = word1 & (attributes | mask(29, 28) | mask(25, 25));
            [
                word0 & mask(3, 0),
                word1,
                word2 & (mask(58, 32) | mask(15, 0)),
                word3 & mask(51, 4),
                0,
                0,
                0,
                0,
            ]
        }
        Some(_) => *words,
    }
}

/// Whether an entry with this first word stops its stream by itself, whatever the other words say.
pub(super) fn is_shut(word0: u64) -> bool {
    matches!(configuration(word0), None | Some(0))
}
