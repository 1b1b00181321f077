//! SMMUs: every node of a known kind, with its frames and interrupts.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;

use devicetree::{AddressRange, GicInterrupt, Node, NodeId, ReadError, Tree};

use crate::diagnostic::{Defect, Diagnostic, Diagnostics};
use crate::kinds::{InterruptStyle, KINDS, Kind};

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
    /// Whether its table walks snoop the CPU's caches. Says nothing about its masters.
    pub coherent: bool,
    /// Its interrupts; those that cannot be read are left out.
    pub interrupts: Vec<SmmuInterrupt>,
    /// `stream-match-mask`, for specifiers of one cell.
    pub match_mask: u32,
    /// Path of the node whose status disables it, if one does.
    pub disabled_by: Option<String>,
    /// The highest stream ID of the masters that are covered by it.
    pub max_stream: Option<u32>,
}

impl Smmu {
    /// Whether it can be shut and driven, as far as the tree says.
    pub fn is_usable(&self) -> bool {
        self.disabled_by.is_none() && !self.frames.is_empty()
    }

    /// The interrupt of a line.
    pub fn interrupt(&self, line: Line) -> Option<GicInterrupt> {
        self.interrupts
            .iter()
            .find(|interrupt| interrupt.line == line)
            .map(|found| found.interrupt)
    }

    /// What the tree lets nobody use it for, as a defect of a reference to it.
    pub(crate) fn reference_defect(&self) -> Option<Defect> {
        if let Some(by) = &self.disabled_by {
            return Some(Defect::Disabled {
                target: self.path.clone(),
                by: by.clone(),
            });
        }
        if self.frames.is_empty() {
            Some(Defect::Unusable {
                target: self.path.clone(),
            })
        } else {
            None
        }
    }
}

/// All SMMUs of a tree, in its order, disabled ones as well.
pub(crate) fn find(tree: &Tree, diagnostics: &mut Diagnostics) -> Vec<Smmu> {
    let kind_of = |node: &Node<'_>| KINDS.iter().find(|kind| node.is_compatible(kind.compatible));
    let found = tree
        .nodes()
        .filter_map(|node| kind_of(&node).map(|kind| (node, kind)));
    found.map(|(node, kind)| read(node, kind, diagnostics)).collect()
}

fn read(node: Node<'_>, kind: &'static Kind, diagnostics: &mut Diagnostics) -> Smmu {
    let mut report = |property, defect| {
        diagnostics.push(Diagnostic {
            node: node.path(),
            property,
            cell: None,
            value: None,
            defect,
            blocked: false,
        });
    };
    let disabled_by = node.disabled_by().map(|by| by.path());
    let enabled = disabled_by.is_none();
    let frames = node.regs().unwrap_or_else(|error| {
        // A disabled node is often incomplete, and is not used anyhow.
        if enabled {
            report("reg", Defect::NoRegisters(error.into()));
        }
        Vec::new()
    });
    let interrupts = match interrupts(node, kind) {
        Ok(interrupts) => interrupts,
        Err(defect) => {
            if enabled {
                report("interrupts", defect);
            }
            Vec::new()
        }
    };
    let match_mask = match node.u32("stream-match-mask") {
        Ok(Some(mask)) if kind.masks => mask,
        Ok(_) => 0,
        // Every ID then matches: it cannot be told which bits count.
        Err(error) => {
            report("stream-match-mask", Defect::Unreadable(error.problem));
            u32::MAX
        }
    };
    Smmu {
        node: node.id(),
        path: node.path(),
        compatible: node.compatibles().map(str::to_owned).collect(),
        kind,
        frames,
        coherent: node.is_dma_coherent(),
        interrupts,
        match_mask,
        disabled_by,
        max_stream: None,
    }
}

fn interrupts(node: Node<'_>, kind: &Kind) -> Result<Vec<SmmuInterrupt>, Defect> {
    match kind.interrupts {
        InterruptStyle::ByName => by_name(node).map_err(|error| Defect::NoInterrupts(error.into())),
        InterruptStyle::GlobalThenContext => {
            let interrupts = node
                .gic_interrupts()
                .map_err(|error| Defect::NoInterrupts(error.into()))?;
            let undivided = Defect::UndividedInterrupts {
                interrupts: interrupts.len(),
            };
            let globals = match node.u32("#global-interrupts") {
                Ok(Some(globals)) => globals as usize,
                _ => return Err(undivided),
            };
            if globals > interrupts.len() {
                return Err(undivided);
            }
            let line = |index: usize| match index.checked_sub(globals) {
                Some(bank) => Line::Context(bank),
                None => Line::Global(index),
            };
            let all = interrupts.into_iter().enumerate();
            Ok(all
                .map(|(index, interrupt)| SmmuInterrupt {
                    line: line(index),
                    interrupt,
                })
                .collect())
        }
    }
}

fn by_name(node: Node<'_>) -> Result<Vec<SmmuInterrupt>, ReadError> {
    const NAMES: [(&str, Line); 5] = [
        ("combined", Line::Combined),
        ("eventq", Line::EventQueue),
        ("gerror", Line::GlobalError),
        ("priq", Line::PageRequests),
        ("cmdq-sync", Line::CommandSync),
    ];
    let mut found = Vec::new();
    for (name, line) in NAMES {
        if let Some(interrupt) = node.gic_interrupt_by_name(name)? {
            found.push(SmmuInterrupt { line, interrupt });
        }
    }
    Ok(found)
}
