//! Diagnostics: what is wrong in the tree, what it means for isolation, and what to do about it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use devicetree::{PhandleError, Problem, ReadError};

use crate::master::Stream;

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Isolation is not affected.
    Note,
    /// Isolation holds, but something else is lost, as the report of faults.
    Warning,
    /// A master is refused.
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

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The SMMU's registers cannot be found.
    #[error("the SMMU's registers cannot be found: {0}")]
    NoRegisters(Box<ReadError>),
    /// The SMMU's interrupts cannot be read.
    #[error("the SMMU's interrupts cannot be read: {0}")]
    NoInterrupts(Box<ReadError>),
    /// `#global-interrupts` is missing, or larger than the list.
    #[error("the {interrupts} interrupts are not divided into global and context ones")]
    UndividedInterrupts {
        /// How many interrupts there are.
        interrupts: usize,
    },
    /// The node's own value cannot be read.
    #[error("{0}")]
    Unreadable(Problem),
    /// An `mmu-masters` that is no list of cells.
    #[error("{0}")]
    UnreadableList(Problem),
    /// The property has no value.
    #[error("the list is empty")]
    EmptyList,
    /// A phandle leads nowhere.
    #[error("{0}")]
    Phandle(PhandleError),
    /// A phandle of 0 in `mmu-masters`: an entry that was taken out.
    #[error("an empty entry")]
    EmptyEntry,
    /// The target is no SMMU that we know.
    #[error("{target} is no SMMU of a known kind")]
    Foreign {
        /// Path of the target.
        target: String,
    },
    /// The target is disabled.
    #[error("{target} is disabled by the status of {by}")]
    Disabled {
        /// Path of the SMMU.
        target: String,
        /// Path of the node whose status it is.
        by: String,
    },
    /// The target has a defect of its own.
    #[error("{target} cannot be used: its registers cannot be found")]
    Unusable {
        /// Path of the SMMU.
        target: String,
    },
    /// The target's `#iommu-cells` is missing or not what its kind allows.
    #[error("{target} has no #iommu-cells that its kind allows")]
    SpecifierCells {
        /// Path of the SMMU.
        target: String,
        /// Its `#iommu-cells`, if it has one.
        cells: Option<u32>,
    },
    /// The list ends inside an entry.
    #[error("the list ends inside an entry that needs {wanted} more cells; {left} are left")]
    Truncated {
        /// How many cells the entry needs.
        wanted: usize,
        /// How many are left.
        left: usize,
    },
    /// A stream ID or mask that the SMMU cannot tell apart.
    #[error("does not fit the {bits} bits of a stream ID at {smmu}")]
    TooWide {
        /// Path of the SMMU.
        smmu: String,
        /// How many bits it has.
        bits: u32,
    },
    /// The entry's node does not say how many stream IDs follow.
    #[error("{master} has no readable #stream-id-cells, so the length of its entry is unknown")]
    NoStreamIdCells {
        /// Path of the master.
        master: String,
    },
    /// An entry of `mmu-masters` for a node that is not there.
    #[error("{0}, so the length of its entry is unknown")]
    UnknownMaster(PhandleError),
    /// The rest of an `mmu-masters` list cannot be divided into entries.
    #[error("what follows, {cells} cells in all, cannot be divided into entries")]
    LostTail {
        /// How many cells are lost.
        cells: usize,
    },
    /// The master's phandle appears in a part of a list that cannot be divided into entries.
    #[error("{master} may be listed in the part of the list that cannot be divided into entries")]
    PerhapsListed {
        /// Path of the master.
        master: String,
    },
    /// A master without any stream.
    #[error("{master} is listed without a stream ID")]
    NoStreams {
        /// Path of the master.
        master: String,
    },
    /// The same entry again.
    #[error("{master} is listed again, with the same stream IDs")]
    Repeated {
        /// Path of the master.
        master: String,
    },
    /// Another entry for the same master.
    #[error("{master} is listed again, with other stream IDs")]
    Contradicted {
        /// Path of the master.
        master: String,
    },
    /// An `iommu-map` at a bus whose devices cannot be found.
    #[error("the devices on this bus have no requester IDs that could be found out")]
    NotPci,
    /// An `iommu-map` that old and new readers divide into different tuples.
    #[error("{target} takes specifiers of {cells} cells: old and new readers divide such a map differently")]
    AmbiguousWidth {
        /// Path of the SMMU.
        target: String,
        /// Its `#iommu-cells`.
        cells: u32,
    },
    /// A tuple whose first requester ID is not under the map's mask.
    #[error("requester ID base {base:#x} has bits outside iommu-map-mask {mask:#x}")]
    OutsideMask {
        /// The tuple's base.
        base: u32,
        /// The mask.
        mask: u32,
    },
    /// A tuple that runs over the end of its number space.
    #[error("{length:#x} IDs from {base:#x} on run over the end of 32 bits")]
    Wraps {
        /// Where the tuple starts.
        base: u32,
        /// How long it is.
        length: u32,
    },
    /// A requester ID that no tuple matches.
    #[error("no tuple matches requester ID {requester:#06x} of {function}")]
    Unmatched {
        /// The requester ID.
        requester: u16,
        /// The function.
        function: String,
    },
    /// Two functions with one address.
    #[error("two functions have the address {function}")]
    DuplicateFunction {
        /// The address.
        function: String,
    },
    /// The two bindings give a master different streams.
    #[error("mmu-masters gives {master} other streams than the generic binding does")]
    BindingsDisagree {
        /// The master.
        master: String,
    },
    /// Two stream matches share some IDs, but neither holds the other.
    #[error("{master}: {stream} overlaps {other_stream} of {other}, and neither holds the other")]
    PartialOverlap {
        /// The master.
        master: String,
        /// Its stream.
        stream: Stream,
        /// The other master; it may be the same.
        other: String,
        /// The other stream.
        other_stream: Stream,
    },
    /// More masked stream matches than can be compared.
    #[error("{matches} stream matches with masks, more than {limit}: no SMMU has so many registers")]
    TooManyMatches {
        /// How many.
        matches: usize,
        /// How many are compared.
        limit: usize,
    },
    /// A master that shares a stream with a refused one.
    #[error("{master} cannot be told apart from {other}, which is refused: it shares {stream}")]
    GroupRefused {
        /// The master.
        master: String,
        /// The stream that they share.
        stream: Stream,
        /// The refused one.
        other: String,
    },
    /// An SMMU that no master names.
    #[error("no master names this SMMU")]
    Unnamed,
}

impl Defect {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        match self {
            Defect::EmptyEntry | Defect::Repeated { .. } | Defect::Unnamed => Severity::Note,
            Defect::NoInterrupts(_) | Defect::UndividedInterrupts { .. } => Severity::Warning,
            _ => Severity::Error,
        }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Defect::NoRegisters(_) => "correct `reg` of the SMMU, or `ranges` of a bus above it",
            Defect::NoInterrupts(_) => "correct `interrupts` and `interrupt-names` of the SMMU",
            Defect::UndividedInterrupts { .. } => "give the SMMU a `#global-interrupts` that fits its list",
            Defect::Unreadable(_) | Defect::UnreadableList(_) => "correct the property",
            Defect::EmptyList => "list the streams, or remove the property",
            Defect::Phandle(_) => "point at an existing SMMU node",
            Defect::EmptyEntry => "remove the entry",
            Defect::Foreign { .. } => {
                "describe the device behind an Arm SMMU, or leave it out of the partition"
            }
            Defect::Disabled { .. } => "enable the SMMU if it is there",
            Defect::Unusable { .. } => "correct the SMMU's node",
            Defect::SpecifierCells { .. } => "give the SMMU the `#iommu-cells` that its binding allows",
            Defect::Truncated { .. } => "complete the entry",
            Defect::TooWide { .. } => "correct the stream ID",
            Defect::NoStreamIdCells { .. } => "give the master a `#stream-id-cells`",
            Defect::UnknownMaster(_) => "correct the phandle",
            Defect::LostTail { .. } | Defect::PerhapsListed { .. } => "repair the entry before it",
            Defect::NoStreams { .. } => "list its stream IDs",
            Defect::Repeated { .. } | Defect::Contradicted { .. } => "list it once",
            Defect::NotPci => "assign no device of this bus",
            Defect::AmbiguousWidth { .. } => "map to an SMMU with one-cell specifiers",
            Defect::OutsideMask { .. } => "correct the tuple or `iommu-map-mask`",
            Defect::Wraps { .. } => "correct the tuple",
            Defect::Unmatched { .. } => "extend the map; bus mastering of the function stays off",
            Defect::DuplicateFunction { .. } => "give the host bridges different segments or bus ranges",
            Defect::BindingsDisagree { .. } => "remove one binding, or make them equal",
            Defect::PartialOverlap { .. } => "correct the masks",
            Defect::TooManyMatches { .. } => "correct the lists",
            Defect::GroupRefused { .. } => "repair the other device's description",
            Defect::Unnamed => "describe its masters, if it has any",
        }
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
    /// Whether a shut SMMU stops the DMA of the master that is refused for it.
    pub blocked: bool,
}

impl Diagnostic {
    /// How much it matters.
    pub fn severity(&self) -> Severity {
        self.defect.severity()
    }

    /// What it means for isolation.
    pub fn isolation(&self) -> &'static str {
        match self.defect {
            Defect::EmptyEntry | Defect::Repeated { .. } => "nothing is lost",
            Defect::Unnamed => "it stays shut and isolates nothing",
            Defect::NoInterrupts(_) | Defect::UndividedInterrupts { .. } => {
                "isolation holds, but faults of its streams are not reported by interrupt"
            }
            Defect::NoRegisters(_) => {
                "it cannot be shut: its masters are refused, and nothing stops their DMA"
            }
            Defect::UnknownMaster(_) => "the device that is meant is not known, and is not covered",
            Defect::LostTail { .. } | Defect::UnreadableList(_) => {
                "devices that may be listed there are refused"
            }
            Defect::GroupRefused { .. } => "no SMMU can tell the two apart, so both are refused",
            Defect::PartialOverlap { .. } => "an ID would match two registers, so all owners are refused",
            Defect::TooManyMatches { .. } => "every device behind this SMMU is refused",
            _ if self.blocked => "the device is refused and its streams stay blocked",
            _ => "the device is refused, and no SMMU of ours is known to stop its DMA",
        }
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

/// How many diagnostics are kept. A tree that is wrong in more places is not worth the memory.
const MAX_KEPT: usize = 1024;

/// Diagnostics in the order they were found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Diagnostics {
    pub(crate) kept: Vec<Diagnostic>,
    /// How many were not kept.
    pub(crate) omitted: usize,
}

impl Diagnostics {
    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.kept.len() < MAX_KEPT {
            self.kept.push(diagnostic);
        } else {
            self.omitted += 1;
        }
    }
}
