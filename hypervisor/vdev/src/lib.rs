//! A guest's virtual machine, as state machines without hardware.
//!
//! Everything that a guest reads or writes and that is not plain memory ends here: the core decodes the exit, asks
//! one of these, and carries out what they return. They hold no pointers, touch no registers and take any value a
//! guest may come up with.
//!
//! - [`vgic`]: distributor and redistributors of a GICv3, or the distributor of a GICv2; list registers, SGIs, LPIs;
//! - [`its`]: the interrupt translation service, which makes LPIs of messages;
//! - [`pl011`]: the console;
//! - [`ecam`]: PCI configuration space that shows the guest's own functions;
//! - [`psci`]: firmware calls and hypercalls;
//! - [`syndrome`], [`exception`], [`sysreg`]: why a guest came out, how it is given an exception, what its system
//!   registers hold;
//! - [`image`]: what kind of file it is started from;
//! - [`layout`]: where the guest finds all that, and [`device_tree()`]: how it is told.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod device_tree;
pub mod ecam;
pub mod exception;
pub mod image;
pub mod its;
pub mod layout;
pub mod line;
pub mod pl011;
pub mod psci;
pub mod syndrome;
pub mod sysreg;
pub mod vgic;

pub use device_tree::{Copied, Error as DeviceTreeError, Machine, Pci, change_seed, device_tree, left_out};
