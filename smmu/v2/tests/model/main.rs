//! The driver on the strict model: random operations beside a specification of who reaches what, with accesses between
//! any two changes; and the same with a step left out, which must be noticed.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]
#![expect(clippy::panic, reason = "a helper of a test fails by panicking")]
#![expect(clippy::indexing_slicing, reason = "a helper of a test fails by panicking")]

mod controls;
mod machine;
mod operations;
mod pages;
mod properties;
mod spec;
mod streams;
mod two;
mod world;
