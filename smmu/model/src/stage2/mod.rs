//! Stage-2 tables as every SMMU walks them, and what it caches of them.

mod tlb;
mod tree;
mod walk;

pub(crate) use tlb::{IpaRange, Leaf, Range, Tagged, Tlb};
pub use tree::Attributes;
pub(crate) use tree::{Regime, Tree, level_shift, physical_bits};
pub(crate) use walk::{WalkFault, walk};
