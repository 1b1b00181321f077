//! Configuration space: the trait, the ECAM behind it, and the registers of the header.

use crate::Bdf;
use mmio::Bus;

/// The configuration space of one segment. `offset` is a multiple of 4 below 4096; the answer of a function that
/// is not there is all ones (PCI 6.1).
pub trait ConfigSpace {
    /// Reads the register at `offset` of `bdf`.
    fn read32(&self, bdf: Bdf, offset: u16) -> u32;
    /// Writes the register at `offset` of `bdf`.
    fn write32(&self, bdf: Bdf, offset: u16, value: u32);
}

impl<C: ConfigSpace + ?Sized> ConfigSpace for &C {
    fn read32(&self, bdf: Bdf, offset: u16) -> u32 {
        (**self).read32(bdf, offset)
    }
    fn write32(&self, bdf: Bdf, offset: u16, value: u32) {
        (**self).write32(bdf, offset, value);
    }
}

/// The enhanced configuration access mechanism: 4 KiB a function, 1 MiB a bus (PCIe 7.2.2).
#[derive(Debug)]
pub struct Ecam<B: Bus> {
    window: B,
    first_bus: u8,
}

impl<B: Bus> Ecam<B> {
    /// The ECAM whose window begins with `first_bus`. Buses beyond the window read all ones, as `Bus` says.
    pub fn new(window: B, first_bus: u8) -> Self {
        Ecam { window, first_bus }
    }

    fn offset(&self, bdf: Bdf, offset: u16) -> Option<usize> {
        let bus = bdf.bus().checked_sub(self.first_bus)?;
        let function = usize::from(bus) << 8 | usize::from(bdf.requester_id() & 0xff);
        (offset < 4096).then_some(function << 12 | usize::from(offset & !3))
    }
}

impl<B: Bus> ConfigSpace for Ecam<B> {
    fn read32(&self, bdf: Bdf, offset: u16) -> u32 {
        self.offset(bdf, offset)
            .map_or(u32::MAX, |offset| self.window.read32(offset))
    }
    fn write32(&self, bdf: Bdf, offset: u16, value: u32) {
        if let Some(offset) = self.offset(bdf, offset) {
            self.window.write32(offset, value);
        }
    }
}

/// Offsets of header registers (PCI 6.1, Bridge 3.2).
pub mod offset {
    /// Vendor ID in bits 15:0, device ID in 31:16.
    pub const ID: u16 = 0x00;
    /// Command in bits 15:0, status in 31:16.
    pub const COMMAND: u16 = 0x04;
    /// Revision in bits 7:0, class code in 31:8.
    pub const CLASS: u16 = 0x08;
    /// Header type in bits 23:16.
    pub const HEADER: u16 = 0x0c;
    /// The first base address register; the others follow, 4 bytes each.
    pub const BAR0: u16 = 0x10;
    /// Subsystem vendor ID in bits 15:0, subsystem ID in 31:16 (endpoints).
    pub const SUBSYSTEM: u16 = 0x2c;
    /// Expansion ROM base address (endpoints).
    pub const ROM: u16 = 0x30;
    /// Expansion ROM base address (bridges).
    pub const BRIDGE_ROM: u16 = 0x38;
    /// First capability in bits 7:0.
    pub const CAPABILITIES: u16 = 0x34;
    /// Interrupt line in bits 7:0, interrupt pin in 15:8.
    pub const INTERRUPT: u16 = 0x3c;
    /// Primary, secondary and subordinate bus number in bits 7:0, 15:8 and 23:16 (bridges).
    pub const BUSES: u16 = 0x18;
    /// I/O base and limit in bits 7:0 and 15:8, secondary status above (bridges).
    pub const IO_WINDOW: u16 = 0x1c;
    /// Memory base and limit (bridges).
    pub const MEMORY_WINDOW: u16 = 0x20;
    /// Prefetchable memory base and limit (bridges).
    pub const PREFETCHABLE_WINDOW: u16 = 0x24;
    /// Upper half of the prefetchable base (bridges).
    pub const PREFETCHABLE_BASE_UPPER: u16 = 0x28;
    /// Upper half of the prefetchable limit (bridges).
    pub const PREFETCHABLE_LIMIT_UPPER: u16 = 0x2c;
}

/// Bits of the command register (PCI 6.2.2).
pub mod command {
    /// The function answers I/O accesses.
    pub const IO: u32 = 1 << 0;
    /// The function answers memory accesses.
    pub const MEMORY: u32 = 1 << 1;
    /// The function may emit transactions of its own; a bridge forwards those from behind it.
    pub const BUS_MASTER: u32 = 1 << 2;
    /// The function may not raise INTx.
    pub const INTX_DISABLE: u32 = 1 << 10;
}

/// Changes the command register of `bdf`: clears `clear`, then sets `set`. The status bits beside it are written
/// as zero, which leaves them alone (they are write-one-to-clear, PCI 6.2.3).
pub(crate) fn change_command(config: &(impl ConfigSpace + ?Sized), bdf: Bdf, clear: u32, set: u32) {
    let command = config.read32(bdf, offset::COMMAND) & 0xffff;
    config.write32(bdf, offset::COMMAND, command & !clear | set);
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::RefCell;

    struct Log(RefCell<Vec<usize>>);
    impl Bus for Log {
        fn read32(&self, offset: usize) -> u32 {
            self.0.borrow_mut().push(offset);
            7
        }
        fn write32(&self, offset: usize, _: u32) {
            self.0.borrow_mut().push(offset);
        }
        fn read64(&self, _: usize) -> u64 {
            unreachable!("configuration space is accessed by 32 bits")
        }
        fn write64(&self, _: usize, _: u64) {
            unreachable!("configuration space is accessed by 32 bits")
        }
    }

    #[test]
    fn ecam_offsets_count_from_the_first_bus() {
        let ecam = Ecam::new(Log(RefCell::new(Vec::new())), 0x10);
        assert_eq!(ecam.read32(Bdf::new(0x11, 2, 3).unwrap(), 0x44), 7);
        ecam.write32(Bdf::new(0x10, 0, 1).unwrap(), 0xffc, 0);
        assert_eq!(ecam.read32(Bdf::new(0x0f, 0, 0).unwrap(), 0), u32::MAX);
        assert_eq!(ecam.read32(Bdf::new(0x10, 0, 0).unwrap(), 4096), u32::MAX);
        assert_eq!(*ecam.window.0.borrow(), [0x11_3044, 0x1ffc]);
    }
}
