//! The driver over registers that are plain memory. After every write it is checked that no stream passes untranslated
//! and that none is matched twice.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

mod common;
#[path = "../../../gate/tests/fake/mod.rs"]
mod fake;
mod faults;
mod formats;
mod invalidation;
mod lifecycle;
mod order;
mod properties;
mod shortage;
