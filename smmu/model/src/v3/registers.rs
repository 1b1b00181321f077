//! Register offsets and fields (IHI 0070 6.2, 6.3).

pub(super) const IDR0: usize = 0x00;
pub(super) const IDR5: usize = 0x14;
pub(super) const IIDR: usize = 0x18;
pub(super) const AIDR: usize = 0x1c;
pub(super) const CR0: usize = 0x20;
pub(super) const CR0ACK: usize = 0x24;
pub(super) const CR1: usize = 0x28;
pub(super) const CR2: usize = 0x2c;
pub(super) const STATUSR: usize = 0x40;
pub(super) const GBPA: usize = 0x44;
pub(super) const IRQ_CTRL: usize = 0x50;
pub(super) const IRQ_CTRLACK: usize = 0x54;
pub(super) const GERROR: usize = 0x60;
pub(super) const GERRORN: usize = 0x64;
pub(super) const GERROR_IRQ_CFG0: usize = 0x68;
pub(super) const GERROR_IRQ_CFG1: usize = 0x70;
pub(super) const GERROR_IRQ_CFG2: usize = 0x74;
pub(super) const STRTAB_BASE: usize = 0x80;
pub(super) const STRTAB_BASE_CFG: usize = 0x88;
pub(super) const CMDQ_BASE: usize = 0x90;
pub(super) const CMDQ_PROD: usize = 0x98;
pub(super) const CMDQ_CONS: usize = 0x9c;
pub(super) const EVENTQ_BASE: usize = 0xa0;
/// Page 0's alias of [`EVENTQ_PROD`], which an implementation need not have.
pub(super) const EVENTQ_PROD_ALIAS: usize = 0xa8;
/// Page 0's alias of [`EVENTQ_CONS`], which an implementation need not have.
pub(super) const EVENTQ_CONS_ALIAS: usize = 0xac;
pub(super) const EVENTQ_IRQ_CFG0: usize = 0xb0;
pub(super) const EVENTQ_IRQ_CFG1: usize = 0xb8;
pub(super) const EVENTQ_IRQ_CFG2: usize = 0xbc;
/// Page 1.
pub(super) const EVENTQ_PROD: usize = 0x1_00a8;
/// Page 1.
pub(super) const EVENTQ_CONS: usize = 0x1_00ac;
/// Page 0 and page 1 of 64 KiB.
pub(super) const FRAME_SIZE: usize = 0x2_0000;

/// CR0 (6.3.9).
pub(super) mod cr0 {
    pub(crate) const SMMUEN: u32 = 1 << 0;
    pub(crate) const PRIQEN: u32 = 1 << 1;
    pub(crate) const EVENTQEN: u32 = 1 << 2;
    pub(crate) const CMDQEN: u32 = 1 << 3;
    pub(crate) const ATSCHK: u32 = 1 << 4;
    pub(crate) const VMW: u32 = 7 << 6;
}

/// CR2 (6.3.12).
pub(super) mod cr2 {
    pub(crate) const E2H: u32 = 1 << 0;
    pub(crate) const RECINVSID: u32 = 1 << 1;
    pub(crate) const PTM: u32 = 1 << 2;
}

/// GBPA (6.3.14).
pub(super) mod gbpa {
    pub(crate) const UPDATE: u32 = 1 << 31;
    pub(crate) const ABORT: u32 = 1 << 20;
    /// MemAttr, MTCFG, ALLOCCFG, SHCFG, PRIVCFG, INSTCFG, ABORT, UPDATE.
    pub(crate) const FIELDS: u32 = 0xf | 1 << 4 | 0xf << 8 | 3 << 12 | 3 << 16 | 3 << 18 | ABORT | UPDATE;
}

/// IRQ_CTRL (6.3.16).
pub(super) mod irq_ctrl {
    pub(crate) const GERROR: u32 = 1 << 0;
    pub(crate) const PRIQ: u32 = 1 << 1;
    pub(crate) const EVENTQ: u32 = 1 << 2;
}

/// GERROR (6.3.18).
pub(super) mod gerror {
    pub(crate) const CMDQ_ERR: u32 = 1 << 0;
    pub(crate) const EVENTQ_ABT_ERR: u32 = 1 << 2;
}

/// The wrap-and-index part of a queue register for a queue of `2^bits` entries.
pub(super) const fn queue_index_mask(bits: u64) -> u32 {
    (1 << (bits + 1)) - 1
}

/// OVFLG and OVACKFLG (6.3.29, 6.3.30).
pub(super) const OVERFLOW_FLAG: u32 = 1 << 31;
/// CMDQ_CONS.ERR (6.3.28).
pub(super) const CMDQ_CONS_ERR: u32 = 0x7f << 24;
