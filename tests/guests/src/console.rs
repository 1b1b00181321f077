//! The console: the virtual PL011 of the guest machine.

use crate::registers::Registers;
use core::fmt::{self, Write};

/// Where the guest machine has its PL011. It is not taken from the device tree: a guest whose tree is bad must be
/// able to say so.
const BASE: u64 = 0x0900_0000;
/// UARTDR and UARTFR (Arm DDI 0183).
const DATA: u64 = 0x00;
const FLAGS: u64 = 0x18;
/// UARTFR.TXFF: the transmit FIFO is full.
const FULL: u32 = 1 << 5;
/// How often a full FIFO is looked at before a character is given up.
const PATIENCE: u32 = 1_000_000;

/// The console, for `write!`.
#[derive(Debug)]
pub struct Console;

impl Console {
    fn write_byte(byte: u8) {
        // SAFETY: the guest machine has its PL011 there, and never memory.
        let uart = unsafe { Registers::new(BASE) };
        for _ in 0..PATIENCE {
            if uart.read32(FLAGS) & FULL == 0 {
                break;
            }
            core::hint::spin_loop();
        }
        uart.write32(DATA, u32::from(byte));
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(Console::write_byte);
        Ok(())
    }
}

/// Writes a line on the console.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {{
        use core::fmt::Write as _;
        // The console takes everything.
        let _ = writeln!($crate::console::Console, $($argument)*);
    }};
}
