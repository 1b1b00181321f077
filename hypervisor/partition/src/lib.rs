//! The partition: which guest gets which CPUs, memory and devices, and when components are loaded.
//!
//! People write it as TOML; `cargo xtask bundle` compiles that to a device tree blob, which this crate
//! reads. The blob is untrusted: [`Partition::parse`] is the only way to a [`Partition`], and holding one
//! proves what its documentation lists.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod check;
mod device;
mod error;
mod read;
#[cfg(test)]
mod tests;

use alloc::string::String;
use alloc::vec::Vec;

pub use device::{DeviceName, PciName};
pub use error::{PartitionError, Problem};

/// The `compatible` of a blob's root node; its number changes when the meaning of a property does.
pub const COMPATIBLE: &str = "portcullis,partition-1";
/// The blob's name in the bundle.
pub const MEMBER_NAME: &str = "partition.dtb";
/// In a blob's `memory`: the core chooses where the region lies.
pub const ANY_ADDRESS: u64 = u64::MAX;
/// Most guests of a partition.
pub const MAX_GUESTS: usize = 8;
/// Most virtual CPUs of a guest.
pub const MAX_CPUS: usize = 8;
/// Most memory regions of a guest.
pub const MAX_REGIONS: usize = 8;
/// Most devices of a guest.
pub const MAX_DEVICES: usize = 16;
/// Longest name of a guest, in bytes; it has to fit the console's prefix.
pub const MAX_NAME: usize = 15;
/// Longest command line of a guest, in bytes.
pub const MAX_BOOTARGS: usize = 1024;
/// Guest-physical addresses end here: the largest IPA size of any CPU without LPA2 (DDI 0487 D8.1.6).
pub const IPA_END: u64 = 1 << 48;
/// What every address and size of memory is a multiple of.
pub const PAGE: u64 = 4 << 10;
/// What a region that the core places is a multiple of, and the least size of a guest's first region.
pub const BLOCK: u64 = 2 << 20;

/// A valid partition. Holding one proves:
///
/// - there is a guest, and no limit of this crate is exceeded;
/// - names are unique, and the guest that has the console is there; no physical CPU and no device is given to two guests, or twice to one;
/// - only PCI functions arrive while their guests run;
/// - memory is aligned, not empty and does not wrap; regions of one guest do not overlap in
///   guest-physical addresses, and no two regions with a fixed place overlap in physical addresses;
/// - loading is sealed after the component is to be loaded.
///
/// It does not prove that CPUs, memory and devices exist: that depends on the board.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Partition {
    /// When components are loaded.
    pub loading: Loading,
    /// The guests, in the order of the file.
    pub guests: Vec<Guest>,
    /// The guest that has the console at the start: what is typed goes to it. Without one the core takes commands.
    pub console: Option<usize>,
}

/// When components are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loading {
    /// The rule.
    pub when: When,
    /// Milliseconds after the guests started from which on no component is accepted.
    pub seal_ms: u32,
}

/// The rule for loading the components that the SMMUs ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Before the guests start.
    Boot,
    /// Some time after the guests started.
    Delay {
        /// Milliseconds.
        delay_ms: u32,
    },
    /// Not at all.
    Never,
}

/// A guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its name: 1 to [`MAX_NAME`] of `a-z`, `0-9` and `-`.
    pub name: String,
    /// The bundle's member with its image.
    pub image: String,
    /// The bundle's member with its initial RAM disk.
    pub initrd: Option<String>,
    /// The physical CPUs of its virtual CPUs, which are numbered in this order.
    pub cpus: Vec<u32>,
    /// Its memory; the first region holds its image.
    pub memory: Vec<MemoryRegion>,
    /// Its command line.
    pub bootargs: String,
    /// Its devices.
    pub devices: Vec<Device>,
}

/// A piece of a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Guest-physical address.
    pub ipa: u64,
    /// Size in bytes.
    pub size: u64,
    /// Physical address; the core chooses one when there is none.
    pub pa: Option<u64>,
}

/// A device of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub name: DeviceName,
    /// Who waits while the device is pending.
    pub wait: Wait,
    /// Whether the guest may have it without isolation.
    pub dma: Dma,
    /// What a fault of its DMA leads to.
    pub on_fault: OnFault,
}

/// Who waits while a device is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The guest: it starts when the device is live.
    Guest,
    /// The device: it reads as absent until it is live.
    Device,
    /// The device: it sits in a hot-plug slot of its own, which is empty until the device is live. Then it arrives.
    Slot,
    /// Nobody: the device is visible at once, and its DMA is blocked until it is live.
    No,
}

/// What the guest asks of the device's DMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dma {
    /// An SMMU confines it to the guest's memory, or the guest does not get the device.
    Isolated,
    /// The guest gets the device although nothing confines it.
    Trusted,
}

/// What a fault of the device's DMA leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFault {
    /// A line on the console.
    Log,
    /// The device's stream is shut.
    Quarantine,
    /// The guest is stopped.
    StopGuest,
}

impl OnFault {
    pub(crate) const ALL: [OnFault; 3] = [OnFault::Log, OnFault::Quarantine, OnFault::StopGuest];

    /// What a partition file calls it.
    pub const fn word(self) -> &'static str {
        match self {
            OnFault::Log => "log",
            OnFault::Quarantine => "quarantine",
            OnFault::StopGuest => "stop-guest",
        }
    }
}

impl Partition {
    /// Reads and validates a compiled partition.
    ///
    /// # Errors
    /// The first thing that is wrong, with its node, property and value, and what to do about it.
    pub fn parse(blob: &[u8]) -> Result<Partition, PartitionError> {
        let tree = devicetree::Tree::new(devicetree::Blob::new(blob)?)?;
        let partition = read::partition(&tree)?;
        check::partition(&partition)?;
        Ok(partition)
    }
}
