//! `mmu-masters` of SMMUs: the legacy binding.

use super::cells::List;
use crate::facts::{BrokenMaster, Defect, EmptyMmuMasters, ListedMaster, MmuMastersEntry};
use crate::tree::NodeRef;

/// The entries of the SMMU's `mmu-masters`. Each is as long as the master in it says.
pub(super) fn read(node: NodeRef<'_>) -> Vec<MmuMastersEntry> {
    let smmu = node.path().to_string();
    let mut cells = match List::of(node, "mmu-masters") {
        List::Absent => return Vec::new(),
        List::Empty => return vec![MmuMastersEntry::Empty(EmptyMmuMasters { smmu, empty: true })],
        List::NoWholeCells(whole) => {
            return vec![MmuMastersEntry::Broken(BrokenMaster {
                smmu,
                index: 0,
                error: Defect::NoWholeCells,
                master: None,
                cells_left: Some(whole),
            })];
        }
        List::Cells(cells) => cells,
    };
    let mut entries = Vec::new();
    while let Some(phandle) = cells.next() {
        let index = entries.len();
        let smmu = smmu.clone();
        let entry = cells.entry(phandle, node.tree(), "#stream-id-cells", Defect::NoStreamIdCells);
        entries.push(match entry {
            Ok((master, ids)) => MmuMastersEntry::Listed(ListedMaster {
                smmu,
                index,
                master: master.path().to_string(),
                pci: master.is_pci(),
                ids,
                enabled: master.is_enabled(),
            }),
            Err(broken) => MmuMastersEntry::Broken(BrokenMaster {
                smmu,
                index,
                error: broken.error,
                master: broken.named.map(|node| node.path().to_string()),
                cells_left: cells.left_by(&broken),
            }),
        });
    }
    entries
}
