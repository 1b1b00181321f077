//! Why a device can or cannot be given to a guest: the chain from its node to the verdict.

mod node;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};

use devicetree::Tree;

use crate::graph::Graph;
use crate::master::{Binding, Coverage, Identity, Master, MasterIndex, RegionKind, Source};
use crate::report::Streams;

/// The chain of reasons of one master, as text of many lines.
#[derive(Debug, Clone, Copy)]
pub struct Why<'g> {
    graph: &'g Graph,
    tree: &'g Tree,
    index: MasterIndex,
    knows_functions: bool,
}

impl Graph {
    /// Why a master is covered, uncovered or refused.
    pub fn why<'g>(&'g self, tree: &'g Tree, index: MasterIndex) -> Why<'g> {
        Why {
            graph: self,
            tree,
            index,
            knows_functions: true,
        }
    }
}

impl<'g> Why<'g> {
    /// The same for who reads a tree and no machine: what PCI functions there are, and which of them can reach each other,
    /// is not known then.
    pub fn without_functions(self) -> Why<'g> {
        Why {
            knows_functions: false,
            ..self
        }
    }
}

impl Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(master) = self.graph.master(self.index) else {
            return writeln!(f, "no such device");
        };
        self.place(f, master)?;
        for source in &master.sources {
            self.source(f, source)?;
        }
        if master.sources.is_empty() {
            writeln!(f, "  no `iommus`, `iommu-map` or `mmu-masters` speaks of it")?;
        }
        if let Some(capability) = master.capability {
            writeln!(f, "  it does DMA: {capability}")?;
        }
        self.group(f, master)?;
        self.extras(f, master)?;
        self.verdict(f, master)
    }
}

impl Why<'_> {
    fn place(&self, f: &mut fmt::Formatter<'_>, master: &Master) -> fmt::Result {
        write!(f, "{}", master.identity)?;
        let node = match &master.identity {
            Identity::Platform { node, .. } => *node,
            Identity::Pci {
                host_bridge,
                host_path,
                requester_id,
                ..
            } => {
                write!(f, ": requester ID {requester_id:#06x} behind {host_path}")?;
                *host_bridge
            }
        };
        match self.tree.node(node).disabled_by() {
            Some(by) => writeln!(f, "; disabled by the status of {by}"),
            None => writeln!(f, "; enabled"),
        }
    }

    fn source(&self, f: &mut fmt::Formatter<'_>, source: &Source) -> fmt::Result {
        let binding = match source.binding {
            Binding::Legacy => "legacy binding",
            Binding::Generic => "generic binding",
        };
        writeln!(f, "  {} of {} ({binding}) says:", source.property, source.node)?;
        for (index, smmu) in self.graph.smmus().iter().enumerate() {
            let streams: Vec<_> = source
                .streams
                .iter()
                .filter(|stream| stream.smmu.0 == index)
                .collect();
            if !streams.is_empty() {
                let (path, kind) = (&smmu.path, smmu.kind.name);
                writeln!(f, "    stream {} at {path} ({kind})", Streams(&streams))?;
            }
        }
        match &source.refusal {
            Some(refusal) => writeln!(f, "    {refusal}"),
            None if source.streams.is_empty() => writeln!(f, "    nothing"),
            None => Ok(()),
        }
    }

    /// Whether it is a function about whose neighbours nothing is known.
    fn is_function_alone(&self, master: &Master) -> bool {
        !self.knows_functions && matches!(master.identity, Identity::Pci { .. })
    }

    fn group(&self, f: &mut fmt::Formatter<'_>, master: &Master) -> fmt::Result {
        let alone = self.is_function_alone(master);
        if alone {
            writeln!(
                f,
                "  which other functions share its streams, or are in its group, shows only on the running machine"
            )?;
        }
        let Some(group) = self
            .graph
            .group_of(self.index)
            .filter(|group| group.masters.len() > 1)
        else {
            if alone {
                return Ok(());
            }
            return writeln!(f, "  no other device is in its group");
        };
        let others: Vec<String> = group
            .masters
            .iter()
            .filter(|other| **other != self.index)
            .filter_map(|other| self.graph.master(*other))
            .map(|other| other.identity.to_string())
            .collect();
        write!(f, "  one group with {}: ", others.join(", "))?;
        if !group.peers_at.is_empty() {
            write!(f, "they may reach each other at {}; ", group.peers_at.join(", "))?;
        }
        writeln!(f, "all of them go to the same guest, or none")
    }

    fn extras(&self, f: &mut fmt::Formatter<'_>, master: &Master) -> fmt::Result {
        let coherent = if master.coherent {
            "snoops"
        } else {
            "does not snoop"
        };
        writeln!(f, "  its DMA {coherent} the CPU's caches")?;
        for route in &master.messages {
            let controller = self.graph.msi_controllers().get(route.controller.0);
            write!(
                f,
                "  messages go to {}",
                controller.map_or("?", |found| found.path.as_str())
            )?;
            match route.device_id {
                Some(id) => writeln!(f, " as device {id:#x}")?,
                None => writeln!(f)?,
            }
        }
        for region in &master.regions {
            let kind = match region.kind {
                RegionKind::Identity => "has to see its own region, DMA may be under way there",
                RegionKind::Reserved => "must not be given addresses",
            };
            writeln!(f, "  {kind}: {} ({})", region.range, region.path)?;
        }
        Ok(())
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>, master: &Master) -> fmt::Result {
        match &master.coverage {
            Coverage::Covered if master.enabled && self.is_function_alone(master) => {
                writeln!(
                    f,
                    "  so: covered; it can be given to a guest, with the rest of its group, once all its SMMUs have drivers"
                )
            }
            Coverage::Covered if master.enabled => {
                writeln!(
                    f,
                    "  so: covered; it can be given to a guest once all its SMMUs have drivers"
                )
            }
            Coverage::Covered => writeln!(
                f,
                "  so: covered; but its node is disabled, so its streams stay blocked"
            ),
            Coverage::Uncovered => writeln!(
                f,
                "  so: uncovered; nothing translates or stops its DMA, and only `dma = \"trusted\"` gives it to a guest"
            ),
            Coverage::Refused(refusal) => {
                let because = &refusal.because;
                // What a source above said is not said again in full.
                let said = master
                    .sources
                    .iter()
                    .any(|source| source.refusal.as_ref() == Some(refusal));
                if !said {
                    writeln!(f, "  {because}")?;
                }
                writeln!(
                    f,
                    "  so: refused ({}): {}; {}",
                    because.defect.kind(),
                    because.isolation(),
                    because.defect.remedy()
                )
            }
        }
    }
}
