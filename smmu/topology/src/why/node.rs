//! What is to be said of a node that is no master.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use devicetree::{Node, NodeId, ReadError, Tree};

use crate::bus::Bus;
use crate::capability;
use crate::graph::Graph;
use crate::master::Identity;

impl Graph {
    /// What a node is that is no master: an SMMU, a bus, or one of which nothing says that it does DMA. `segment` is that of an enabled host
    /// bridge, as `Tree::pci_segments` has it.
    pub fn why_no_master(
        &self,
        tree: &Tree,
        node: NodeId,
        segment: Option<&Result<u16, ReadError>>,
    ) -> String {
        if self.smmus().iter().any(|smmu| smmu.node == node) {
            return format!("{}: an SMMU, which no guest is ever given\n", tree.node(node));
        }
        match self.buses().iter().find(|bus| bus.node == node) {
            Some(bus) => self.whole_bus(tree, bus, segment),
            None => self.unnamed(tree.node(node)),
        }
    }

    fn whole_bus(&self, tree: &Tree, bus: &Bus, segment: Option<&Result<u16, ReadError>>) -> String {
        let path = &bus.path;
        let mut text = if bus.is_pci {
            let ask = "a PCI host bridge, no device";
            let node = tree.node(bus.node);
            match (node.disabled_by(), segment) {
                (Some(by), _) => format!("{path}: {ask}; disabled by the status of {}\n", by.path()),
                (None, Some(Err(error))) => {
                    format!("{path}: {ask}, and its segment cannot be told: {error}\n")
                }
                (None, Some(Ok(segment))) => {
                    let bus = node
                        .pci_bus_range()
                        .map_or(1, |(first, last)| last.min(first.saturating_add(1)));
                    format!("{path}: {ask}: ask for a function behind it, as {segment:04x}:{bus:02x}:00.0\n")
                }
                (None, None) => format!("{path}: {ask}\n"),
            }
        } else {
            format!(
                "{path}: a bus whose devices only its own driver can tell apart: none of them can be given to a guest\n"
            )
        };
        if let Some(refusal) = self.refusal_of_bus(bus) {
            text += &format!("  {refusal}\n");
        }
        for (part, _) in self.refused_requesters(bus) {
            text += &format!("  {part}\n");
        }
        text
    }

    /// Of a node that no binding names, and that is not known to do DMA. Those below it that are named may be what is meant.
    fn unnamed(&self, node: Node<'_>) -> String {
        let below: Vec<&str> = self
            .masters()
            .iter()
            .filter_map(|master| match &master.identity {
                Identity::Platform { node: id, path } => Some((node.tree().node(*id), path.as_str())),
                Identity::Pci { .. } => None,
            })
            .filter(|(master, _)| master.ancestors().any(|above| above == node))
            .map(|(_, path)| path)
            .collect();
        if !below.is_empty() {
            return format!(
                "{node}: nothing says of it that it does DMA, but of what is below it; ask for that: {}\n",
                below.join(", ")
            );
        }
        if let Some(what) = capability::never_given(node) {
            return format!("{node}: {what}\n");
        }
        let served = if node.has("dmas") {
            "  `dmas`: a DMA controller copies for it, which a guest is not given with it\n"
        } else {
            ""
        };
        format!(
            "{node}: no `iommus` and no `mmu-masters` speaks of it, and nothing says whether it does DMA: neither its \
             `compatible` nor `#dma-cells`, `dma-coherent` or `dma-noncoherent`\n{served}  \
             so: uncovered if it does DMA; nothing translates or stops that, and only `dma = \"trusted\"` gives it to a guest\n"
        )
    }
}
