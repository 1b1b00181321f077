//! Device trees: a validating gate in front of the `fdt` crate, and a typed view behind it.
//!
//! The blob that firmware hands over is untrusted. [`Blob::new`] is the only way in: it copies the blob, checks
//! every token of it and leaves the FDT_NOP tokens out of the copy. What it accepts, the `fdt` crate reads without
//! panicking and without losing a node. [`Tree::new`] reads the tokens once and keeps an index of nodes,
//! properties and phandles. Every further question is answered by [`Node`] and [`Tree`], with typed errors that
//! name node, property and value.
//!
//! Formats are those of the Devicetree Specification, release v0.4 ("DTSpec" in the comments).
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod address;
mod dma;
mod error;
mod gate;
mod gic;
mod interrupts;
mod machine;
mod nexus;
mod node;
mod pci;
mod property;
mod segment;
mod tree;

#[cfg(test)]
#[path = "../../../tests/dts/blob.rs"]
mod blob;
#[cfg(test)]
#[path = "../../../tests/dts/fixtures.rs"]
mod fixtures;
#[cfg(test)]
#[path = "../../../tests/dts/source.rs"]
mod source;
#[cfg(test)]
mod tests;

pub use address::AddressRange;
pub use dma::DmaWindow;
pub use error::{PhandleError, Problem, ReadError};
pub use gate::{Blob, Block, GateError, MAX_DEPTH, MAX_NAME, MAX_NODES, MAX_PATH, MAX_SIZE};
pub use gic::{GicError, GicInterrupt, Trigger, decode_gic};
pub use interrupts::Interrupt;
pub use machine::{Chosen, Conduit, Cpu, EnableMethod, Psci, ReservedRegion};
pub use nexus::InterruptMaps;
pub use node::{Node, NodeId};
pub use pci::{PciSpace, PciWindow};
pub use property::{Cells, Property};
pub use tree::{Tree, TreeError};
