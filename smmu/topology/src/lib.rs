//! The stream graph: which device emits which stream ID on which SMMU, read from the device tree.
//!
//! The tree says it in three ways, one module of `bindings` each: `mmu-masters` at the SMMU (the legacy binding),
//! `iommus` at the master, and `iommu-map` at a bus. All are read, whatever driver comes later, and inverted into
//! one [`Graph`] before any driver exists.
//!
//! Nothing is guessed. A master that the tree describes in a way that is not understood is *refused* with the
//! reason, never taken for covered and never for uncovered. A defect in one master does not change what another
//! gets, unless the two share a stream: then no SMMU can tell them apart, and their group has one fate.
//!
//! Versions of SMMUs differ here only in the data of [`KINDS`].
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod bindings;
mod bus;
mod capability;
mod claims;
mod diagnostic;
mod graph;
mod groups;
mod kinds;
mod limits;
mod map;
mod master;
mod messages;
mod report;
mod shared;
mod smmu;
mod why;

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

pub use bus::{Bus, StreamTarget};
pub use capability::Capability;
pub use diagnostic::{Defect, Diagnostic, Effect, Severity};
pub use graph::{Demand, Graph, MasterView};
pub use groups::Group;
pub use kinds::{InterruptStyle, KINDS, Kind};
pub use limits::Room;
pub use map::{Map, Window};
pub use master::{
    Binding, Coverage, Identity, Master, MasterIndex, PciFunction, Refusal, Region, RegionKind, Source,
    Stream,
};
pub use messages::{MsiController, MsiIndex, MsiRoute};
pub use report::{Alike, Report};
pub use shared::Emitter;
pub use smmu::{Line, Smmu, SmmuIndex, SmmuInterrupt, find_smmus};
pub use why::Why;
