//! The legacy binding: `mmu-masters` at the SMMU lists masters and their stream IDs.
//!
//! How many IDs follow a phandle, the master's `#stream-id-cells` says. A PCI host bridge in the list stands for all
//! functions behind it: they emit their requester IDs, whatever IDs are listed.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use devicetree::{Cells, Node, NodeId, Property};

use super::doubt::words;
use super::iommu_map::HIGHEST_PCI;
use super::iommus::checked;
use crate::claims::{Binding, Builder, Claim, Subject, path_of, refuse};
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::limits::MOST_LEGACY_SMMUS;
use crate::master::{PciFunction, Refusal, Stream};
use crate::shared::Suspect;
use crate::smmu::SmmuIndex;

const NAME: &str = "mmu-masters";
const CELLS: &str = "#stream-id-cells";

/// Reads the list of every SMMU.
pub(crate) fn read(builder: &mut Builder<'_>) {
    let tree = builder.tree;
    for index in (0..builder.smmus.len()).map(SmmuIndex) {
        let Some(node) = builder.smmus.get(index.0).map(|smmu| tree.node(smmu.node)) else {
            continue;
        };
        let Some(property) = node.property(NAME) else {
            continue;
        };
        match property.cells() {
            // Some boards leave the list empty to say that the binding is the legacy one.
            Ok(cells) => List {
                smmu: index,
                property,
                cells,
                seen: BTreeMap::new(),
                refused: BTreeSet::new(),
            }
            .read(builder),
            Err(error) => {
                let defect = Defect::UnreadableList(error.problem);
                let effect = Effect::Blocked;
                builder.report(Diagnostic::at_property(&property, NAME, defect, effect));
                let words = words(&property);
                builder.suspect(Suspect::InListOf(node.id()), index, each(&words));
                // What is missing may be another stream.
                tentatively_refuse_part(builder, index, &property, &words, 0, Effect::Unblocked);
            }
        }
    }
}

/// One list while it is read.
struct List<'t> {
    smmu: SmmuIndex,
    property: Property<'t>,
    cells: Cells<'t>,
    /// The streams of masters that were listed before.
    seen: BTreeMap<NodeId, Vec<u32>>,
    /// Masters that were refused before. Another refusal would say nothing new, and a host bridge has many functions.
    refused: BTreeSet<(NodeId, Effect)>,
}

impl<'t> List<'t> {
    fn read(mut self, builder: &mut Builder<'t>) {
        let mut at = 0;
        while let Some(phandle) = self.cells.get(at) {
            if phandle == 0 {
                builder.report(self.at(at, Defect::EmptyEntry, Effect::Nothing));
                at += 1;
                continue;
            }
            at = match self.read_entry(builder, at, phandle) {
                Some(next) => next,
                None => self.resynchronise(builder, at),
            };
        }
    }

    /// Reads the entry at `at` and says where the next one is, if that is known.
    fn read_entry(&mut self, builder: &mut Builder<'t>, at: usize, phandle: u32) -> Option<usize> {
        let master = match builder.tree.by_phandle(phandle) {
            Ok(master) => master,
            Err(error) => {
                builder.report(self.at(at, Defect::UnknownMaster(error), Effect::Unblocked));
                return None;
            }
        };
        let Some(count) = stream_id_cells(master) else {
            self.refuse_master(
                builder,
                master,
                at,
                Defect::NoStreamIdCells {
                    master: master.path(),
                },
            );
            return None;
        };
        let Some(listed) = self.cells.part(at + 1, count) else {
            let left = self.cells.len() - at - 1;
            // The streams that are missing may be anybody's.
            let defect = Defect::Truncated { wanted: count, left };
            self.refuse_master_with(builder, master, at, defect, Effect::Unblocked);
            let part = self.words(at + 1, left);
            builder.suspect(
                Suspect::Master(Subject::Node(master.id())),
                self.smmu,
                each(&part),
            );
            return Some(self.cells.len());
        };
        let ids: Vec<u32> = listed.iter().collect();
        let is_host = builder.is_pci_host(master);
        if builder.is_bridge_below(master) {
            let defect = Defect::ListsBridge {
                bridge: master.path(),
            };
            self.refuse_master(builder, master, at, defect);
            let by = Suspect::Master(Subject::Node(master.id()));
            builder.suspect(by, self.smmu, each(&ids));
            return Some(at + 1 + count);
        }
        match self.seen.get(&master.id()) {
            // What is listed for a host bridge says nothing, so that it cannot contradict itself.
            Some(earlier) if is_host || same_set(earlier, &ids) => {
                let defect = Defect::Repeated {
                    master: master.path(),
                };
                builder.report(self.at(at, defect, Effect::Nothing));
            }
            Some(_) => {
                let defect = Defect::Contradicted {
                    master: master.path(),
                };
                self.refuse_master(builder, master, at, defect);
                // The other streams are blocked as well.
                self.claim_platform(builder, master, at, &ids);
            }
            None if is_host => self.claim_functions(builder, master, at),
            None => self.claim_platform(builder, master, at, &ids),
        }
        self.seen.entry(master.id()).or_insert(ids);
        Some(at + 1 + count)
    }

    fn claim_platform(&self, builder: &mut Builder<'t>, master: Node<'t>, at: usize, ids: &[u32]) {
        let mut claim = self.claim();
        claim.refusal = self.unusable(builder, at);
        let subject = Subject::Node(master.id());
        for (index, &id) in ids.iter().enumerate() {
            // This binding has no masks.
            self.add(builder, &mut claim, subject, at + 1 + index, id);
        }
        if ids.is_empty() {
            let defect = Defect::NoStreams {
                master: master.path(),
            };
            let effect = Effect::refusal(is_usable(builder, self.smmu));
            refuse(builder, &mut claim.refusal, self.at(at, defect, effect));
        }
        builder.claim(subject, claim);
    }

    fn claim_functions(&mut self, builder: &mut Builder<'t>, host: Node<'t>, at: usize) {
        let smmus = builder.legacy_hosts.entry(host.id()).or_default();
        let others = smmus.len();
        if others < MOST_LEGACY_SMMUS {
            smmus.insert(self.smmu);
        } else {
            // What is behind it is refused once; what it emits at further SMMUs is nobody else's either.
            builder.suspect(Suspect::OnBus(host.id()), self.smmu, [(0, HIGHEST_PCI, 0)]);
            if builder.overlisted_hosts.insert(host.id()) {
                let (what, limit) = ("SMMUs that list this host bridge", MOST_LEGACY_SMMUS);
                self.refuse_master(builder, host, at, Defect::TooMany { what, limit });
            }
            return;
        }
        let unusable = self.unusable(builder, at);
        for index in builder.functions_behind(host.id()) {
            let subject = Subject::Function(index);
            let mut claim = self.claim();
            claim.refusal = unusable.clone();
            let function = builder.functions.get(index);
            for requester in function.map(PciFunction::all_requester_ids).unwrap_or_default() {
                self.add(builder, &mut claim, subject, at, requester.into());
            }
            builder.claim(subject, claim);
        }
    }

    /// Adds a stream ID to the claim of a subject, or refuses the claim for it; the defect then is at `cell`.
    fn add(&self, builder: &mut Builder<'t>, claim: &mut Claim, subject: Subject, cell: usize, id: u32) {
        let Some(smmu) = builder.smmus.get(self.smmu.0) else {
            return;
        };
        match checked(self.smmu, smmu, id, 0) {
            Ok(stream) => claim.streams.push(stream),
            Err((_, defect)) => {
                let effect = Effect::refusal(is_usable(builder, self.smmu));
                let diagnostic = self.at(cell, defect, effect);
                refuse(builder, &mut claim.refusal, diagnostic);
                builder.suspect(Suspect::Master(subject), self.smmu, [(id, 0, 0)]);
            }
        }
    }

    /// The refusal of every master in the list of an SMMU that cannot be used.
    fn unusable(&self, builder: &mut Builder<'t>, at: usize) -> Option<Refusal> {
        let defect = builder.smmus.get(self.smmu.0)?.reference_defect()?;
        let mut refusal = None;
        refuse(builder, &mut refusal, self.at(at, defect, Effect::Unblocked));
        refusal
    }

    /// Refuses a master, or all functions behind it if it is a host bridge.
    fn refuse_master(&mut self, builder: &mut Builder<'t>, master: Node<'t>, at: usize, defect: Defect) {
        let effect = Effect::refusal(is_usable(builder, self.smmu));
        self.refuse_master_with(builder, master, at, defect, effect);
    }

    fn refuse_master_with(
        &mut self,
        builder: &mut Builder<'t>,
        master: Node<'t>,
        at: usize,
        defect: Defect,
        effect: Effect,
    ) {
        let mut refusal = None;
        refuse(builder, &mut refusal, self.at(at, defect, effect));
        if !self.refused.insert((master.id(), effect)) {
            return;
        }
        for (subject, streams) in subjects(builder, self.smmu, master, effect, false) {
            let claim = Claim {
                refusal: refusal.clone(),
                streams,
                ..self.claim()
            };
            builder.claim(subject, claim);
        }
    }

    fn claim(&self) -> Claim {
        Claim::new(Binding::Legacy, path_of(&self.property), NAME)
    }

    fn at(&self, cell: usize, defect: Defect, effect: Effect) -> Diagnostic {
        Diagnostic::at_cell(&self.property, NAME, cell, defect, effect)
    }

    /// Where the next entry starts behind the one at `at`, whose length is not known: at a cell that cannot be a stream ID and
    /// is the phandle of a node that can be a master. Without one, the rest of the list is lost.
    fn resynchronise(&self, builder: &mut Builder<'t>, at: usize) -> usize {
        let start = at + 1;
        let Some(kind) = builder.smmus.get(self.smmu.0).map(|smmu| smmu.kind) else {
            return self.cells.len();
        };
        let is_start = |cell: u32| {
            let master = builder.tree.by_phandle(cell);
            !kind.fits(cell) && master.is_ok_and(|node| stream_id_cells(node).is_some())
        };
        let left = self.cells.len() - start;
        let rest = self.cells.part(start, left).unwrap_or_default();
        let next = rest.iter().position(is_start);
        if next.is_none() && left > 0 {
            builder.report(self.at(start, Defect::LostTail { cells: left }, Effect::Blocked));
        }
        let skipped = self.words(start, next.unwrap_or(left));
        let phandle = self.cells.get(at);
        let listed = phandle.and_then(|phandle| builder.tree.by_phandle(phandle).ok());
        let by = match listed {
            Some(master) => Suspect::Master(Subject::Node(master.id())),
            None => Suspect::InListOf(self.property.node().id()),
        };
        builder.suspect(by, self.smmu, each(&skipped));
        let effect = Effect::refusal(is_usable(builder, self.smmu));
        tentatively_refuse_part(builder, self.smmu, &self.property, &skipped, start, effect);
        start + skipped.len()
    }

    /// So many cells from a position on.
    fn words(&self, start: usize, count: usize) -> Vec<u32> {
        self.cells.part(start, count).unwrap_or_default().iter().collect()
    }
}

/// Refuses every node that may be a master in a part of a list that cannot be read, unless it is described elsewhere at the
/// same SMMU. The defect is reported where it takes effect.
fn tentatively_refuse_part(
    builder: &mut Builder<'_>,
    smmu: SmmuIndex,
    property: &Property<'_>,
    words: &[u32],
    start: usize,
    effect: Effect,
) {
    let Some(kind) = builder.smmus.get(smmu.0).map(|smmu| smmu.kind) else {
        return;
    };
    let mut seen = BTreeSet::new();
    for (offset, &word) in words.iter().enumerate() {
        let Ok(master) = builder.tree.by_phandle(word) else {
            continue;
        };
        // A cell that can be a stream ID is the phandle of some node by chance.
        let may_be = master.has(CELLS) || builder.is_pci_host(master) || !kind.fits(word);
        if !may_be || !seen.insert(master.id()) {
            continue;
        }
        let defect = Defect::PerhapsListed {
            master: master.path(),
        };
        let because = Diagnostic::at_cell(property, NAME, start + offset, defect, effect);
        for (subject, streams) in subjects(builder, smmu, master, effect, true) {
            let refusal = Some(Refusal {
                because: because.clone(),
                blocked: effect == Effect::Blocked,
            });
            let claim = Claim {
                refusal,
                streams,
                tentative: Some(smmu),
                ..Claim::new(Binding::Legacy, path_of(property), NAME)
            };
            builder.claim(subject, claim);
        }
    }
}

/// Cells that may each be a stream ID, as ranges.
fn each(cells: &[u32]) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
    cells.iter().map(|&id| (id, 0, 0))
}

/// Who an entry for `master` is about, with the streams that are known whatever is listed: those of PCI functions. What is
/// behind a host bridge that nobody walked may emit any of them.
fn subjects(
    builder: &mut Builder<'_>,
    smmu: SmmuIndex,
    master: Node<'_>,
    effect: Effect,
    is_tentative: bool,
) -> Vec<(Subject, Vec<Stream>)> {
    let is_host = builder.is_pci_host(master);
    let is_admitted = builder.admits(master.id(), effect, is_tentative);
    if is_host && !(is_admitted && builder.is_walked(master.id())) {
        builder.suspect(Suspect::OnBus(master.id()), smmu, [(0, HIGHEST_PCI, 0)]);
    }
    if !is_admitted {
        return Vec::new();
    }
    if !is_host || builder.is_bridge_below(master) {
        return Vec::from([(Subject::Node(master.id()), Vec::new())]);
    }
    let functions = builder.functions_behind(master.id());
    let streams_of = |index: usize| {
        let function = builder.functions.get(index);
        let requesters = function.map(PciFunction::all_requester_ids).unwrap_or_default();
        let streams = requesters.into_iter().map(|id| Stream::new(smmu, id.into(), 0));
        streams.collect()
    };
    let all = functions.into_iter();
    all.map(|index| (Subject::Function(index), streams_of(index)))
        .collect()
}

/// Whether two lists name the same stream IDs: their order says nothing.
fn same_set(one: &[u32], other: &[u32]) -> bool {
    let set = |ids: &[u32]| ids.iter().copied().collect::<BTreeSet<u32>>();
    set(one) == set(other)
}

fn is_usable(builder: &Builder<'_>, smmu: SmmuIndex) -> bool {
    builder.smmus.get(smmu.0).is_some_and(|smmu| smmu.is_usable())
}

fn stream_id_cells(node: Node<'_>) -> Option<usize> {
    node.u32(CELLS).ok().flatten().map(|cells| cells as usize)
}
