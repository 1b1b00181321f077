//! What `cargo xtask run` shows on a board: a story, and beside it a control in which the attacks end otherwise.

use std::path::PathBuf;

use serde::Deserialize;

use crate::bundle::MAIN_PARTITION;

/// The partition of the main story without its SMMU.
pub(crate) const NO_IOMMU_PARTITION: &str = "tests/partitions/no-iommu.toml";
/// The story of it.
pub(crate) const NO_IOMMU: &str = "no-iommu";

/// A story of a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shown {
    /// The story: a file of `tests/stories`.
    pub(crate) story: String,
    /// The partition file, from the project's root.
    pub(crate) partition: PathBuf,
    /// What the column of its attacks is called.
    pub(crate) column: String,
    /// What it is compared with.
    pub(crate) control: Option<Control>,
}

/// What a story is compared with: a run beside it, always without an SMMU.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Control {
    /// The story: a file of `tests/stories`.
    pub(crate) story: String,
    /// The partition file, from the project's root.
    pub(crate) partition: PathBuf,
    /// What the column of its attacks is called.
    pub(crate) column: String,
    /// What it is, as the beginning of a sentence that ends with "run beside this".
    pub(crate) says: String,
}

impl Shown {
    /// What every board with an SMMU shows: nothing gets through, and without the SMMU everything does.
    pub(super) fn isolation() -> Self {
        Shown {
            story: "main".to_string(),
            partition: MAIN_PARTITION.into(),
            column: "with SMMU".to_string(),
            control: Some(Control {
                story: NO_IOMMU.to_string(),
                partition: NO_IOMMU_PARTITION.into(),
                column: "control (--no-iommu)".to_string(),
                says: "the same attacks without an SMMU".to_string(),
            }),
        }
    }
}
