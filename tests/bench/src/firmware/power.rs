//! Turning the machine off: two pins of the secure PL061 of QEMU's virt machine (DDI 0190).

const GPIO: u64 = 0x090b_0000;
/// GPIODATA: bits 9:2 of the offset choose the pins that an access is about.
const fn data(pins: u32) -> u64 {
    GPIO + (pins as u64) * 4
}
/// GPIODIR.
const DIRECTION: u64 = GPIO + 0x400;
/// Pins.
const POWER_OFF: u32 = 1 << 0;
const RESET: u32 = 1 << 1;

/// Ends the run.
pub(super) fn off() -> ! {
    raise(POWER_OFF)
}

/// Resets the machine, which ends a run as well: QEMU must be told so (`-no-reboot`), because the firmware starts on memory
/// that is zero.
pub(super) fn reset() -> ! {
    raise(RESET)
}

fn raise(pin: u32) -> ! {
    // SAFETY: registers of a device that nobody else uses.
    unsafe { (DIRECTION as *mut u32).write_volatile(POWER_OFF | RESET) };
    // SAFETY: as above.
    unsafe { (data(pin) as *mut u32).write_volatile(pin) };
    rest()
}

/// Does nothing any more.
pub(super) fn rest() -> ! {
    loop {
        // SAFETY: waiting has no effect on memory.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack)) };
    }
}
