//! The "mini UART" of Broadcom's BCM2835 to BCM2711 (BCM2711 ARM Peripherals, 2.2): half a 16550, without errors of
//! characters. Firmware has enabled it, and set its speed.

use super::uart::Port;
use mmio::{Bus, Reg};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_bitfields;

register_bitfields! {u32,
    /// AUX_MU_IO_REG: the character.
    IO [
        DATA OFFSET(0) NUMBITS(8) []
    ],
    /// AUX_MU_IER_REG. The manual has the two the wrong way round, and leaves out that no interrupt comes of characters that
    /// arrive without the two bits above, as in a 16550 the one of the line status.
    IER [
        LINE OFFSET(2) NUMBITS(2) [],
        RECEIVE OFFSET(0) NUMBITS(1) []
    ],
    /// AUX_MU_LSR_REG.
    LSR [
        /// There is room for at least one character.
        TX_EMPTY OFFSET(5) NUMBITS(1) [],
        /// A character waits.
        DATA_READY OFFSET(0) NUMBITS(1) []
    ],
    /// AUX_MU_CNTL_REG.
    CNTL [
        TX_ENABLE OFFSET(1) NUMBITS(1) [],
        RX_ENABLE OFFSET(0) NUMBITS(1) []
    ]
}

type Data<'b, B> = Reg<'b, B, u32, IO::Register, 0x00>;
type Enable<'b, B> = Reg<'b, B, u32, IER::Register, 0x04>;
type Status<'b, B> = Reg<'b, B, u32, LSR::Register, 0x14>;
type Control<'b, B> = Reg<'b, B, u32, CNTL::Register, 0x20>;

/// A mini UART.
#[derive(Debug)]
pub struct AuxUart<B>(B);

impl<B: Bus> AuxUart<B> {
    /// The one behind `bus`, made able to transmit.
    pub fn new(bus: B) -> Self {
        // Without flow control, which the other bits are about.
        Control::at(&bus).write(CNTL::TX_ENABLE::SET + CNTL::RX_ENABLE::SET);
        AuxUart(bus)
    }
}

impl<B: Bus + Send> Port for AuxUart<B> {
    fn is_ready(&self) -> bool {
        Status::at(&self.0).is_set(LSR::TX_EMPTY)
    }

    fn put(&self, byte: u8) {
        Data::at(&self.0).set(u32::from(byte));
    }

    fn take(&self) -> Option<u8> {
        if !Status::at(&self.0).is_set(LSR::DATA_READY) {
            return None;
        }
        let [byte, ..] = Data::at(&self.0).read(IO::DATA).to_le_bytes();
        Some(byte)
    }

    fn interrupt(&self, on: bool) {
        let enable = if on {
            IER::RECEIVE::SET + IER::LINE.val(3)
        } else {
            IER::RECEIVE::CLEAR
        };
        Enable::at(&self.0).write(enable);
    }
}
