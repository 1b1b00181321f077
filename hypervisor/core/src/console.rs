//! The console: whole lines on a PL011, with the time since the core started.
//!
//! Core lines read `[  0.000412] smmu   text`: the word is the `target` of the [`log`] call. Guest lines read
//! `[alice  ] text`. A UART that does not drain loses characters; it never stops the core.
//!
//! A guest can *have* the console: what is typed goes to it, and what it writes goes out at once, byte by byte, as it is.
//! Otherwise the core takes commands.

mod aux;
mod cadence;
mod pl011;
mod uart;

use crate::arch::timer;
use core::fmt::{self, Write};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mmio::Region;
use pl011::Pl011;
pub use pl011::WINDOW;
use shell::{Editor, Event};
use spin::Mutex;
pub use uart::{Uart, compatible};

/// Bytes of one guest line that are printed; the rest is cut off.
const GUEST_LINE_LENGTH: usize = 256;

static UART: Mutex<Option<Terminal>> = Mutex::new(None);

/// The UART, and what is being typed there.
struct Terminal {
    uart: Uart,
    editor: Editor,
    /// The guest that has it, by its index.
    guest: Option<usize>,
    /// What that guest wrote last did not end a line.
    open: bool,
}

impl Terminal {
    /// Prints a whole line. What somebody is typing is broken off for it, and written again below.
    fn line(&mut self, text: fmt::Arguments<'_>) {
        let unfinished = self.editor.unfinished();
        let is_open = core::mem::replace(&mut self.open, false);
        let start = if is_open || !unfinished.is_empty() {
            "\n"
        } else {
            ""
        };
        // A UART reports no error.
        let _ = write!(self.uart, "{start}{text}\n{unfinished}");
    }
}

/// Prints on this UART from now on.
pub fn init(uart: Uart) {
    *UART.lock() = Some(Terminal {
        uart,
        editor: Editor::new(),
        guest: None,
        open: false,
    });
    // An error means that a logger is set already: ours, by an earlier call.
    if log::set_logger(&ConsoleLog).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

/// Prints on the PL011 with these registers from now on, if it says that it is one.
pub fn init_if_present(registers: Region) {
    if Pl011::is_present(&registers)
        && let Some(uart) = Uart::open(&["arm,pl011"], registers)
    {
        init(uart);
    }
}

/// Whether there is a UART to print on.
pub fn is_ready() -> bool {
    UART.lock().is_some()
}

/// Lets the UART raise its interrupt when somebody types.
pub fn listen() {
    if let Some(terminal) = UART.lock().as_mut() {
        terminal.uart.listen();
    }
}

/// Keeps the UART's interrupt away; what is typed waits in its FIFO, as far as that goes.
pub fn pause() {
    if let Some(terminal) = UART.lock().as_mut() {
        terminal.uart.pause();
    }
}

/// Takes the next byte that was typed.
pub fn receive() -> Option<u8> {
    UART.lock().as_mut()?.uart.receive()
}

/// Adds a byte to the line that is being typed for the core, and echoes it.
pub fn edit(byte: u8) -> Event {
    let mut terminal = UART.lock();
    let Some(Terminal { uart, editor, .. }) = terminal.as_mut() else {
        return Event::Nothing;
    };
    let event = editor.take(byte);
    // A UART reports no error.
    let _ = match &event {
        Event::Nothing => Ok(()),
        Event::Added(letter) => uart.write_char(*letter),
        Event::Erased => uart.write_str(ERASE),
        Event::Cleared => uart.write_str(CLEAR),
        Event::Line(_) | Event::TooLong => uart.write_str("\n"),
    };
    event
}

/// Gives the console to a guest, by its index, or back to the core. A line that was being typed is forgotten.
pub fn give_to(guest: Option<usize>) {
    if let Some(terminal) = UART.lock().as_mut() {
        terminal.guest = guest;
        terminal.editor = Editor::new();
    }
}

/// The guest that has the console.
pub fn owner() -> Option<usize> {
    UART.lock().as_ref()?.guest
}

/// Prints what the guest that has the console wrote, as it is.
pub fn write_raw(bytes: &[u8]) {
    if let Some(terminal) = UART.lock().as_mut() {
        bytes.iter().for_each(|byte| terminal.uart.send(*byte));
        terminal.open = bytes.last().is_some_and(|last| *last != b'\n');
    }
}

/// One place back, a space over what is there, and back again.
const ERASE: &str = "\x08 \x08";
/// To the start of the line, and all of it erased (ECMA-48 8.3.41, EL).
const CLEAR: &str = "\r\x1b[K";

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
    if let Some(terminal) = UART.lock().as_mut() {
        if subject.is_empty() {
            terminal.line(format_args!("[{seconds:3}.{fraction:06}] {text}"));
        } else {
            terminal.line(format_args!("[{seconds:3}.{fraction:06}] {subject:<6} {text}"));
        }
    }
}

/// Prints a line that a guest wrote, without its line end. What is not printable ASCII is escaped.
pub fn guest_line(name: &str, line: &[u8]) {
    let (shown, cut) = match line.get(..GUEST_LINE_LENGTH) {
        Some(start) if line.len() > GUEST_LINE_LENGTH => (start, " (line cut off)"),
        _ => (line, ""),
    };
    if let Some(terminal) = UART.lock().as_mut() {
        terminal.line(format_args!("[{name:<7}] {}{cut}", Escaped(shown)));
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
    if let Some(terminal) = UART.lock().as_mut() {
        let _ = write!(terminal.uart, "\n{text}\n");
    }
}

#[expect(unsafe_code, reason = "a holder that has stopped will not unlock")]
fn force_unlock() {
    if UART.is_locked() {
        // SAFETY: the run is over and only the final report is printed: at worst another CPU's line is torn.
        unsafe { UART.force_unlock() };
    }
}
