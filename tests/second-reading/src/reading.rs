//! How [`Facts`] are found in a [`Tree`], one property a file.

mod cells;
mod iommu_map;
mod iommus;
mod mmu_masters;
mod smmus;

use std::collections::BTreeMap;

use crate::facts::{Facts, Smmu};
use crate::tree::Tree;

/// The SMMUs of a tree by their paths.
type Smmus<'a> = BTreeMap<&'a str, &'a Smmu>;

impl Facts {
    /// What the bindings in `tree` say.
    pub fn of(tree: &Tree) -> Facts {
        let smmus: Vec<Smmu> = tree.nodes().filter_map(smmus::read).collect();
        let by_path: Smmus<'_> = smmus.iter().map(|smmu| (smmu.path.as_str(), smmu)).collect();
        let with_smmu = tree.nodes().filter(|node| by_path.contains_key(node.path()));
        Facts {
            iommus: tree
                .nodes()
                .flat_map(|node| iommus::read(node, &by_path))
                .collect(),
            iommu_map: tree
                .nodes()
                .flat_map(|node| iommu_map::read(node, &by_path))
                .collect(),
            mmu_masters: with_smmu.flat_map(mmu_masters::read).collect(),
            smmus,
        }
    }
}

#[cfg(test)]
#[path = "reading_tests.rs"]
mod tests;
