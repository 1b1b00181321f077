//! The registers and the DMA engine of QEMU's edu device (QEMU, docs/specs/edu.rst), as far as its documentation goes.
//!
//! What a transfer does on the bus is the board's affair: the device only says that one is due.

/// Where the device sees its own buffer, and bytes of it.
const BUFFER: u64 = 0x4_0000;
const BUFFER_SIZE: usize = 4096;
/// From a transfer's start to its end.
const TRANSFER_US: u64 = 100_000;
/// Version 1.0, and the letters of the device.
const IDENTIFICATION: u32 = 0x0100_00ed;

/// Registers.
const ID: u64 = 0x00;
const LIVENESS: u64 = 0x04;
const FACTORIAL: u64 = 0x08;
const STATUS: u64 = 0x20;
const INTERRUPT_STATUS: u64 = 0x24;
const INTERRUPT_RAISE: u64 = 0x60;
const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
/// The registers from here on take 64 bits as well.
const WIDE: u64 = 0x80;

/// STATUS: raise an interrupt after the factorial.
const STATUS_RAISE: u32 = 1 << 7;
/// COMMAND.
const START: u64 = 1 << 0;
const TO_MEMORY: u64 = 1 << 1;
const RAISE: u64 = 1 << 2;
/// INTERRUPT_STATUS: a factorial is there, a transfer has ended.
const FACTORIAL_DONE: u32 = 0x001;
const TRANSFER_DONE: u32 = 0x100;

/// A transfer that is due: between memory and a part of the device's buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Whether it goes to memory.
    pub to_memory: bool,
    /// The address the device puts on its bus.
    pub memory: u64,
    /// Offset in the buffer.
    pub window: usize,
    /// Bytes.
    pub size: usize,
}

/// A device.
#[derive(Debug, Clone)]
pub struct Edu {
    liveness: u32,
    factorial: u32,
    status: u32,
    interrupts: u32,
    source: u64,
    destination: u64,
    count: u64,
    command: u64,
    /// When the transfer under way ends, in microseconds.
    due_us: Option<u64>,
    buffer: [u8; BUFFER_SIZE],
}

impl Edu {
    /// A device after reset.
    pub const fn new() -> Self {
        Edu {
            liveness: 0,
            factorial: 1,
            status: 0,
            interrupts: 0,
            source: 0,
            destination: 0,
            count: 0,
            command: 0,
            due_us: None,
            buffer: [0; BUFFER_SIZE],
        }
    }

    /// Reads a register; all ones where there is none.
    pub fn read(&self, offset: u64, size: usize) -> u64 {
        if !fits(offset, size) {
            return u64::MAX;
        }
        match offset {
            ID => IDENTIFICATION.into(),
            LIVENESS => self.liveness.into(),
            FACTORIAL => self.factorial.into(),
            STATUS => self.status.into(),
            INTERRUPT_STATUS => self.interrupts.into(),
            SOURCE => self.source,
            DESTINATION => self.destination,
            COUNT => self.count,
            COMMAND => self.command,
            _ => u64::MAX,
        }
    }

    /// Writes a register at the time `now_us`.
    pub fn write(&mut self, offset: u64, size: usize, value: u64, now_us: u64) {
        if !fits(offset, size) {
            return;
        }
        let low = (value & 0xffff_ffff) as u32;
        let idle = self.command & START == 0;
        match offset {
            LIVENESS => self.liveness = !low,
            FACTORIAL => {
                self.factorial = factorial(low);
                if self.status & STATUS_RAISE != 0 {
                    self.interrupts |= FACTORIAL_DONE;
                }
            }
            STATUS => self.status = low & STATUS_RAISE,
            INTERRUPT_RAISE => self.interrupts |= low,
            INTERRUPT_ACKNOWLEDGE => self.interrupts &= !low,
            SOURCE if idle => self.source = value,
            DESTINATION if idle => self.destination = value,
            COUNT if idle => self.count = value,
            COMMAND if idle && value & START != 0 => {
                self.command = value;
                self.due_us = Some(now_us.saturating_add(TRANSFER_US));
            }
            _ => {}
        }
    }

    /// Whether it wants an interrupt.
    pub fn asserts(&self) -> bool {
        self.interrupts != 0
    }

    /// When the transfer under way ends.
    pub fn due_us(&self) -> Option<u64> {
        self.due_us
    }

    /// The transfer that is due by now, once; what is left of it is to move the bytes and then to [`finish`](Self::finish).
    /// One that leaves the device's buffer makes QEMU abort; here it moves nothing.
    pub fn take_due(&mut self, now_us: u64) -> Option<Transfer> {
        self.due_us.take_if(|due| *due <= now_us)?;
        let to_memory = self.command & TO_MEMORY != 0;
        let (memory, inside) = if to_memory {
            (self.destination, self.source)
        } else {
            (self.source, self.destination)
        };
        let window = inside
            .checked_sub(BUFFER)
            .and_then(|window| usize::try_from(window).ok());
        let size = usize::try_from(self.count).ok();
        let part = window
            .zip(size)
            .filter(|&(window, size)| window.checked_add(size).is_some_and(|end| end <= BUFFER_SIZE));
        let (window, size) = part.unwrap_or((0, 0));
        Some(Transfer {
            to_memory,
            memory,
            window,
            size,
        })
    }

    /// The bytes of the buffer that a transfer moves.
    pub fn buffer(&mut self, transfer: &Transfer) -> &mut [u8] {
        let bytes = self.buffer.get_mut(transfer.window..);
        bytes
            .and_then(|bytes| bytes.get_mut(..transfer.size))
            .unwrap_or_default()
    }

    /// Ends the transfer.
    pub fn finish(&mut self) {
        if self.command & RAISE != 0 {
            self.interrupts |= TRANSFER_DONE;
        }
        self.command &= !START;
    }
}

impl Default for Edu {
    fn default() -> Self {
        Edu::new()
    }
}

fn fits(offset: u64, size: usize) -> bool {
    size == 4 || size == 8 && offset >= WIDE
}

fn factorial(number: u32) -> u32 {
    // From 34 on the product of 32 bits is zero, whatever the number.
    (1..=number.min(34)).fold(1, u32::wrapping_mul)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_are_those_of_the_documentation() {
        let mut edu = Edu::new();
        assert_eq!(edu.read(ID, 4), 0x0100_00ed);
        edu.write(LIVENESS, 4, 0x1234_5678, 0);
        assert_eq!(edu.read(LIVENESS, 4), 0xedcb_a987);
        edu.write(STATUS, 4, 0x80, 0);
        edu.write(FACTORIAL, 4, 5, 0);
        assert_eq!(edu.read(FACTORIAL, 4), 120);
        assert_eq!(edu.read(INTERRUPT_STATUS, 4), 1);
        edu.write(INTERRUPT_ACKNOWLEDGE, 4, 1, 0);
        assert!(!edu.asserts());
        edu.write(INTERRUPT_RAISE, 4, 6, 0);
        assert!(edu.asserts());
        assert_eq!(edu.read(ID, 8), u64::MAX);
        assert_eq!(edu.read(SOURCE, 2), u64::MAX);
    }

    #[test]
    fn a_transfer_is_due_a_tenth_of_a_second_later_and_once() {
        let mut edu = Edu::new();
        edu.write(SOURCE, 8, BUFFER + 0x100, 0);
        edu.write(DESTINATION, 8, 0x4000_0000, 0);
        edu.write(COUNT, 8, 64, 0);
        edu.write(COMMAND, 4, START | TO_MEMORY | RAISE, 5);
        edu.write(COUNT, 8, 1, 6);
        assert_eq!(edu.take_due(100_004), None);
        assert_eq!(edu.read(COMMAND, 4), START | TO_MEMORY | RAISE);
        let expected = Transfer {
            to_memory: true,
            memory: 0x4000_0000,
            window: 0x100,
            size: 64,
        };
        assert_eq!(edu.take_due(100_005), Some(expected));
        assert_eq!(edu.take_due(100_006), None);
        assert_eq!(edu.buffer(&expected).len(), 64);
        edu.finish();
        assert_eq!(edu.read(COMMAND, 4) & START, 0);
        assert_eq!(edu.read(INTERRUPT_STATUS, 4), 0x100);
    }

    #[test]
    fn a_transfer_that_leaves_the_buffer_moves_nothing() {
        for (window, count) in [
            (BUFFER, 4097),
            (BUFFER + 4096, 1),
            (BUFFER - 1, 1),
            (u64::MAX, u64::MAX),
        ] {
            let mut edu = Edu::new();
            edu.write(SOURCE, 8, 0x4000_0000, 0);
            edu.write(DESTINATION, 8, window, 0);
            edu.write(COUNT, 8, count, 0);
            edu.write(COMMAND, 4, START, 0);
            assert_eq!(edu.take_due(u64::MAX).unwrap().size, 0);
        }
    }

    #[test]
    fn factorials_wrap() {
        assert_eq!(factorial(0), 1);
        assert_eq!(factorial(13), 1_932_053_504);
        assert_eq!(factorial(u32::MAX), 0);
    }
}
