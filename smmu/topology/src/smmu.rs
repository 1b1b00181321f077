//! SMMUs: every node of a known kind, with its frames and interrupts.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use devicetree::{AddressRange, GicInterrupt, InterruptMaps, Node, NodeId, ReadError, Tree};

use crate::diagnostic::{Defect, Diagnostic, Diagnostics, Effect};
use crate::kinds::{InterruptStyle, KINDS, Kind};
use crate::limits::{
    BYTES_PER_FRAME, LONGEST_COMPATIBLE, MOST_COMPATIBLES, MOST_FRAMES, MOST_INTERRUPTS, Room,
};
use crate::messages::MsiRoute;

/// The position of an SMMU in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SmmuIndex(pub usize);

/// Which event an interrupt line of an SMMU reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// `eventq`: the event queue is no longer empty.
    EventQueue,
    /// `gerror`: a global error.
    GlobalError,
    /// `priq`: the page request queue is no longer empty.
    PageRequests,
    /// `cmdq-sync`: a CMD_SYNC completed.
    CommandSync,
    /// `combined`: any of the above.
    Combined,
    /// A global fault, by its position.
    Global(usize),
    /// A fault of a context bank, by the bank's number.
    Context(usize),
}

/// An interrupt of an SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmmuInterrupt {
    /// What it reports.
    pub line: Line,
    /// The interrupt at the GIC.
    pub interrupt: GicInterrupt,
}

/// An SMMU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smmu {
    /// Its node.
    pub node: NodeId,
    /// Its path.
    pub path: String,
    /// Its whole `compatible`, most specific first.
    pub compatible: Vec<String>,
    /// What the bindings say of its kind.
    pub kind: &'static Kind,
    /// Its register frames. Several are instances that are programmed alike. Empty if they cannot be found.
    pub frames: Vec<AddressRange>,
    /// Another kind that it says it is: then nobody knows its registers.
    pub other_kind: Option<&'static Kind>,
    /// Why it cannot be driven, though it is enabled and its registers were found, if that is so.
    pub unusable: Option<String>,
    /// Whether its table walks snoop the CPU's caches. Says nothing about its masters.
    pub coherent: bool,
    /// Its interrupts; those that cannot be read are left out.
    pub interrupts: Vec<SmmuInterrupt>,
    /// Where its own messages go, if it has no wires for what it reports.
    pub messages: Vec<MsiRoute>,
    /// `stream-match-mask`, for specifiers of one cell.
    pub match_mask: u32,
    /// `calxeda,smmu-secure-config-access`: the CPU is seen as secure by it, and uses the aliases of non-secure registers.
    pub secure_config_access: bool,
    /// `marvell,ap806-smmu-500`: 64-bit accesses to its registers do not work (erratum 582743 in Linux).
    pub halves: bool,
    /// Path of the node whose status disables it, if one does.
    pub disabled_by: Option<String>,
    /// How many stream match registers it has, where somebody read that from it.
    pub match_registers: Option<usize>,
    /// The highest stream ID of the masters that are covered by it.
    pub max_stream: Option<u32>,
}

impl Smmu {
    /// Whether it can be shut and driven, as far as the tree says.
    pub fn is_usable(&self) -> bool {
        self.disabled_by.is_none() && !self.frames.is_empty() && self.unusable.is_none()
    }

    /// The interrupt of a line.
    pub fn interrupt(&self, line: Line) -> Option<GicInterrupt> {
        self.interrupts
            .iter()
            .find(|interrupt| interrupt.line == line)
            .map(|found| found.interrupt)
    }

    /// Whether its faults can be reported by interrupt.
    pub fn reports_faults(&self) -> bool {
        let reports = |line| matches!(line, Line::EventQueue | Line::Combined | Line::Context(_));
        self.interrupts.iter().any(|interrupt| reports(interrupt.line)) || !self.messages.is_empty()
    }

    /// What the tree lets nobody use it for, as a defect of a reference to it.
    pub(crate) fn reference_defect(&self) -> Option<Defect> {
        if let Some(by) = &self.disabled_by {
            return Some(Defect::Disabled {
                target: self.path.clone(),
                by: by.clone(),
            });
        }
        let why = match &self.unusable {
            _ if self.frames.is_empty() => "its registers cannot be found".to_string(),
            Some(why) => why.clone(),
            None => return None,
        };
        Some(Defect::Unusable {
            target: self.path.clone(),
            why,
        })
    }
}

/// The kind of SMMU that a node is, if it is one: the most specific one that it names.
pub(crate) fn kind_of(node: &Node<'_>) -> Option<&'static Kind> {
    kinds_of(node).next()
}

/// The kinds that a node names, the most specific one first.
fn kinds_of(node: &Node<'_>) -> impl Iterator<Item = &'static Kind> {
    let kind_named = |text| KINDS.iter().find(|kind| kind.compatible.contains(&text));
    node.compatibles().filter_map(kind_named)
}

/// The SMMUs of a tree as [`Graph::smmus`](crate::Graph::smmus) has them, for who must shut them before anything else is
/// read. What only masters tell is not known yet: messages and the highest stream ID.
pub fn find_smmus(tree: &Tree) -> Vec<Smmu> {
    find(tree, Room::CORE.smmus, &mut Diagnostics::default())
}

/// All SMMUs of a tree, in its order, disabled ones as well.
pub(crate) fn find(tree: &Tree, most: usize, diagnostics: &mut Diagnostics) -> Vec<Smmu> {
    let found = tree
        .nodes()
        .filter_map(|node| kind_of(&node).map(|kind| (node, kind)));
    let mut maps = InterruptMaps::default();
    // A tree that has more is refused as a whole; those that are found are shut all the same.
    let mut smmus: Vec<Smmu> = found
        .take(most)
        .map(|(node, kind)| read(node, kind, &mut maps, diagnostics))
        .collect();
    note_overlaps(&mut smmus, diagnostics);
    smmus
}

/// Finds SMMUs that have registers in common: two drivers would each undo what the other one does.
fn note_overlaps(smmus: &mut [Smmu], diagnostics: &mut Diagnostics) {
    let frames_of = |(index, smmu): (usize, &Smmu)| {
        let frames = if smmu.disabled_by.is_none() {
            smmu.frames.clone()
        } else {
            Vec::new()
        };
        frames
            .into_iter()
            .map(move |frame| (frame.address(), frame.end(), index))
    };
    let mut frames: Vec<(u64, u64, usize)> = smmus.iter().enumerate().flat_map(frames_of).collect();
    frames.sort_unstable();
    let mut pairs = Vec::new();
    // The frame that reaches furthest of those that begin before.
    let mut furthest: Option<(u64, usize)> = None;
    for (start, end, index) in frames.into_iter().filter(|(start, end, _)| start < end) {
        if let Some((_, other)) = furthest.filter(|(reach, _)| start < *reach) {
            pairs.extend([(index, other), (other, index)]);
        }
        furthest = furthest.max(Some((end, index)));
    }
    pairs.sort_unstable();
    pairs.dedup_by_key(|(index, _)| *index);
    for (index, other) in pairs {
        let other = smmus.get(other).map(|other| other.path.clone());
        if let (Some(smmu), Some(other)) = (smmus.get_mut(index), other) {
            let defect = Defect::SharedRegisters { other: other.clone() };
            diagnostics.push(Diagnostic::at_node(
                smmu.path.clone(),
                "reg",
                defect,
                Effect::Unblocked,
            ));
            smmu.unusable = Some(format!("its registers overlap those of {other}"));
        }
    }
}

fn read<'t>(
    node: Node<'t>,
    kind: &'static Kind,
    maps: &mut InterruptMaps<'t>,
    diagnostics: &mut Diagnostics,
) -> Smmu {
    let mut report = |property, defect, effect| {
        diagnostics.push(Diagnostic::at_node(node.path(), property, defect, effect));
    };
    let other_kind = kinds_of(&node).find(|other| *other != kind);
    let unusable = other_kind.map(|other| {
        let (kind, other) = (kind.name, other.name);
        report(
            "compatible",
            Defect::SeveralKinds { kind, other },
            Effect::Unblocked,
        );
        format!("it says that it is {kind} and {other}")
    });
    let disabled_by = node.disabled_by().map(|by| by.path());
    let enabled = disabled_by.is_none();
    let frames = frames(node).unwrap_or_else(|defect| {
        // A disabled node is often incomplete, and is not used anyhow.
        if enabled {
            report("reg", defect, Effect::Unblocked);
        }
        Vec::new()
    });
    let (interrupts, defect) = interrupts(node, kind, maps);
    if let Some(defect) = defect.filter(|_| enabled) {
        report("interrupts", defect, Effect::Unreported);
    }
    let match_mask = match node.u32("stream-match-mask") {
        // A kind without masks does not have the property, whatever it says.
        _ if !kind.masks => 0,
        Ok(mask) => mask.unwrap_or(0),
        // Every ID then matches: it cannot be told which bits count.
        Err(error) => {
            let defect = Defect::Unreadable(error.problem);
            let is_usable = enabled && unusable.is_none() && !frames.is_empty();
            report("stream-match-mask", defect, Effect::refusal(is_usable));
            u32::MAX
        }
    };
    Smmu {
        node: node.id(),
        path: node.path(),
        compatible: compatible(node),
        kind,
        frames,
        other_kind,
        unusable,
        coherent: node.is_dma_coherent(),
        interrupts,
        messages: Vec::new(),
        match_mask,
        secure_config_access: node.has("calxeda,smmu-secure-config-access"),
        halves: node.is_compatible(&["marvell,ap806-smmu-500"]),
        disabled_by,
        match_registers: None,
        max_stream: None,
    }
}

/// Its register frames. A list that is longer than any SMMU's is not even read.
fn frames(node: Node<'_>) -> Result<Vec<AddressRange>, Defect> {
    let bytes = node.property("reg").map_or(0, |reg| reg.bytes().len());
    if bytes > MOST_FRAMES * BYTES_PER_FRAME {
        let (what, limit) = ("register frames", MOST_FRAMES);
        return Err(Defect::TooMany { what, limit });
    }
    node.regs().map_err(|error| Defect::NoRegisters(error.into()))
}

/// The first texts of its `compatible`, as far as they may be a component's.
pub(crate) fn compatible(node: Node<'_>) -> Vec<String> {
    let short = node.compatibles().filter(|text| text.len() <= LONGEST_COMPATIBLE);
    short.take(MOST_COMPATIBLES).map(str::to_owned).collect()
}

/// Its interrupts as far as they can be read, and what is wrong with them.
fn interrupts<'t>(
    node: Node<'t>,
    kind: &Kind,
    maps: &mut InterruptMaps<'t>,
) -> (Vec<SmmuInterrupt>, Option<Defect>) {
    let unreadable = |error: ReadError| (Vec::new(), Some(Defect::NoInterrupts(error.into())));
    match kind.interrupts {
        InterruptStyle::ByName => match by_name(node, maps) {
            Ok(interrupts) => (interrupts, None),
            Err(error) => unreadable(error),
        },
        InterruptStyle::GlobalThenContext => match node.gic_interrupts_with(maps) {
            Ok(interrupts) => divide(node, interrupts),
            Err(error) => unreadable(error),
        },
    }
}

/// Says which interrupts are global and which are of context banks: `#global-interrupts` first, then bank by bank.
fn divide(node: Node<'_>, interrupts: Vec<GicInterrupt>) -> (Vec<SmmuInterrupt>, Option<Defect>) {
    let count = interrupts.len();
    let globals = match node.u32("#global-interrupts") {
        Ok(Some(globals)) if globals as usize <= count => globals as usize,
        _ => {
            let defect = Defect::UndividedInterrupts { interrupts: count };
            return (Vec::new(), Some(defect));
        }
    };
    let line = |index: usize| match index.checked_sub(globals) {
        Some(bank) => Line::Context(bank),
        None => Line::Global(index),
    };
    let all = interrupts.into_iter().enumerate().take(MOST_INTERRUPTS);
    let divided = all.map(|(index, interrupt)| SmmuInterrupt {
        line: line(index),
        interrupt,
    });
    let none_left =
        (globals == count && count > 0).then_some(Defect::NoContextInterrupts { interrupts: count });
    (divided.collect(), none_left)
}

fn by_name<'t>(node: Node<'t>, maps: &mut InterruptMaps<'t>) -> Result<Vec<SmmuInterrupt>, ReadError> {
    const NAMES: [(&str, Line); 5] = [
        ("combined", Line::Combined),
        ("eventq", Line::EventQueue),
        ("gerror", Line::GlobalError),
        ("priq", Line::PageRequests),
        ("cmdq-sync", Line::CommandSync),
    ];
    let mut found = Vec::new();
    for (name, line) in NAMES {
        if let Some(interrupt) = node.gic_interrupt_by_name_with(maps, name)? {
            found.push(SmmuInterrupt { line, interrupt });
        }
    }
    Ok(found)
}
