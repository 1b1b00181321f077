//! The end of a run that went wrong: one report, then power off.

use crate::arch::{gic, psci};
use crate::console;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

static REPORTING: AtomicBool = AtomicBool::new(false);

/// Prints a report, whoever holds the console, and ends the run. Only the first report is printed.
pub fn report(text: fmt::Arguments<'_>) -> ! {
    if REPORTING.swap(true, Ordering::AcqRel) {
        crate::arch::cpu::park();
    }
    gic::stop_others();
    console::emergency(text);
    psci::power_off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    match info.location() {
        Some(place) => report(format_args!(
            "PANIC at {}:{}: {}",
            place.file(),
            place.line(),
            info.message()
        )),
        None => report(format_args!("PANIC: {}", info.message())),
    }
}
