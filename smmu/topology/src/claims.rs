//! Claims: what one binding says of one master, and how several claims become one verdict.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use devicetree::{Node, NodeId, Property, Tree};

use crate::diagnostic::{Defect, Diagnostic, Diagnostics, Effect};
use crate::groups::MAX_MASKED;
use crate::limits::{MOST_LEGACY_SMMUS, Room};
pub(crate) use crate::master::Binding;
use crate::master::{Coverage, Identity, PciFunction, Refusal, Source, Stream};
use crate::messages::{MsiController, MsiIndex};
use crate::shared::{Emissions, Suspect};
use crate::smmu::{Smmu, SmmuIndex};

/// Who a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A node.
    Node(NodeId),
    /// A PCI function, by its position in the list that was given.
    Function(usize),
}

/// What one property says of one master.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) binding: Binding,
    /// The node and the property that it is read from.
    pub(crate) node: String,
    pub(crate) property: &'static str,
    pub(crate) streams: Vec<Stream>,
    pub(crate) refusal: Option<Refusal>,
    /// Set if the claim counts only if nothing else describes the master at this SMMU. Its defect is reported only then.
    pub(crate) tentative: Option<SmmuIndex>,
}

impl Claim {
    /// A claim that says nothing yet.
    pub(crate) fn new(binding: Binding, node: String, property: &'static str) -> Claim {
        Claim {
            binding,
            node,
            property,
            streams: Vec::new(),
            refusal: None,
            tentative: None,
        }
    }
}

/// What the bindings read from, and where they put what they find.
pub(crate) struct Builder<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) functions: &'a [PciFunction],
    pub(crate) smmus: Vec<Smmu>,
    pub(crate) msi_controllers: Vec<MsiController>,
    behind: BTreeMap<NodeId, Vec<usize>>,
    smmu_by_node: BTreeMap<NodeId, SmmuIndex>,
    msi_by_node: BTreeMap<NodeId, MsiIndex>,
    /// The SMMUs whose `mmu-masters` lists a host bridge.
    pub(crate) legacy_hosts: BTreeMap<NodeId, BTreeSet<SmmuIndex>>,
    /// How often lists refuse a node, with which effect, for certain and tentatively.
    listings: BTreeMap<(NodeId, Effect, bool), usize>,
    /// Host bridges that more SMMUs list than are kept.
    pub(crate) overlisted_hosts: BTreeSet<NodeId>,
    pub(crate) claims: BTreeMap<Subject, Vec<Claim>>,
    pub(crate) diagnostics: Diagnostics,
    /// The SMMUs by their phandles. One that several have names none for certain.
    pub(crate) smmus_by_phandle: BTreeMap<u32, Vec<SmmuIndex>>,
    /// What may be emitted by somebody who is not known well enough to have it.
    pub(crate) emissions: Emissions,
    /// How many stream IDs may still be written out one by one, to compare sets.
    expandable: u32,
}

/// How many stream IDs are written out one by one in one tree. Sets of them take some 10 bytes for each, of a heap that is
/// small.
const MOST_EXPANDED: u32 = 1 << 16;

impl<'a> Builder<'a> {
    pub(crate) fn new(tree: &'a Tree, functions: &'a [PciFunction], room: Room) -> Self {
        let mut diagnostics = Diagnostics::default();
        let smmus = crate::smmu::find(tree, room.smmus, &mut diagnostics);
        let smmu_by_node = smmus
            .iter()
            .enumerate()
            .map(|(index, smmu)| (smmu.node, SmmuIndex(index)))
            .collect();
        let mut behind: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (index, function) in functions.iter().enumerate() {
            behind.entry(function.host_bridge).or_default().push(index);
        }
        let mut smmus_by_phandle: BTreeMap<u32, Vec<SmmuIndex>> = BTreeMap::new();
        for (index, smmu) in smmus.iter().enumerate() {
            if let Some(phandle) = tree.node(smmu.node).phandle() {
                smmus_by_phandle
                    .entry(phandle)
                    .or_default()
                    .push(SmmuIndex(index));
            }
        }
        Builder {
            tree,
            smmus_by_phandle,
            functions,
            smmus,
            msi_controllers: Vec::new(),
            behind,
            smmu_by_node,
            msi_by_node: BTreeMap::new(),
            legacy_hosts: BTreeMap::new(),
            listings: BTreeMap::new(),
            overlisted_hosts: BTreeSet::new(),
            claims: BTreeMap::new(),
            diagnostics,
            emissions: Emissions::default(),
            expandable: MOST_EXPANDED,
        }
    }

    /// Whether a node is a PCI host bridge: it says so, or functions were found behind it.
    pub(crate) fn is_pci_host(&self, node: Node<'_>) -> bool {
        self.behind.contains_key(&node.id()) || node.is_pci()
    }

    /// Whether a node is a bridge on a PCI bus: its `device_type` is that of a host bridge. Behind a bridge no functions were
    /// found, whatever is above it: they are said to be behind the host bridge.
    pub(crate) fn is_bridge_below(&self, node: Node<'_>) -> bool {
        self.is_pci_host(node)
            && !self.is_walked(node.id())
            && node.parent().is_some_and(|parent| self.is_pci_host(parent))
    }

    /// Whether functions were found behind a host bridge.
    pub(crate) fn is_walked(&self, host: NodeId) -> bool {
        self.behind.contains_key(&host)
    }

    /// The functions behind a host bridge, by their positions in the list that was given.
    pub(crate) fn functions_behind(&self, host: NodeId) -> Vec<usize> {
        self.behind.get(&host).cloned().unwrap_or_default()
    }

    /// The SMMU that a reference names, if it can be used.
    pub(crate) fn resolve(&self, phandle: u32) -> Result<(SmmuIndex, &Smmu, Node<'a>), Defect> {
        let node = self.tree.by_phandle(phandle).map_err(Defect::Phandle)?;
        let foreign = || Defect::Foreign { target: node.path() };
        let index = *self.smmu_by_node.get(&node.id()).ok_or_else(foreign)?;
        let smmu = self.smmus.get(index.0).ok_or_else(foreign)?;
        match smmu.reference_defect() {
            Some(defect) => Err(defect),
            None => Ok((index, smmu, node)),
        }
    }

    /// The MSI controller that a reference names, and how many cells its specifiers have.
    pub(crate) fn msi_controller(&mut self, phandle: u32) -> Result<(MsiIndex, usize), Defect> {
        let node = self.tree.by_phandle(phandle).map_err(Defect::Phandle)?;
        let target = || node.path();
        if !node.has("msi-controller") {
            return Err(Defect::NoMsiController { target: target() });
        }
        if let Some(by) = node.disabled_by() {
            let (target, by) = (target(), by.path());
            return Err(Defect::DisabledMsiController { target, by });
        }
        let cells = match node.u32("#msi-cells") {
            Ok(cells) => cells.unwrap_or(0),
            Err(error) => return Err(Defect::Unreadable(error.problem)),
        };
        if cells > 1 {
            let target = target();
            return Err(Defect::MsiCells { target, cells });
        }
        let next = MsiIndex(self.msi_controllers.len());
        let index = *self.msi_by_node.entry(node.id()).or_insert(next);
        if index == next {
            self.msi_controllers.push(MsiController {
                node: node.id(),
                path: node.path(),
                compatible: crate::smmu::compatible(node),
            });
        }
        Ok((index, cells as usize))
    }

    /// Counts one more refusal of its sort by a list that names a node. Whether it may be recorded for all that it is about: what
    /// a tree can make of many lists and many functions must not take the heap, and more of one sort refuse no more.
    pub(crate) fn admits(&mut self, node: NodeId, effect: Effect, is_tentative: bool) -> bool {
        let count = self.listings.entry((node, effect, is_tentative)).or_default();
        *count += 1;
        *count <= MOST_LEGACY_SMMUS
    }

    /// Records what a binding says of a master.
    pub(crate) fn claim(&mut self, subject: Subject, claim: Claim) {
        self.claims.entry(subject).or_default().push(claim);
    }

    /// Records stream IDs that somebody may emit at an SMMU, who is not known well enough to have them: the first one, how
    /// many follow it, and the mask.
    pub(crate) fn suspect(
        &mut self,
        by: Suspect,
        index: SmmuIndex,
        ranges: impl IntoIterator<Item = (u32, u32, u32)>,
    ) {
        for range in ranges {
            self.emissions.add(by, index, range);
        }
    }

    /// Records a diagnostic and returns it, to be the reason of a refusal.
    pub(crate) fn report(&mut self, diagnostic: Diagnostic) -> Diagnostic {
        self.diagnostics.push(diagnostic.clone());
        diagnostic
    }

    /// What a subject is.
    pub(crate) fn identity(&self, subject: Subject) -> Identity {
        let platform = |node| Identity::Platform {
            node,
            path: self.tree.path(node),
        };
        match subject {
            Subject::Node(node) => platform(node),
            Subject::Function(index) => match self.functions.get(index) {
                Some(function) => function_identity(self.tree, function),
                None => platform(NodeId::ROOT),
            },
        }
    }

    /// Makes one verdict of all claims about a master.
    pub(crate) fn settle(
        &mut self,
        subject: Subject,
        claims: Vec<Claim>,
    ) -> (Vec<Stream>, Coverage, Vec<Source>) {
        // Where a master is described for certain.
        let firm: BTreeSet<SmmuIndex> = claims
            .iter()
            .filter(|claim| claim.tentative.is_none())
            .flat_map(|claim| claim.streams.iter().map(|stream| stream.smmu))
            .collect();
        let counts = |claim: &Claim| claim.tentative.is_none_or(|smmu| !firm.contains(&smmu));
        let doubted = claims
            .iter()
            .find(|claim| claim.tentative.is_some() && counts(claim));
        if let Some(refusal) = doubted.and_then(|claim| claim.refusal.as_ref()) {
            self.report(refusal.because.clone());
        }
        for claim in claims.iter().filter(|claim| !counts(claim)) {
            self.suspect_dropped(subject, claim, &claims);
        }
        let sources: Vec<Source> = claims
            .into_iter()
            .filter(counts)
            .map(|claim| Source {
                binding: claim.binding,
                node: claim.node,
                property: claim.property,
                streams: claim.streams,
                refusal: claim.refusal,
            })
            .collect();
        let mut streams: Vec<Stream> = sources
            .iter()
            .flat_map(|source| source.streams.iter().copied())
            .collect();
        streams.sort_unstable();
        streams.dedup();
        drop_held(&mut streams);

        let mut refusal = None;
        for source in &sources {
            if let Some(another) = &source.refusal {
                merge(&mut refusal, another.clone());
            }
        }
        if refusal.is_none()
            && let Some([legacy, generic]) = self.disagreement(&sources)
        {
            let identity = self.identity(subject);
            let master = identity.to_string();
            let defect = Defect::BindingsDisagree {
                master,
                legacy,
                generic,
            };
            let because = self.report(at_master(self.tree, &identity, defect, Effect::Blocked));
            refusal = Some(Refusal {
                because,
                blocked: true,
            });
        }
        let coverage = match refusal {
            Some(refusal) => Coverage::Refused(refusal),
            None if sources.is_empty() => Coverage::Uncovered,
            None => Coverage::Covered,
        };
        (streams, coverage, sources)
    }

    /// Suspects what a claim says that does not count, as far as no other claim says it.
    fn suspect_dropped(&mut self, subject: Subject, dropped: &Claim, claims: &[Claim]) {
        let firm = claims.iter().filter(|claim| claim.tentative.is_none());
        let firm: Vec<&Stream> = firm.flat_map(|claim| &claim.streams).collect();
        let is_held = |stream: &&Stream| firm.iter().any(|firm| firm.holds(stream));
        for stream in dropped.streams.iter().filter(|stream| !is_held(stream)) {
            let range = (stream.id, 0, stream.mask);
            self.suspect(Suspect::Master(subject), stream.smmu, [range]);
        }
    }

    /// What the bindings say, if both describe a master, and not as the owner of the same stream IDs.
    fn disagreement(&mut self, sources: &[Source]) -> Option<[String; 2]> {
        let of = |binding| {
            let sources = sources.iter().filter(move |source| source.binding == binding);
            sources
                .flat_map(|source| source.streams.iter().copied())
                .collect::<BTreeSet<Stream>>()
        };
        let (legacy, generic) = (of(Binding::Legacy), of(Binding::Generic));
        let differ = !legacy.is_empty() && !generic.is_empty() && !self.same_ids(&legacy, &generic);
        differ.then(|| [self.few(&legacy), self.few(&generic)])
    }

    /// The first of some streams, in words.
    pub(crate) fn few(&self, streams: &BTreeSet<Stream>) -> String {
        const FEW: usize = 4;
        let path = |stream: &Stream| {
            self.smmus
                .get(stream.smmu.0)
                .map_or("", |smmu| smmu.path.as_str())
        };
        let first = streams.iter().take(FEW);
        let mut words: Vec<String> = first
            .map(|stream| alloc::format!("{stream} at {}", path(stream)))
            .collect();
        if streams.len() > FEW {
            words.push(alloc::format!("{} more", streams.len() - FEW));
        }
        words.join(", ")
    }

    /// Whether both sets match the same stream IDs, whatever registers they would take. Sets that are too large to be
    /// written out are compared as they stand.
    fn same_ids(&mut self, one: &BTreeSet<Stream>, other: &BTreeSet<Stream>) -> bool {
        if one == other {
            return true;
        }
        let size = |stream: &Stream| 1u32.checked_shl(stream.mask.count_ones()).unwrap_or(u32::MAX);
        let total = one.iter().chain(other).map(size).fold(0, u32::saturating_add);
        let Some(left) = self.expandable.checked_sub(total) else {
            return false;
        };
        self.expandable = left;
        let expand = |set: &BTreeSet<Stream>| set.iter().flat_map(ids).collect::<BTreeSet<_>>();
        expand(one) == expand(other)
    }
}

/// The identity of a PCI function.
pub(crate) fn function_identity(tree: &Tree, function: &PciFunction) -> Identity {
    Identity::Pci {
        host_bridge: function.host_bridge,
        host_path: tree.path(function.host_bridge),
        segment: function.segment,
        requester_id: function.requester_id(),
    }
}

/// A diagnostic about a master as a whole, at the property that describes it.
pub(crate) fn at_master(tree: &Tree, identity: &Identity, defect: Defect, effect: Effect) -> Diagnostic {
    let (node, generic) = match identity {
        Identity::Platform { node, .. } => (*node, "iommus"),
        Identity::Pci { host_bridge, .. } => (*host_bridge, "iommu-map"),
    };
    let node = tree.node(node);
    let named = [generic, "#stream-id-cells"]
        .into_iter()
        .find(|name| node.has(name));
    let property = named.unwrap_or("reg");
    Diagnostic::at_node(node.path(), property, defect, effect)
}

/// Path of the node that has a property.
pub(crate) fn path_of(property: &Property<'_>) -> String {
    property.node().path()
}

/// Reports a defect, and makes it the refusal of a claim unless an earlier one is.
pub(crate) fn refuse(builder: &mut Builder<'_>, refusal: &mut Option<Refusal>, diagnostic: Diagnostic) {
    let blocked = diagnostic.effect == Effect::Blocked;
    let because = builder.report(diagnostic);
    merge(refusal, Refusal { because, blocked });
}

/// Keeps the graver reason of two, the first of equal ones. Nothing is blocked for good unless both say so.
pub(crate) fn merge(refusal: &mut Option<Refusal>, another: Refusal) {
    let Some(earlier) = refusal else {
        *refusal = Some(another);
        return;
    };
    let blocked = earlier.blocked && another.blocked;
    if another.because.severity() > earlier.because.severity() {
        *earlier = another;
    }
    earlier.blocked = blocked;
    if !blocked && earlier.because.effect == Effect::Blocked {
        // What the reason alone would leave blocked is not.
        earlier.because.effect = Effect::Unblocked;
    }
}

/// Drops the matches that a wider one of the same master holds: hardware must not find two for one ID.
fn drop_held(streams: &mut Vec<Stream>) {
    let masked: Vec<Stream> = streams
        .iter()
        .copied()
        .filter(|stream| stream.mask != 0)
        .collect();
    // A list that is longer than any SMMU has registers is refused later, when groups are made.
    if masked.len() <= MAX_MASKED {
        let masks: BTreeSet<(SmmuIndex, u32)> =
            masked.iter().map(|stream| (stream.smmu, stream.mask)).collect();
        // A match that holds another has more bits in its mask, and the other's ID apart from them.
        let is_held = |stream: &Stream| {
            masks
                .range((stream.smmu, 0)..=(stream.smmu, u32::MAX))
                .any(|&(smmu, mask)| {
                    mask != stream.mask
                        && stream.mask & !mask == 0
                        && masked.binary_search(&Stream::new(smmu, stream.id, mask)).is_ok()
                })
        };
        streams.retain(|stream| !is_held(stream));
    }
}

/// Every stream ID that a stream matches.
fn ids(stream: &Stream) -> impl Iterator<Item = (SmmuIndex, u32)> + use<> {
    let Stream { smmu, id, mask } = *stream;
    // Counts through the subsets of the mask: the borrow of the subtraction skips the bits outside it.
    let subsets = core::iter::successors(Some(0u32), move |bits| {
        let next = bits.wrapping_sub(mask) & mask;
        (next != 0).then_some(next)
    });
    subsets.map(move |bits| (smmu, id | bits))
}
