//! What can be wrong with a partition.

use alloc::string::{String, ToString};
use core::fmt::Display;

use devicetree::{GateError, ReadError, TreeError};

use crate::{
    BLOCK, COMPATIBLE, MAX_BOOTARGS, MAX_CPUS, MAX_DEVICES, MAX_GUESTS, MAX_NAME, MAX_REGIONS, PAGE,
};

/// Why a blob is no partition.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PartitionError {
    /// The blob is no device tree.
    #[error("the partition is no device tree blob: {0}; compile it with `cargo xtask bundle`")]
    Blob(#[from] GateError),
    /// The blob's nodes cannot be read.
    #[error("the partition's tree cannot be read: {0}; compile it with `cargo xtask bundle`")]
    Tree(#[from] TreeError),
    /// A property has the wrong form.
    #[error("partition: {0}; compile it with `cargo xtask bundle` of this version")]
    Form(#[from] ReadError),
    /// A node that means nothing here.
    #[error("partition: {node}: a node of this name means nothing here; remove it")]
    UnknownNode {
        /// Its path.
        node: String,
    },
    /// A property that means nothing here.
    #[error("partition: {node}: {property}: a property of this name means nothing here; remove it")]
    UnknownProperty {
        /// Path of the node.
        node: String,
        /// Its name.
        property: String,
    },
    /// A node that has to be there.
    #[error("partition: {node}: has no node {child:?}; add one")]
    MissingNode {
        /// Path of the node that should have the child.
        node: String,
        /// The child's name.
        child: &'static str,
    },
    /// A value that cannot be.
    #[error("partition: {node}: {property} = {value}: {problem}")]
    Value {
        /// Path of the node, with the guest's name where it is known.
        node: String,
        /// The property.
        property: &'static str,
        /// Its value.
        value: String,
        /// What is wrong, and what to do about it.
        problem: Problem,
    },
}

impl PartitionError {
    /// A wrong value.
    pub(crate) fn value(node: &str, property: &'static str, value: impl Display, problem: Problem) -> Self {
        PartitionError::Value {
            node: node.to_string(),
            property,
            value: value.to_string(),
            problem,
        }
    }
}

/// What is wrong with a value, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Another version of the format, or something else.
    #[error("is not \"{COMPATIBLE}\"; compile the partition with `cargo xtask bundle` of this version")]
    Compatible,
    /// No known word.
    #[error("is not known; write one of {allowed}")]
    Word {
        /// The words.
        allowed: &'static str,
    },
    /// No good name for a guest.
    #[error("is no guest name; use 1 to {MAX_NAME} of a-z, 0-9 and -")]
    GuestName,
    /// Two guests of one name.
    #[error("is the name of another guest, too; names are unique")]
    DuplicateName,
    /// No guest has this name.
    #[error("is the name of no guest; write that of one")]
    NoSuchGuest,
    /// No member of a bundle can have this name.
    #[error("is no name of a file in the bundle; use 1 to 255 printable characters without spaces")]
    ImageName,
    /// Too long.
    #[error("is longer than {MAX_BOOTARGS} bytes; shorten it")]
    BootargsLength,
    /// The list is empty.
    #[error("is empty; give at least one")]
    Empty,
    /// Too many guests.
    #[error("are more than {MAX_GUESTS}; use fewer guests")]
    TooManyGuests,
    /// Too many CPUs.
    #[error("are more than {MAX_CPUS}; use fewer CPUs")]
    TooManyCpus,
    /// Too many regions.
    #[error("are more than {MAX_REGIONS}; use fewer regions")]
    TooManyRegions,
    /// Too many devices.
    #[error("are more than {MAX_DEVICES}; use fewer devices")]
    TooManyDevices,
    /// A CPU given twice.
    #[error("is already given to {owner}; a physical CPU runs one virtual CPU, choose another")]
    SharedCpu {
        /// The guest that has it.
        owner: String,
    },
    /// Not aligned.
    #[error("is not a multiple of {alignment:#x}; align it")]
    Misaligned {
        /// What it should be a multiple of.
        alignment: u64,
    },
    /// The region has no bytes.
    #[error("is an empty region; give it a size of at least {PAGE:#x}")]
    EmptyRegion,
    /// The first region is too small for an image.
    #[error("is too small for the first region, which holds the image; give it at least {BLOCK:#x}")]
    SmallFirstRegion,
    /// The region ends beyond the address space.
    #[error("ends at or beyond {end:#x}, the end of what can be addressed; move or shrink it")]
    Beyond {
        /// The end of the address space.
        end: u64,
    },
    /// Overlapping regions.
    #[error("overlaps {other} of {owner}; move one of them")]
    Overlap {
        /// The other region.
        other: String,
        /// Its guest.
        owner: String,
    },
    /// No PCI function is written like this.
    #[error("is no PCI function; write it as 0000:00:01.0 (segment, bus, device, function, in hexadecimal)")]
    PciName,
    /// No device tree path is written like this.
    #[error("is no path of a device tree node; it begins with / and does not end with it")]
    Path,
    /// Neither or both of the ways to name a device.
    #[error("the device needs exactly one name; give `pci` or `path`")]
    DeviceNames,
    /// A device given twice.
    #[error("is already given to {owner}; a device has one owner, remove it here or there")]
    SharedDevice {
        /// The guest that has it.
        owner: String,
    },
    /// A platform device that is to arrive while its guest runs.
    #[error("is no PCI function, so it cannot arrive in a guest that runs; write wait = \"guest\" or \"no\"")]
    CannotArrive,
    /// Sealed too early.
    #[error("seals loading before the component is loaded at {delay_ms} ms; make it later")]
    SealedTooEarly {
        /// When the component is loaded.
        delay_ms: u32,
    },
}
