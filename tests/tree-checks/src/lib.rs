//! What must hold for any device tree, however damaged.
//!
//! Fuzzers call these with whatever they make up (`tests/fuzz`); the tests here call them with what fuzzers found worth
//! keeping. A check that does not hold panics.
#![forbid(unsafe_code)]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a check that does not hold panics: that is what it is for"
)]

#[path = "../../dts/blob.rs"]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the tests that share it need more of it")
)]
mod blob;
#[cfg(test)]
#[path = "../../dts/fixtures.rs"]
#[expect(dead_code, reason = "other tests compare what fixtures say")]
mod fixtures;
mod gate;
mod graph;
mod make;
mod promises;
#[cfg(test)]
#[path = "../../dts/source.rs"]
mod source;

pub use gate::check_gate;
pub use graph::check_graph;
pub use make::make_tree;

/// The blob that an input stands for: the bytes themselves, or a tree that is made of them. The first byte decides.
pub fn blob(input: &[u8]) -> Vec<u8> {
    match input.split_first() {
        Some((first, rest)) if first & 1 != 0 => make_tree(rest),
        Some((_, rest)) => rest.to_vec(),
        None => Vec::new(),
    }
}
