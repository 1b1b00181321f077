//! The SMMUv3 registers that matter while the SMMU is off: identification, enables and the global bypass.
#![expect(
    missing_docs,
    reason = "the macro makes items that cannot be documented; every register and field is"
)]

use mmio::{Bus, Reg};
use tock_registers::register_bitfields;

register_bitfields![u32,
    /// IHI 0070 6.3.1 SMMU_IDR0: features.
    pub IDR0 [
        /// Stage 2 is supported.
        S2P OFFSET(0) NUMBITS(1) [],
        /// Translation table formats: bit 0 AArch32, bit 1 AArch64.
        TTF OFFSET(2) NUMBITS(2) [],
        /// Table, queue and configuration accesses are coherent with the CPUs' caches.
        COHACC OFFSET(4) NUMBITS(1) [],
        /// The SMMU listens to broadcast TLB maintenance.
        BTM OFFSET(5) NUMBITS(1) [],
        /// EL2 stream worlds are supported.
        HYP OFFSET(9) NUMBITS(1) [],
        /// PCIe address translation services are supported.
        ATS OFFSET(10) NUMBITS(1) [],
        /// VMIDs have 16 bits, otherwise 8.
        VMID16 OFFSET(18) NUMBITS(1) [],
        /// Endianness of table walks.
        TTENDIAN OFFSET(21) NUMBITS(2) [
            Mixed = 0,
            Little = 2,
            Big = 3
        ],
        /// What can be done with a faulting transaction.
        STALL_MODEL OFFSET(24) NUMBITS(2) [
            StallAndTerminate = 0,
            Terminate = 1,
            ForcedStall = 2
        ],
        /// Stream table formats.
        ST_LEVEL OFFSET(27) NUMBITS(2) [
            Linear = 0,
            TwoLevel = 1
        ]
    ],
    /// IHI 0070 6.3.2 SMMU_IDR1: sizes.
    pub IDR1 [
        /// Bits of stream ID.
        SIDSIZE OFFSET(0) NUMBITS(6) [],
        /// Event queue entries, as a power of two.
        EVENTQS OFFSET(16) NUMBITS(5) [],
        /// Command queue entries, as a power of two.
        CMDQS OFFSET(21) NUMBITS(5) [],
        /// Queue base addresses are fixed by the implementation.
        QUEUES_PRESET OFFSET(29) NUMBITS(1) [],
        /// The stream table base address is fixed by the implementation.
        TABLES_PRESET OFFSET(30) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.4 SMMU_IDR3: more features.
    pub IDR3 [
        /// TLB invalidation by range.
        RIL OFFSET(10) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.6 SMMU_IDR5: address sizes and granules.
    pub IDR5 [
        /// Output address size.
        OAS OFFSET(0) NUMBITS(3) [],
        /// The 4 KiB granule is supported.
        GRAN4K OFFSET(4) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.8 SMMU_AIDR: architecture version.
    pub AIDR [
        /// Minor revision: the `x` of SMMUv3.x.
        MINOR OFFSET(0) NUMBITS(4) [],
        /// Major revision: 0 is SMMUv3.
        MAJOR OFFSET(4) NUMBITS(4) []
    ],
    /// IHI 0070 6.3.9 SMMU_CR0 and 6.3.10 SMMU_CR0ACK: enables, and whether they took effect.
    pub CR0 [
        /// Translation is on; while it is off, SMMU_GBPA says what becomes of transactions.
        SMMUEN OFFSET(0) NUMBITS(1) [],
        /// The event queue is written.
        EVENTQEN OFFSET(2) NUMBITS(1) [],
        /// The command queue is consumed.
        CMDQEN OFFSET(3) NUMBITS(1) [],
        /// Transactions that claim to be translated already (ATS) are checked; while it is 0 they all pass.
        ATSCHK OFFSET(4) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.14 SMMU_GBPA: what becomes of transactions while translation is off.
    pub GBPA [
        /// They abort.
        ABORT OFFSET(20) NUMBITS(1) [],
        /// Written as 1 with new values; reads as 1 until they took effect.
        UPDATE OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.16 SMMU_IRQ_CTRL and 6.3.18 SMMU_IRQ_CTRLACK: interrupt enables.
    pub IRQ_CTRL [
        /// Global errors.
        GERROR_IRQEN OFFSET(0) NUMBITS(1) [],
        /// The event queue became non-empty.
        EVENTQ_IRQEN OFFSET(2) NUMBITS(1) []
    ]
];

/// The registers above, over a bus that starts at the SMMU's register page 0.
#[derive(Debug)]
pub struct Registers<'b, B: Bus + ?Sized>(pub &'b B);

impl<'b, B: Bus + ?Sized> Registers<'b, B> {
    /// 0x00, read-only.
    pub fn idr0(&self) -> Reg<'b, B, u32, IDR0::Register, 0x00> {
        Reg::at(self.0)
    }
    /// 0x04, read-only.
    pub fn idr1(&self) -> Reg<'b, B, u32, IDR1::Register, 0x04> {
        Reg::at(self.0)
    }
    /// 0x0c, read-only.
    pub fn idr3(&self) -> Reg<'b, B, u32, IDR3::Register, 0x0c> {
        Reg::at(self.0)
    }
    /// 0x14, read-only.
    pub fn idr5(&self) -> Reg<'b, B, u32, IDR5::Register, 0x14> {
        Reg::at(self.0)
    }
    /// 0x1c, read-only.
    pub fn aidr(&self) -> Reg<'b, B, u32, AIDR::Register, 0x1c> {
        Reg::at(self.0)
    }
    /// 0x20.
    pub fn cr0(&self) -> Reg<'b, B, u32, CR0::Register, 0x20> {
        Reg::at(self.0)
    }
    /// 0x24, read-only.
    pub fn cr0ack(&self) -> Reg<'b, B, u32, CR0::Register, 0x24> {
        Reg::at(self.0)
    }
    /// 0x44.
    pub fn gbpa(&self) -> Reg<'b, B, u32, GBPA::Register, 0x44> {
        Reg::at(self.0)
    }
    /// 0x50.
    pub fn irq_ctrl(&self) -> Reg<'b, B, u32, IRQ_CTRL::Register, 0x50> {
        Reg::at(self.0)
    }
    /// 0x54, read-only.
    pub fn irq_ctrlack(&self) -> Reg<'b, B, u32, IRQ_CTRL::Register, 0x54> {
        Reg::at(self.0)
    }
}
