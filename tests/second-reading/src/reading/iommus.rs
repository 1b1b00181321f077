//! `iommus` of masters: the generic binding.

use super::Smmus;
use super::cells::{Broken, Cells, List};
use crate::facts::{BrokenEntry, Defect, EmptyIommus, ForeignEntry, IommusEntry, StreamEntry};
use crate::tree::NodeRef;

/// The entries of the node's `iommus`.
pub(super) fn read(node: NodeRef<'_>, smmus: &Smmus<'_>) -> Vec<IommusEntry> {
    let master = node.path().to_string();
    let mut cells = match List::of(node, "iommus") {
        List::Absent => return Vec::new(),
        List::Empty => return vec![IommusEntry::Empty(EmptyIommus { master, empty: true })],
        List::NoWholeCells(whole) => {
            return vec![IommusEntry::Broken(BrokenEntry {
                master,
                index: 0,
                error: Defect::NoWholeCells,
                iommu: None,
                cells_left: Some(whole),
            })];
        }
        List::Cells(cells) => cells,
    };
    let mut entries = Vec::new();
    while let Some(phandle) = cells.next() {
        let index = entries.len();
        let read = entry(node, index, phandle, &mut cells, smmus);
        entries.push(read.unwrap_or_else(|broken| {
            IommusEntry::Broken(BrokenEntry {
                master: master.clone(),
                index,
                error: broken.error,
                iommu: broken.named.map(|node| node.path().to_string()),
                cells_left: cells.left_by(&broken),
            })
        }));
    }
    entries
}

fn entry<'t>(
    node: NodeRef<'t>,
    index: usize,
    phandle: u32,
    cells: &mut Cells<'t>,
    smmus: &Smmus<'_>,
) -> Result<IommusEntry, Broken<'t>> {
    let (iommu, specifier) = cells.entry(phandle, node.tree(), "#iommu-cells", Defect::NoIommuCells)?;
    let master = node.path().to_string();
    let Some(smmu) = smmus.get(iommu.path()) else {
        return Ok(IommusEntry::Foreign(ForeignEntry {
            master,
            index,
            enabled: node.is_enabled(),
            iommu: iommu.path().to_string(),
            foreign: true,
        }));
    };
    let (id, mask) = match specifier.as_slice() {
        [id] => (*id, smmu.default_mask()),
        [id, mask] if smmu.takes_specifiers_of(2) => (*id, *mask),
        _ => {
            return Err(Broken {
                error: Defect::UnfitIommuCells,
                named: Some(iommu),
                ends_list: false,
            });
        }
    };
    Ok(IommusEntry::Stream(StreamEntry {
        master,
        index,
        enabled: node.is_enabled(),
        pci: node.is_pci(),
        smmu: smmu.path.clone(),
        smmu_enabled: smmu.enabled,
        id,
        mask,
    }))
}
