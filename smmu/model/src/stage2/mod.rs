//! Stage-2 tables as every SMMU walks them, and what it caches of them.

#[cfg(test)]
#[cfg(feature = "std")]
pub(crate) mod testing;
mod tlb;
mod tree;
mod walk;

#[cfg(feature = "std")]
pub(crate) use tlb::Range;
pub(crate) use tlb::{IpaRange, Leaf, Tagged, Tlb};
pub use tree::Attributes;
pub(crate) use tree::{Regime, Tree, level_shift, physical_bits};
pub(crate) use walk::{WalkFault, walk};
