//! The list registers of this CPU, and the switch of its virtual interface (IHI 0069 12.4).
#![expect(unsafe_code, reason = "system registers that aarch64-cpu does not know")]

use aarch64_cpu::asm::barrier;
use vdev::vgic::{Flushed, ListRegister};

/// The most that a CPU can have.
pub const MOST: usize = 16;

/// `ICH_HCR_EL2`.
const EN: u64 = 1 << 0;
const UIE: u64 = 1 << 1;
const LRENPIE: u64 = 1 << 2;
const EOI_COUNT_SHIFT: u32 = 27;

macro_rules! read_register {
    ($name:expr) => {{
        let value: u64;
        // SAFETY: reading a register of the virtual interface.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags))
        };
        value
    }};
}

macro_rules! write_register {
    ($name:expr, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: the virtual interface delivers interrupts to EL1 only.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nomem, nostack, preserves_flags))
        };
    }};
}

/// One arm for each list register.
macro_rules! each {
    ($index:expr, $access:ident $(, $value:expr)?; $default:expr) => {
        match $index {
            0 => $access!("ich_lr0_el2" $(, $value)?),
            1 => $access!("ich_lr1_el2" $(, $value)?),
            2 => $access!("ich_lr2_el2" $(, $value)?),
            3 => $access!("ich_lr3_el2" $(, $value)?),
            4 => $access!("ich_lr4_el2" $(, $value)?),
            5 => $access!("ich_lr5_el2" $(, $value)?),
            6 => $access!("ich_lr6_el2" $(, $value)?),
            7 => $access!("ich_lr7_el2" $(, $value)?),
            8 => $access!("ich_lr8_el2" $(, $value)?),
            9 => $access!("ich_lr9_el2" $(, $value)?),
            10 => $access!("ich_lr10_el2" $(, $value)?),
            11 => $access!("ich_lr11_el2" $(, $value)?),
            12 => $access!("ich_lr12_el2" $(, $value)?),
            13 => $access!("ich_lr13_el2" $(, $value)?),
            14 => $access!("ich_lr14_el2" $(, $value)?),
            15 => $access!("ich_lr15_el2" $(, $value)?),
            _ => $default,
        }
    };
}

/// How many list registers this CPU has: `ICH_VTR_EL2.ListRegs` plus one.
pub fn count() -> usize {
    crate::arch::native(read_register!("ich_vtr_el2") & 0x1f) + 1
}

/// The virtual interface as a guest finds it: nothing enabled, nothing active.
pub fn reset() {
    write_register!("ich_hcr_el2", 0);
    write_register!("ich_vmcr_el2", 0);
    write_register!("ich_ap0r0_el2", 0);
    write_register!("ich_ap1r0_el2", 0);
    // `ICH_VTR_EL2.PREbits`: 5, 6 or 7 bits of preemption, in one, two or four registers.
    let preemption_bits = (read_register!("ich_vtr_el2") >> 26 & 0x7) + 1;
    if preemption_bits >= 6 {
        write_register!("ich_ap0r1_el2", 0);
        write_register!("ich_ap1r1_el2", 0);
    }
    if preemption_bits >= 7 {
        write_register!("ich_ap0r2_el2", 0);
        write_register!("ich_ap0r3_el2", 0);
        write_register!("ich_ap1r2_el2", 0);
        write_register!("ich_ap1r3_el2", 0);
    }
    for index in 0..count() {
        each!(index, write_register, 0; ());
    }
    // The guest uses system registers, not memory, for its CPU interface.
    write_register!("icc_sre_el1", 7);
    barrier::isb(barrier::SY);
}

/// Loads list registers and turns the virtual interface on. Right before a guest is entered.
pub fn load(entries: &[ListRegister], flushed: &Flushed) {
    for (index, entry) in entries.iter().enumerate() {
        each!(index, write_register, entry.0; ());
    }
    let underflow = if flushed.pending_left { UIE } else { 0 };
    let no_entry = if flushed.active_left { LRENPIE } else { 0 };
    write_register!("ich_hcr_el2", EN | underflow | no_entry);
}

/// Takes the first `used` list registers back and turns the virtual interface off. Returns how many interrupts the guest
/// ended that had no list register.
pub fn store(entries: &mut [ListRegister], used: usize) -> u32 {
    let ended = read_register!("ich_hcr_el2") >> EOI_COUNT_SHIFT & 0x1f;
    write_register!("ich_hcr_el2", 0);
    for (index, entry) in entries.iter_mut().enumerate() {
        *entry = if index < used {
            ListRegister(each!(index, read_register; 0))
        } else {
            ListRegister::EMPTY
        };
    }
    // 5 bits.
    u32::try_from(ended).unwrap_or(0)
}
