//! The gate: shuts an SMMU before any guest or bus master runs, and long before a driver for it exists.
//!
//! The core carries this crate and no SMMU driver. One file for each SMMU architecture: [`v3`]. A shut SMMU
//! aborts every transaction of every stream; whatever firmware left behind is looked at and reported, never
//! assumed. The crate knows registers only: who emits which stream is not its business.
//!
//! Section numbers are those of Arm IHI 0070 issue G.b.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod v3;

pub use v3::{Features, Found, GateError, V3Report, shut_v3};
