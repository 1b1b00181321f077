//! What this CPU's EL2 registers hold while a guest may run here, and what they hold for the guest.
#![expect(unsafe_code, reason = "system registers that aarch64-cpu does not know")]

use crate::arch::{cpu, gic};
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTHCTL_EL2, ELR_EL1, ESR_EL1, FAR_EL1, HCR_EL2, ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1, ID_AA64MMFR0_EL1,
    ID_AA64MMFR1_EL1, ID_AA64MMFR2_EL1, SCTLR_EL1, SPSR_EL1, VBAR_EL1, VMPIDR_EL2, VTCR_EL2, VTTBR_EL2,
};
use stage2::{Cacheability, Geometry, VmidSize};
use tock_registers::interfaces::{Readable, Writeable};
use vdev::exception::Taken;
use vdev::sysreg::IdRegister;

/// `HCR_EL2` for a guest (DDI 0487 D23.2.49). Bits that this CPU does not implement are ignored.
const HCR: u64 = {
    const VM: u64 = 1 << 0; // Stage 2 on.
    const SWIO: u64 = 1 << 1; // Invalidating by set and way cleans as well: nobody else's data is lost.
    const PTW: u64 = 1 << 2; // The guest's tables do not lie in device registers.
    const FMO: u64 = 1 << 3; // Physical interrupts come to EL2, virtual ones go to EL1.
    const IMO: u64 = 1 << 4;
    const AMO: u64 = 1 << 5;
    const FB: u64 = 1 << 9; // TLB and cache maintenance reaches the guest's other CPUs.
    const BSU_INNER: u64 = 1 << 10; // So do its barriers.
    const TID3: u64 = 1 << 18; // Identification registers trap: they are cut down.
    const TSC: u64 = 1 << 19; // SMC traps: firmware is ours.
    const TIDCP: u64 = 1 << 20; // Implementation defined registers trap.
    const TACR: u64 = 1 << 21; // ACTLR_EL1 traps.
    const RW: u64 = 1 << 31; // EL1 is AArch64.
    const TLOR: u64 = 1 << 35; // LORegion registers trap: they are hidden.
    const TERR: u64 = 1 << 36; // Error records trap: they are hidden.
    const TEA: u64 = 1 << 37; // External aborts come to EL2, which names the guest.
    const APK: u64 = 1 << 40; // Pointer authentication is the guest's: its keys
    const API: u64 = 1 << 41; // and its instructions.
    VM | SWIO
        | PTW
        | FMO
        | IMO
        | AMO
        | FB
        | BSU_INNER
        | TID3
        | TSC
        | TIDCP
        | TACR
        | RW
        | TLOR
        | TERR
        | TEA
        | APK
        | API
};

/// `MDCR_EL2` for a guest, without HPMN (D23.2.100): performance monitors, debug, profiling and trace trap, and event
/// counting stops at EL2.
const MDCR: u64 = {
    const TPMCR: u64 = 1 << 5;
    const TPM: u64 = 1 << 6;
    const TDA: u64 = 1 << 9;
    const TDOSA: u64 = 1 << 10;
    const TDRA: u64 = 1 << 11;
    const TPMS: u64 = 1 << 14;
    const HPMD: u64 = 1 << 17;
    const TTRF: u64 = 1 << 19;
    const TDCC: u64 = 1 << 27;
    TPMCR | TPM | TDA | TDOSA | TDRA | TPMS | HPMD | TTRF | TDCC
};
/// `MDCR_EL2.HPMN`.
const HPMN: u64 = 0x1f;

/// `ID_AA64PFR0_EL1.GIC`.
const PFR0_GIC: u64 = 0xf << 24;

/// The guest reads the physical counter; the physical timer traps.
const CNTHCTL_GUEST: u64 = 1;

/// Makes this CPU ready to enter a vCPU of a guest: traps, stage 2, identity.
pub fn load(vttbr: u64, geometry: &Geometry, affinity: u64) {
    /// RES1 in MPIDR_EL1; U = 0: part of a multiprocessor.
    const MPIDR_RES1: u64 = 1 << 31;
    let vmids = match ID_AA64MMFR1_EL1.read(ID_AA64MMFR1_EL1::VMIDBits) {
        2 => VmidSize::Sixteen,
        _ => VmidSize::Eight,
    };
    VTCR_EL2.set(geometry.vtcr(Cacheability::WriteBack, vmids));
    VTTBR_EL2.set(vttbr);
    VMPIDR_EL2.set(MPIDR_RES1 | affinity);
    CNTHCTL_EL2.set(CNTHCTL_GUEST);
    HCR_EL2.set(HCR);
    set_mdcr(MDCR);
    barrier::isb(barrier::SY);
    // SAFETY: whatever the CPU remembers of this VMID, or of instructions at these addresses, is from before.
    unsafe {
        core::arch::asm!(
            "tlbi vmalls12e1",
            "ic iallu",
            "dsb nsh",
            "isb",
            options(nostack, preserves_flags)
        );
    }
}

/// Undoes [`load`]: nothing of a guest is reachable from this CPU any more.
pub fn unload() {
    set_mdcr(0);
    cpu::init_traps();
}

/// Sets `MDCR_EL2` but for HPMN.
fn set_mdcr(value: u64) {
    // SAFETY: traps and event counting of EL1 and EL0 only.
    unsafe {
        core::arch::asm!(
            "mrs {now}, mdcr_el2",
            "and {now}, {now}, #{hpmn}",
            "orr {now}, {now}, {value}",
            "msr mdcr_el2, {now}",
            now = out(reg) _,
            value = in(reg) value,
            hpmn = const HPMN,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// `VBAR_EL1` and `SCTLR_EL1`: where and how the guest takes exceptions.
pub fn exception_registers() -> (u64, u64) {
    (VBAR_EL1.get(), SCTLR_EL1.get())
}

/// `ELR_EL1` and `ESR_EL1`: the guest's own last exception, for reports.
pub fn last_exception() -> (u64, u64) {
    (ELR_EL1.get(), ESR_EL1.get())
}

/// Sets EL1's registers as after an exception.
pub fn set_exception(taken: &Taken) {
    ELR_EL1.set(taken.elr);
    SPSR_EL1.set(taken.spsr);
    ESR_EL1.set(taken.esr);
    if let Some(far) = taken.far {
        FAR_EL1.set(far);
    }
}

/// What this CPU says in an identification register.
pub fn identification(register: IdRegister) -> u64 {
    macro_rules! read {
        ($name:literal) => {{
            let value: u64;
            // SAFETY: reading an identification register.
            unsafe {
                core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags))
            };
            value
        }};
    }
    match register {
        // With a GICv2 there are no system registers of a GIC, whatever the CPU could have.
        IdRegister::Pfr0 if gic::virtual_interface().is_some() => read!("id_aa64pfr0_el1") & !PFR0_GIC,
        IdRegister::Pfr0 => read!("id_aa64pfr0_el1"),
        IdRegister::Pfr1 => read!("id_aa64pfr1_el1"),
        IdRegister::Isar0 => ID_AA64ISAR0_EL1.get(),
        IdRegister::Isar1 => ID_AA64ISAR1_EL1.get(),
        IdRegister::Isar2 => read!("s3_0_c0_c6_2"),
        IdRegister::Mmfr0 => ID_AA64MMFR0_EL1.get(),
        IdRegister::Mmfr1 => ID_AA64MMFR1_EL1.get(),
        IdRegister::Mmfr2 => ID_AA64MMFR2_EL1.get(),
    }
}

/// Turns the virtual timer off, for a vCPU that stops.
pub fn stop_timer() {
    aarch64_cpu::registers::CNTV_CTL_EL0.set(0);
    barrier::isb(barrier::SY);
}
