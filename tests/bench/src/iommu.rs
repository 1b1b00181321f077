//! The seam between the devices and what translates for them.

use alloc::string::String;
use alloc::vec::Vec;

/// What stands between bus masters and memory.
pub trait Iommu {
    /// Reads `size` bytes of its registers.
    fn read(&mut self, offset: usize, size: usize) -> u64;
    /// Writes `size` bytes of its registers.
    fn write(&mut self, offset: usize, size: usize, value: u64);
    /// Where a master's access to `address` goes; nothing if it is stopped. The answer holds for the rest of the 4 KiB page.
    fn translate(&mut self, stream: u32, address: u64, write: bool) -> Option<u64>;
    /// Its interrupts, and whether each is asserted.
    fn interrupts(&self) -> &[(u32, bool)];
    /// What a driver left unfinished, in words.
    fn unsettled(&self) -> Vec<String>;
}

/// A board without one: all that masters do arrives.
#[derive(Debug, Clone, Copy)]
pub struct NoIommu;

impl Iommu for NoIommu {
    fn read(&mut self, _offset: usize, _size: usize) -> u64 {
        u64::MAX
    }
    fn write(&mut self, _offset: usize, _size: usize, _value: u64) {}
    fn translate(&mut self, _stream: u32, address: u64, _write: bool) -> Option<u64> {
        Some(address)
    }
    fn interrupts(&self) -> &[(u32, bool)] {
        &[]
    }
    fn unsettled(&self) -> Vec<String> {
        Vec::new()
    }
}

/// One or none, decided when the board is made.
impl Iommu for alloc::boxed::Box<dyn Iommu + Send> {
    fn read(&mut self, offset: usize, size: usize) -> u64 {
        (**self).read(offset, size)
    }
    fn write(&mut self, offset: usize, size: usize, value: u64) {
        (**self).write(offset, size, value);
    }
    fn translate(&mut self, stream: u32, address: u64, write: bool) -> Option<u64> {
        (**self).translate(stream, address, write)
    }
    fn interrupts(&self) -> &[(u32, bool)] {
        (**self).interrupts()
    }
    fn unsettled(&self) -> Vec<String> {
        (**self).unsettled()
    }
}
