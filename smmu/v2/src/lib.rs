//! A driver for SMMUv1 and v2, stage 2 only.
//!
//! It knows registers ([`mmio::Bus`], one frame or two that are programmed as one) and time ([`mmio::Clock`]); it knows
//! no device tree, no hypervisor and no component ABI. It allocates nothing: these SMMUs keep their structures in registers,
//! and the stage-2 tables are their owner's.
//!
//! What it promises:
//! - The SMMU was shut by the gate before it ([`smmu_gate::v2`]), and is shut behind it. A stream that is not attached
//!   faults, and says so. Bypass is not only never used: no type here can express it.
//! - A stream is matched by one group at most, at every moment, and never without the context bank behind it translating. A
//!   function that withdraws something (a stream, a range) returns only after the SMMU has said that nothing uses it any more.
//! - Every wait is bounded, and what runs short (groups, banks, VMIDs) is an error that says how much of it there is.
//!
//! How it fits together: a *stream mapping group* matches streams ([`streams`] packs the streams of a device into few of
//! them) and names a *context bank*, of which each address space has one. The files, from the hardware up: `registers`;
//! [`streams`]; `groups` and `banks`, which remember what the hardware was told; `tlb`; `fault`; `power`, on and off;
//! [`driver`], the operations.
//!
//! SMMUv1, and SMMUv2 without AArch64 tables, walk AArch32 tables in the long format. At stage 2 that is the same format up
//! to 40 bits, so there is one kind of domain for all.
//!
//! Section numbers are those of Arm IHI 0062 issue D.c.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod banks;
pub mod driver;
mod error;
mod fault;
mod groups;
mod power;
mod registers;
pub mod streams;
mod tlb;

pub use driver::{Driver, InterruptReport, Setup, Unreleased};
pub use error::{Error, Missing};
pub use smmu_driver::{Domain, DomainError, Event, EventKind, IpaRange};
pub use smmu_gate::v2::{Features, Frames, Smmu};
pub use streams::Stream;
