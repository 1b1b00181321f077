//! The CPU interface of a GICv3: system registers (IHI 0069 12.2), for physical interrupts as EL2 sees them.

use super::{FIRST_SPECIAL, GicError, LAST_SPECIAL};
use crate::arch::percpu;
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::ICC_SRE_EL2;
use tock_registers::interfaces::{ReadWriteable, Readable};

macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: a register of the CPU interface acts on the delivery of interrupts, which EL2 keeps masked and
        // polls; memory is not touched.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

/// Makes the CPU interface ready: system registers on, no interrupt active, two-step end, all priorities let in.
pub(super) fn init() -> Result<(), GicError> {
    ICC_SRE_EL2.modify(ICC_SRE_EL2::SRE::SET + ICC_SRE_EL2::ENABLE::SET);
    barrier::isb(barrier::SY);
    if !ICC_SRE_EL2.is_set(ICC_SRE_EL2::SRE) {
        return Err(GicError::NoSystemRegisters {
            cpu: percpu::this().index(),
            value: ICC_SRE_EL2.get(),
        });
    }
    set_priority_mask(super::MASK_OPEN);
    write_register!("icc_bpr1_el1", 0);
    write_register!("icc_ap1r0_el1", 0);
    // EOImode = 1: ICC_EOIR1_EL1 drops the priority, ICC_DIR_EL1 deactivates.
    write_register!("icc_ctlr_el1", 1 << 1);
    write_register!("icc_igrpen1_el1", 1);
    barrier::isb(barrier::SY);
    Ok(())
}

/// ICC_IAR1_EL1.
pub(super) fn acknowledge() -> Option<u32> {
    let value: u64;
    // SAFETY: reading it makes the interrupt active, which is what our caller wants; memory is not touched.
    unsafe { core::arch::asm!("mrs {}, icc_iar1_el1", out(reg) value, options(nostack, preserves_flags)) };
    barrier::dsb(barrier::SY);
    let intid = (value & 0xff_ffff) as u32;
    (!(FIRST_SPECIAL..=LAST_SPECIAL).contains(&intid)).then_some(intid)
}

/// ICC_EOIR1_EL1.
pub(super) fn end(intid: u32) {
    write_register!("icc_eoir1_el1", u64::from(intid));
    barrier::isb(barrier::SY);
}

/// ICC_DIR_EL1.
pub(super) fn deactivate(intid: u32) {
    write_register!("icc_dir_el1", u64::from(intid));
    barrier::isb(barrier::SY);
}

/// ICC_PMR_EL1: only interrupts more urgent than this come in.
pub(super) fn set_priority_mask(mask: u8) {
    write_register!("icc_pmr_el1", u64::from(mask));
    barrier::isb(barrier::SY);
}

/// ICC_SGI1R_EL1, to the CPU with that affinity.
pub(super) fn send(intid: u32, affinity: u64) {
    let (aff3, aff2) = ((affinity >> 32) & 0xff, (affinity >> 16) & 0xff);
    let (aff1, aff0) = ((affinity >> 8) & 0xff, affinity & 0xff);
    let (range, target) = (aff0 >> 4, 1_u64 << (aff0 & 0xf));
    send_raw((aff3 << 48) | (range << 44) | (aff2 << 32) | (u64::from(intid) << 24) | (aff1 << 16) | target);
}

/// ICC_SGI1R_EL1, to every CPU but this one.
pub(super) fn send_to_others(intid: u32) {
    send_raw((1 << 40) | (u64::from(intid) << 24));
}

fn send_raw(value: u64) {
    // What the other CPU is to see must be there before the interrupt.
    barrier::dsb(barrier::ISH);
    write_register!("icc_sgi1r_el1", value);
    barrier::isb(barrier::SY);
}
