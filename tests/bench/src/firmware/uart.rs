//! The console that the firmware shares with the software below it.

use core::fmt::{self, Write};
use core::panic::PanicInfo;

use bench_firmware::map::UART;

use super::power;

/// Writes at once: QEMU's PL011 takes characters at any time. Another CPU's line may lie in between.
struct Uart;

impl Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the data register of the machine's PL011, which is device memory.
            unsafe { (UART.start as *mut u32).write_volatile(byte.into()) };
        }
        Ok(())
    }
}

/// Prints.
pub(super) fn print(text: fmt::Arguments<'_>) {
    let _infallible = Uart.write_fmt(text);
}

/// Says what went wrong, and ends the run.
pub(super) fn fatal(text: fmt::Arguments<'_>) -> ! {
    print(format_args!("\nbench: FAILED: {text}\n"));
    power::off()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    fatal(format_args!("{info}"))
}
