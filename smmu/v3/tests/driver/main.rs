//! The driver against the strict model of an SMMUv3: what it does, in which order, and what it leaves behind.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails by panicking"
)]

mod common;
mod entries;
mod events;
mod faults;
mod invalidation;
mod lifecycle;
mod residue;
