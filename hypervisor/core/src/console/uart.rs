//! A UART of any kind that the core can drive, and the list of these kinds.

use super::{aux, cadence, pl011};
use crate::arch::timer::Now;
use alloc::boxed::Box;
use core::fmt;
use mmio::{Region, wait_until};

/// A FIFO of 32 at 9600 baud drains in 34 ms; whoever takes longer is not listening.
const DRAIN_US: u64 = 50_000;

/// What the registers of a UART can do. Firmware or QEMU has set its speed.
pub trait Port: Send {
    /// Whether there is room for a byte to send.
    fn is_ready(&self) -> bool;
    /// Sends a byte; there is room.
    fn put(&self, byte: u8);
    /// The next byte that arrived; one that is known to have arrived damaged is 0, which no terminal sends.
    fn take(&self) -> Option<u8>;
    /// Lets it raise its interrupt when bytes arrive, or not.
    fn interrupt(&self, on: bool);
}

/// A kind of UART.
struct Kind {
    compatible: &'static [&'static str],
    open: fn(Region) -> Box<dyn Port>,
}

static KINDS: [Kind; 3] = [
    Kind {
        compatible: &["arm,pl011"],
        open: |bus| Box::new(pl011::Pl011::new(bus)),
    },
    Kind {
        compatible: &["brcm,bcm2835-aux-uart"],
        open: |bus| Box::new(aux::AuxUart::new(bus)),
    },
    Kind {
        compatible: &["cdns,uart-r1p12", "xlnx,xuartps"],
        open: |bus| Box::new(cadence::Cadence::new(bus)),
    },
];

/// The `compatible` texts of all kinds.
pub fn compatible() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.compatible).copied()
}

/// A UART.
pub struct Uart {
    port: Box<dyn Port>,
    /// It has not drained in time once: characters are dropped while it is full.
    stuck: bool,
}

impl Uart {
    /// The UART with these registers, which the tree calls `compatible`; nothing if the core does not know that kind.
    pub fn open(compatible: &[&str], bus: Region) -> Option<Self> {
        let is_that = |kind: &&Kind| kind.compatible.iter().any(|name| compatible.contains(name));
        let kind = KINDS.iter().find(is_that)?;
        Some(Uart {
            port: (kind.open)(bus),
            stuck: false,
        })
    }

    /// Lets it raise its interrupt when bytes arrive.
    pub fn listen(&self) {
        self.port.interrupt(true);
    }

    /// Keeps its interrupt away.
    pub fn pause(&self) {
        self.port.interrupt(false);
    }

    /// The next byte that arrived.
    pub fn receive(&self) -> Option<u8> {
        self.port.take()
    }

    /// Sends a byte as it is.
    pub fn send(&mut self, byte: u8) {
        let patience_us = if self.stuck { 0 } else { DRAIN_US };
        self.stuck = wait_until(&Now, patience_us, || self.port.is_ready()).is_err();
        if !self.stuck {
            self.port.put(byte);
        }
    }
}

impl fmt::Write for Uart {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.send(b'\r');
            }
            self.send(byte);
        }
        Ok(())
    }
}
