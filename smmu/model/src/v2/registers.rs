//! Registers by offset, and their fields, under the names that IHI 0062 (SMMU architecture version 2) gives them.

/// Global register space 0, and what is mirrored in it for the secure side.
pub(super) mod gr0 {
    pub(crate) const CR0: usize = 0x000;
    pub(crate) const CR2: usize = 0x008;
    pub(crate) const ACR: usize = 0x010;
    pub(crate) const IDR0: usize = 0x020;
    pub(crate) const IDR7: usize = 0x03c;
    pub(crate) const GFAR: usize = 0x040;
    pub(crate) const GFSR: usize = 0x048;
    pub(crate) const GFSRRESTORE: usize = 0x04c;
    pub(crate) const GFSYNR0: usize = 0x050;
    pub(crate) const GFSYNR2: usize = 0x058;
    pub(crate) const TLBIVMID: usize = 0x064;
    pub(crate) const TLBIALLNSNH: usize = 0x068;
    pub(crate) const TLBIALLH: usize = 0x06c;
    pub(crate) const TLBGSYNC: usize = 0x070;
    pub(crate) const TLBGSTATUS: usize = 0x074;
    pub(crate) const SMR: usize = 0x800;
    pub(crate) const S2CR: usize = 0xc00;
    pub(crate) const PIDR4: usize = 0xfd0;
    pub(crate) const PIDR0: usize = 0xfe0;
    pub(crate) const PIDR2: usize = 0xfe8;
    /// The distance of a banked register from the alias of its non-secure copy.
    pub(crate) const NONSECURE: usize = 0x400;
}

/// Global register space 1.
pub(super) mod gr1 {
    pub(crate) const CBAR: usize = 0x000;
    pub(crate) const CBFRSYNRA: usize = 0x400;
    pub(crate) const CBA2R: usize = 0x800;
}

/// A translation context bank.
pub(super) mod cb {
    pub(crate) const SCTLR: usize = 0x000;
    pub(crate) const ACTLR: usize = 0x004;
    pub(crate) const RESUME: usize = 0x008;
    pub(crate) const TCR2: usize = 0x010;
    pub(crate) const TTBR0: usize = 0x020;
    pub(crate) const TTBR1: usize = 0x028;
    pub(crate) const TCR: usize = 0x030;
    pub(crate) const FSR: usize = 0x058;
    pub(crate) const FSRRESTORE: usize = 0x05c;
    pub(crate) const FAR: usize = 0x060;
    pub(crate) const FSYNR0: usize = 0x068;
    pub(crate) const FSYNR1: usize = 0x06c;
    pub(crate) const IPAFAR: usize = 0x070;
    pub(crate) const TLBIIPAS2: usize = 0x630;
    pub(crate) const TLBIIPAS2L: usize = 0x638;
    pub(crate) const TLBSYNC: usize = 0x7f0;
    pub(crate) const TLBSTATUS: usize = 0x7f4;
}

/// SMMU_sCR0.
pub(super) mod cr0 {
    pub(crate) const CLIENTPD: u32 = 1;
    pub(crate) const GFRE: u32 = 1 << 1;
    pub(crate) const GFIE: u32 = 1 << 2;
    pub(crate) const EXIDENABLE: u32 = 1 << 3;
    pub(crate) const GCFGFRE: u32 = 1 << 4;
    pub(crate) const GCFGFIE: u32 = 1 << 5;
    pub(crate) const TRANSIENTCFG: u32 = 3 << 6;
    pub(crate) const STALLD: u32 = 1 << 8;
    pub(crate) const USFCFG: u32 = 1 << 10;
    pub(crate) const VMIDPNE: u32 = 1 << 11;
    pub(crate) const PTM: u32 = 1 << 12;
    pub(crate) const FB: u32 = 1 << 13;
    pub(crate) const BSU: u32 = 3 << 14;
    pub(crate) const MEM_ATTR: u32 = 0xf << 16;
    pub(crate) const MTCFG: u32 = 1 << 20;
    pub(crate) const SMCFCFG: u32 = 1 << 21;
    pub(crate) const SHCFG: u32 = 3 << 22;
    pub(crate) const RACFG: u32 = 3 << 24;
    pub(crate) const WACFG: u32 = 3 << 26;
    pub(crate) const VMID16EN: u32 = 1 << 31;
}

/// SMMU_sCR2. Its tables of indices and extra stream mappings are optional, and not offered.
pub(super) mod cr2 {
    pub(crate) const BPVMID: u32 = 0xff;
}

/// The part number of the MMU-500 and its designer, Arm, in SMMU_PIDR0 to SMMU_PIDR2 (DDI 0517).
pub(super) const PIDR_MMU500: [u32; 3] = [0x81, 0xb4, 0x1b];

/// SMMU_sACR of the MMU-500.
pub(super) mod acr {
    pub(crate) const CACHE_LOCK: u32 = 1 << 26;
    /// What the MMU-500 has after reset.
    pub(crate) const RESET: u32 = 0x0400_001c;
}

/// SMMU_sGFSR.
pub(super) mod gfsr {
    /// Invalid context fault.
    pub(crate) const ICF: u32 = 1;
    /// Unidentified stream fault.
    pub(crate) const USF: u32 = 1 << 1;
    /// Stream match conflict fault.
    pub(crate) const SMCF: u32 = 1 << 2;
    /// Unimplemented context bank fault.
    pub(crate) const UCBF: u32 = 1 << 3;
    /// Unimplemented context interrupt fault.
    pub(crate) const UCIF: u32 = 1 << 4;
    /// Configuration access fault.
    pub(crate) const CAF: u32 = 1 << 5;
    pub(crate) const MULTI: u32 = 1 << 31;
    /// ICF, USF, SMCF, UCBF, UCIF, CAF, EF, PF, UUT.
    pub(crate) const FAULTS: u32 = 0x1ff;
    /// SMMU_sGFSYNR0.WNR.
    pub(crate) const SYNDROME_WNR: u32 = 1 << 1;
}

/// SMMU_SMRn. With EXIDENABLE both fields are 16 bits wide, and VALID is SMMU_S2CRn.EXIDVALID.
pub(super) mod smr {
    pub(crate) const VALID: u32 = 1 << 31;
    pub(crate) const RESERVED: u32 = 1 << 15;
}

/// SMMU_S2CRn.
pub(super) mod s2cr {
    pub(crate) const CBNDX: u32 = 0xff;
    pub(crate) const SHCFG: u32 = 3 << 8;
    pub(crate) const EXIDVALID: u32 = 1 << 10;
    pub(crate) const MTCFG: u32 = 1 << 11;
    pub(crate) const MEM_ATTR: u32 = 0xf << 12;
    pub(crate) const TYPE: u32 = 3 << 16;
    pub(crate) const RACFG: u32 = 3 << 20;
    pub(crate) const WACFG: u32 = 3 << 22;
    pub(crate) const PRIVCFG: u32 = 3 << 24;
    pub(crate) const BYPASS_BSU: u32 = 3 << 24;
    pub(crate) const INSTCFG: u32 = 3 << 26;
    pub(crate) const BYPASS_FB: u32 = 1 << 26;
    pub(crate) const TRANSIENTCFG: u32 = 3 << 28;
}

/// SMMU_CBARn.
pub(super) mod cbar {
    pub(crate) const VMID: u32 = 0xff;
    pub(crate) const TYPE: u32 = 3 << 16;
    pub(crate) const IRPTNDX: u32 = 0xff << 24;
}

/// SMMU_CBA2Rn.
pub(super) mod cba2r {
    pub(crate) const VA64: u32 = 1;
    pub(crate) const MONC: u32 = 1 << 1;
    pub(crate) const VMID16: u32 = 0xffff << 16;
}

/// SMMU_CBn_SCTLR.
pub(super) mod sctlr {
    pub(crate) const M: u32 = 1;
    pub(crate) const TRE: u32 = 1 << 1;
    pub(crate) const AFE: u32 = 1 << 2;
    pub(crate) const AFFD: u32 = 1 << 3;
    pub(crate) const CFRE: u32 = 1 << 5;
    pub(crate) const CFIE: u32 = 1 << 6;
    pub(crate) const CFCFG: u32 = 1 << 7;
    pub(crate) const HUPCF: u32 = 1 << 8;
    pub(crate) const PTW: u32 = 1 << 13;
    /// TRANSIENTCFG, MemAttr, MTCFG, FB, SHCFG, RACFG, WACFG: attributes for transactions that are not translated.
    pub(crate) const ATTRIBUTES: u32 = 0x0fff_c000;
    pub(crate) const E: u32 = 1 << 4;
}

/// SMMU_CBn_ACTLR of the MMU-500: the prefetcher of the next page.
pub(super) const ACTLR_CPRE: u32 = 1 << 1;
/// SMMU_CBn_ACTLR of the MMU-500: macro TLB entries.
pub(super) const ACTLR_CMTLB: u32 = 1;

/// SMMU_CBn_FSR.
pub(super) mod fsr {
    pub(crate) const TF: u32 = 1 << 1;
    pub(crate) const AFF: u32 = 1 << 2;
    pub(crate) const PF: u32 = 1 << 3;
    pub(crate) const EF: u32 = 1 << 4;
    pub(crate) const ASF: u32 = 1 << 7;
    /// TF, AFF, PF, EF, TLBMCF, TLBLKF, ASF, UUT.
    pub(crate) const FAULTS: u32 = 0x1fe;
    /// Which tables the bank walked; read-only.
    pub(crate) const FORMAT: u32 = 3 << 9;
    pub(crate) const FORMAT_AARCH32_LONG: u32 = 1 << 9;
    pub(crate) const FORMAT_AARCH64: u32 = 2 << 9;
    /// A transaction is stalled; cleared by SMMU_CBn_RESUME alone.
    pub(crate) const SS: u32 = 1 << 30;
    pub(crate) const MULTI: u32 = 1 << 31;
    /// SMMU_CBn_FSYNR0.WNR.
    pub(crate) const SYNDROME_WNR: u32 = 1 << 4;
}
