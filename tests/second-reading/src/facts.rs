//! What the SMMU bindings in a tree say, entry by entry, in the order of the tree. As JSON, one form for each kind of entry.

use serde::{Deserialize, Serialize};

/// Everything that a tree says about SMMUs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The SMMUs.
    pub smmus: Vec<Smmu>,
    /// The entries of every `iommus`.
    pub iommus: Vec<IommusEntry>,
    /// The tuples of every `iommu-map`.
    pub iommu_map: Vec<MapTuple>,
    /// The entries of every SMMU's `mmu-masters`.
    pub mmu_masters: Vec<MmuMastersEntry>,
}

/// An SMMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Smmu {
    /// The path of its node.
    pub path: String,
    /// What it is compatible with: all of it.
    pub compatible: Vec<String>,
    /// Whether it and all above it are enabled.
    pub enabled: bool,
    /// `#iommu-cells`.
    pub iommu_cells: Option<u32>,
    /// `#global-interrupts`.
    pub global_interrupts: Option<u32>,
    /// How many interrupts it has, global ones included; nothing if their controller cannot be found.
    pub n_interrupts: Option<usize>,
    /// `stream-match-mask`.
    pub stream_match_mask: Option<u32>,
    /// Whether it has `mmu-masters`, empty or not.
    pub mmu_masters_present: bool,
    /// Whether its own node says `dma-coherent`.
    pub dma_coherent: bool,
}

/// An entry of `iommus`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IommusEntry {
    /// The master has a stream on an SMMU.
    Stream(StreamEntry),
    /// It names what is no Arm SMMU.
    Foreign(ForeignEntry),
    /// It cannot be read.
    Broken(BrokenEntry),
    /// There is none: the property is empty.
    Empty(EmptyIommus),
}

/// An entry of `iommus` that names an SMMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamEntry {
    /// The node that has the property.
    pub master: String,
    /// Where in the property it is.
    pub index: usize,
    /// Whether the master and all above it are enabled.
    pub enabled: bool,
    /// Whether the master is a PCI bridge: this is then the bridge's own DMA. Left out if it is not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub pci: bool,
    /// The SMMU.
    pub smmu: String,
    /// Whether the SMMU and all above it are enabled.
    pub smmu_enabled: bool,
    /// The stream ID as it is written, with bits under the mask.
    pub id: u32,
    /// Which of its bits do not count: from a second cell, else from the SMMU's `stream-match-mask`.
    pub mask: u32,
}

/// An entry of `iommus` that names an IOMMU that is no Arm SMMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignEntry {
    /// The node that has the property.
    pub master: String,
    /// Where in the property it is.
    pub index: usize,
    /// Whether the master and all above it are enabled.
    pub enabled: bool,
    /// The node that the entry names.
    pub iommu: String,
    /// True.
    pub foreign: bool,
}

/// An entry of `iommus` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenEntry {
    /// The node that has the property.
    pub master: String,
    /// Where in the property it is.
    pub index: usize,
    /// What is wrong.
    pub error: Defect,
    /// The node that the entry names, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iommu: Option<String>,
    /// If the property cannot be read on from here: how many cells are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells_left: Option<usize>,
}

/// An `iommus` without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyIommus {
    /// The node that has the property.
    pub master: String,
    /// True.
    pub empty: bool,
}

/// A tuple of `iommu-map`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MapTuple {
    /// It maps IDs of the bus to an SMMU.
    Window(IommuMapTuple),
    /// It maps them to what is no Arm SMMU.
    Foreign(ForeignTuple),
    /// It cannot be read.
    Broken(BrokenTuple),
    /// There is none: the property is empty.
    Empty(EmptyIommuMap),
}

/// A tuple of `iommu-map` that names an SMMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IommuMapTuple {
    /// The node that has the property: a PCI host bridge, or another bus.
    pub host: String,
    /// Where in the property it is.
    pub index: usize,
    /// Whether the bus and all above it are enabled.
    pub enabled: bool,
    /// The first ID on the bus.
    pub rid_base: u32,
    /// The SMMU.
    pub smmu: String,
    /// Whether the SMMU and all above it are enabled.
    pub smmu_enabled: bool,
    /// The stream ID of the first.
    pub out_base: u32,
    /// The mask that the tuple itself has, if it has one.
    pub mask: Option<u32>,
    /// How many IDs.
    pub length: u32,
    /// `iommu-map-mask` of the bus; all ones if it has none.
    pub map_mask: u32,
}

/// A tuple of `iommu-map` that names an IOMMU that is no Arm SMMU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignTuple {
    /// The node that has the property.
    pub host: String,
    /// Where in the property it is.
    pub index: usize,
    /// Whether the bus and all above it are enabled.
    pub enabled: bool,
    /// The first ID on the bus.
    pub rid_base: u32,
    /// How many IDs.
    pub length: u32,
    /// The node that the tuple names.
    pub iommu: String,
    /// True.
    pub foreign: bool,
}

/// A tuple of `iommu-map` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenTuple {
    /// The node that has the property.
    pub host: String,
    /// Where in the property it is.
    pub index: usize,
    /// What is wrong.
    pub error: Defect,
    /// The node that the tuple names, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iommu: Option<String>,
    /// If the property cannot be read on from here: how many cells are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells_left: Option<usize>,
}

/// An `iommu-map` without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyIommuMap {
    /// The node that has the property.
    pub host: String,
    /// True.
    pub empty: bool,
}

/// An entry of an SMMU's `mmu-masters`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MmuMastersEntry {
    /// A master and its stream IDs.
    Listed(ListedMaster),
    /// It cannot be read.
    Broken(BrokenMaster),
    /// There is none: the property is empty.
    Empty(EmptyMmuMasters),
}

/// An entry of `mmu-masters` that names a master.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedMaster {
    /// The SMMU, which has the property.
    pub smmu: String,
    /// Where in the property it is.
    pub index: usize,
    /// The master.
    pub master: String,
    /// Whether the master is a PCI bridge: the IDs are then not the stream IDs of what is behind it.
    pub pci: bool,
    /// The stream IDs.
    pub ids: Vec<u32>,
    /// Whether the master and all above it are enabled.
    pub enabled: bool,
}

/// An entry of `mmu-masters` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokenMaster {
    /// The SMMU, which has the property.
    pub smmu: String,
    /// Where in the property it is.
    pub index: usize,
    /// What is wrong.
    pub error: Defect,
    /// The node that the entry names, if it names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// If the property cannot be read on from here: how many cells are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cells_left: Option<usize>,
}

/// An `mmu-masters` without a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmptyMmuMasters {
    /// The SMMU, which has the property.
    pub smmu: String,
    /// True.
    pub empty: bool,
}

/// Why an entry cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Defect {
    /// The master in `mmu-masters` does not say how many IDs it has.
    #[serde(rename = "no #stream-id-cells")]
    NoStreamIdCells,
    /// The IOMMU does not say how long a specifier is.
    #[serde(rename = "no #iommu-cells")]
    NoIommuCells,
    /// The IOMMU is an Arm SMMU, and no specifier of one has this length.
    #[serde(rename = "unfit #iommu-cells")]
    UnfitIommuCells,
    /// No node has this phandle.
    #[serde(rename = "dangling phandle")]
    DanglingPhandle,
    /// The phandle is 0, which stands for nothing.
    #[serde(rename = "phandle 0")]
    ZeroPhandle,
    /// The property ends in the middle of the entry.
    #[serde(rename = "too few cells")]
    TooFewCells,
    /// The length of the property is no multiple of four bytes, so none of it is read.
    #[serde(rename = "no whole cells")]
    NoWholeCells,
}

impl Smmu {
    /// The mask of a specifier that has none.
    pub(crate) fn default_mask(&self) -> u32 {
        // `stream-match-mask` is of SMMUv1 and v2.
        if self.is_v3() {
            0
        } else {
            self.stream_match_mask.unwrap_or(0)
        }
    }

    /// Whether specifiers of `cells` cells are for this kind of SMMU.
    pub(crate) fn takes_specifiers_of(&self, cells: u32) -> bool {
        cells == 1 || cells == 2 && !self.is_v3()
    }

    fn is_v3(&self) -> bool {
        let is_v3 = |name: &String| ["arm,smmu-v3", "arm,mmu-600", "arm,mmu-700"].contains(&name.as_str());
        self.compatible.iter().any(is_v3)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
