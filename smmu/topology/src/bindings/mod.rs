//! What a tree says of streams, messages and regions: one property a file.

mod doubt;
pub(crate) mod iommu_addresses;
pub(crate) mod iommu_map;
pub(crate) mod iommus;
pub(crate) mod mmu_masters;
pub(crate) mod msi;
