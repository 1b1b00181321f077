//! SMMU nodes.

use super::cells::List;
use crate::facts::{Defect, Smmu};
use crate::tree::NodeRef;

/// What Arm SMMUs are compatible with. One of them anywhere in the list is enough; names of nodes say nothing.
const COMPATIBLE: [&str; 14] = [
    "arm,smmu-v1",
    "arm,smmu-v2",
    "arm,smmu-v3",
    "arm,mmu-400",
    "arm,mmu-401",
    "arm,mmu-500",
    "arm,mmu-600",
    "arm,mmu-700",
    "cavium,smmu-v2",
    "marvell,ap806-smmu-500",
    "nvidia,smmu-500",
    "qcom,adreno-smmu",
    "qcom,smmu-500",
    "qcom,smmu-v2",
];

/// The node as an SMMU, if it is one.
pub(super) fn read(node: NodeRef<'_>) -> Option<Smmu> {
    let compatible = node.strings("compatible");
    if !compatible.iter().any(|name| COMPATIBLE.contains(&name.as_str())) {
        return None;
    }
    Some(Smmu {
        path: node.path().to_string(),
        compatible,
        enabled: node.is_enabled(),
        iommu_cells: node.cell("#iommu-cells"),
        global_interrupts: node.cell("#global-interrupts"),
        n_interrupts: interrupts(node),
        stream_match_mask: node.cell("stream-match-mask"),
        mmu_masters_present: node.property("mmu-masters").is_some(),
        dma_coherent: node.property("dma-coherent").is_some(),
    })
}

/// How many interrupts a node has. `interrupts-extended` names the controller of each and wins over `interrupts`, whose
/// entries are as long as the one controller says.
fn interrupts(node: NodeRef<'_>) -> Option<usize> {
    match List::of(node, "interrupts-extended") {
        List::Cells(mut cells) => {
            let mut count = 0;
            while let Some(phandle) = cells.next() {
                // What a missing size is called does not matter here.
                let entry = cells.entry(phandle, node.tree(), "#interrupt-cells", Defect::TooFewCells);
                entry.ok()?;
                count += 1;
            }
            return Some(count);
        }
        List::Absent => {}
        List::Empty | List::NoWholeCells(_) => return None,
    }
    match List::of(node, "interrupts") {
        List::Cells(cells) => {
            let size = usize::try_from(interrupt_cells(node)?).ok()?;
            cells.len().checked_div(size)
        }
        List::Absent | List::Empty => Some(0),
        List::NoWholeCells(_) => None,
    }
}

/// How long an interrupt of `node` is: asked of its `interrupt-parent`, else of the node above it, and on from there until one
/// of them says it.
fn interrupt_cells(node: NodeRef<'_>) -> Option<u32> {
    let mut asked = node;
    // A chain of controllers may be a ring: no chain is longer than the tree has nodes.
    for _ in node.tree().nodes() {
        asked = match asked.cell("interrupt-parent") {
            Some(phandle) => node.tree().by_phandle(phandle)?,
            None => asked.parent()?,
        };
        if let Some(cells) = asked.cell("#interrupt-cells") {
            return Some(cells);
        }
    }
    None
}
