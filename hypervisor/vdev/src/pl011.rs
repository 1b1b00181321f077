//! A virtual PL011 (Arm DDI 0183G): output goes out at once, input waits in a FIFO.
//!
//! Time does not pass in it: what is written is sent at once, and what was received has always waited long enough for the
//! receive timeout.

use arrayvec::ArrayVec;

/// Size of the register frame, in bytes.
pub const SIZE: u64 = 0x1000;
/// Register offsets (DDI 0183G 3.2).
mod register {
    pub(super) const DR: u64 = 0x000;
    pub(super) const FR: u64 = 0x018;
    pub(super) const ILPR: u64 = 0x020;
    pub(super) const IBRD: u64 = 0x024;
    pub(super) const FBRD: u64 = 0x028;
    pub(super) const LCR_H: u64 = 0x02c;
    pub(super) const CR: u64 = 0x030;
    pub(super) const IFLS: u64 = 0x034;
    pub(super) const IMSC: u64 = 0x038;
    pub(super) const RIS: u64 = 0x03c;
    pub(super) const MIS: u64 = 0x040;
    pub(super) const ICR: u64 = 0x044;
    /// UARTPeriphID0..3 and UARTPCellID0..3, one byte in each word.
    pub(super) const IDENTIFICATION: u64 = 0xfe0;
}

/// UARTFR: transmit FIFO empty, receive FIFO full and empty.
const FR_TXFE: u32 = 1 << 7;
const FR_RXFF: u32 = 1 << 6;
const FR_RXFE: u32 = 1 << 4;
/// UARTLCR_H: the FIFOs are on; otherwise they hold one character.
const LCR_FEN: u32 = 1 << 4;
/// Characters that the receive FIFO holds.
const FIFO: usize = 32;
/// UARTRIS and friends: the transmit, receive and receive timeout interrupts.
const TRANSMIT: u32 = 1 << 5;
const RECEIVE: u32 = 1 << 4;
const TIMEOUT: u32 = 1 << 6;
/// All 11 interrupts.
const INTERRUPTS: u32 = 0x7ff;
/// Part 0x011, designer Arm (0x41), revision 3 (r1p5); then the PrimeCell identification.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The UART of one guest.
#[derive(Debug, Clone, Default)]
pub struct Pl011 {
    received: ArrayVec<u8, FIFO>,
    ilpr: u32,
    ibrd: u32,
    fbrd: u32,
    lcr_h: u32,
    cr: u32,
    ifls: u32,
    imsc: u32,
    ris: u32,
}

impl Pl011 {
    /// A UART as reset leaves it (DDI 0183G table 3-1).
    pub fn new() -> Pl011 {
        Pl011 {
            cr: 0x300,
            ifls: 0x12,
            ..Pl011::default()
        }
    }

    /// Reads the register at `offset`, whatever the access size: all fields lie in the low bytes. What is read from the
    /// data register is no longer in the FIFO.
    pub fn read(&mut self, offset: u64) -> u32 {
        match offset {
            register::DR if self.received.is_empty() => 0,
            register::DR => self.received.remove(0).into(),
            register::FR => self.flags(),
            register::ILPR => self.ilpr,
            register::IBRD => self.ibrd,
            register::FBRD => self.fbrd,
            register::LCR_H => self.lcr_h,
            register::CR => self.cr,
            register::IFLS => self.ifls,
            register::IMSC => self.imsc,
            register::RIS => self.raised(),
            register::MIS => self.raised() & self.imsc,
            register::IDENTIFICATION..SIZE if offset.is_multiple_of(4) => {
                let index = usize::try_from((offset - register::IDENTIFICATION) / 4).ok();
                index
                    .and_then(|index| IDENTIFICATION.get(index))
                    .copied()
                    .map_or(0, u32::from)
            }
            // RSR too: nothing is ever wrong with what was received.
            _ => 0,
        }
    }

    /// Writes the register at `offset`. Returns the byte that this write sent. The transmit FIFO empties at once, which
    /// raises the transmit interrupt.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<u8> {
        match offset {
            register::DR => {
                self.ris |= TRANSMIT;
                let [byte, ..] = value.to_le_bytes();
                return Some(byte);
            }
            register::ILPR => self.ilpr = value & 0xff,
            register::IBRD => self.ibrd = value & 0xffff,
            register::FBRD => self.fbrd = value & 0x3f,
            register::LCR_H => self.lcr_h = value & 0xff,
            register::CR => self.cr = value & 0xff87,
            register::IFLS => self.ifls = value & 0x3f,
            register::IMSC => self.imsc = value & INTERRUPTS,
            register::ICR => self.ris &= !value,
            _ => {}
        }
        None
    }

    /// The level of the interrupt line.
    pub fn interrupt(&self) -> bool {
        self.raised() & self.imsc != 0
    }

    /// Whether another character can be received.
    pub fn has_room(&self) -> bool {
        let room = if self.lcr_h & LCR_FEN == 0 { 1 } else { FIFO };
        self.received.len() < room
    }

    /// Receives a character, if there is room for it.
    pub fn receive(&mut self, byte: u8) {
        if self.has_room() {
            self.received.push(byte);
        }
    }

    fn flags(&self) -> u32 {
        let full = if self.has_room() { 0 } else { FR_RXFF };
        let empty = if self.received.is_empty() { FR_RXFE } else { 0 };
        FR_TXFE | full | empty
    }

    /// The interrupts before their mask. Those of the receiver last until what they are about was read, whatever is
    /// cleared: a real one would raise them again.
    fn raised(&self) -> u32 {
        // UARTIFLS.RXIFLSEL, in eighths of the FIFO (DDI 0183G 3.3.9).
        let eighths = match self.ifls >> 3 & 7 {
            0 => 1,
            1 => 2,
            2 => 4,
            3 => 6,
            _ => 7,
        };
        let level = if self.lcr_h & LCR_FEN == 0 {
            1
        } else {
            FIFO / 8 * eighths
        };
        let receive = if self.received.len() >= level { RECEIVE } else { 0 };
        let timeout = if self.received.is_empty() { 0 } else { TIMEOUT };
        self.ris | receive | timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_goes_out() {
        let mut uart = Pl011::new();
        assert_eq!(uart.write(register::DR, 0xabcd_ef41), Some(b'A'));
        assert_eq!(uart.write(register::CR, 0x301), None);
    }

    #[test]
    fn identification_is_that_of_a_pl011() {
        let mut uart = Pl011::new();
        let mut word =
            |at: u64| (0u64..4).fold(0, |word, byte| word | (uart.read(at + 4 * byte) << (8 * byte)));

        assert_eq!(word(0xfe0) & 0xf_ffff, 0x4_1011, "AMBA peripheral ID");
        assert_eq!(word(0xff0), 0xb105_f00d, "PrimeCell ID");
        assert_eq!(uart.read(register::FR) & (1 << 5), 0, "never full");
    }

    #[test]
    fn the_transmit_interrupt_follows_its_mask() {
        let mut uart = Pl011::new();
        uart.write(register::DR, 0x78);
        assert!(!uart.interrupt());
        uart.write(register::IMSC, TRANSMIT);
        assert!(uart.interrupt());
        assert_eq!(
            (uart.read(register::RIS), uart.read(register::MIS)),
            (TRANSMIT, TRANSMIT)
        );
        uart.write(register::ICR, TRANSMIT);
        assert!(!uart.interrupt());
    }

    #[test]
    fn input_waits_in_the_fifo() {
        let mut uart = Pl011::new();
        uart.write(register::LCR_H, LCR_FEN);
        uart.write(register::IMSC, RECEIVE | TIMEOUT);
        assert_eq!(
            (uart.read(register::FR), uart.interrupt()),
            (FR_TXFE | FR_RXFE, false)
        );
        assert_eq!(uart.read(register::DR), 0);
        for byte in 0..u8::try_from(FIFO).unwrap() {
            assert!(uart.has_room());
            uart.receive(byte);
            // UARTIFLS after reset: half of the FIFO.
            let receive = if byte < 15 { 0 } else { RECEIVE };
            assert_eq!(uart.read(register::MIS), TIMEOUT | receive);
        }
        assert!(!uart.has_room());
        uart.receive(99);
        assert_eq!(uart.read(register::FR), FR_TXFE | FR_RXFF);
        uart.write(register::ICR, INTERRUPTS);
        assert!(uart.interrupt(), "not cleared while it is not read");
        for byte in 0..u32::try_from(FIFO).unwrap() {
            assert_eq!(uart.read(register::DR), byte);
        }
        assert_eq!(
            (uart.read(register::FR), uart.interrupt()),
            (FR_TXFE | FR_RXFE, false)
        );
    }

    #[test]
    fn without_fifos_one_character_waits() {
        let mut uart = Pl011::new();
        uart.receive(b'a');
        uart.receive(b'b');
        assert!(!uart.has_room());
        assert_eq!(uart.read(register::RIS), RECEIVE | TIMEOUT);
        assert_eq!(uart.read(register::DR), u32::from(b'a'));
        assert_eq!(uart.read(register::DR), 0);
    }

    #[test]
    fn registers_keep_their_bits_only() {
        let mut uart = Pl011::new();
        for offset in (0..SIZE).filter(|offset| *offset != register::DR) {
            uart.write(offset, u32::MAX);
        }
        let values: Vec<u32> = (0..0x4c).step_by(4).map(|offset| uart.read(offset)).collect();
        let expected = [
            0, 0, 0, 0, 0, 0, 0x90, 0, 0xff, 0xffff, 0x3f, 0xff, 0xff87, 0x3f, 0x7ff, 0, 0, 0, 0,
        ];
        assert_eq!(values, expected);
    }
}
