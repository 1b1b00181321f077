//! A PL011 (Arm DDI 0183).

use super::uart::Port;
use mmio::{Bus, Reg};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_bitfields;

register_bitfields! {u32,
    /// DDI 0183 3.3.3 Flag register.
    UARTFR [
        /// The transmit FIFO is full.
        TXFF OFFSET(5) NUMBITS(1) [],
        /// The receive FIFO is empty.
        RXFE OFFSET(4) NUMBITS(1) []
    ],
    /// DDI 0183 3.3.8 Control register.
    UARTCR [
        /// Receive enable.
        RXE OFFSET(9) NUMBITS(1) [],
        /// Transmit enable.
        TXE OFFSET(8) NUMBITS(1) [],
        /// UART enable.
        UARTEN OFFSET(0) NUMBITS(1) []
    ],
    /// DDI 0183 3.3.1 Data register.
    UARTDR [
        /// Overrun, break, parity and framing error of the character.
        ERRORS OFFSET(8) NUMBITS(4) [],
        /// The character.
        DATA OFFSET(0) NUMBITS(8) []
    ],
    /// DDI 0183 3.3.10 Interrupt mask set/clear register.
    UARTIMSC [
        /// Characters have been waiting for a while.
        RT OFFSET(6) NUMBITS(1) [],
        /// The receive FIFO is filled so far.
        RX OFFSET(4) NUMBITS(1) []
    ]
}

type Data<'b, B> = Reg<'b, B, u32, UARTDR::Register, 0x00>;
type Flags<'b, B> = Reg<'b, B, u32, UARTFR::Register, 0x18>;
type Control<'b, B> = Reg<'b, B, u32, UARTCR::Register, 0x30>;
type Mask<'b, B> = Reg<'b, B, u32, UARTIMSC::Register, 0x38>;

/// Size of the register window in bytes.
pub const WINDOW: u64 = 0x1000;

/// A PL011.
#[derive(Debug)]
pub struct Pl011<B>(B);

impl<B: Bus> Pl011<B> {
    /// A PL011 behind `bus`, made able to transmit.
    pub fn new(bus: B) -> Self {
        Control::at(&bus).write(UARTCR::RXE::SET + UARTCR::TXE::SET + UARTCR::UARTEN::SET);
        Pl011(bus)
    }

    /// Whether the PrimeCell identification says PL011 (DDI 0183 3.3.15 and 3.3.16). It only reads.
    pub fn is_present(bus: &B) -> bool {
        let identification =
            [0xfe0, 0xfe4, 0xff0, 0xff4, 0xff8, 0xffc].map(|offset| bus.read32(offset) & 0xff);
        matches!(identification, [0x11, part, 0x0d, 0xf0, 0x05, 0xb1] if part & 0xf == 0)
    }
}

impl<B: Bus + Send> Port for Pl011<B> {
    fn is_ready(&self) -> bool {
        !Flags::at(&self.0).is_set(UARTFR::TXFF)
    }

    fn put(&self, byte: u8) {
        Data::at(&self.0).set(u32::from(byte));
    }

    fn take(&self) -> Option<u8> {
        // Reading clears the interrupts, once few enough characters wait (DDI 0183 2.8). To clear them by hand would lose
        // that of a character which arrives in between, and nobody would read it.
        if Flags::at(&self.0).is_set(UARTFR::RXFE) {
            return None;
        }
        let data = Data::at(&self.0).extract();
        let intact = data.read(UARTDR::ERRORS) == 0;
        let [byte, ..] = data.read(UARTDR::DATA).to_le_bytes();
        Some(if intact { byte } else { 0 })
    }

    fn interrupt(&self, on: bool) {
        let mask = if on {
            UARTIMSC::RX::SET + UARTIMSC::RT::SET
        } else {
            UARTIMSC::RX::CLEAR
        };
        Mask::at(&self.0).write(mask);
    }
}
