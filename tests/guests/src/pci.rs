//! PCI configuration space through an ECAM, bus 0 only, and interrupt pins through `interrupt-map`.

use crate::registers::Registers;
use core::fmt;

/// Slots of a bus.
const SLOTS: u8 = 32;
/// Type 0 header registers (PCI Local Bus 3.0, chapter 6).
const ID: u64 = 0x00;
const COMMAND: u64 = 0x04;
const BAR0: u64 = 0x10;
const CAPABILITIES: u64 = 0x34;
const INTERRUPT: u64 = 0x3c;
/// Message signalled interrupts: capability ID, and in the first word: enabled, an address of 64 bits.
const MSI: u32 = 0x05;
const MSI_ENABLE: u32 = 1 << 16;
const MSI_64_BIT: u32 = 1 << 23;
/// Command: memory space and bus mastering.
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
/// No device answers.
const ABSENT: u32 = u32::MAX;
/// A memory BAR's address bits.
const BAR_ADDRESS: u32 = !0xf;

/// Function 0 of a slot of bus 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    slot: u8,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.0", self.slot)
    }
}

impl Function {
    /// Function 0 of `slot`.
    pub const fn new(slot: u8) -> Function {
        Function { slot: slot % SLOTS }
    }

    /// Its requester ID.
    pub(crate) fn requester_id(self) -> u16 {
        u16::from(self.slot) << 3
    }

    /// Its number in the first cell of an `interrupt-map` entry.
    pub(crate) fn cell(self) -> u32 {
        u32::from(self.slot) << 11
    }
}

/// The host bridge.
#[derive(Debug, Clone, Copy)]
pub struct Pci {
    ecam: Registers,
}

impl Pci {
    /// # Safety
    /// There is an ECAM at `base` that holds bus 0.
    pub(crate) unsafe fn new(base: u64) -> Pci {
        // SAFETY: the caller's promise.
        let ecam = unsafe { Registers::new(base) };
        Pci { ecam }
    }

    fn read(&self, function: Function, register: u64) -> u32 {
        self.ecam.read32(u64::from(function.slot) << 15 | register)
    }

    fn write(&self, function: Function, register: u64, value: u32) {
        self.ecam
            .write32(u64::from(function.slot) << 15 | register, value);
    }

    /// Vendor in the lower, device in the upper half; `None` if nothing answers.
    pub fn id(&self, function: Function) -> Option<u32> {
        Some(self.read(function, ID)).filter(|&id| id != ABSENT)
    }

    /// All functions that answer.
    pub fn functions(&self) -> impl Iterator<Item = Function> + '_ {
        (0..SLOTS)
            .map(Function::new)
            .filter(|&function| self.id(function).is_some())
    }

    /// Where its first BAR lies.
    pub fn bar0(&self, function: Function) -> u64 {
        u64::from(self.read(function, BAR0) & BAR_ADDRESS)
    }

    /// Moves its first BAR, while it answers there.
    pub fn move_bar0(&self, function: Function, address: u64) {
        self.write(function, BAR0, u32::try_from(address).unwrap_or(0));
    }

    /// Lets it answer at its BARs and do DMA.
    pub fn enable(&self, function: Function) {
        // The upper half of the word is the status register: writing its bits back would clear them.
        let command = self.read(function, COMMAND) & 0xffff;
        self.write(function, COMMAND, command | MEMORY | BUS_MASTER);
    }

    /// Has it send messages instead of raising its pin: `data` to `address`. Whether it can (PCI 6.8.1).
    pub fn send_messages(&self, function: Function, address: u64, data: u32) -> bool {
        let Some(at) = self.capability(function, MSI) else {
            return false;
        };
        let control = self.read(function, at);
        let data_at = if control & MSI_64_BIT == 0 {
            at + 8
        } else {
            at + 12
        };
        self.write(function, at + 4, (address & 0xffff_ffff) as u32);
        if data_at == at + 12 {
            self.write(function, at + 8, (address >> 32) as u32);
        }
        self.write(function, data_at, data);
        self.write(function, at, control | MSI_ENABLE);
        true
    }

    /// Where its capability with that ID is.
    fn capability(&self, function: Function, id: u32) -> Option<u64> {
        let mut at = u64::from(self.read(function, CAPABILITIES) & 0xfc);
        // The list has room for so many.
        for _ in 0..48 {
            if at < 0x40 {
                break;
            }
            let header = self.read(function, at);
            if header & 0xff == id {
                return Some(at);
            }
            at = u64::from(header >> 8 & 0xfc);
        }
        None
    }

    /// Its interrupt pin: 1 for INTA.
    pub fn pin(&self, function: Function) -> u32 {
        self.read(function, INTERRUPT) >> 8 & 0xff
    }
}
