//! The graph: SMMUs, masters, groups and diagnostics of one tree.

mod undescribed;
mod width;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use devicetree::{NodeId, Tree};

use crate::bindings::{iommu_addresses, iommu_map, iommus, mmu_masters, msi};
use crate::bus::{self, Bus};
use crate::capability;
use crate::claims::{Builder, Subject, at_master, function_identity};
use crate::diagnostic::{Defect, Diagnostic, Diagnostics, Effect, Severity};
use crate::groups::{self, Group, Meeting};
use crate::limits::{self, Room};
use crate::master::{Coverage, Identity, Master, MasterIndex, PciFunction, Refusal, Stream};
use crate::messages::MsiController;
use crate::shared::Emissions;
use crate::smmu::{Smmu, SmmuIndex};

/// Which device emits which stream on which SMMU.
#[derive(Debug, Clone)]
pub struct Graph {
    smmus: Vec<Smmu>,
    buses: Vec<Bus>,
    masters: Vec<Master>,
    msi_controllers: Vec<MsiController>,
    groups: Vec<Group>,
    /// By master: the position of its group.
    group_of: Vec<usize>,
    diagnostics: Diagnostics,
    /// By master: where it may meet other PCI functions.
    meetings: Vec<Option<Meeting>>,
    by_node: BTreeMap<NodeId, MasterIndex>,
    by_path: BTreeMap<String, MasterIndex>,
    by_address: BTreeMap<(u16, u16), MasterIndex>,
    /// What is said of devices that are not described: that they are uncovered, unless the tree could not be read.
    not_described: Coverage,
    /// What may be emitted by somebody who is not known well enough to have it.
    emissions: Emissions,
    /// How many enabled devices with registers there are of which nothing says whether they do DMA.
    unknown_devices: usize,
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

/// How many stream matches an SMMU has to hold at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Demand {
    /// For all covered masters whose nodes are enabled.
    pub enabled: usize,
    /// For all covered masters.
    pub all: usize,
}

impl Graph {
    /// Reads all bindings of the tree. Never fails as a whole: what is not understood becomes a diagnostic, and the
    /// masters that it is about are refused.
    ///
    /// `functions` are all PCI functions that the walk over the configuration spaces found.
    pub fn build(tree: &Tree, functions: &[PciFunction]) -> Graph {
        Graph::build_gated(tree, functions, &[])
    }

    /// As [`build`](Self::build), for who has tried to shut the SMMUs: why each of [`find_smmus`](crate::find_smmus) is not
    /// shut, if it is not. Nobody may then say of its streams that they are blocked.
    pub fn build_gated(tree: &Tree, functions: &[PciFunction], not_shut: &[Option<&str>]) -> Graph {
        Graph::build_all(tree, functions, Room::CORE, not_shut)
    }

    /// As [`build`](Self::build), for who has more memory than a hypervisor, or less.
    pub fn build_within(tree: &Tree, functions: &[PciFunction], room: Room) -> Graph {
        Graph::build_all(tree, functions, room, &[])
    }

    fn build_all(tree: &Tree, functions: &[PciFunction], room: Room, not_shut: &[Option<&str>]) -> Graph {
        let devices = capability::devices(tree);
        if let Some(because) = limits::too_large(tree, &devices, functions, room) {
            return Graph::refuse_everything(tree, functions, room, because);
        }
        let mut builder = Builder::new(tree, functions, room);
        for (smmu, why) in builder.smmus.iter_mut().zip(not_shut) {
            let why = why.map(ToString::to_string);
            smmu.unusable = smmu.unusable.take().or(why);
        }
        mmu_masters::read(&mut builder);
        iommus::read(&mut builder);
        let mut buses = bus::read(&mut builder);
        bus::refuse_contradictions(&mut builder, &mut buses);
        for bus in &buses {
            iommu_map::apply(&mut builder, bus);
        }

        let mut graph = Graph::empty();
        let mut claims = core::mem::take(&mut builder.claims);
        for index in 0..functions.len() {
            // A function that no binding describes is a master all the same.
            claims.entry(Subject::Function(index)).or_default();
        }
        let capabilities = graph.add_undescribed(&builder, devices, &buses, &mut claims);
        for (subject, claims) in claims {
            let identity = builder.identity(subject);
            let (node, bus) = match &identity {
                Identity::Platform { node, .. } => (*node, None),
                Identity::Pci { host_bridge, .. } => (*host_bridge, bus_at(&buses, *host_bridge)),
            };
            let (streams, coverage, sources) = builder.settle(subject, claims);
            let function = match subject {
                Subject::Function(index) => functions.get(index),
                Subject::Node(_) => None,
            };
            let messages = match (function, bus) {
                (Some(function), Some(bus)) => bus.messages_of(function),
                _ => msi::read_parents(&mut builder, node),
            };
            let meeting = function.and_then(|function| Some((function.host_bridge, function.peers_at?)));
            graph.meetings.push(meeting);
            graph.masters.push(Master {
                identity,
                streams,
                coverage,
                enabled: tree.node(node).is_enabled(),
                coherent: tree.node(node).is_dma_coherent(),
                sources,
                capability: capabilities.get(&node).copied().filter(|_| function.is_none()),
                messages,
                regions: Vec::new(),
            });
        }
        graph.index();
        graph.add_regions(&mut builder);
        graph.refuse_twins(tree, &mut builder.diagnostics);
        bus::suspect_unwalked(&buses, &mut builder);
        graph.emissions = core::mem::take(&mut builder.emissions);
        let highest = |index: SmmuIndex| builder.smmus.get(index.0).map(|smmu| smmu.kind.highest());
        for because in graph.emissions.refuse(tree, highest, &mut graph.masters) {
            builder.report(because);
        }
        for (bus, other) in graph.emissions.meeting_buses() {
            let other = tree.path(other);
            let defect = Defect::BusesMeet { other };
            let property = if tree.node(bus).has("iommu-map") {
                "iommu-map"
            } else {
                "#stream-id-cells"
            };
            builder.report(Diagnostic::at_node(
                tree.path(bus),
                property,
                defect,
                Effect::Nothing,
            ));
        }
        graph.buses = buses;
        graph.smmus = core::mem::take(&mut builder.smmus);
        for smmu in &mut graph.smmus {
            smmu.messages = msi::read_parents(&mut builder, smmu.node);
        }
        graph.msi_controllers = builder.msi_controllers;
        graph.diagnostics = builder.diagnostics;
        graph.group(tree);
        graph.note_smmus();
        graph
    }

    fn empty() -> Graph {
        Graph {
            smmus: Vec::new(),
            buses: Vec::new(),
            masters: Vec::new(),
            msi_controllers: Vec::new(),
            groups: Vec::new(),
            group_of: Vec::new(),
            diagnostics: Diagnostics::default(),
            meetings: Vec::new(),
            by_node: BTreeMap::new(),
            by_path: BTreeMap::new(),
            by_address: BTreeMap::new(),
            not_described: Coverage::Uncovered,
            emissions: Emissions::default(),
            unknown_devices: 0,
        }
    }

    /// The graph of a tree that describes too much: its SMMUs, and a refusal for everything else.
    fn refuse_everything(tree: &Tree, functions: &[PciFunction], room: Room, because: Diagnostic) -> Graph {
        let mut builder = Builder::new(tree, functions, room);
        builder.report(because.clone());
        let coverage = Coverage::Refused(Refusal {
            because,
            blocked: false,
        });
        let mut graph = Graph::empty();
        // Whatever is left out counts as not described, and is refused alike.
        for function in functions.iter().take(limits::MOST_REFUSED) {
            let host = tree.node(function.host_bridge);
            graph.masters.push(Master {
                identity: function_identity(tree, function),
                streams: Vec::new(),
                coverage: coverage.clone(),
                enabled: host.is_enabled(),
                coherent: host.is_dma_coherent(),
                sources: Vec::new(),
                capability: None,
                messages: Vec::new(),
                regions: Vec::new(),
            });
            graph.meetings.push(None);
        }
        graph.not_described = coverage;
        graph.smmus = builder.smmus;
        graph.diagnostics = builder.diagnostics;
        graph.index();
        graph.group(tree);
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

    /// Tells how many stream match registers an SMMU has, for who has read that from it.
    pub fn know_match_registers(&mut self, smmu: SmmuIndex, count: usize) {
        if let Some(smmu) = self.smmus.get_mut(smmu.0) {
            smmu.match_registers = Some(count);
        }
    }

    /// All buses whose devices have requester IDs, in the order of the tree.
    pub fn buses(&self) -> &[Bus] {
        &self.buses
    }

    /// The MSI controllers that some master, bus or SMMU names.
    pub fn msi_controllers(&self) -> &[MsiController] {
        &self.msi_controllers
    }

    /// All masters: the nodes that a binding names or that are known to do DMA, then the PCI functions in the order they were given.
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
        self.groups.get(*self.group_of.get(index.0)?)
    }

    /// What is wrong with the tree: the first thousand or so defects. Verdicts take all of them into account.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics.kept
    }

    /// How many defects of a severity there are, with those that are only counted.
    pub(crate) fn count_diagnostics(&self, severity: Severity) -> usize {
        self.diagnostics.count(severity)
    }

    /// How many further defects there are.
    pub fn omitted_diagnostics(&self) -> usize {
        self.diagnostics.omitted()
    }

    /// What is known of whatever is no master here: it is uncovered, or refused with everything else.
    pub fn not_described(&self) -> &Coverage {
        &self.not_described
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

    /// How many stream matches each SMMU has to hold, in the order of [`smmus`](Self::smmus). Masters that are refused
    /// need none: what no register matches faults.
    pub fn demands(&self) -> Vec<Demand> {
        let mut demands = alloc::vec![Demand::default(); self.smmus.len()];
        for group in &self.groups {
            let masters = || group.masters.iter().filter_map(|index| self.master(*index));
            if !masters().any(|master| master.coverage == Coverage::Covered) {
                continue;
            }
            let enabled = masters().any(|master| master.enabled);
            for stream in &group.streams {
                if let Some(demand) = demands.get_mut(stream.smmu.0) {
                    demand.all += 1;
                    demand.enabled += usize::from(enabled);
                }
            }
        }
        demands
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
                coverage: &self.not_described,
            },
        }
    }

    fn index(&mut self) {
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
                    self.by_address.insert((*segment, *requester_id), index);
                }
            }
        }
    }

    /// Refuses PCI functions that have the same address: nobody could say which is meant.
    fn refuse_twins(&mut self, tree: &Tree, diagnostics: &mut Diagnostics) {
        let mut owners: BTreeMap<(u16, u16), Vec<usize>> = BTreeMap::new();
        for (index, master) in self.masters.iter().enumerate() {
            if let Identity::Pci {
                segment,
                requester_id,
                ..
            } = master.identity
            {
                owners.entry((segment, requester_id)).or_default().push(index);
            }
        }
        let twins: BTreeSet<usize> = owners
            .into_values()
            .filter(|same| same.len() > 1)
            .flatten()
            .collect();
        for index in twins {
            let Some(master) = self.masters.get_mut(index) else {
                continue;
            };
            let defect = Defect::DuplicateFunction {
                function: master.identity.to_string(),
            };
            let because = at_master(tree, &master.identity, defect, Effect::NoMastering);
            diagnostics.push(because.clone());
            master.coverage = Coverage::Refused(Refusal {
                because,
                blocked: false,
            });
        }
    }

    fn add_regions(&mut self, builder: &mut Builder<'_>) {
        for (node, region) in iommu_addresses::read(builder) {
            let master = self
                .by_node
                .get(&node)
                .and_then(|index| self.masters.get_mut(index.0))
                // Nothing translates what an uncovered master does.
                .filter(|master| master.coverage != Coverage::Uncovered);
            match master {
                Some(master) => master.regions.push(region),
                None => {
                    let device = builder.tree.path(node);
                    let defect = Defect::NoMaster { device };
                    let (path, property) = (region.path, iommu_addresses::NAME);
                    builder.report(Diagnostic::at_node(path, property, defect, Effect::Nothing));
                }
            }
        }
    }

    /// Finds the groups, and what depends on who is covered.
    fn group(&mut self, tree: &Tree) {
        self.groups = groups::settle(
            tree,
            &self.smmus,
            &mut self.masters,
            &self.meetings,
            &mut self.diagnostics,
        );
        self.group_of = alloc::vec![0; self.masters.len()];
        for (position, group) in self.groups.iter().enumerate() {
            for master in &group.masters {
                if let Some(entry) = self.group_of.get_mut(master.0) {
                    *entry = position;
                }
            }
        }
        self.measure();
    }

    /// Notes what is odd about SMMUs as a whole.
    fn note_smmus(&mut self) {
        let mut named: BTreeSet<SmmuIndex> = self
            .masters
            .iter()
            .flat_map(|master| &master.streams)
            .map(|stream| stream.smmu)
            .collect();
        named.extend(self.buses.iter().flat_map(Bus::smmus));
        let demands = self.demands();
        for (index, (smmu, demand)) in self.smmus.iter().zip(demands).enumerate() {
            if !smmu.is_usable() {
                continue;
            }
            let mut report = |property, defect, effect| {
                let diagnostic = Diagnostic::at_node(smmu.path.clone(), property, defect, effect);
                self.diagnostics.push(diagnostic);
            };
            if !named.contains(&SmmuIndex(index)) {
                report("compatible", Defect::Unnamed, Effect::Nothing);
            }
            if let Some(limit) = smmu.kind.match_registers.filter(|limit| demand.enabled > *limit) {
                let defect = Defect::TooFewRegisters {
                    needed: demand.enabled,
                    kind: smmu.kind.name,
                    limit,
                };
                report("compatible", defect, Effect::Blocked);
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

fn bus_at(buses: &[Bus], node: NodeId) -> Option<&Bus> {
    // Buses are in the order of the tree, and so are node IDs.
    let index = buses.binary_search_by_key(&node, |bus| bus.node).ok()?;
    buses.get(index)
}
