//! Physical memory, as the devices of the board reach it.

use core::fmt;
use core::ops::Range;

use bench_firmware::{Memory, map};

use super::uart;

/// RAM, and the console's registers. Nothing else answers a device.
#[derive(Debug, Clone, Copy)]
pub(super) struct Physical;

const WORD: usize = 8;
const REGISTER: usize = 4;

fn holds(range: &Range<u64>, address: u64, size: usize) -> bool {
    let end = address.checked_add(size as u64);
    range.start <= address && end.is_some_and(|end| end <= range.end)
}

/// Whether devices' registers can be meant: whole ones.
fn is_registers(address: u64, size: usize) -> bool {
    let aligned = address.is_multiple_of(REGISTER as u64) && size.is_multiple_of(REGISTER);
    aligned && holds(&map::UART, address, size)
}

impl Memory for Physical {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let aligned = address.is_multiple_of(WORD as u64);
        if holds(&map::RAM, address, into.len()) {
            if aligned && let Ok(word) = <&mut [u8; WORD]>::try_from(&mut *into) {
                // SAFETY: it is RAM, aligned, and holds nothing of the firmware's.
                *word = unsafe { (address as *const u64).read_volatile() }.to_le_bytes();
                return true;
            }
            for (byte, at) in into.iter_mut().zip(address..) {
                // SAFETY: as above.
                *byte = unsafe { (at as *const u8).read_volatile() };
            }
            return true;
        }
        if !is_registers(address, into.len()) {
            return false;
        }
        for (register, at) in into
            .as_chunks_mut::<REGISTER>()
            .0
            .iter_mut()
            .zip((address..).step_by(REGISTER))
        {
            // SAFETY: a register of the console.
            *register = unsafe { (at as *const u32).read_volatile() }.to_le_bytes();
        }
        true
    }

    fn write(&self, address: u64, from: &[u8]) -> bool {
        if holds(&map::RAM, address, from.len()) {
            for (byte, at) in from.iter().zip(address..) {
                // SAFETY: it is RAM that holds nothing of the firmware's; the software below lets devices write there.
                unsafe { (at as *mut u8).write_volatile(*byte) };
            }
            return true;
        }
        if !is_registers(address, from.len()) {
            return false;
        }
        for (register, at) in from
            .as_chunks::<REGISTER>()
            .0
            .iter()
            .zip((address..).step_by(REGISTER))
        {
            // SAFETY: a register of the console.
            unsafe { (at as *mut u32).write_volatile(u32::from_le_bytes(*register)) };
        }
        true
    }

    fn violation(&self, text: &dyn fmt::Display) {
        uart::print(format_args!("\nbench: VIOLATION: {text}\n"));
    }
}

/// The instruction at a physical address.
pub(super) fn instruction(address: u64) -> Option<u32> {
    let readable = holds(&map::RAM, address, 4) && address.is_multiple_of(4);
    // SAFETY: it is RAM, and aligned.
    readable.then(|| unsafe { (address as *const u32).read_volatile() })
}
