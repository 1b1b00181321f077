//! Stage-2 translation tables that CPUs and SMMUs walk alike.
//!
//! One guest has one [`AddressSpace`]: one tree, one VMID, for its CPUs and for its devices. The shape of
//! the tree, the [`Geometry`], is what every walker in the machine can follow.
//!
//! The format is VMSAv8-64 stage 2 with the 4 KiB granule (DDI 0487 section D8; IHI 0070 chapter 3.4 adopts it for
//! the SMMU). The crate keeps three promises:
//!
//! - **Break before make** (DDI 0487 D8.16): a valid entry never turns into another valid entry. It is made
//!   invalid, published, invalidated in every TLB, and only then written anew.
//! - **Completion**: [`AddressSpace::unmap`] returns after [`Invalidate`] said that CPUs *and* SMMUs are done, and
//!   table memory is freed after that.
//! - **Fail closed**: when an invalidation fails, what was being changed stays unmapped, removed tables are
//!   kept back, and the space refuses further changes until [`AddressSpace::recover`] succeeds.
//!
//! Tables live in [`mmio::TableMemory`]; this crate holds no pointer and needs no heap.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod descriptor;
mod edit;
mod error;
mod geometry;
mod invalidate;
mod map;
mod space;
mod supply;
mod table;
mod walk;

pub use descriptor::{Access, Attributes, MemoryType};
pub use error::{DestroyError, Error};
pub use geometry::{Cacheability, Geometry, GeometryError, VmidSize, WalkerLimits};
pub use invalidate::{Invalidate, InvalidateError, Walker};
pub use space::AddressSpace;
pub use walk::{Mapping, Mappings};

/// The granule: the smallest thing that can be mapped, in bytes.
pub const PAGE_SIZE: u64 = 4096;
