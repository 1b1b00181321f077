//! Which SMMU is modelled.

use crate::bits::{bit, field, mask};
use crate::stage2::physical_bits;

/// The version of the architecture. No register tells it: the device tree does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// SMMUv1: AArch32 long-descriptor tables, one interrupt for several context banks, no invalidation by IPA.
    V1,
    /// SMMUv2.
    V2,
}

/// The parameters of an SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Version of the architecture.
    pub version: Version,
    /// SMMU_IDR0 to SMMU_IDR7: all counts and sizes come from here.
    pub idr: [u32; 8],
    /// The bits of SMMU_SMRn.MASK that exist; others read as zero.
    pub mask_bits: u16,
    /// How many instances are programmed as one SMMU, each through a frame of its own: 1 or 2.
    pub frames: usize,
    /// Every register access arrives as a secure one (`calxeda,smmu-secure-config-access`).
    pub secure_access: bool,
    /// SMMU_sCR0.SMCFCFG is one, whatever is written.
    pub conflicts_always_fault: bool,
    /// SMMU_sCR0.GCFGFRE and GCFGFIE can be set.
    pub configuration_faults: bool,
    /// An MMU-500: SMMU_sACR.CACHE_LOCK (DDI 0517 3.5.1); SMMU_CBn_ACTLR.CPRE, which is on after reset and unsafe (errata
    /// 826419 and 841119); no SMMU_sCR0.STALLD.
    pub mmu500: bool,
    /// Accesses of 64 bits do not get there (erratum 582743 of the Marvell AP806).
    pub words_only: bool,
    /// SMMU_CBn_RESUME goes for one stalled transaction at a time; the next one stays stalled.
    pub resumes_singly: bool,
    /// Whether registers without an architected reset value hold noise, rather than zero.
    pub noise: bool,
    /// Ticks from a TLB synchronisation to its end.
    pub sync_delay: u32,
    /// Translations that the TLB holds; the oldest leaves for the next.
    pub tlb_entries: usize,
}

/// The most registers of one kind that a frame has room for: SMMU_S2CRn ends at the identification registers. The
/// architecture has 128 at most, and some hardware has more.
const MOST: usize = 244;

impl Params {
    /// An MMU-500 like that of a ZynqMP: 48 stream mappings, 16 context banks, both stages, 48 bits.
    pub const fn mmu500() -> Self {
        Params {
            version: Version::V2,
            idr: [0x7c01_7e30, 0x3000_0010, 0x5555, 0, 0, 0, 0, 0x21],
            mask_bits: 0x7fff,
            frames: 1,
            secure_access: false,
            conflicts_always_fault: true,
            configuration_faults: false,
            mmu500: true,
            words_only: false,
            resumes_singly: false,
            noise: true,
            sync_delay: 3,
            tlb_entries: 4096,
        }
    }

    /// An SMMUv2 without peculiarities: 32 stream mappings, 8 context banks of which 2 do stage 2 only.
    pub const fn generic() -> Self {
        let plain = Params::mmu500()
            .with_idr(0, 7, 0, 32)
            .with_idr(1, 7, 0, 8)
            .with_idr(1, 23, 16, 2)
            .with_idr(0, 14, 14, 1);
        Params {
            conflicts_always_fault: false,
            configuration_faults: true,
            mmu500: false,
            ..plain
        }
    }

    /// An SMMUv1 like the MMU-401: stage 2 only, 32 stream mappings, 8 context banks, 2 context interrupts, 40 bits.
    pub const fn mmu401() -> Self {
        Params {
            version: Version::V1,
            idr: [0x2802_5e20, 0x2008_0008, 0x222, 0, 0, 0, 0, 0x10],
            ..Params::generic()
        }
    }

    /// 4 stream mappings with 8 mask bits, 2 context banks, 36 bits of input and 40 of output.
    pub const fn small() -> Self {
        let small = Params::generic()
            .with_idr(0, 7, 0, 4)
            .with_idr(1, 7, 0, 2)
            .with_idr(1, 30, 28, 0)
            .with_idr(1, 23, 16, 0)
            .with_idr(2, 7, 0, 0x21);
        Params {
            mask_bits: 0xff,
            ..small
        }
    }

    /// No stream matching: the stream ID is the index of one of 64 SMMU_S2CRn.
    pub const fn stream_indexing() -> Self {
        Params::generic()
            .with_idr(0, 27, 27, 0)
            .with_idr(0, 12, 9, 6)
            .with_idr(0, 7, 0, 0)
    }

    /// Stream IDs and VMIDs of 16 bits.
    pub const fn extended_ids() -> Self {
        let extended = Params::generic().with_idr(0, 8, 8, 1).with_idr(2, 15, 15, 1);
        Params {
            mask_bits: 0xffff,
            ..extended
        }
    }

    /// Two MMU-500 programmed as one, with 64 KiB pages (Tegra194).
    pub const fn pair() -> Self {
        let wide = Params::mmu500().with_idr(1, 31, 31, 1);
        Params { frames: 2, ..wide }
    }

    /// Register accesses arrive as secure ones, at an SMMUv1.
    pub const fn secure_access() -> Self {
        Params {
            secure_access: true,
            ..Params::mmu401()
        }
    }

    /// Walks are not coherent with CPU caches; pair it with a memory that is not coherent either.
    pub const fn non_coherent() -> Self {
        Params::generic().with_idr(0, 14, 14, 0)
    }

    /// Without stage 2: a driver that needs it must refuse.
    pub const fn stage1_only() -> Self {
        Params::generic().with_idr(0, 29, 28, 0)
    }

    /// The same with bits `high..=low` of `IDR<index>` set to `value`; the index is 0, 1, 2 or 7.
    #[must_use]
    pub const fn with_idr(mut self, index: usize, high: u32, low: u32, value: u32) -> Self {
        let mask = (u32::MAX >> (31 - high)) & (u32::MAX << low);
        let [idr0, idr1, idr2, .., idr7] = &mut self.idr;
        let register = match index {
            0 => idr0,
            1 => idr1,
            2 => idr2,
            _ => idr7,
        };
        *register = *register & !mask | value << low & mask;
        self
    }

    const fn field(&self, index: usize, high: u32, low: u32) -> u64 {
        let [idr0, idr1, idr2, .., idr7] = self.idr;
        let register = match index {
            0 => idr0,
            1 => idr1,
            2 => idr2,
            _ => idr7,
        };
        field(register as u64, high, low)
    }

    const fn count(&self, index: usize, high: u32, low: u32) -> usize {
        let wide = (self.field(index, high, low) & 0xff) as usize;
        if wide < MOST { wide } else { MOST }
    }

    /// IDR0.S1TS.
    pub(super) const fn stage1(&self) -> bool {
        bit(self.idr[0] as u64, 30)
    }
    /// IDR0.S2TS.
    pub(super) const fn stage2(&self) -> bool {
        bit(self.idr[0] as u64, 29)
    }
    /// IDR0.NTS.
    pub(super) const fn nested(&self) -> bool {
        bit(self.idr[0] as u64, 28)
    }
    /// IDR0.SMS.
    pub(super) const fn stream_matching(&self) -> bool {
        bit(self.idr[0] as u64, 27)
    }
    /// IDR0.CTTW.
    pub(super) const fn coherent_walks(&self) -> bool {
        bit(self.idr[0] as u64, 14)
    }
    /// IDR0.EXIDS.
    pub(super) const fn extended_stream_ids(&self) -> bool {
        bit(self.idr[0] as u64, 8)
    }
    /// IDR0.PTFS: AArch32 long descriptors are offered.
    pub(super) const fn long_descriptors(&self) -> bool {
        !bit(self.idr[0] as u64, 25)
    }
    /// IDR0.NUMIRPT.
    pub(super) const fn context_interrupts(&self) -> u64 {
        self.field(0, 23, 16)
    }
    /// Bits of stream ID: 16 with EXIDS, otherwise IDR0.NUMSIDB.
    pub(super) const fn stream_bits(&self) -> u64 {
        if self.extended_stream_ids() {
            16
        } else {
            self.field(0, 12, 9)
        }
    }
    /// How many stream mappings there are: IDR0.NUMSMRG, or one for each stream ID.
    pub(super) const fn mappings(&self) -> usize {
        if self.stream_matching() {
            self.count(0, 7, 0)
        } else if self.stream_bits() < 8 {
            1 << self.stream_bits()
        } else {
            MOST
        }
    }
    /// IDR1.PAGESIZE.
    pub(super) const fn page_size(&self) -> usize {
        if bit(self.idr[1] as u64, 31) {
            0x1_0000
        } else {
            0x1000
        }
    }
    /// IDR1.NUMPAGENDXB: pages in each half of the frame.
    pub(super) const fn pages(&self) -> usize {
        2 << (self.field(1, 30, 28) & 7)
    }
    /// IDR1.NUMS2CB.
    pub(super) const fn stage2_only_banks(&self) -> usize {
        self.count(1, 23, 16)
    }
    /// IDR1.NUMCB, as far as the frame has room.
    pub(super) const fn banks(&self) -> usize {
        let banks = self.count(1, 7, 0);
        if banks < self.pages() { banks } else { self.pages() }
    }
    /// IDR2.IAS in bits.
    pub(super) const fn input_bits(&self) -> u32 {
        physical_bits(self.field(2, 3, 0))
    }
    /// IDR2.OAS in bits.
    pub(super) const fn output_bits(&self) -> u32 {
        physical_bits(self.field(2, 7, 4))
    }
    /// IDR2.PTFSv8: whether AArch64 tables with granules of `2^shift` bytes are offered.
    pub(super) const fn granule(&self, shift: u32) -> bool {
        let bits = self.idr[2] as u64
            & if matches!(self.version, Version::V2) {
                mask(14, 12)
            } else {
                0
            };
        match shift {
            12 => bit(bits, 12),
            14 => bit(bits, 13),
            16 => bit(bits, 14),
            _ => false,
        }
    }
    /// IDR2.VMID16S.
    pub(super) const fn vmid16(&self) -> bool {
        bit(self.idr[2] as u64, 15)
    }
    /// IDR7.MAJOR.
    pub(super) const fn major(&self) -> u64 {
        self.field(7, 7, 4)
    }
    /// Bytes of a frame.
    pub(super) const fn frame_size(&self) -> usize {
        2 * self.pages() * self.page_size()
    }
}
