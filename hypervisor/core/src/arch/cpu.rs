//! This CPU: its traps, its identification registers, its caches, and how it rests.

use aarch64_cpu::asm;
use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{
    CNTHCTL_EL2, CNTVOFF_EL2, CPTR_EL2, HCR_EL2, HDFGRTR_EL2, HDFGWTR_EL2, HFGITR_EL2, HFGRTR_EL2,
    HFGWTR_EL2, ID_AA64MMFR0_EL1, ID_AA64MMFR1_EL1, MIDR_EL1, MPIDR_EL1, VMPIDR_EL2, VTTBR_EL2,
};
use core::ops::Range;
use tock_registers::interfaces::{Readable, Writeable};

/// `CPTR_EL2` (E2H = 0) that traps SVE, SME and floating point: the core and components use none of them.
pub const CPTR_TRAP_ALL: u64 = 0x37ff;
/// `CPTR_EL2` (E2H = 0) while a guest runs: floating point is the guest's; SVE and SME trap, and so do the trace unit, which
/// could be made to write to memory, and the activity monitors, which count what others do (TTA, TAM).
pub const CPTR_GUEST: u64 = 0x33ff | 1 << 20 | 1 << 30;

/// Sets what EL2 traps and where interrupts go, on each CPU once.
pub fn init_traps() {
    // IMO, FMO, AMO: physical interrupts come to EL2. EL2 itself keeps them masked.
    HCR_EL2.write(HCR_EL2::RW::EL1IsAarch64 + HCR_EL2::IMO::SET + HCR_EL2::FMO::SET + HCR_EL2::AMO::SET);
    CPTR_EL2.set(CPTR_TRAP_ALL);
    // EL1 has the virtual timer only, without an offset until a guest gets one.
    CNTHCTL_EL2.set(0);
    CNTVOFF_EL2.set(0);
    VTTBR_EL2.set(0);
    VMPIDR_EL2.set(MPIDR_EL1.get());
    // SAFETY: registers that act on EL1 only (VPIDR, HSTR) or count events (MDCR.HPMN, all counters to EL1).
    unsafe {
        core::arch::asm!(
            "msr vpidr_el2, {midr}",
            "msr hstr_el2, xzr",
            "mrs {count}, pmcr_el0",
            "ubfx {count}, {count}, #11, #5",
            "msr mdcr_el2, {count}",
            midr = in(reg) MIDR_EL1.get(),
            count = out(reg) _,
            options(nomem, nostack, preserves_flags)
        );
    }
    open_fine_grained_traps();
    barrier::isb(barrier::SY);
}

/// Firmware may have left traps of newer extensions on, or enables that only a hypervisor with a plan for them sets.
fn open_fine_grained_traps() {
    /// Fields of ID_AA64MMFR0_EL1 and ID_AA64MMFR1_EL1 (DDI 0487 D23.2.74 and D23.2.75).
    const FGT: u32 = 56;
    const HCX: u32 = 40;
    if (ID_AA64MMFR0_EL1.get() >> FGT) & 0xf != 0 {
        HFGRTR_EL2.set(0);
        HFGWTR_EL2.set(0);
        HFGITR_EL2.set(0);
        HDFGRTR_EL2.set(0);
        HDFGWTR_EL2.set(0);
    }
    if (ID_AA64MMFR1_EL1.get() >> HCX) & 0xf != 0 {
        // SAFETY: HCRX_EL2 = 0 is its reset value: extensions it guards stay off for EL1.
        unsafe { core::arch::asm!("msr s3_4_c1_c2_2, xzr", options(nomem, nostack, preserves_flags)) };
    }
}

/// Bits of physical address this CPU can form, at most 48 (DDI 0487, ID_AA64MMFR0_EL1.PARange).
pub fn physical_address_bits() -> u8 {
    match ID_AA64MMFR0_EL1.read(ID_AA64MMFR0_EL1::PARange) {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// Rests until an interrupt is pending, masked or not.
pub fn wait_for_interrupt() {
    barrier::dsb(barrier::SY);
    asm::wfi();
}

/// Wakes CPUs that wait for an event, after what was written before is seen.
pub fn send_event() {
    barrier::dsb(barrier::SY);
    asm::sev();
}

/// Rests for good.
pub fn park() -> ! {
    loop {
        asm::wfi();
    }
}

/// Size of the smallest data cache line, in bytes (CTR_EL0.DminLine).
fn data_line() -> usize {
    let ctr: u64;
    // SAFETY: reading an identification register.
    unsafe { core::arch::asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    4 << ((ctr >> 16) & 0xf)
}

/// Writes the data caches' lines of a mapped range to memory and forgets them: what reads past the caches sees it.
pub fn clean_invalidate_to_coherency(range: Range<usize>) {
    /// Lines that one turn of the loop cleans: a guest's memory has millions.
    const UNROLLED: usize = 8;
    let line = data_line();
    let mut address = range.start & !(line - 1);
    while address + UNROLLED * line <= range.end {
        // SAFETY: cleaning changes no content.
        unsafe {
            core::arch::asm!(
                ".rept {count}",
                "dc civac, {address}",
                "add {address}, {address}, {line}",
                ".endr",
                count = const UNROLLED,
                address = inout(reg) address,
                line = in(reg) line,
                options(nostack, preserves_flags)
            );
        }
    }
    while address < range.end {
        // SAFETY: as above.
        unsafe { core::arch::asm!("dc civac, {}", in(reg) address, options(nostack, preserves_flags)) };
        address += line;
    }
    barrier::dsb(barrier::SY);
}

/// Makes instructions that were written to a mapped range visible to instruction fetch on every CPU.
pub fn publish_instructions(range: Range<usize>) {
    let line = data_line();
    let mut address = range.start & !(line - 1);
    while address < range.end {
        // SAFETY: cleaning changes no content.
        unsafe { core::arch::asm!("dc cvau, {}", in(reg) address, options(nostack, preserves_flags)) };
        address += line;
    }
    barrier::dsb(barrier::ISH);
    // SAFETY: invalidating instruction caches changes no content.
    unsafe { core::arch::asm!("ic ialluis", options(nostack, preserves_flags)) };
    barrier::dsb(barrier::ISH);
    barrier::isb(barrier::SY);
}
