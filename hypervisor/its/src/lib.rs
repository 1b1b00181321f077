//! Physical messages of devices: the interrupt translation service (ITS) that makes LPIs of them, and the tables that
//! LPIs need (IHI 0069, chapter 5).
//!
//! Everything is mapped once and stays: a device has so many events, each with an LPI of its own, and all of them go
//! to one CPU. What a guest wants of its devices' messages is the business of its virtual ITS; its commands never come
//! here.
//!
//! - [`Lpis`]: the configuration table, and [`Lpis::turn_on`] for a CPU's redistributor;
//! - [`Its`]: one ITS: its tables, its command queue, and [`Its::map`] for a device.
//!
//! # What hardware reads by itself
//! Every table lies in [`TableMemory`](mmio::TableMemory), which publishes what is written to the point of coherency. So
//! the attributes of the accesses do not matter for what hardware sees: cacheable and shareable ones are asked for, and
//! hardware that does not keep the shareability is told not to use caches.
//!
//! # Device IDs
//! Who writes to `GITS_TRANSLATER` does not say who it is: the system puts a device ID beside the write. What does not come
//! from a function as a message of its own often has the ID 0 (QEMU gives it to writes of CPUs and to a function's
//! ordinary DMA), so that 0 is never mapped.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod command;
mod lpi;
mod registers;
mod service;
mod tables;

#[cfg(test)]
mod tests;

pub use lpi::{FIRST_LPI, LPIS, Lpis, Redistributor};
pub use service::{Collection, Its, turn_off};

use mmio::{OutOfTableMemory, Timeout};

/// Size of an ITS's frame of registers, in bytes; the frame with `GITS_TRANSLATER` follows it (12.18).
pub const CONTROL_SIZE: u64 = 0x1_0000;
/// Size of both frames, in bytes.
pub const SIZE: u64 = 0x2_0000;
/// `GITS_TRANSLATER`, in the second frame: who writes an event's number there signals it.
pub const TRANSLATER: u64 = 0x40;

/// An ITS or the LPIs cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It does not do what it was told in time.
    #[error("{register}: {timeout}")]
    Timeout {
        /// The register that was polled.
        register: &'static str,
        /// How long.
        timeout: Timeout,
    },
    /// No memory for a table.
    #[error(transparent)]
    Memory(#[from] OutOfTableMemory),
    /// It has no physical LPIs.
    #[error("{register} = {value:#x}: it has no physical LPIs")]
    NoLpis {
        /// The register that says so.
        register: &'static str,
        /// What it reads.
        value: u64,
    },
    /// Its interrupt numbers are too short for LPIs.
    #[error("interrupt numbers of {0} bits are too short for LPIs")]
    ShortNumbers(u32),
    /// Firmware turned LPIs on, and they cannot be turned off.
    #[error("firmware left LPIs on, and they cannot be turned off")]
    StaysOn,
    /// A register does not keep what it has to.
    #[error("{register} does not keep {written:#x}: it reads {read:#x}")]
    NotKept {
        /// The register.
        register: &'static str,
        /// What was written.
        written: u64,
        /// What it reads.
        read: u64,
    },
    /// It has no table for devices.
    #[error("it has no device table")]
    NoDeviceTable,
    /// It has no room for collections.
    #[error("it has room for {0} collections only")]
    FewCollections(u32),
    /// A table does not fit what a register can say.
    #[error("a table of {0:#x} bytes is too large for it")]
    TableTooLarge(u64),
    /// The device ID that anybody may have.
    #[error("device ID 0 is not used: ordinary writes may have it")]
    DeviceZero,
    /// A device ID that it was not set up for.
    #[error("device ID {device:#x} is beyond {highest:#x}")]
    DeviceOutOfRange {
        /// The device ID.
        device: u32,
        /// The highest one.
        highest: u32,
    },
    /// Two functions would be one.
    #[error("device ID {0:#x} belongs to another function already")]
    DeviceTaken(u32),
    /// More events than it can tell apart, or none.
    #[error("{0} events cannot be told apart by it")]
    Events(u32),
    /// There are not so many LPIs left.
    #[error("{0} LPIs are more than there are left")]
    OutOfLpis(u32),
    /// It stopped at a command.
    #[error("it stopped at a command (GITS_CREADR = {0:#x})")]
    Stalled(u64),
}
