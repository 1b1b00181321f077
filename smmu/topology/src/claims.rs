//! Claims: what one binding says of one master, and how several claims become one verdict.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use devicetree::{Node, NodeId, Property, Tree};

use crate::diagnostic::{Defect, Diagnostic, Diagnostics};
use crate::groups::MAX_MASKED;
use crate::master::{Coverage, Identity, PciFunction, Refusal, Stream};
use crate::smmu::{Smmu, SmmuIndex};

/// Which way of describing a master a claim comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `mmu-masters`.
    Legacy,
    /// `iommus` or `iommu-map`.
    Generic,
}

/// Who a claim is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// A node.
    Node(NodeId),
    /// A PCI function, by its position in the list that was given.
    Function(usize),
}

/// What one binding says of one master.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) binding: Binding,
    pub(crate) streams: Vec<Stream>,
    pub(crate) refusal: Option<Refusal>,
    /// Whether the claim counts only if nothing else describes the master. Its defect is reported only then.
    pub(crate) tentative: bool,
}

/// What the bindings read from, and where they put what they find.
pub(crate) struct Builder<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) functions: &'a [PciFunction],
    pub(crate) smmus: Vec<Smmu>,
    hosts: BTreeSet<NodeId>,
    by_node: BTreeMap<NodeId, SmmuIndex>,
    pub(crate) claims: BTreeMap<Subject, Vec<Claim>>,
    pub(crate) diagnostics: Diagnostics,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(tree: &'a Tree, functions: &'a [PciFunction]) -> Self {
        let mut diagnostics = Diagnostics::default();
        let smmus = crate::smmu::find(tree, &mut diagnostics);
        let by_node = smmus
            .iter()
            .enumerate()
            .map(|(index, smmu)| (smmu.node, SmmuIndex(index)))
            .collect();
        Builder {
            tree,
            functions,
            smmus,
            hosts: functions.iter().map(|function| function.host_bridge).collect(),
            by_node,
            claims: BTreeMap::new(),
            diagnostics,
        }
    }

    /// Whether a node is a PCI host bridge: it says so, or functions were found behind it.
    pub(crate) fn is_pci_host(&self, node: Node<'_>) -> bool {
        self.hosts.contains(&node.id()) || matches!(node.text("device_type"), Ok(Some("pci")))
    }

    /// The SMMU that is this node, if it is one.
    pub(crate) fn smmu_at(&self, node: NodeId) -> Option<(SmmuIndex, &Smmu)> {
        let index = *self.by_node.get(&node)?;
        Some((index, self.smmus.get(index.0)?))
    }

    /// The SMMU that a reference names, if it can be used.
    pub(crate) fn resolve(&self, phandle: u32) -> Result<(SmmuIndex, &Smmu, Node<'a>), Defect> {
        let node = self.tree.by_phandle(phandle).map_err(Defect::Phandle)?;
        let foreign = || Defect::Foreign { target: node.path() };
        let (index, smmu) = self.smmu_at(node.id()).ok_or_else(foreign)?;
        match smmu.reference_defect() {
            Some(defect) => Err(defect),
            None => Ok((index, smmu, node)),
        }
    }

    /// Records what a binding says of a master.
    pub(crate) fn claim(&mut self, subject: Subject, claim: Claim) {
        self.claims.entry(subject).or_default().push(claim);
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
    pub(crate) fn settle(&mut self, subject: Subject, claims: Vec<Claim>) -> (Vec<Stream>, Coverage) {
        let firm = claims.iter().any(|claim| !claim.tentative);
        if !firm && let Some(refusal) = claims.iter().find_map(|claim| claim.refusal.as_ref()) {
            self.report(refusal.because.clone());
        }
        let claims: Vec<Claim> = claims
            .into_iter()
            .filter(|claim| !(firm && claim.tentative))
            .collect();
        let mut streams: Vec<Stream> = claims
            .iter()
            .flat_map(|claim| claim.streams.iter().copied())
            .collect();
        streams.sort_unstable();
        streams.dedup();
        drop_held(&mut streams);

        let blocked = claims
            .iter()
            .all(|claim| claim.refusal.as_ref().is_none_or(|refusal| refusal.blocked));
        if let Some(refusal) = claims.iter().find_map(|claim| claim.refusal.clone()) {
            return (streams, Coverage::Refused(Refusal { blocked, ..refusal }));
        }
        let of = |binding| {
            let claims = claims.iter().filter(move |claim| claim.binding == binding);
            claims
                .flat_map(|claim| claim.streams.iter().copied())
                .collect::<BTreeSet<Stream>>()
        };
        let (legacy, generic) = (of(Binding::Legacy), of(Binding::Generic));
        if !legacy.is_empty() && !generic.is_empty() && !same_ids(&legacy, &generic) {
            let identity = self.identity(subject);
            let master = identity.to_string();
            let because = self.report(at_master(
                self.tree,
                &identity,
                Defect::BindingsDisagree { master },
            ));
            return (
                streams,
                Coverage::Refused(Refusal {
                    because,
                    blocked: true,
                }),
            );
        }
        (streams, Coverage::Covered)
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

/// A diagnostic about a cell of a property.
pub(crate) fn at_cell(
    property: &Property<'_>,
    name: &'static str,
    cell: usize,
    defect: Defect,
) -> Diagnostic {
    let value = property.cells().ok().and_then(|cells| cells.get(cell));
    Diagnostic {
        node: path_of(property),
        property: name,
        cell: Some(cell),
        value,
        defect,
        blocked: true,
    }
}

/// A diagnostic about a property as a whole.
pub(crate) fn at_property(property: &Property<'_>, name: &'static str, defect: Defect) -> Diagnostic {
    Diagnostic {
        node: path_of(property),
        property: name,
        cell: None,
        value: None,
        defect,
        blocked: true,
    }
}

/// A diagnostic about a master as a whole, at the property that describes it.
pub(crate) fn at_master(tree: &Tree, identity: &Identity, defect: Defect) -> Diagnostic {
    let (node, generic) = match identity {
        Identity::Platform { node, .. } => (*node, "iommus"),
        Identity::Pci { host_bridge, .. } => (*host_bridge, "iommu-map"),
    };
    let node = tree.node(node);
    let property = if node.has(generic) {
        generic
    } else {
        "#stream-id-cells"
    };
    Diagnostic {
        node: node.path(),
        property,
        cell: None,
        value: None,
        defect,
        blocked: true,
    }
}

fn path_of(property: &Property<'_>) -> String {
    property.node().path()
}

/// Reports a defect in an entry, and makes it the refusal of a claim unless an earlier one is.
pub(crate) fn refuse(
    builder: &mut Builder<'_>,
    refusal: &mut Option<Refusal>,
    diagnostic: Diagnostic,
    blocked: bool,
) {
    let because = builder.report(Diagnostic {
        blocked,
        ..diagnostic
    });
    match refusal {
        Some(earlier) => earlier.blocked &= blocked,
        None => *refusal = Some(Refusal { because, blocked }),
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
        streams.retain(|stream| !masked.iter().any(|wide| wide != stream && wide.holds(stream)));
    }
}

/// Whether both sets match the same stream IDs, whatever registers they would take.
fn same_ids(one: &BTreeSet<Stream>, other: &BTreeSet<Stream>) -> bool {
    /// Sets that match more IDs than an SMMU with masks has are compared as they are written.
    const LIMIT: u32 = 1 << 16;
    let expand = |set: &BTreeSet<Stream>| {
        let size = |stream: &Stream| 1u32.checked_shl(stream.mask.count_ones()).unwrap_or(LIMIT + 1);
        let total = set.iter().map(size).fold(0u32, u32::saturating_add);
        (total <= LIMIT).then(|| set.iter().flat_map(ids).collect::<BTreeSet<_>>())
    };
    one == other || matches!((expand(one), expand(other)), (Some(one), Some(other)) if one == other)
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
