//! Defects: each thing that can be wrong in a tree, and what to do about it.

use alloc::boxed::Box;
use alloc::string::String;

use devicetree::{AddressRange, PhandleError, Problem, ReadError};

use super::word_for;
use crate::master::Stream;
use crate::shared::Emitter;

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    /// The SMMU's registers cannot be found.
    #[error("the SMMU's registers cannot be found: {0}")]
    NoRegisters(Box<ReadError>),
    /// An SMMU that says it is of several kinds, whose registers differ.
    #[error("the SMMU says that it is {kind} and {other}, whose registers differ")]
    SeveralKinds {
        /// What it says first.
        kind: &'static str,
        /// What else it says.
        other: &'static str,
    },
    /// Two SMMUs, or two frames of one, have registers in common.
    #[error("the SMMU's registers overlap those of {other}")]
    SharedRegisters {
        /// Path of the other SMMU, or its own.
        other: String,
    },
    /// The SMMU's interrupts cannot be read.
    #[error("the SMMU's interrupts cannot be read: {0}")]
    NoInterrupts(Box<ReadError>),
    /// `#global-interrupts` is missing, or larger than the list.
    #[error("the list of interrupts ({interrupts}) is not divided into global and context ones")]
    UndividedInterrupts {
        /// How many interrupts there are.
        interrupts: usize,
    },
    /// All interrupts are global ones.
    #[error(
        "every one of the listed interrupts ({interrupts}) is global, and none is left for a context bank"
    )]
    NoContextInterrupts {
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
    #[error("{target} cannot be used: {why}")]
    Unusable {
        /// Path of the SMMU.
        target: String,
        /// What is wrong with it.
        why: String,
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
    #[error("the list ends inside an entry that needs {wanted} more {}; {left} left", word_for(*.wanted))]
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
    /// The first of a tuple's stream IDs fits, and the last does not.
    #[error("the last ID, {last:#x}, does not fit the {bits} bits of a stream ID at {smmu}")]
    LastTooWide {
        /// The last ID.
        last: u32,
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
    #[error("what follows, {cells} {} in all, cannot be divided into entries", word_for(*.cells))]
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
    /// An entry for a bridge behind a host bridge.
    #[error("{bridge} is a bridge on a PCI bus: what is behind it is listed by its host bridge")]
    ListsBridge {
        /// Path of the bridge.
        bridge: String,
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
    /// A tuple that matches nothing.
    #[error("a tuple of length 0 matches nothing: firmware was to fill it in")]
    EmptyTuple,
    /// A tuple that is never reached.
    #[error("earlier tuples hold all requester IDs of this one")]
    Shadowed,
    /// A tuple to an SMMU with two-cell specifiers that is longer than one ID.
    #[error("{length} IDs cannot be counted up through a specifier of two cells")]
    LongWideTuple {
        /// The tuple's length.
        length: u32,
    },
    /// An `iommu-map` at a bus whose devices cannot be found.
    #[error("the devices on this bus have no requester IDs that could be found out")]
    NotPci,
    /// An `iommu-map` that divides into tuples in both of the ways that are in use, or in none.
    #[error(
        "{target} takes specifiers of {cells} cells, and the map divides into tuples in both of the ways that are in \
         use, or in none"
    )]
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
    #[error("mmu-masters gives {master} {legacy}, and the generic binding {generic}")]
    BindingsDisagree {
        /// The master.
        master: String,
        /// The streams of the one, the first of them.
        legacy: String,
        /// The streams of the other, the first of them.
        generic: String,
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
    /// More masked stream matches than are compared.
    #[error("{matches} stream matches with masks, more than the {limit} that are compared")]
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
    /// A master that may reach, or be reached by, a refused one without passing an SMMU.
    #[error(
        "{master} can be reached by {other}, which is refused, without passing an SMMU: they meet at {at}"
    )]
    PeerRefused {
        /// The master.
        master: String,
        /// The refused one.
        other: String,
        /// Where they meet.
        at: String,
    },
    /// A master whose stream somebody may emit, too, about whom no more is known.
    #[error("{master}: {stream} may also be emitted by {emitter}")]
    PerhapsShared {
        /// The master.
        master: String,
        /// Its stream.
        stream: Stream,
        /// By whom.
        emitter: Emitter,
    },
    /// Two buses on which nobody looked for devices.
    #[error("its devices may emit the same streams as those on {other}")]
    BusesMeet {
        /// Path of the other bus.
        other: String,
    },
    /// A list of streams and masks that no SMMU of this kind has registers for.
    #[error("its enabled masters need {needed} stream matches, and no {kind} has more than {limit}")]
    TooFewRegisters {
        /// How many stream matches.
        needed: usize,
        /// The kind of the SMMU.
        kind: &'static str,
        /// The most that the architecture allows.
        limit: usize,
    },
    /// The target is no MSI controller.
    #[error("{target} is no MSI controller")]
    NoMsiController {
        /// Path of the target.
        target: String,
    },
    /// The target of an MSI reference is disabled.
    #[error("{target} is disabled by the status of {by}")]
    DisabledMsiController {
        /// Path of the controller.
        target: String,
        /// Path of the node whose status it is.
        by: String,
    },
    /// The target's `#msi-cells` is none that can be read.
    #[error("{target} has an #msi-cells of {cells}, not 0 or 1")]
    MsiCells {
        /// Path of the target.
        target: String,
        /// Its `#msi-cells`.
        cells: u32,
    },
    /// A node is meant that nothing describes as a master.
    #[error("{device} is behind no SMMU that is known")]
    NoMaster {
        /// Path of the device.
        device: String,
    },
    /// A region whose device does not list it.
    #[error("{device} does not list this region in its `memory-region`, so the entry does not count")]
    RegionNotListed {
        /// Path of the device.
        device: String,
    },
    /// A region of no bytes.
    #[error("a region of no bytes for {device}")]
    EmptyRegion {
        /// Path of the device.
        device: String,
    },
    /// A region that ends behind the address space.
    #[error("{size:#x} bytes at {address:#x} end behind the 64-bit address space")]
    RegionWraps {
        /// Where it starts.
        address: u64,
        /// How long it is.
        size: u64,
    },
    /// A region that is to appear to the device at another address than it has.
    #[error("{device} is to see it at {iova}, but it lies elsewhere: only identity mappings can be kept")]
    RegionMoved {
        /// Path of the device.
        device: String,
        /// Where the device is to see it.
        iova: AddressRange,
    },
    /// The tree describes more than can be kept.
    #[error("what the tree describes up to here takes more than {limit_kib} KiB")]
    TooLarge {
        /// The limit, in KiB.
        limit_kib: usize,
    },
    /// More of something than is read.
    #[error("there are more than {limit} {what}")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many are read.
        limit: usize,
    },
    /// An SMMU that no master names.
    #[error("no master that is understood names this SMMU")]
    Unnamed,
}

impl Defect {
    /// Its name: for tables and for programs.
    pub fn kind(&self) -> &'static str {
        self.name_and_remedy().0
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        self.name_and_remedy().1
    }

    fn name_and_remedy(&self) -> (&'static str, &'static str) {
        match self {
            Defect::NoRegisters(_) => (
                "no-registers",
                "correct `reg` of the SMMU, or `ranges` of a bus above it",
            ),
            Defect::SeveralKinds { .. } => ("several-kinds", "name one kind in `compatible`"),
            Defect::SharedRegisters { .. } => (
                "shared-registers",
                "give each SMMU its own `reg`, or describe it by one node",
            ),
            Defect::NoInterrupts(_) => (
                "no-interrupts",
                "correct `interrupts` and `interrupt-names` of the SMMU",
            ),
            Defect::UndividedInterrupts { .. } => (
                "undivided-interrupts",
                "give the SMMU a `#global-interrupts` that fits its list",
            ),
            Defect::NoContextInterrupts { .. } => (
                "no-context-interrupts",
                "list the interrupts of the context banks behind the global ones",
            ),
            Defect::Unreadable(_) => ("unreadable", "correct the property"),
            Defect::UnreadableList(_) => ("unreadable-list", "correct the property"),
            Defect::EmptyList => ("empty-list", "fill the list in, or remove the property"),
            Defect::Phandle(_) => ("bad-phandle", "correct the phandle"),
            Defect::EmptyEntry => ("empty-entry", "remove the entry"),
            Defect::Foreign { .. } => (
                "foreign-iommu",
                "only Arm SMMUs are driven: leave the device out of the partition",
            ),
            Defect::Disabled { .. } => ("disabled-smmu", "enable the SMMU if it is there"),
            Defect::Unusable { .. } => ("unusable-smmu", "correct the SMMU's node"),
            Defect::SpecifierCells { .. } => (
                "specifier-cells",
                "give the SMMU the `#iommu-cells` that its binding allows",
            ),
            Defect::Truncated { .. } => ("truncated", "complete the entry"),
            Defect::TooWide { .. } => ("too-wide", "correct the stream ID"),
            Defect::LastTooWide { .. } => ("too-wide", "correct the stream ID or the length"),
            Defect::NoStreamIdCells { .. } => ("no-stream-id-cells", "give the master a `#stream-id-cells`"),
            Defect::UnknownMaster(_) => ("unknown-master", "correct the phandle"),
            Defect::LostTail { .. } => ("lost-tail", "repair the entry before it"),
            Defect::ListsBridge { .. } => ("lists-bridge", "list the host bridge instead"),
            Defect::PerhapsListed { .. } => ("perhaps-listed", "repair the entry before it"),
            Defect::NoStreams { .. } => ("no-streams", "list its stream IDs"),
            Defect::Repeated { .. } => ("repeated", "list it once"),
            Defect::Contradicted { .. } => ("contradicted", "list it once"),
            Defect::EmptyTuple => ("empty-tuple", "fill the tuple in, or remove it"),
            Defect::Shadowed => ("shadowed-tuple", "remove the tuple, or correct the earlier ones"),
            Defect::LongWideTuple { .. } => (
                "long-wide-tuple",
                "write a tuple of length 1 for each requester ID",
            ),
            Defect::NotPci => ("bus-not-pci", "assign no device of this bus"),
            Defect::AmbiguousWidth { .. } => {
                ("ambiguous-width", "write tuples of five cells, of length 1 each")
            }
            Defect::OutsideMask { .. } => ("outside-mask", "correct the tuple or the map's mask"),
            Defect::Wraps { .. } => ("wraps", "correct the tuple"),
            Defect::Unmatched { .. } => ("unmatched", "extend the map"),
            Defect::DuplicateFunction { .. } => (
                "duplicate-function",
                "give the host bridges different segments or bus ranges",
            ),
            Defect::BindingsDisagree { .. } => {
                ("bindings-disagree", "remove one binding, or make them equal")
            }
            Defect::PartialOverlap { .. } => ("partial-overlap", "correct the masks"),
            Defect::TooManyMatches { .. } => ("too-many-matches", "correct the lists"),
            Defect::GroupRefused { .. } => ("group-refused", "repair the other device's description"),
            Defect::PeerRefused { .. } => ("peer-refused", "repair the other device's description"),
            Defect::BusesMeet { .. } => (
                "buses-meet",
                "give each bus streams of its own, or find their devices: those that share one form a group",
            ),
            Defect::PerhapsShared { .. } => (
                "perhaps-shared",
                "repair the other one's description, or give the device a stream ID of its own",
            ),
            Defect::TooFewRegisters { .. } => (
                "too-few-registers",
                "merge stream IDs by masks, or assign fewer devices",
            ),
            Defect::NoMsiController { .. } => ("no-msi-controller", "point at the MSI controller"),
            Defect::DisabledMsiController { .. } => {
                ("disabled-msi-controller", "enable the controller if it is there")
            }
            Defect::MsiCells { .. } => ("msi-cells", "correct the controller's `#msi-cells`"),
            Defect::NoMaster { .. } => ("no-master", "describe the device, or remove the entry"),
            Defect::RegionNotListed { .. } => (
                "region-not-listed",
                "list the region in the device's `memory-region`, or remove the entry",
            ),
            Defect::EmptyRegion { .. } => ("empty-region", "give the region its size"),
            Defect::RegionWraps { .. } => ("region-wraps", "correct address and size"),
            Defect::RegionMoved { .. } => (
                "region-moved",
                "make `iommu-addresses` equal to `reg`, or remove `reg`",
            ),
            Defect::TooLarge { .. } => ("too-large", "describe less: no board has so many devices"),
            Defect::TooMany { .. } => ("too-many", "describe fewer of them"),
            Defect::Unnamed => ("unnamed-smmu", "describe its masters, if it has any"),
        }
    }
}
