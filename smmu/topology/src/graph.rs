//! The graph: SMMUs, masters, groups and diagnostics of one tree.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use devicetree::{NodeId, Tree};

use crate::bindings::{iommu_map, iommus, mmu_masters};
use crate::claims::{Builder, Subject, at_master};
use crate::diagnostic::{Defect, Diagnostic, Diagnostics};
use crate::groups::{self, Group};
use crate::master::{Coverage, Identity, Master, MasterIndex, PciFunction, Refusal, Stream};
use crate::smmu::{Smmu, SmmuIndex};

/// Which device emits which stream on which SMMU.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    smmus: Vec<Smmu>,
    masters: Vec<Master>,
    groups: Vec<Group>,
    diagnostics: Diagnostics,
    by_node: BTreeMap<NodeId, MasterIndex>,
    by_path: BTreeMap<alloc::string::String, MasterIndex>,
    by_address: BTreeMap<(u16, u16), MasterIndex>,
}

/// What the graph says of a device that may or may not be described in it.
#[derive(Debug, Clone, Copy)]
pub struct MasterView<'g> {
    /// Its position in the graph, if it is described.
    pub index: Option<MasterIndex>,
    /// Its streams.
    pub streams: &'g [Stream],
    /// Whether an SMMU stands between it and memory. A device that is not described is uncovered.
    pub coverage: &'g Coverage,
}

static UNCOVERED: Coverage = Coverage::Uncovered;

impl Graph {
    /// Reads all bindings of the tree. Never fails as a whole: what is not understood becomes a diagnostic, and the
    /// masters that it is about are refused.
    ///
    /// `functions` are all PCI functions that the walk over the configuration spaces found.
    pub fn build(tree: &Tree, functions: &[PciFunction]) -> Graph {
        let mut builder = Builder::new(tree, functions);
        mmu_masters::read(&mut builder);
        iommus::read(&mut builder);
        iommu_map::read(&mut builder);

        let mut graph = Graph::default();
        let mut claims = core::mem::take(&mut builder.claims);
        for index in 0..functions.len() {
            // A function that no binding describes is a master all the same.
            claims.entry(Subject::Function(index)).or_default();
        }
        for (subject, claims) in claims {
            let identity = builder.identity(subject);
            let enabled = match &identity {
                Identity::Platform { node, .. }
                | Identity::Pci {
                    host_bridge: node, ..
                } => tree.node(*node).is_enabled(),
            };
            let (streams, coverage) = match claims.is_empty() {
                true => (Vec::new(), Coverage::Uncovered),
                false => builder.settle(subject, claims),
            };
            graph.masters.push(Master {
                identity,
                streams,
                coverage,
                enabled,
            });
        }
        graph.smmus = builder.smmus;
        graph.diagnostics = builder.diagnostics;
        graph.index(tree);
        graph.groups = groups::settle(tree, &graph.smmus, &mut graph.masters, &mut graph.diagnostics);
        graph.note_unnamed();
        graph.measure();
        graph
    }

    /// All SMMUs in the order of the tree, disabled ones as well.
    pub fn smmus(&self) -> &[Smmu] {
        &self.smmus
    }

    /// One SMMU.
    pub fn smmu(&self, index: SmmuIndex) -> Option<&Smmu> {
        self.smmus.get(index.0)
    }

    /// All masters: the nodes that a binding names, then the PCI functions in the order they were given.
    pub fn masters(&self) -> &[Master] {
        &self.masters
    }

    /// One master.
    pub fn master(&self, index: MasterIndex) -> Option<&Master> {
        self.masters.get(index.0)
    }

    /// The groups. Every master is in exactly one.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The group of a master.
    pub fn group_of(&self, index: MasterIndex) -> Option<&Group> {
        self.groups.iter().find(|group| group.masters.contains(&index))
    }

    /// What is wrong with the tree: the first thousand or so defects. Verdicts take all of them into account.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics.kept
    }

    /// How many further defects there are.
    pub fn omitted_diagnostics(&self) -> usize {
        self.diagnostics.omitted
    }

    /// What is known of the node at `path`, which must be its full path. A node that no binding names is uncovered.
    pub fn master_for_path(&self, path: &str) -> MasterView<'_> {
        self.view(self.by_path.get(path))
    }

    /// What is known of a node. One that no binding names is uncovered.
    pub fn master_for_node(&self, node: NodeId) -> MasterView<'_> {
        self.view(self.by_node.get(&node))
    }

    /// What is known of a PCI function. One that was not given to [`Graph::build`] is uncovered.
    pub fn master_for_function(&self, segment: u16, bus: u8, device: u8, function: u8) -> MasterView<'_> {
        let requester = u16::from(bus) << 8 | u16::from(device & 0x1f) << 3 | u16::from(function & 7);
        self.view(self.by_address.get(&(segment, requester)))
    }

    /// Refuses every master with a stream that the hardware of an SMMU cannot tell apart, and those of its group.
    ///
    /// The core calls it when the gate has read how many bits of stream ID the SMMU has: one absurd ID in the tree
    /// must not cost the other masters their driver.
    pub fn limit_stream_bits(&mut self, tree: &Tree, smmu: SmmuIndex, bits: u32) {
        let Some(path) = self.smmu(smmu).map(|smmu| smmu.path.clone()) else {
            return;
        };
        let beyond = |stream: &Stream| stream.smmu == smmu && bits < 32 && stream.highest() >> bits != 0;
        for master in &mut self.masters {
            if !master.coverage.is_refused() && master.streams.iter().any(beyond) {
                let defect = Defect::TooWide {
                    smmu: path.clone(),
                    bits,
                };
                let because = at_master(tree, &master.identity, defect);
                self.diagnostics.push(because.clone());
                master.coverage = Coverage::Refused(Refusal {
                    because,
                    blocked: true,
                });
            }
        }
        self.groups = groups::settle(tree, &self.smmus, &mut self.masters, &mut self.diagnostics);
        self.measure();
    }

    fn view(&self, index: Option<&MasterIndex>) -> MasterView<'_> {
        match index.and_then(|index| self.master(*index)) {
            Some(master) => MasterView {
                index: index.copied(),
                streams: &master.streams,
                coverage: &master.coverage,
            },
            None => MasterView {
                index: None,
                streams: &[],
                coverage: &UNCOVERED,
            },
        }
    }

    fn index(&mut self, tree: &Tree) {
        let mut twice = BTreeSet::new();
        for (index, master) in self.masters.iter().enumerate() {
            let index = MasterIndex(index);
            match &master.identity {
                Identity::Platform { node, path } => {
                    self.by_node.insert(*node, index);
                    self.by_path.insert(path.clone(), index);
                }
                Identity::Pci {
                    segment,
                    requester_id,
                    ..
                } => {
                    if let Some(other) = self.by_address.insert((*segment, *requester_id), index) {
                        twice.extend([index, other]);
                    }
                }
            }
        }
        for index in twice {
            let Some(master) = self.masters.get_mut(index.0) else {
                continue;
            };
            let defect = Defect::DuplicateFunction {
                function: alloc::format!("{}", master.identity),
            };
            let because = Diagnostic {
                blocked: false,
                ..at_master(tree, &master.identity, defect)
            };
            self.diagnostics.push(because.clone());
            master.coverage = Coverage::Refused(Refusal {
                because,
                blocked: false,
            });
        }
    }

    fn note_unnamed(&mut self) {
        let named: BTreeSet<SmmuIndex> = self
            .masters
            .iter()
            .flat_map(|master| &master.streams)
            .map(|stream| stream.smmu)
            .collect();
        for (index, smmu) in self.smmus.iter().enumerate() {
            if smmu.is_usable() && !named.contains(&SmmuIndex(index)) {
                let (node, property) = (smmu.path.clone(), "compatible");
                let defect = Defect::Unnamed;
                self.diagnostics.push(Diagnostic {
                    node,
                    property,
                    cell: None,
                    value: None,
                    defect,
                    blocked: false,
                });
            }
        }
    }

    /// Finds out for each SMMU which stream ID is the highest of those that may be let through.
    fn measure(&mut self) {
        for smmu in &mut self.smmus {
            smmu.max_stream = None;
        }
        for master in self
            .masters
            .iter()
            .filter(|master| master.coverage == Coverage::Covered)
        {
            for stream in &master.streams {
                if let Some(smmu) = self.smmus.get_mut(stream.smmu.0) {
                    smmu.max_stream = smmu.max_stream.max(Some(stream.highest()));
                }
            }
        }
    }
}
