//! Device registers: a bus of offsets, and typed registers over it.

use core::marker::PhantomData;
use tock_registers::RegisterLongName;
use tock_registers::interfaces::{Readable, Writeable};

/// A device's register window, addressed by byte offset from its start.
///
/// Methods take `&self` because a device changes under our hands anyway; a fake uses interior mutability.
/// An access outside the window reads all ones and writes nothing, as on a bus where nobody answers.
pub trait Bus {
    /// Reads the 32-bit register at `offset`.
    fn read32(&self, offset: usize) -> u32;
    /// Writes the 32-bit register at `offset`.
    fn write32(&self, offset: usize, value: u32);
    /// Reads the 64-bit register at `offset`.
    fn read64(&self, offset: usize) -> u64;
    /// Writes the 64-bit register at `offset`.
    fn write64(&self, offset: usize, value: u64);
}

impl<B: Bus + ?Sized> Bus for &B {
    fn read32(&self, offset: usize) -> u32 {
        (**self).read32(offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        (**self).write32(offset, value);
    }
    fn read64(&self, offset: usize) -> u64 {
        (**self).read64(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        (**self).write64(offset, value);
    }
}

/// A bus whose device has registers of 8 bits as well, which have to be accessed as such.
pub trait ByteBus: Bus {
    /// Reads the 8-bit register at `offset`.
    fn read8(&self, offset: usize) -> u8;
    /// Writes the 8-bit register at `offset`.
    fn write8(&self, offset: usize, value: u8);
}

/// One register of width `T` (`u32` or `u64`) with fields `R` at `OFFSET` of a bus.
///
/// It implements tock-registers' [`Readable`] and [`Writeable`], so that
/// `Reg::<_, u32, CR0::Register, 0x20>::at(&bus).modify(CR0::SMMUEN::SET)` works on hardware and on a model.
#[derive(Debug)]
pub struct Reg<'b, B: Bus + ?Sized, T, R, const OFFSET: usize> {
    bus: &'b B,
    shape: PhantomData<(T, R)>,
}

impl<'b, B: Bus + ?Sized, T, R, const OFFSET: usize> Reg<'b, B, T, R, OFFSET> {
    /// The register at `OFFSET` of `bus`.
    pub fn at(bus: &'b B) -> Self {
        Reg {
            bus,
            shape: PhantomData,
        }
    }
}

impl<B: Bus + ?Sized, R: RegisterLongName, const OFFSET: usize> Readable for Reg<'_, B, u32, R, OFFSET> {
    type T = u32;
    type R = R;
    fn get(&self) -> u32 {
        self.bus.read32(OFFSET)
    }
}

impl<B: Bus + ?Sized, R: RegisterLongName, const OFFSET: usize> Writeable for Reg<'_, B, u32, R, OFFSET> {
    type T = u32;
    type R = R;
    fn set(&self, value: u32) {
        self.bus.write32(OFFSET, value);
    }
}

impl<B: Bus + ?Sized, R: RegisterLongName, const OFFSET: usize> Readable for Reg<'_, B, u64, R, OFFSET> {
    type T = u64;
    type R = R;
    fn get(&self) -> u64 {
        self.bus.read64(OFFSET)
    }
}

impl<B: Bus + ?Sized, R: RegisterLongName, const OFFSET: usize> Writeable for Reg<'_, B, u64, R, OFFSET> {
    type T = u64;
    type R = R;
    fn set(&self, value: u64) {
        self.bus.write64(OFFSET, value);
    }
}
