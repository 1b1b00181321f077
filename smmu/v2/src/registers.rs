//! The SMMUv1 and v2 registers that only the driver uses. The gate's crate defines the others.

use mmio::Bus;
use smmu_gate::v2::registers::{TLBSTATUS, TRIGGER};
use smmu_gate::v2::{Register, Smmu};
use tock_registers::register_bitfields;

register_bitfields![u32,
    /// IHI 0062 9.6.2 SMMU_ACR: up to the implementation. These are the MMU-500's.
    pub(crate) ACR [
        /// Streams that nothing matches, and that bypass for it, get TLB entries.
        SMTNMB_TLBEN OFFSET(8) NUMBITS(1) [],
        /// Streams whose group says bypass get TLB entries.
        S2CRB_TLBEN OFFSET(10) NUMBITS(1) [],
        /// From r2p0: the banks' auxiliary control registers cannot be written.
        CACHE_LOCK OFFSET(26) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.15 SMMU_GFSR: global faults. Writing 1 clears.
    pub(crate) GFSR [
        /// The stream's group says fault.
        ICF OFFSET(0) NUMBITS(1) [],
        /// Nothing matches the stream.
        USF OFFSET(1) NUMBITS(1) [],
        /// Several groups match the stream.
        SMCF OFFSET(2) NUMBITS(1) [],
        /// The group names a bank that does not exist.
        UCBF OFFSET(3) NUMBITS(1) [],
        /// The bank names an interrupt that does not exist.
        UCIF OFFSET(4) NUMBITS(1) [],
        /// A configuration access went wrong.
        CAF OFFSET(5) NUMBITS(1) [],
        /// An external abort.
        EF OFFSET(6) NUMBITS(1) [],
        /// A permission fault.
        PF OFFSET(7) NUMBITS(1) [],
        /// The transaction is of a kind that is not supported.
        UUT OFFSET(8) NUMBITS(1) [],
        /// There were more faults.
        MULTI OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.17 SMMU_GFSYNR0: the access behind a global fault.
    pub(crate) GFSYNR0 [
        /// It was a write.
        WNR OFFSET(1) NUMBITS(1) [],
        /// It was an instruction fetch.
        IND OFFSET(3) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.18 SMMU_GFSYNR1 and 10.2.3 SMMU_CBFRSYNRAn: the stream behind a fault.
    pub(crate) FAULT_STREAM [
        /// The stream ID.
        ID OFFSET(0) NUMBITS(16) []
    ],
    /// IHI 0062 9.6.35 SMMU_TLBIVMID: everything of a VMID is forgotten.
    pub(crate) TLBIVMID [
        VMID OFFSET(0) NUMBITS(16) []
    ],
    /// IHI 0062 10.2.1 SMMU_CBARn: what a bank is, in the stage-2 format.
    pub(crate) CBAR [
        /// The VMID, where it has 8 bits.
        VMID OFFSET(0) NUMBITS(8) [],
        /// Which stages translate.
        TYPE OFFSET(16) NUMBITS(2) [
            Stage2 = 0
        ],
        /// The interrupt of its faults, where that can be chosen.
        IRPTNDX OFFSET(24) NUMBITS(8) []
    ],
    /// IHI 0062 10.2.2 SMMU_CBA2Rn: more of that. SMMUv1 has none.
    pub(crate) CBA2R [
        /// AArch64 tables, otherwise AArch32.
        VA64 OFFSET(0) NUMBITS(1) [],
        /// The VMID, where it has 16 bits.
        VMID16 OFFSET(16) NUMBITS(16) []
    ],
    /// IHI 0062 16.5.1 SMMU_CBn_ACTLR: up to the implementation. This is the MMU-500's.
    pub(crate) ACTLR [
        /// The next page's translation is prefetched.
        CPRE OFFSET(1) NUMBITS(1) []
    ],
    /// IHI 0062 17.3.8 SMMU_CBn_TCR: the shape of the tables and how they are reached, in the format for AArch64. In
    /// that for AArch32 TG0 does not exist, T0SZ has four bits, and S above it repeats its sign. SMMUv1 has no PASIZE,
    /// and ignores it.
    pub(crate) TCR [
        /// 64 minus the bits of IPA; for AArch32, 32 minus those, and S.
        T0SZ OFFSET(0) NUMBITS(6) [],
        /// The start level, counted downwards from level 2.
        SL0 OFFSET(6) NUMBITS(2) [],
        /// Inner cacheability of walks.
        IRGN0 OFFSET(8) NUMBITS(2) [NonCacheable = 0, WriteBack = 1],
        /// Outer cacheability of walks.
        ORGN0 OFFSET(10) NUMBITS(2) [NonCacheable = 0, WriteBack = 1],
        /// Shareability of walks.
        SH0 OFFSET(12) NUMBITS(2) [Outer = 2, Inner = 3],
        /// Granule.
        TG0 OFFSET(14) NUMBITS(2) [Small = 0],
        /// Output address size.
        PASIZE OFFSET(16) NUMBITS(3) [],
        /// EAE, the long format, for AArch32; one for AArch64. A stage-2 bank has no other tables.
        LONG OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0062 17.3.1 SMMU_CBn_FSYNR0: the access behind a context fault.
    pub(crate) FSYNR0 [
        /// It was a write.
        WNR OFFSET(4) NUMBITS(1) [],
        /// It was an instruction fetch.
        IND OFFSET(6) NUMBITS(1) [],
        /// The fault came late: what else is recorded says nothing.
        AFR OFFSET(11) NUMBITS(1) []
    ]
];

register_bitfields![u64,
    /// IHI 0062 9.6.14 SMMU_GFAR and 16.5.8 SMMU_CBn_FAR: the address behind a fault. In a bank with stage 2 alone that is
    /// the IPA, and SMMU_CBn_IPAFAR, which SMMUv1 lacks, says the same (17.3.1).
    pub(crate) FAR [
        ADDRESS OFFSET(0) NUMBITS(63) []
    ],
    /// IHI 0062 17.3.9 SMMU_CBn_TTBR0: where the root table lies.
    pub(crate) TTBR0 [
        BASE OFFSET(0) NUMBITS(48) []
    ],
    /// IHI 0062 17.3.4 SMMU_CBn_TLBIIPAS2: everything of an IPA is forgotten.
    pub(crate) TLBIIPAS2 [
        /// Bits 47:12 of the IPA.
        PAGE OFFSET(0) NUMBITS(36) []
    ]
];

/// The driver's registers of an SMMU.
#[derive(Debug)]
pub(crate) struct Registers<'s, B>(pub(crate) &'s Smmu<B>);

impl<'s, B: Bus> Registers<'s, B> {
    /// 0x010, banked by security.
    pub(crate) fn acr(&self) -> Register<'s, B, u32, ACR::Register> {
        self.0.banked(0x010)
    }
    /// 0x040, banked by security.
    pub(crate) fn gfar(&self) -> Register<'s, B, u64, FAR::Register> {
        self.0.banked(0x040)
    }
    /// 0x048, banked by security.
    pub(crate) fn gfsr(&self) -> Register<'s, B, u32, GFSR::Register> {
        self.0.banked(0x048)
    }
    /// 0x050, banked by security.
    pub(crate) fn gfsynr0(&self) -> Register<'s, B, u32, GFSYNR0::Register> {
        self.0.banked(0x050)
    }
    /// 0x054, banked by security.
    pub(crate) fn gfsynr1(&self) -> Register<'s, B, u32, FAULT_STREAM::Register> {
        self.0.banked(0x054)
    }
    /// 0x064, write-only.
    pub(crate) fn tlbivmid(&self) -> Register<'s, B, u32, TLBIVMID::Register> {
        self.0.global(0x064)
    }
    /// 0x000 and on, in global space 1.
    pub(crate) fn cbar(&self, bank: u16) -> Register<'s, B, u32, CBAR::Register> {
        self.0.global_1(4 * usize::from(bank))
    }
    /// 0x400 and on, in global space 1.
    pub(crate) fn cbfrsynra(&self, bank: u16) -> Register<'s, B, u32, FAULT_STREAM::Register> {
        self.0.global_1(0x400 + 4 * usize::from(bank))
    }
    /// 0x800 and on, in global space 1.
    pub(crate) fn cba2r(&self, bank: u16) -> Register<'s, B, u32, CBA2R::Register> {
        self.0.global_1(0x800 + 4 * usize::from(bank))
    }
    /// 0x004 of a bank.
    pub(crate) fn actlr(&self, bank: u16) -> Register<'s, B, u32, ACTLR::Register> {
        self.0.bank(bank, 0x004)
    }
    /// 0x020 of a bank.
    pub(crate) fn ttbr0(&self, bank: u16) -> Register<'s, B, u64, TTBR0::Register> {
        self.0.bank(bank, 0x020)
    }
    /// 0x030 of a bank.
    pub(crate) fn tcr(&self, bank: u16) -> Register<'s, B, u32, TCR::Register> {
        self.0.bank(bank, 0x030)
    }
    /// 0x060 of a bank.
    pub(crate) fn far(&self, bank: u16) -> Register<'s, B, u64, FAR::Register> {
        self.0.bank(bank, 0x060)
    }
    /// 0x068 of a bank.
    pub(crate) fn fsynr0(&self, bank: u16) -> Register<'s, B, u32, FSYNR0::Register> {
        self.0.bank(bank, 0x068)
    }
    /// 0x630 of a bank, write-only. SMMUv2 only.
    pub(crate) fn tlbiipas2(&self, bank: u16) -> Register<'s, B, u64, TLBIIPAS2::Register> {
        self.0.bank(bank, 0x630)
    }
    /// 0x7f0 of a bank, write-only. SMMUv2 only.
    pub(crate) fn tlbsync(&self, bank: u16) -> Register<'s, B, u32, TRIGGER::Register> {
        self.0.bank(bank, 0x7f0)
    }
    /// 0x7f4 of a bank, read-only. SMMUv2 only.
    pub(crate) fn tlbstatus(&self, bank: u16) -> Register<'s, B, u32, TLBSTATUS::Register> {
        self.0.bank(bank, 0x7f4)
    }
}
