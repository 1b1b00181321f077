//! A generic PCI host bridge with one bus, and the configuration space of the functions on it (PCI Local Bus 3.0, 6.1).

use core::ops::Range;

use crate::edu::Edu;

/// Offsets in a type 0 header.
const ID: u16 = 0x00;
const COMMAND: u16 = 0x04;
const CLASS: u16 = 0x08;
const BAR0: u16 = 0x10;
const SUBSYSTEM: u16 = 0x2c;
const INTERRUPT: u16 = 0x3c;

/// Vendor and device of QEMU's edu, with the revision, class and subsystem that it has there.
const EDU_ID: u32 = 0x11e8_1234;
const EDU_CLASS: u32 = 0x00ff_0010;
const EDU_SUBSYSTEM: u32 = 0x1100_1af4;
/// Pin INTA.
const PIN: u32 = 1 << 8;
/// COMMAND: memory space, bus master, INTx disable; and all bits that can be written.
const MEMORY: u32 = 1 << 1;
const BUS_MASTER: u32 = 1 << 2;
const INTX_DISABLE: u32 = 1 << 10;
const COMMAND_BITS: u32 = 0x0507;
/// STATUS, in the upper half of the same word: an interrupt is wanted.
const INTERRUPT_STATUS: u32 = 1 << 19;
/// A 32-bit memory BAR of 1 MiB.
const BAR_MASK: u32 = 0xfff0_0000;
const BAR_SIZE: u64 = 1 << 20;

/// An edu device in its slot.
#[derive(Debug, Clone)]
pub struct Function {
    slot: u8,
    command: u32,
    bar: u32,
    interrupt_line: u32,
    /// What it is.
    pub edu: Edu,
}

impl Function {
    /// A function after reset, number 0 of the device `slot`.
    pub const fn new(slot: u8) -> Self {
        Function {
            slot,
            command: 0,
            bar: 0,
            interrupt_line: 0,
            edu: Edu::new(),
        }
    }

    /// Its slot.
    pub fn slot(&self) -> u8 {
        self.slot
    }

    /// The requester ID that it puts on its bus.
    pub fn requester_id(&self) -> u32 {
        u32::from(self.slot) << 3
    }

    /// The addresses that it answers to.
    pub fn window(&self) -> Range<u64> {
        let start = u64::from(self.bar);
        let size = if self.command & MEMORY != 0 { BAR_SIZE } else { 0 };
        start..start + size
    }

    /// Whether it may do DMA.
    pub fn masters(&self) -> bool {
        self.command & BUS_MASTER != 0
    }

    /// Whether its interrupt pin is asserted.
    pub fn asserts(&self) -> bool {
        self.edu.asserts() && self.command & INTX_DISABLE == 0
    }

    /// A word of its configuration space.
    fn word(&self, register: u16) -> u32 {
        match register {
            ID => EDU_ID,
            COMMAND if self.edu.asserts() => self.command | INTERRUPT_STATUS,
            COMMAND => self.command,
            CLASS => EDU_CLASS,
            BAR0 => self.bar,
            SUBSYSTEM => EDU_SUBSYSTEM,
            INTERRUPT => PIN | self.interrupt_line,
            _ => 0,
        }
    }

    fn set_word(&mut self, register: u16, value: u32) {
        match register {
            COMMAND => self.command = value & COMMAND_BITS,
            BAR0 => self.bar = value & BAR_MASK,
            INTERRUPT => self.interrupt_line = value & 0xff,
            _ => {}
        }
    }
}

/// The host bridge.
#[derive(Debug, Clone)]
pub struct HostBridge {
    /// The functions on its bus.
    pub functions: [Function; 3],
}

/// Where an access to the ECAM goes: slot, word and bits of it.
struct Place {
    slot: u8,
    function: u8,
    register: u16,
    shift: u32,
    mask: u32,
}

impl HostBridge {
    /// A bus with a function in each slot.
    pub fn new(slots: [u8; 3]) -> Self {
        HostBridge {
            functions: slots.map(Function::new),
        }
    }

    /// Reads configuration space: all ones where nobody is.
    pub fn read(&self, offset: u64, size: usize) -> u64 {
        let found = place(offset, size).and_then(|place| {
            let function = self.functions.iter().find(|function| place.is_in(function))?;
            Some((function.word(place.register) & place.mask) >> place.shift)
        });
        found.map_or(u64::MAX, u64::from)
    }

    /// Writes configuration space.
    pub fn write(&mut self, offset: u64, size: usize, value: u64) {
        let Some(place) = place(offset, size) else { return };
        let function = self.functions.iter_mut().find(|function| place.is_in(function));
        if let Some(function) = function {
            let bits = ((value & 0xffff_ffff) as u32) << place.shift & place.mask;
            let kept = function.word(place.register) & !place.mask;
            function.set_word(place.register, kept | bits);
        }
    }

    /// The function that answers to `address`, and the offset in its window.
    pub fn at(&mut self, address: u64) -> Option<(&mut Function, u64)> {
        let mut functions = self.functions.iter_mut();
        let function = functions.find(|function| function.window().contains(&address))?;
        let offset = address - function.window().start;
        Some((function, offset))
    }
}

impl Place {
    fn is_in(&self, function: &Function) -> bool {
        self.function == 0 && self.slot == function.slot
    }
}

/// The enhanced configuration access mechanism (PCIe 7.2.2), of one bus.
fn place(offset: u64, size: usize) -> Option<Place> {
    let bits = match size {
        1 => 0xff,
        2 => 0xffff,
        4 => u32::MAX,
        _ => return None,
    };
    let register = (offset & 0xfff) as u16;
    let shift = u32::from(register & 3) * 8;
    (usize::from(register & 3) + size <= 4).then_some(Place {
        slot: (offset >> 15 & 0x1f) as u8,
        function: (offset >> 12 & 7) as u8,
        register: register & !3,
        shift,
        mask: bits << shift,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT_1: u64 = 1 << 15;

    #[test]
    fn functions_are_found_in_their_slots_and_nowhere_else() {
        let host = HostBridge::new([1, 2, 3]);
        let found: Vec<u64> = (0..256)
            .filter(|function| host.read(function << 12, 4) == u64::from(EDU_ID))
            .collect();
        assert_eq!(found, [8, 16, 24]);
        assert_eq!(host.read(0, 4), u64::MAX);
        assert_eq!(
            host.functions.map(|function| function.requester_id()),
            [8, 16, 24]
        );
    }

    #[test]
    fn a_bar_is_sized_placed_and_decoded() {
        let mut host = HostBridge::new([1, 2, 3]);
        host.write(SLOT_1 | 0x10, 4, 0xffff_ffff);
        assert_eq!(host.read(SLOT_1 | 0x10, 4), 0xfff0_0000);
        host.write(SLOT_1 | 0x10, 4, 0x1010_0000);
        assert!(host.at(0x1010_0000).is_none());
        host.write(SLOT_1 | 0x04, 2, 6);
        let (function, offset) = host.at(0x1010_0024).unwrap();
        assert_eq!((function.slot(), offset), (1, 0x24));
        assert!(function.masters());
        assert!(host.at(0x1020_0000).is_none());
    }

    #[test]
    fn parts_of_a_word_are_written_and_read_alone() {
        let mut host = HostBridge::new([1, 2, 3]);
        host.write(SLOT_1 | 0x3c, 1, 0x23);
        assert_eq!(host.read(SLOT_1 | 0x3c, 4), 0x0123);
        assert_eq!(host.read(SLOT_1 | 0x3d, 1), 1);
        assert_eq!(host.read(SLOT_1 | 0x02, 2), 0x11e8);
        assert_eq!(host.read(SLOT_1 | 0x03, 2), u64::MAX);
    }

    #[test]
    fn the_pin_follows_the_device_unless_it_is_disabled() {
        let mut function = Function::new(1);
        function.edu.write(0x60, 4, 1, 0);
        assert!(function.asserts());
        function.set_word(COMMAND, INTX_DISABLE);
        assert!(!function.asserts());
        assert_eq!(function.word(COMMAND), INTX_DISABLE | INTERRUPT_STATUS);
    }
}
