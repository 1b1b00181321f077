//! QEMU's edu device (QEMU, docs/specs/edu.rst): a DMA engine with a 4096-byte buffer of its own. The bench has one that is no
//! PCI function.

use crate::clock::Instant;
use crate::dma::window;
use crate::interrupts::Interrupts;
use crate::machine::{Machine, cells, property};
use crate::pci::{Function, Pci};
use crate::registers::Registers;
use core::fmt;

/// Vendor and device ID.
const ID: u32 = 0x11e8_1234;
/// Bytes of the device's buffer.
pub const BUFFER_SIZE: usize = 4096;
/// Where the device sees its own buffer.
const BUFFER: u64 = 0x4_0000;
/// Registers.
pub(crate) const LIVENESS: u64 = 0x04;
const INTERRUPT_STATUS: u64 = 0x24;
const INTERRUPT_ACKNOWLEDGE: u64 = 0x64;
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
/// Bits of the command register.
const START: u32 = 1 << 0;
const TO_MEMORY: u32 = 1 << 1;
const RAISE: u32 = 1 << 2;
/// A transfer takes 100 ms; after this it is given up.
const LIMIT_US: u64 = 1_000_000;
/// A transfer takes that long at least.
const DURATION_US: u64 = 100_000;
const POLL_US: u64 = 1_000;

/// Which way a transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From memory into the device's buffer.
    FromMemory,
    /// From the device's buffer to memory.
    ToMemory,
}

/// A transfer: `size` bytes between `memory`, as the device addresses it, and its buffer from `window` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// The address the device puts on its bus.
    pub memory: u64,
    /// Offset in the device's buffer.
    pub window: u64,
    /// Bytes.
    pub size: u64,
}

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completion {
    /// The device's interrupt came.
    Interrupt,
    /// The device was found idle.
    Polled,
    /// The device is still busy, or the transfer leaves its buffer and was not started.
    None,
}

/// Where an edu sits, as the machine calls it.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// A PCI function.
    Pci(Function),
    /// A node on a bus of the machine's.
    Platform {
        /// The names of both.
        names: [&'static str; 2],
        /// The device's interrupt.
        line: u32,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Pci(function) => function.fmt(f),
            Place::Platform {
                names: [bus, device], ..
            } => write!(f, "/{bus}/{device}"),
        }
    }
}

/// An edu device.
#[derive(Debug, Clone, Copy)]
pub struct Edu {
    place: Place,
    registers: Registers,
}

impl Edu {
    /// The edu at `function`, enabled; `None` if another device or nothing answers there.
    pub fn open(pci: &Pci, function: Function) -> Option<Edu> {
        if pci.id(function)? != ID {
            return None;
        }
        let bar = pci.bar0(function);
        pci.enable(function);
        // SAFETY: the host bridge says that the device's registers are there; if they are not, nothing is.
        let registers = unsafe { Registers::new(bar) };
        let place = Place::Pci(function);
        Some(Edu { place, registers })
    }

    /// The edu that is no PCI function, as the tree has it; `None` if there is none.
    pub fn on_platform(machine: &Machine) -> Option<Edu> {
        let [outer, bus, node] = machine.on_a_bus("portcullis,edu")?;
        let first = |node, name| cells(property(Some(node), name)?).next();
        let (own, above) = (first(bus, "#address-cells")?, first(outer, "#address-cells")?);
        let (child, parent) = window(bus, "ranges", own, above)?;
        let offset = u64::from(first(node, "reg")?).checked_sub(child)?;
        // Kind, number, flags.
        let number = cells(property(Some(node), "interrupts")?).nth(1)?;
        let place = Place::Platform {
            names: [bus.name, node.name],
            line: 32 + number,
        };
        // SAFETY: the tree says that the device's registers are there; if they are not, nothing is.
        let registers = unsafe { Registers::new(parent + offset) };
        Some(Edu { place, registers })
    }

    /// Where it sits.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Where its registers are.
    pub fn base(&self) -> u64 {
        self.registers.base()
    }

    /// Leaves a value with the device, which its liveness register then shows.
    pub fn mark(&self, value: u32) {
        self.registers.write32(LIVENESS, !value);
    }

    /// Whether it was marked with that value.
    pub fn is_marked(&self, value: u32) -> bool {
        self.registers.read32(LIVENESS) == value
    }

    /// Does a transfer, and waits for its end by the device's interrupt `line`.
    pub fn transfer_by_interrupt(
        &self,
        interrupts: &Interrupts,
        line: u32,
        transfer: Transfer,
    ) -> Completion {
        if !self.begin(transfer, RAISE) {
            return Completion::None;
        }
        let deadline = Instant::now().after_us(LIMIT_US);
        while let Some(id) = interrupts.wait(deadline) {
            let status = self.registers.read32(INTERRUPT_STATUS);
            self.registers.write32(INTERRUPT_ACKNOWLEDGE, status);
            interrupts.finish(id);
            if id == line && !self.is_busy() {
                return Completion::Interrupt;
            }
        }
        if self.is_busy() {
            Completion::None
        } else {
            Completion::Polled
        }
    }

    /// Does a transfer, and polls for its end.
    pub fn transfer(&self, interrupts: &Interrupts, transfer: Transfer) -> Completion {
        if !self.begin(transfer, 0) {
            return Completion::None;
        }
        let start = Instant::now();
        interrupts.sleep_us(DURATION_US);
        while self.is_busy() {
            if start.elapsed_us() > LIMIT_US {
                return Completion::None;
            }
            interrupts.sleep_us(POLL_US);
        }
        Completion::Polled
    }

    /// Does a transfer, and polls for its end without looking at interrupts.
    pub fn transfer_quietly(&self, transfer: Transfer) {
        if self.begin(transfer, 0) {
            let start = Instant::now();
            while self.is_busy() && start.elapsed_us() <= LIMIT_US {}
        }
    }

    /// Starts a transfer. One that leaves the device's buffer would make QEMU abort, so it is never started.
    fn begin(&self, transfer: Transfer, flags: u32) -> bool {
        let Transfer {
            direction,
            memory,
            window,
            size,
        } = transfer;
        if window
            .checked_add(size)
            .is_none_or(|end| end > BUFFER_SIZE as u64)
            || self.is_busy()
        {
            return false;
        }
        let (source, destination, way) = match direction {
            Direction::FromMemory => (memory, BUFFER + window, 0),
            Direction::ToMemory => (BUFFER + window, memory, TO_MEMORY),
        };
        self.registers.write64(SOURCE, source);
        self.registers.write64(DESTINATION, destination);
        self.registers.write64(COUNT, size);
        self.registers.write32(COMMAND, START | way | flags);
        true
    }

    fn is_busy(&self) -> bool {
        self.registers.read32(COMMAND) & START != 0
    }
}
