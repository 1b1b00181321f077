//! A driver for the SMMUv3, stage 2 only.
//!
//! It knows registers ([`mmio::Bus`]), memory that the SMMU walks ([`mmio::TableMemory`]) and time
//! ([`mmio::Clock`]); it knows no device tree, no hypervisor and no component ABI. It allocates nothing but
//! table memory, so it can live in a component without a heap.
//!
//! What it promises:
//! - The SMMU was shut by the gate before it ([`smmu_gate`]), and is shut behind it. A stream that is not attached
//!   aborts, and says so by an event. Bypass is not only never used: no type here can express it.
//! - The SMMU never sees a half-written entry, and a function that withdraws something (a stream, a range)
//!   returns only after the SMMU has said that nothing uses it any more.
//! - Every wait is bounded. A command that fails becomes an error, and the queue goes on.
//!
//! The files, from the hardware up: `registers`; the formats [`ste`], [`commands`], [`event`]; the ring
//! arithmetic `queue`; `cmdq` and `evtq` on it; `strtab` (the stream table); [`invalidate`] (which commands
//! forget a range); `power`, on and off; [`driver`], the operations.
//!
//! Section numbers are those of Arm IHI 0070 issue G.b.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod bits;
mod cmdq;
pub mod commands;
pub mod driver;
mod error;
pub mod event;
mod evtq;
pub mod invalidate;
mod power;
mod queue;
mod registers;
mod seams;
pub mod ste;
mod strtab;

pub use driver::{Driver, InterruptReport, Setup};
pub use error::{CommandFault, Error, Missing, Register};
pub use smmu_driver::{Domain, DomainError, Event, EventKind, IpaRange};
pub use smmu_gate::v3::Features;
