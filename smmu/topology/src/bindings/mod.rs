//! The three ways in which a tree says who emits which stream.

pub(crate) mod iommu_map;
pub(crate) mod iommus;
pub(crate) mod mmu_masters;
