//! The console: whole lines on a PL011, with the time since the core started.
//!
//! Core lines read `[  0.000412] smmu   text`: the word is the `target` of the [`log`] call. Guest lines read
//! `[alice  ] text`. A UART that does not drain loses characters; it never stops the core.

mod pl011;

use crate::arch::timer;
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mmio::Region;
use pl011::Pl011;
pub use pl011::WINDOW;
use spin::Mutex;

/// Bytes of one guest line that are printed; the rest is cut off.
const GUEST_LINE_LENGTH: usize = 256;

static UART: Mutex<Option<Pl011<Region>>> = Mutex::new(None);

/// Prints on this UART from now on.
pub fn init(uart: Region) {
    *UART.lock() = Some(Pl011::new(uart));
    // An error means that a logger is set already: ours, by an earlier call.
    if log::set_logger(&ConsoleLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Prints on this UART from now on, if it says that it is one.
pub fn init_if_present(uart: Region) {
    if Pl011::is_present(&uart) {
        init(uart);
    }
}

/// Whether there is a UART to print on.
pub fn is_ready() -> bool {
    UART.lock().is_some()
}

struct ConsoleLog;

impl Log for ConsoleLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= Level::Info
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let severity = match record.level() {
            Level::Error => "error: ",
            Level::Warn => "warning: ",
            _ => "",
        };
        core_line(record.target(), format_args!("{severity}{}", record.args()));
    }

    fn flush(&self) {}
}

/// What every module's path begins with.
fn module_path_root() -> &'static str {
    module_path!().split("::").next().unwrap_or_default()
}

/// Prints a line of the core; `subject` is one word saying what it is about, or nothing.
fn core_line(subject: &str, text: fmt::Arguments<'_>) {
    // `log` fills in the module's path where a call names no target.
    let subject = if subject.starts_with(module_path_root()) {
        "core"
    } else {
        subject
    };
    let now_us = timer::now_us();
    let (seconds, fraction) = (now_us / 1_000_000, now_us % 1_000_000);
    if let Some(uart) = UART.lock().as_mut() {
        // A UART reports no error.
        let _ = if subject.is_empty() {
            writeln!(uart, "[{seconds:3}.{fraction:06}] {text}")
        } else {
            writeln!(uart, "[{seconds:3}.{fraction:06}] {subject:<6} {text}")
        };
    }
}

/// Prints a line that a guest wrote, without its line end. What is not printable ASCII is escaped.
pub fn guest_line(name: &str, line: &[u8]) {
    let (shown, cut) = match line.get(..GUEST_LINE_LENGTH) {
        Some(start) if line.len() > GUEST_LINE_LENGTH => (start, " (line cut off)"),
        _ => (line, ""),
    };
    if let Some(uart) = UART.lock().as_mut() {
        let _ = writeln!(uart, "[{name:<7}] {}{cut}", Escaped(shown));
    }
}

struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in self.0 {
            match byte {
                b'\\' => f.write_str("\\\\")?,
                b' '..=b'~' => f.write_char(char::from(byte))?,
                _ => write!(f, "\\x{byte:02x}")?,
            }
        }
        Ok(())
    }
}

/// Prints a last report, on a line of its own, even if some CPU holds the console and will never give it back.
pub fn emergency(text: fmt::Arguments<'_>) {
    /// How long the holder may take to finish its line.
    const PATIENCE_US: u64 = 100_000;
    let _ = mmio::wait_until(&timer::Now, PATIENCE_US, || !UART.is_locked());
    force_unlock();
    if let Some(uart) = UART.lock().as_mut() {
        let _ = write!(uart, "\n{text}\n");
    }
}

#[expect(unsafe_code, reason = "a holder that has stopped will not unlock")]
fn force_unlock() {
    if UART.is_locked() {
        // SAFETY: the run is over and only the final report is printed: at worst another CPU's line is torn.
        unsafe { UART.force_unlock() };
    }
}
