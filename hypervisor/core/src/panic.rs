//! The end of a run that went wrong: one report, then power off.

use crate::arch::{cpu, gic, percpu};
use crate::console;
use crate::power;
use core::fmt;
use core::panic::PanicInfo;
use core::sync::atomic::{AtomicUsize, Ordering};

const NOBODY: usize = usize::MAX;

/// The number of the CPU that reports.
static REPORTING: AtomicUsize = AtomicUsize::new(NOBODY);

/// Prints a report, whoever holds the console, and ends the run. Only the first report is printed.
pub fn report(text: fmt::Arguments<'_>) -> ! {
    let own = percpu::this().index();
    match REPORTING.compare_exchange(NOBODY, own, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            gic::stop_others();
            console::emergency(text);
        }
        // The report itself went wrong; what was printed has to do.
        Err(reporter) if reporter == own => {}
        Err(_) => cpu::park(),
    }
    power::off()
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
