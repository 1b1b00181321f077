//! Diagnostics: what is wrong in the tree, what it means for isolation, and what to do about it.

mod defect;
mod isolation;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use devicetree::Property;

pub use defect::Defect;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is lost, but somebody may have meant something else.
    Note,
    /// Isolation holds where it is claimed, but something is lost: a device that cannot be isolated on this board, its
    /// interrupts, the reports of its faults.
    Warning,
    /// The tree is wrong or contradicts itself, and devices are refused for it.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// What a defect means for the devices that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing is lost.
    Nothing,
    /// Faults of streams are not reported by interrupt.
    Unreported,
    /// Message-signalled interrupts do not work.
    NoMessages,
    /// A region that was to stay reachable is not.
    NoRegion,
    /// A master is refused, and a shut SMMU stops its DMA.
    Blocked,
    /// A PCI function is refused, and nothing but its bus master enable bit stops its DMA.
    NoMastering,
    /// A master is refused, and nothing is known to stop its DMA: nobody may be given its registers.
    Unblocked,
}

impl Effect {
    /// The effect of a refusal.
    pub(crate) fn refusal(blocked: bool) -> Effect {
        if blocked {
            Effect::Blocked
        } else {
            Effect::Unblocked
        }
    }

    fn text(self) -> &'static str {
        match self {
            Effect::Nothing => "nothing is lost",
            Effect::Unreported => "isolation holds, but faults of its streams are not reported by interrupt",
            Effect::NoMessages => "isolation holds, but message-signalled interrupts do not arrive",
            Effect::NoRegion => "isolation holds, but DMA that is under way in that region stops",
            Effect::Blocked => "the device is refused and its streams stay blocked",
            Effect::NoMastering => "the function is refused and its bus mastering stays off",
            Effect::Unblocked => "the device is refused, and no SMMU of ours is known to stop its DMA",
        }
    }
}

/// The word for so many cells.
fn word_for(count: usize) -> &'static str {
    if count == 1 { "cell" } else { "cells" }
}

impl Defect {
    /// Whether the tree is right, as far as can be known, and it is the board that does not have what isolation needs.
    fn is_of_the_board(&self) -> bool {
        matches!(
            self,
            Defect::Foreign { .. }
                | Defect::Disabled { .. }
                | Defect::TooFewRegisters { .. }
                | Defect::PerhapsShared { .. }
        )
    }
}

/// A defect and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Path of the node.
    pub node: String,
    /// Name of the property.
    pub property: &'static str,
    /// Which cell of the value, from 0, where there is one.
    pub cell: Option<usize>,
    /// The value of that cell.
    pub value: Option<u32>,
    /// What is wrong.
    pub defect: Defect,
    /// What it means.
    pub effect: Effect,
}

impl Diagnostic {
    /// A diagnostic about a node as a whole, at the property where the matter belongs.
    pub(crate) fn at_node(
        node: String,
        property: &'static str,
        defect: Defect,
        effect: Effect,
    ) -> Diagnostic {
        Diagnostic {
            node,
            property,
            cell: None,
            value: None,
            defect,
            effect,
        }
    }

    /// A diagnostic about a property as a whole.
    pub(crate) fn at_property(
        property: &Property<'_>,
        name: &'static str,
        defect: Defect,
        effect: Effect,
    ) -> Diagnostic {
        Diagnostic::at_node(property.node().path(), name, defect, effect)
    }

    /// A diagnostic about a cell of a property.
    pub(crate) fn at_cell(
        property: &Property<'_>,
        name: &'static str,
        cell: usize,
        defect: Defect,
        effect: Effect,
    ) -> Diagnostic {
        Diagnostic {
            cell: Some(cell),
            value: property.cells().ok().and_then(|cells| cells.get(cell)),
            ..Diagnostic::at_property(property, name, defect, effect)
        }
    }

    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self.effect {
            Effect::Nothing => Severity::Note,
            Effect::Unreported | Effect::NoMessages | Effect::NoRegion => Severity::Warning,
            _ if self.defect.is_of_the_board() => Severity::Warning,
            Effect::Blocked | Effect::NoMastering | Effect::Unblocked => Severity::Error,
        }
    }

    /// What it means for isolation.
    pub fn isolation(&self) -> &'static str {
        self.defect.own_isolation().unwrap_or(self.effect.text())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.severity(), self.node, self.property)?;
        if let Some(cell) = self.cell {
            write!(f, ", cell {cell}")?;
        }
        if let Some(value) = self.value {
            write!(f, " = {value:#x}")?;
        }
        write!(
            f,
            ": {}: {}; {}",
            self.defect,
            self.isolation(),
            self.defect.remedy()
        )
    }
}

/// How many diagnostics of each severity are kept, from notes upwards. A tree that is wrong in more places is not worth the
/// memory; notes must not displace errors.
const MOST_KEPT: [usize; 3] = [256, 256, 512];

/// Diagnostics in the order they were found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diagnostics {
    pub(crate) kept: Vec<Diagnostic>,
    /// How many there are of each severity, from notes upwards.
    count: [usize; 3],
}

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        let severity = diagnostic.severity() as usize;
        if let (Some(count), Some(most)) = (self.count.get_mut(severity), MOST_KEPT.get(severity)) {
            if *count < *most {
                self.kept.push(diagnostic);
            }
            *count += 1;
        }
    }

    /// How many there are of a severity, whether they were kept or not.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.count.get(severity as usize).copied().unwrap_or(0)
    }

    /// How many were not kept.
    pub(crate) fn omitted(&self) -> usize {
        self.count.iter().sum::<usize>() - self.kept.len()
    }
}
