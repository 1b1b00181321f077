//! The SMMUv1 and v2 registers that matter to the gate: identification, global control, stream mapping, bank enables.
#![expect(
    missing_docs,
    reason = "the macro makes items that cannot be documented; every register and field is"
)]

use tock_registers::register_bitfields;

register_bitfields![u32,
    /// IHI 0062 9.6.1 SMMU_IDR0: features. Bits that SMMUv1 lacks are 0 there.
    pub IDR0 [
        /// Stream mapping register groups, with stream matching.
        NUMSMRG OFFSET(0) NUMBITS(8) [],
        /// Stream IDs may have 16 bits.
        EXIDS OFFSET(8) NUMBITS(1) [],
        /// Bits of stream ID.
        NUMSIDB OFFSET(9) NUMBITS(4) [],
        /// Table walks are coherent with the CPUs' caches.
        CTTW OFFSET(14) NUMBITS(1) [],
        /// Context fault interrupts.
        NUMIRPT OFFSET(16) NUMBITS(8) [],
        /// No AArch32 tables in the long format. Reserved in SMMUv1, which always has them.
        NO_AARCH32 OFFSET(25) NUMBITS(1) [],
        /// Stream matching, otherwise stream indexing.
        SMS OFFSET(27) NUMBITS(1) [],
        /// Stage 2 is supported.
        S2TS OFFSET(29) NUMBITS(1) [],
        /// Stage 1 is supported.
        S1TS OFFSET(30) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.1 SMMU_IDR1: sizes.
    pub IDR1 [
        /// Context banks.
        NUMCB OFFSET(0) NUMBITS(8) [],
        /// Pages of each half of the register frame, as a power of two, minus 1.
        NUMPAGENDXB OFFSET(28) NUMBITS(3) [],
        /// Size of a page of registers.
        PAGESIZE OFFSET(31) NUMBITS(1) [
            Small = 0,
            Large = 1
        ]
    ],
    /// IHI 0062 9.6.1 SMMU_IDR2: address sizes and formats.
    pub IDR2 [
        /// Input (IPA) address size.
        IAS OFFSET(0) NUMBITS(4) [],
        /// Output address size.
        OAS OFFSET(4) NUMBITS(4) [],
        /// AArch64 tables with the 4 KiB granule.
        PTFSV8_4K OFFSET(12) NUMBITS(1) [],
        /// AArch64 tables with the 16 KiB granule.
        PTFSV8_16K OFFSET(13) NUMBITS(1) [],
        /// AArch64 tables with the 64 KiB granule.
        PTFSV8_64K OFFSET(14) NUMBITS(1) [],
        /// VMIDs may have 16 bits.
        VMID16S OFFSET(15) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.1 SMMU_IDR7: revision of the implementation.
    pub IDR7 [
        /// Minor: the `y` of rxpy.
        MINOR OFFSET(0) NUMBITS(4) [],
        /// Major: the `x` of rxpy.
        MAJOR OFFSET(4) NUMBITS(4) []
    ],
    /// SMMU_PIDR0 to 2 (IHI 0062 9.1 leaves them to the implementation): which product it is. One byte of each counts.
    pub PIDR [
        BYTE OFFSET(0) NUMBITS(8) []
    ],
    /// IHI 0062 9.6.3 SMMU_CR0: global control.
    pub CR0 [
        /// Every transaction bypasses the SMMU.
        CLIENTPD OFFSET(0) NUMBITS(1) [],
        /// A global fault aborts at the device, and is not just swallowed.
        GFRE OFFSET(1) NUMBITS(1) [],
        /// Global faults interrupt.
        GFIE OFFSET(2) NUMBITS(1) [],
        /// Stream match registers have the format for 16-bit stream IDs.
        EXIDENABLE OFFSET(3) NUMBITS(1) [],
        /// A faulting configuration access aborts.
        GCFGFRE OFFSET(4) NUMBITS(1) [],
        /// Faulting configuration accesses interrupt.
        GCFGFIE OFFSET(5) NUMBITS(1) [],
        /// No transaction is ever stalled.
        STALLD OFFSET(8) NUMBITS(1) [],
        /// A stream that nothing matches faults, otherwise it bypasses.
        USFCFG OFFSET(10) NUMBITS(1) [],
        /// VMIDs are not those of the CPUs: a hint that broadcast invalidation by VMID can be ignored.
        VMIDPNE OFFSET(11) NUMBITS(1) [],
        /// Broadcast TLB maintenance can be ignored.
        PTM OFFSET(12) NUMBITS(1) [],
        /// A stream that is matched twice faults, otherwise it bypasses.
        SMCFCFG OFFSET(21) NUMBITS(1) [],
        /// VMIDs have 16 bits.
        VMID16EN OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.4 SMMU_CR2: other ways from a stream to a context. Both are optional, and RES0 where they are not there.
    pub CR2 [
        /// A table of compressed indices is used, and stream match registers are not.
        COMPINDEXENABLE OFFSET(29) NUMBITS(1) [],
        /// Up to 1024 groups match, of which those that all SMMUs have are the last.
        EXSMRGENABLE OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.21 SMMU_TLBGSTATUS and 17.3.6 SMMU_CBn_TLBSTATUS: whether invalidation goes on.
    pub TLBSTATUS [
        /// It does.
        ACTIVE OFFSET(0) NUMBITS(1) []
    ],
    /// Registers whose writes count, whatever is written: IHI 0062 9.6.22 SMMU_TLBGSYNC, 9.6.28 SMMU_TLBIALLH,
    /// 9.6.29 SMMU_TLBIALLNSNH, 17.3.7 SMMU_CBn_TLBSYNC.
    pub TRIGGER [
        ANY OFFSET(0) NUMBITS(32) []
    ],
    /// IHI 0062 9.6.25 SMMU_SMRn: which streams a group matches. Without CR0.EXIDENABLE.
    pub SMR [
        /// The stream ID.
        ID OFFSET(0) NUMBITS(15) [],
        /// Bits of it that are not compared.
        MASK OFFSET(16) NUMBITS(15) [],
        /// The group matches at all.
        VALID OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0062 9.6.25 SMMU_SMRn with CR0.EXIDENABLE; S2CR.EXIDVALID says whether the group matches.
    pub EXSMR [
        /// The stream ID.
        ID OFFSET(0) NUMBITS(16) [],
        /// Bits of it that are not compared.
        MASK OFFSET(16) NUMBITS(16) []
    ],
    /// IHI 0062 9.6.23 SMMU_S2CRn: what becomes of the streams of a group.
    pub S2CR [
        /// The context bank that they translate through.
        CBNDX OFFSET(0) NUMBITS(8) [],
        /// With CR0.EXIDENABLE: the group matches at all.
        EXIDVALID OFFSET(10) NUMBITS(1) [],
        /// What becomes of them.
        TYPE OFFSET(16) NUMBITS(2) [
            Translate = 0,
            Bypass = 1,
            Fault = 2
        ]
    ],
    /// IHI 0062 17.3.3 SMMU_CBn_SCTLR: control of a context bank, in the stage-2 format.
    pub SCTLR [
        /// The bank translates. While it is 0 transactions pass untranslated.
        M OFFSET(0) NUMBITS(1) [],
        /// Should be one.
        TRE OFFSET(1) NUMBITS(1) [],
        /// Should be one.
        AFE OFFSET(2) NUMBITS(1) [],
        /// A clear access flag does not fault.
        AFFD OFFSET(3) NUMBITS(1) [],
        /// Tables are big-endian.
        E OFFSET(4) NUMBITS(1) [],
        /// A context fault aborts at the device, and is not just swallowed.
        CFRE OFFSET(5) NUMBITS(1) [],
        /// Context faults interrupt.
        CFIE OFFSET(6) NUMBITS(1) [],
        /// A transaction that faults stalls, where nothing forbids that, until software resumes it.
        CFCFG OFFSET(7) NUMBITS(1) [],
        /// Transactions are processed while an earlier fault is still recorded.
        HUPCF OFFSET(8) NUMBITS(1) []
    ],
    /// IHI 0062 16.5.9 SMMU_CBn_FSR: faults of a context bank. Writing 1 clears, where that is not said otherwise.
    pub FSR [
        /// The IPA is not mapped.
        TF OFFSET(1) NUMBITS(1) [],
        /// The access flag is clear.
        AFF OFFSET(2) NUMBITS(1) [],
        /// Not permitted.
        PF OFFSET(3) NUMBITS(1) [],
        /// A table could not be read.
        EF OFFSET(4) NUMBITS(1) [],
        /// The TLB had two entries.
        TLBMCF OFFSET(5) NUMBITS(1) [],
        /// The TLB is locked.
        TLBLKF OFFSET(6) NUMBITS(1) [],
        /// An address is too large.
        ASF OFFSET(7) NUMBITS(1) [],
        /// The transaction is of a kind that is not supported.
        UUT OFFSET(8) NUMBITS(1) [],
        /// Which format the tables have; no fault, and read-only.
        FORMAT OFFSET(9) NUMBITS(2) [],
        /// A transaction is stalled. Read-only: see SMMU_CBn_RESUME.
        SS OFFSET(30) NUMBITS(1) [],
        /// There were more faults.
        MULTI OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0062 16.5.28 SMMU_CBn_RESUME: what becomes of a stalled transaction.
    pub RESUME [
        TNR OFFSET(0) NUMBITS(1) [
            Retry = 0,
            Terminate = 1
        ]
    ]
];

/// The bits of SMMU_CBn_FSR that are faults, and that writing 1 clears.
pub const FAULTS: u32 = 1 << 31 | 0x1fe;
