//! PCI as the core needs it: who is there, what do they decode, under which requester IDs do they do DMA.
//!
//! Section numbers are those of the PCI Local Bus Specification 3.0 ("PCI"), the PCI-to-PCI Bridge Architecture
//! Specification 1.2 ("Bridge") and the PCI Express Base Specification 5.0 ("PCIe").
//!
//! What a device answers is untrusted: every walk is bounded, every size is checked, and a function that answers
//! nonsense becomes a function without BARs, not an error of the whole bus.
//!
//! The order of use: [`enumerate`] switches bus mastering off on each function as it meets it, reads what it is, and
//! has it send traffic between peers to the root complex; [`assign`] gives addresses to BARs and bridge windows that
//! have none; [`Fabric::peers_at`] tells who may reach whom all the same; [`Fabric::set_bus_master`] later opens one
//! function and the bridges above it, and [`Fabric::reset`] comes between two owners.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod acs;
mod address;
mod assign;
mod bar;
mod capability;
mod config;
mod enumerate;
mod function;
mod messages;
mod peers;
mod place;
mod quiet;
mod reset;
pub mod virtio;
mod window;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;

pub use address::{Address, BadAddress, Bdf};
pub use assign::{Assigned, assign};
pub use bar::{Bar, Space};
pub use capability::{Capability, WORDS, id};
pub use config::{ConfigSpace, Ecam, command, offset};
pub use enumerate::{BusRange, enumerate};
pub use function::{Bridge, Class, Fabric, Function, Pin, Port};
pub use messages::{Msi, MsiX, msi_words};
pub use reset::{Reset, ResetError};
pub use window::Window;
