//! The gate: shuts an SMMU before any guest or bus master runs, and long before a driver for it exists.
//!
//! The core carries this crate and no SMMU driver. One module for each SMMU architecture: [`v2`], which is for SMMUv1
//! as well, and [`v3`]. A shut SMMU aborts every transaction of every stream; whatever firmware left behind is looked at
//! and reported, never assumed. The crate knows registers only: who emits which stream is not its business.
//!
//! Section numbers are those of Arm IHI 0070 issue G.b and, in [`v2`], Arm IHI 0062 issue D.c.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod found;
pub mod v2;
pub mod v3;

pub use found::Found;
pub use v2::{V2Report, shut_v2};
pub use v3::{Features, GateError, V3Report, shut_v3};
