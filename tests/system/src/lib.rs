//! What the system tests consist of.
//!
//! - A [`story`] is what a run has to tell on the console: a file in `tests/stories`.
//! - A [`scenario`] is one run: which core, which bundle, which device tree, which story. One file in
//!   `tests/system/scenarios` each.
//! - [`damage`] spoils a component, and [`dtb`] a device tree, in the ways that a scenario names.
//!
//! Building, packing and running are xtask's.
#![forbid(unsafe_code)]

pub mod attacks;
pub mod damage;
pub mod dtb;
pub mod faults;
pub mod firmware;
pub mod scenario;
pub mod story;
mod watcher;

pub use watcher::{Verdict, Watcher};
