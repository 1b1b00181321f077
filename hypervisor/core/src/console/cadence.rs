//! The UART of Xilinx's Zynq chips, by Cadence (UG1085 chapter 21; registers as UG1087, module UART, names them). Firmware has
//! set its speed.

use super::uart::Port;
use mmio::{Bus, Reg};
use tock_registers::interfaces::{Readable, Writeable};
use tock_registers::register_bitfields;

register_bitfields! {u32,
    /// Control_reg0.
    CONTROL [
        /// Transmit enable, unless bit 5 disables it.
        TXEN OFFSET(4) NUMBITS(1) [],
        /// Receive enable, unless bit 3 disables it.
        RXEN OFFSET(2) NUMBITS(1) []
    ],
    /// Intrpt_en_reg0, Intrpt_dis_reg0 and Chnl_int_sts_reg0: ones enable, disable and clear.
    INTERRUPT [
        /// At least as many characters wait as the trigger level says. It stays until it is cleared.
        RTRIG OFFSET(0) NUMBITS(1) []
    ],
    /// Rcvr_FIFO_trigger_level0.
    LEVEL [
        RTRIG OFFSET(0) NUMBITS(6) []
    ],
    /// Channel_sts_reg0.
    STATUS [
        /// The transmit FIFO is full.
        TFUL OFFSET(4) NUMBITS(1) [],
        /// The receive FIFO is empty.
        REMPTY OFFSET(1) NUMBITS(1) []
    ],
    /// TX_RX_FIFO0.
    FIFO [
        DATA OFFSET(0) NUMBITS(8) []
    ]
}

type Control<'b, B> = Reg<'b, B, u32, CONTROL::Register, 0x00>;
type Enable<'b, B> = Reg<'b, B, u32, INTERRUPT::Register, 0x08>;
type Disable<'b, B> = Reg<'b, B, u32, INTERRUPT::Register, 0x0c>;
type Pending<'b, B> = Reg<'b, B, u32, INTERRUPT::Register, 0x14>;
type Level<'b, B> = Reg<'b, B, u32, LEVEL::Register, 0x20>;
type Status<'b, B> = Reg<'b, B, u32, STATUS::Register, 0x2c>;
type Fifo<'b, B> = Reg<'b, B, u32, FIFO::Register, 0x30>;

/// A UART by Cadence.
#[derive(Debug)]
pub struct Cadence<B>(B);

impl<B: Bus> Cadence<B> {
    /// The one behind `bus`, made able to transmit. It interrupts for every character, so there is no need of its timeout.
    pub fn new(bus: B) -> Self {
        Disable::at(&bus).set(u32::MAX);
        Level::at(&bus).write(LEVEL::RTRIG.val(1));
        Control::at(&bus).write(CONTROL::TXEN::SET + CONTROL::RXEN::SET);
        Cadence(bus)
    }

    fn is_empty(&self) -> bool {
        Status::at(&self.0).is_set(STATUS::REMPTY)
    }
}

impl<B: Bus + Send> Port for Cadence<B> {
    fn is_ready(&self) -> bool {
        !Status::at(&self.0).is_set(STATUS::TFUL)
    }

    fn put(&self, byte: u8) {
        Fifo::at(&self.0).set(u32::from(byte));
    }

    fn take(&self) -> Option<u8> {
        if self.is_empty() {
            // Nothing else clears the interrupt. What arrived before that did so in vain, and is looked for once more.
            Pending::at(&self.0).write(INTERRUPT::RTRIG::SET);
            if self.is_empty() {
                return None;
            }
        }
        // The status of a damaged character says that there is one, and not which: it comes as it is.
        let [byte, ..] = Fifo::at(&self.0).read(FIFO::DATA).to_le_bytes();
        Some(byte)
    }

    fn interrupt(&self, on: bool) {
        let receive = INTERRUPT::RTRIG::SET;
        if on {
            Enable::at(&self.0).write(receive);
        } else {
            Disable::at(&self.0).write(receive);
        }
    }
}
