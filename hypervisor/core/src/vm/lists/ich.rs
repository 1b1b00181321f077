//! The virtual interface of a GICv3: system registers (IHI 0069 12.4).
#![expect(unsafe_code, reason = "system registers that aarch64-cpu does not know")]

use aarch64_cpu::asm::barrier;
use vdev::vgic::ListRegister;

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
pub(super) fn count() -> usize {
    crate::arch::native(read_register!("ich_vtr_el2") & 0x1f) + 1
}

/// The virtual interface as a guest finds it: nothing enabled, nothing active.
pub(super) fn reset() {
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

/// Writes list registers from the first one on, and `ICH_HCR_EL2`.
pub(super) fn load(entries: &[ListRegister], control: u32) {
    for (index, entry) in entries.iter().enumerate() {
        each!(index, write_register, entry.0; ());
    }
    write_register!("ich_hcr_el2", u64::from(control));
}

/// Turns the virtual interface off and reads list registers from the first one on. Returns what `ICH_HCR_EL2` was.
pub(super) fn store(entries: &mut [ListRegister]) -> u32 {
    let control = read_register!("ich_hcr_el2");
    write_register!("ich_hcr_el2", 0);
    for (index, entry) in entries.iter_mut().enumerate() {
        *entry = ListRegister(each!(index, read_register; 0));
    }
    u32::try_from(control & 0xffff_ffff).unwrap_or(0)
}
