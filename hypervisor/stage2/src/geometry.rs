//! The shape of the tree: what every walker in the machine can follow.

use crate::table::TABLE_SIZE;

/// The widest address the 4 KiB granule reaches without FEAT_LPA2 (DDI 0487 D8.2.2).
const MAX_BITS: u8 = 48;
/// The narrowest physical address size there is (DDI 0487, `ID_AA64MMFR0_EL1.PARange` = 0).
const MIN_BITS: u8 = 32;
/// `TCR.PS` and `STE.S2PS` encodings, by their number (DDI 0487, `VTCR_EL2.PS`).
const SIZES: [u8; 6] = [32, 36, 40, 42, 44, 48];
/// Up to 16 tables may stand side by side at the start level: 4 bits (DDI 0487 D8.2.2).
const CONCATENATION_BITS: u8 = 4;

/// What one walker of stage-2 tables can do: a CPU or an SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WalkerLimits<'a> {
    /// Its name in messages: `cpu0`, `/smmuv3@9050000`.
    pub name: &'a str,
    /// The widest IPA it translates, in bits.
    pub input_bits: u8,
    /// The widest physical address it emits, in bits.
    pub output_bits: u8,
    /// Whether it walks tables with the 4 KiB granule.
    pub granule_4k: bool,
}

impl<'a> WalkerLimits<'a> {
    /// A CPU with `pa_bits` of physical address (`ID_AA64MMFR0_EL1.PARange`): its IPA may be as wide.
    pub fn cpu(name: &'a str, pa_bits: u8, granule_4k: bool) -> Self {
        WalkerLimits {
            name,
            input_bits: pa_bits,
            output_bits: pa_bits,
            granule_4k,
        }
    }

    /// An SMMU with `oas_bits` of output address (IHI 0070 6.3.6, `SMMU_IDR5.OAS`): its IPA may be as wide.
    pub fn smmu(name: &'a str, oas_bits: u8, granule_4k: bool) -> Self {
        WalkerLimits {
            name,
            input_bits: oas_bits,
            output_bits: oas_bits,
            granule_4k,
        }
    }
}

/// Why no tree fits all walkers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError<'a> {
    /// The list of walkers is empty.
    #[error("no walker to choose a stage-2 geometry for")]
    NoWalkers,
    /// A walker has no 4 KiB granule.
    #[error("{walker} cannot walk stage-2 tables with the 4 KiB granule")]
    NoGranule {
        /// The culprit.
        walker: &'a str,
    },
    /// A walker's addresses are narrower than any the architecture knows.
    #[error("{walker} translates {bits} address bits, fewer than {MIN_BITS}")]
    TooNarrow {
        /// The culprit.
        walker: &'a str,
        /// Its width in bits.
        bits: u8,
    },
}

/// How CPU walks of the tables are cached and shared (`VTCR_EL2.IRGN0`, `ORGN0`, `SH0`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cacheability {
    /// Write-back cacheable, inner shareable: tables are written through the CPUs' caches.
    WriteBack,
    /// Non-cacheable: tables are written past the caches.
    NonCacheable,
}

/// How wide the CPU's VMIDs are (`VTCR_EL2.VS`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VmidSize {
    /// 8 bits.
    Eight,
    /// 16 bits (`ID_AA64MMFR1_EL1.VMIDBits` = 2).
    Sixteen,
}

/// The shape of a stage-2 tree: address widths and the level it starts at.
///
/// The only constructor is [`Geometry::choose`], so a geometry is always legal for every walker it was chosen for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    ipa_bits: u8,
    pa_bits: u8,
    start_level: u8,
}

impl Geometry {
    /// The widest tree that all `walkers` can follow, with as few levels as concatenated root tables allow.
    ///
    /// IPAs are never wider than physical addresses: a CPU refuses that (DDI 0487 D8.2.2), and without it start
    /// level 0 always comes with the 44 bits of physical address it needs.
    pub fn choose<'a>(walkers: &[WalkerLimits<'a>]) -> Result<Self, GeometryError<'a>> {
        if walkers.is_empty() {
            return Err(GeometryError::NoWalkers);
        }
        let mut ipa_bits = MAX_BITS;
        let mut pa_bits = MAX_BITS;
        for walker in walkers {
            if !walker.granule_4k {
                return Err(GeometryError::NoGranule { walker: walker.name });
            }
            let bits = walker.input_bits.min(walker.output_bits);
            if bits < MIN_BITS {
                return Err(GeometryError::TooNarrow {
                    walker: walker.name,
                    bits,
                });
            }
            ipa_bits = ipa_bits.min(walker.input_bits);
            pa_bits = pa_bits.min(walker.output_bits);
        }
        let pa_bits = SIZES
            .into_iter()
            .rfind(|&size| size <= pa_bits)
            .unwrap_or(MIN_BITS);
        let ipa_bits = ipa_bits.min(pa_bits);
        let start_level = [2, 1]
            .into_iter()
            .find(|&level| ipa_bits <= table_bits(level) + CONCATENATION_BITS)
            .unwrap_or(0);
        Ok(Geometry {
            ipa_bits,
            pa_bits,
            start_level,
        })
    }

    /// Width of an input address (IPA) in bits.
    pub fn ipa_bits(&self) -> u8 {
        self.ipa_bits
    }

    /// Width of an output address (PA) in bits; one of 32, 36, 40, 42, 44, 48.
    pub fn pa_bits(&self) -> u8 {
        self.pa_bits
    }

    /// Level of the root table: 0, 1 or 2.
    pub fn start_level(&self) -> u8 {
        self.start_level
    }

    /// One past the highest IPA.
    pub fn ipa_end(&self) -> u64 {
        1 << self.ipa_bits
    }

    /// One past the highest PA.
    pub fn pa_end(&self) -> u64 {
        1 << self.pa_bits
    }

    /// How many tables stand side by side at the root: 1, 2, 4, 8 or 16.
    pub fn root_tables(&self) -> usize {
        1 << self.ipa_bits.saturating_sub(table_bits(self.start_level))
    }

    /// Size of the root in bytes; it is aligned to its size (DDI 0487 D8.2.2).
    pub fn root_size(&self) -> usize {
        self.root_tables() * TABLE_SIZE
    }

    /// `VTCR_EL2.T0SZ`, `STE.S2T0SZ`: 64 less the IPA width.
    pub fn t0sz(&self) -> u64 {
        64 - u64::from(self.ipa_bits)
    }

    /// `VTCR_EL2.SL0`, `STE.S2SL0` for the 4 KiB granule: 0 for level 2, 1 for level 1, 2 for level 0.
    pub fn sl0(&self) -> u64 {
        2 - u64::from(self.start_level)
    }

    /// `VTCR_EL2.PS`, `STE.S2PS`.
    pub fn ps(&self) -> u64 {
        SIZES
            .iter()
            .zip(0..)
            .find(|&(&size, _)| size == self.pa_bits)
            .map_or(0, |(_, code)| code)
    }

    /// The whole of `VTCR_EL2` (DDI 0487 D24.2, `VTCR_EL2`): TG0 = 4 KiB, no hardware access flag or dirty state.
    pub fn vtcr(&self, walks: Cacheability, vmids: VmidSize) -> u64 {
        const RES1: u64 = 1 << 31;
        let (rgn, sh) = match walks {
            Cacheability::WriteBack => (0b01, 0b11),
            Cacheability::NonCacheable => (0b00, 0b10),
        };
        let vs = match vmids {
            VmidSize::Eight => 0,
            VmidSize::Sixteen => 1,
        };
        RES1 | vs << 19 | self.ps() << 16 | sh << 12 | rgn << 10 | rgn << 8 | self.sl0() << 6 | self.t0sz()
    }
}

/// IPA bits that one table at `level` and everything below it resolve: 9 for each level, 12 for the page.
fn table_bits(level: u8) -> u8 {
    12 + 9 * (4 - level)
}
