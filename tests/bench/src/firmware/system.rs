//! System registers by name.

/// Reads a system register.
macro_rules! read {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: reading a register of this CPU; none that is read here has side effects on memory.
        unsafe { core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nostack, preserves_flags)) };
        value
    }};
}

/// Writes a system register.
macro_rules! write {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: EL3 runs with its MMU off, so that no register changes what memory means to it; what a value does to the
        // software below is its writer's affair.
        unsafe { core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags)) };
    }};
}

/// Waits until all accesses are done and all register writes have effect.
pub(super) fn barrier() {
    // SAFETY: barriers only order.
    unsafe { core::arch::asm!("dsb sy", "isb", options(nostack, preserves_flags)) };
}

pub(super) use {read, write};
