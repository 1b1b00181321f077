//! The SMMUv3 registers that only the driver uses. The gate's crate defines the others.

use mmio::{Bus, Reg};
use tock_registers::register_bitfields;

register_bitfields![u32,
    /// IHI 0070 6.3.11 SMMU_CR1: attributes of the SMMU's own memory accesses.
    pub(crate) CR1 [
        /// Queue inner cacheability.
        QUEUE_IC OFFSET(0) NUMBITS(2) [NonCacheable = 0, WriteBack = 1],
        /// Queue outer cacheability.
        QUEUE_OC OFFSET(2) NUMBITS(2) [NonCacheable = 0, WriteBack = 1],
        /// Queue shareability.
        QUEUE_SH OFFSET(4) NUMBITS(2) [Outer = 2, Inner = 3],
        /// Stream table inner cacheability.
        TABLE_IC OFFSET(6) NUMBITS(2) [NonCacheable = 0, WriteBack = 1],
        /// Stream table outer cacheability.
        TABLE_OC OFFSET(8) NUMBITS(2) [NonCacheable = 0, WriteBack = 1],
        /// Stream table shareability.
        TABLE_SH OFFSET(10) NUMBITS(2) [Outer = 2, Inner = 3]
    ],
    /// IHI 0070 6.3.12 SMMU_CR2: behaviour.
    pub(crate) CR2 [
        /// Invalid stream IDs are recorded as events.
        RECINVSID OFFSET(1) NUMBITS(1) [],
        /// Broadcast TLB maintenance of the CPUs is ignored.
        PTM OFFSET(2) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.19 SMMU_GERROR and 6.3.20 SMMU_GERRORN: an error is active where the two differ.
    pub(crate) GERROR [
        /// A command failed; SMMU_CMDQ_CONS.ERR says how.
        CMDQ_ERR OFFSET(0) NUMBITS(1) [],
        /// Writing the event queue failed; events are lost.
        EVENTQ_ABT_ERR OFFSET(2) NUMBITS(1) [],
        /// The SMMU is in service failure mode.
        SFM_ERR OFFSET(8) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.25 SMMU_STRTAB_BASE_CFG: shape of the stream table.
    pub(crate) STRTAB_BASE_CFG [
        /// Bits of stream ID that the table covers.
        LOG2SIZE OFFSET(0) NUMBITS(6) [],
        /// Bits of stream ID that a second-level table resolves.
        SPLIT OFFSET(6) NUMBITS(5) [],
        /// One level or two.
        FMT OFFSET(16) NUMBITS(2) [Linear = 0, TwoLevel = 1]
    ],
    /// IHI 0070 6.3.27 SMMU_CMDQ_PROD, 6.3.95 SMMU_EVENTQ_PROD, 6.3.96 SMMU_EVENTQ_CONS: queue pointers.
    pub(crate) POINTER [
        /// Index, and above it the wrap bit.
        INDEX OFFSET(0) NUMBITS(20) [],
        /// Event queue: toggled by the SMMU when events are lost (PROD), and by us to say that we know (CONS).
        OVERFLOW OFFSET(31) NUMBITS(1) []
    ],
    /// IHI 0070 6.3.28 SMMU_CMDQ_CONS: how far commands are consumed.
    pub(crate) CMDQ_CONS [
        /// Index, and above it the wrap bit.
        RD OFFSET(0) NUMBITS(20) [],
        /// Why the command at RD failed, while GERROR.CMDQ_ERR is active.
        ERR OFFSET(24) NUMBITS(7) []
    ]
];

register_bitfields![u64,
    /// IHI 0070 6.3.24 SMMU_STRTAB_BASE: the whole value is an address.
    pub(crate) STRTAB_BASE [
        /// Bits 51:6 of the table's address.
        ADDR OFFSET(6) NUMBITS(46) []
    ],
    /// IHI 0070 6.3.26 SMMU_CMDQ_BASE and 6.3.29 SMMU_EVENTQ_BASE.
    pub(crate) QUEUE_BASE [
        /// Entries, as a power of two.
        LOG2SIZE OFFSET(0) NUMBITS(5) [],
        /// Bits 51:5 of the queue's address.
        ADDR OFFSET(5) NUMBITS(47) []
    ],
    /// IHI 0070 6.3.21 SMMU_GERROR_IRQ_CFG0 and 6.3.30 SMMU_EVENTQ_IRQ_CFG0: where an MSI is written.
    pub(crate) IRQ_CFG0 [
        /// Bits 51:2 of the address; 0 means that the wire is used.
        ADDR OFFSET(2) NUMBITS(50) []
    ]
];

/// The driver's registers, over a bus that starts at register page 0.
#[derive(Debug)]
pub(crate) struct Registers<'b, B: Bus + ?Sized>(pub(crate) &'b B);

impl<'b, B: Bus + ?Sized> Registers<'b, B> {
    /// 0x28.
    pub(crate) fn cr1(&self) -> Reg<'b, B, u32, CR1::Register, 0x28> {
        Reg::at(self.0)
    }
    /// 0x2c.
    pub(crate) fn cr2(&self) -> Reg<'b, B, u32, CR2::Register, 0x2c> {
        Reg::at(self.0)
    }
    /// 0x60, read-only.
    pub(crate) fn gerror(&self) -> Reg<'b, B, u32, GERROR::Register, 0x60> {
        Reg::at(self.0)
    }
    /// 0x64.
    pub(crate) fn gerrorn(&self) -> Reg<'b, B, u32, GERROR::Register, 0x64> {
        Reg::at(self.0)
    }
    /// 0x68.
    pub(crate) fn gerror_irq_cfg0(&self) -> Reg<'b, B, u64, IRQ_CFG0::Register, 0x68> {
        Reg::at(self.0)
    }
    /// 0x80.
    pub(crate) fn strtab_base(&self) -> Reg<'b, B, u64, STRTAB_BASE::Register, 0x80> {
        Reg::at(self.0)
    }
    /// 0x88.
    pub(crate) fn strtab_base_cfg(&self) -> Reg<'b, B, u32, STRTAB_BASE_CFG::Register, 0x88> {
        Reg::at(self.0)
    }
    /// 0x90.
    pub(crate) fn cmdq_base(&self) -> Reg<'b, B, u64, QUEUE_BASE::Register, 0x90> {
        Reg::at(self.0)
    }
    /// 0x98.
    pub(crate) fn cmdq_prod(&self) -> Reg<'b, B, u32, POINTER::Register, 0x98> {
        Reg::at(self.0)
    }
    /// 0x9c.
    pub(crate) fn cmdq_cons(&self) -> Reg<'b, B, u32, CMDQ_CONS::Register, 0x9c> {
        Reg::at(self.0)
    }
    /// 0xa0.
    pub(crate) fn eventq_base(&self) -> Reg<'b, B, u64, QUEUE_BASE::Register, 0xa0> {
        Reg::at(self.0)
    }
    /// 0xb0.
    pub(crate) fn eventq_irq_cfg0(&self) -> Reg<'b, B, u64, IRQ_CFG0::Register, 0xb0> {
        Reg::at(self.0)
    }
    /// 0x100a8: on register page 1.
    pub(crate) fn eventq_prod(&self) -> Reg<'b, B, u32, POINTER::Register, 0x1_00a8> {
        Reg::at(self.0)
    }
    /// 0x100ac: on register page 1.
    pub(crate) fn eventq_cons(&self) -> Reg<'b, B, u32, POINTER::Register, 0x1_00ac> {
        Reg::at(self.0)
    }
}
