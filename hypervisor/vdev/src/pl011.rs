//! A virtual PL011 (Arm DDI 0183G): output goes out by lines, input never comes.

use arrayvec::ArrayVec;

/// Size of the register frame, in bytes.
pub const SIZE: u64 = 0x1000;
/// The longest line that is kept together; a longer one goes out in pieces.
pub const LINE_LENGTH: usize = 128;

/// A line of guest output, without its end. Any byte may be in it: escape before printing.
pub type Line = ArrayVec<u8, LINE_LENGTH>;

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

/// UARTFR: transmit FIFO empty, receive FIFO empty.
const FR_IDLE: u32 = 1 << 7 | 1 << 4;
/// UARTRIS and friends: the transmit interrupt.
const TRANSMIT: u32 = 1 << 5;
/// All 11 interrupts.
const INTERRUPTS: u32 = 0x7ff;
/// Part 0x011, designer Arm (0x41), revision 3 (r1p5); then the PrimeCell identification.
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The UART of one guest.
#[derive(Debug, Default)]
pub struct Pl011 {
    line: Line,
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

    /// Reads the register at `offset`, whatever the access size: all fields lie in the low bytes.
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            register::FR => FR_IDLE,
            register::ILPR => self.ilpr,
            register::IBRD => self.ibrd,
            register::FBRD => self.fbrd,
            register::LCR_H => self.lcr_h,
            register::CR => self.cr,
            register::IFLS => self.ifls,
            register::IMSC => self.imsc,
            register::RIS => self.ris,
            register::MIS => self.ris & self.imsc,
            register::IDENTIFICATION..SIZE if offset.is_multiple_of(4) => {
                let index = usize::try_from((offset - register::IDENTIFICATION) / 4).ok();
                index
                    .and_then(|index| IDENTIFICATION.get(index))
                    .copied()
                    .map_or(0, u32::from)
            }
            // DR and RSR too: nothing is ever received, so nothing is ever wrong with it.
            _ => 0,
        }
    }

    /// Writes the register at `offset`. Returns a line when this write ended one.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Line> {
        match offset {
            register::DR => return self.transmit(value),
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
        self.ris & self.imsc != 0
    }

    /// What was written since the last line ended, if anything: for a guest that stops, or that has been quiet.
    pub fn take_partial(&mut self) -> Option<Line> {
        Some(core::mem::take(&mut self.line)).filter(|line| !line.is_empty())
    }

    /// One byte goes out. The transmit FIFO empties at once, which raises the transmit interrupt.
    fn transmit(&mut self, value: u32) -> Option<Line> {
        let [byte, ..] = value.to_le_bytes();
        self.ris |= TRANSMIT;
        if byte == b'\n' {
            let mut line = core::mem::take(&mut self.line);
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Some(line);
        }
        let full = self.line.is_full().then(|| core::mem::take(&mut self.line));
        self.line.push(byte);
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(uart: &mut Pl011, text: &str) -> Vec<Line> {
        text.bytes()
            .filter_map(|byte| uart.write(register::DR, u32::from(byte) | 0xabcd_ef00))
            .collect()
    }

    #[test]
    fn output_comes_out_by_lines() {
        let mut uart = Pl011::new();
        let lines = print(&mut uart, "one\r\ntwo\n\nthr");
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_slice()).collect();
        assert_eq!(lines, [b"one".as_slice(), b"two", b""]);
        assert_eq!(uart.take_partial().as_deref(), Some(b"thr".as_slice()));
        assert_eq!(uart.take_partial(), None);
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let mut uart = Pl011::new();
        let lines = print(&mut uart, &"x".repeat(300));
        assert_eq!(
            lines.iter().map(|line| line.len()).collect::<Vec<_>>(),
            [LINE_LENGTH, LINE_LENGTH]
        );
        assert_eq!(uart.take_partial().unwrap().len(), 300 - 2 * LINE_LENGTH);
    }

    #[test]
    fn identification_is_that_of_a_pl011() {
        let uart = Pl011::new();
        let word = |at: u64| (0u64..4).fold(0, |word, byte| word | (uart.read(at + 4 * byte) << (8 * byte)));

        assert_eq!(word(0xfe0) & 0xf_ffff, 0x4_1011, "AMBA peripheral ID");
        assert_eq!(word(0xff0), 0xb105_f00d, "PrimeCell ID");
        assert_eq!(uart.read(register::FR) & (1 << 5), 0, "never full");
    }

    #[test]
    fn the_transmit_interrupt_follows_its_mask() {
        let mut uart = Pl011::new();
        print(&mut uart, "x");
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
