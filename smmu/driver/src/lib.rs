//! What SMMU drivers of every version are told, and what they tell: stage-2 address spaces ([`Domain`]), ranges of
//! them ([`IpaRange`]), and events ([`Event`]). Plain values, without registers and without memory.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod domain;
mod event;
mod range;

pub use domain::{Domain, DomainError, Walker};
pub use event::{Event, EventKind};
pub use range::IpaRange;
