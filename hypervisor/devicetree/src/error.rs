//! What can be wrong with the meaning of a property, in a tree whose form is right.

use alloc::string::String;

use crate::address::AddressRange;
use crate::gic::GicError;
use crate::node::NodeId;

/// A property that cannot be understood: which node, which property, and what is wrong with its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{node}: {property}: {problem}")]
pub struct ReadError {
    /// Path of the node.
    pub node: String,
    /// Name of the property.
    pub property: String,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with a property.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The property is needed and not there.
    #[error("is missing")]
    Missing,
    /// The value has a length that its type does not have.
    #[error("has {length} bytes, not {expected}")]
    WrongLength {
        /// The length of the value.
        length: usize,
        /// What it should be.
        expected: &'static str,
    },
    /// The value is no text of the kind that the property holds.
    #[error("is no NUL-terminated text of printable characters")]
    NotText,
    /// The cells of the value do not divide into entries.
    #[error("has {cells} cells, which do not divide into entries of {entry}")]
    PartialEntry {
        /// How many cells there are.
        cells: usize,
        /// How many cells one entry has.
        entry: usize,
    },
    /// A list has fewer entries than the one asked for.
    #[error("has {entries} entries, entry {index} does not exist")]
    NoEntry {
        /// How many there are.
        entries: usize,
        /// The one asked for, from 0.
        index: usize,
    },
    /// A cell count that cannot be read.
    #[error("is {value}; at most {limit} can be read here")]
    CellCount {
        /// The count.
        value: u32,
        /// The largest one.
        limit: u32,
    },
    /// A number outside the range that it may have.
    #[error("{value:#x} is {meaning}")]
    OutOfRange {
        /// The number.
        value: u64,
        /// Why it cannot be.
        meaning: &'static str,
    },
    /// A text with a meaning that is not known.
    #[error("\"{value}\" is {meaning}")]
    UnknownText {
        /// The text.
        value: String,
        /// What it was taken for.
        meaning: &'static str,
    },
    /// A region that ends behind the last address.
    #[error("{size:#x} bytes at {address:#x} end behind the 64-bit address space")]
    Overflow {
        /// Where the region starts.
        address: u64,
        /// How long it is.
        size: u64,
    },
    /// The node is on a bus that does not say where its addresses appear in the parent's.
    #[error("address {address:#x} is local to {bus}, which has no `ranges`: the CPU cannot reach it")]
    NoRanges {
        /// Path of the bus.
        bus: String,
        /// The address on that bus.
        address: u64,
    },
    /// No window of the bus holds the whole region.
    #[error("{region} lies in no single window of the `ranges` of {bus}")]
    OutsideRanges {
        /// Path of the bus.
        bus: String,
        /// The region on that bus.
        region: AddressRange,
    },
    /// A list longer than any real one.
    #[error("has {entries} entries, more than {limit}")]
    TooMany {
        /// How many.
        entries: usize,
        /// The largest number that is read.
        limit: usize,
    },
    /// A phandle that names no single node.
    #[error("{0}")]
    Phandle(#[from] PhandleError),
    /// No node up the tree is an interrupt parent.
    #[error("there is no interrupt parent")]
    NoInterruptParent,
    /// The interrupt parent can neither take nor pass on interrupts.
    #[error("{node} is no interrupt controller and has no `interrupt-map`")]
    NotController {
        /// Path of the interrupt parent.
        node: String,
    },
    /// The nexus has no entry for this interrupt.
    #[error("the `interrupt-map` of {nexus} has no entry for it")]
    Unmapped {
        /// Path of the nexus.
        nexus: String,
    },
    /// Interrupt nexuses that point at each other.
    #[error("passes through more than {limit} interrupt maps or parents; they form a loop")]
    InterruptLoop {
        /// How many are followed.
        limit: usize,
    },
    /// The interrupts of a tree lead through more entries of interrupt maps than are read.
    #[error("is not read further: more than {limit} entries of interrupt maps were read or looked up before")]
    MapsTooLarge {
        /// How many are read or looked up.
        limit: usize,
    },
    /// The interrupt goes to something that is no GIC.
    #[error("goes to {controller}, which is no GIC")]
    NotGic {
        /// Path of the controller.
        controller: String,
    },
    /// A GIC specifier that names no interrupt.
    #[error("{0}")]
    Gic(#[from] GicError),
    /// Nothing in the tree is what is looked for.
    #[error("no enabled node has {wanted}")]
    NoSuchNode {
        /// What is looked for.
        wanted: &'static str,
    },
}

/// Why a phandle does not lead to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhandleError {
    /// 0 and 0xffffffff are no phandles (DTSpec 2.3.3).
    #[error("{phandle:#x} is no valid phandle")]
    Invalid {
        /// The value.
        phandle: u32,
    },
    /// No node has it.
    #[error("no node has phandle {phandle:#x}")]
    Dangling {
        /// The value.
        phandle: u32,
    },
    /// More than one node has it, so it is anyone's guess which is meant.
    #[error("more than one node has phandle {phandle:#x}")]
    Ambiguous {
        /// The value.
        phandle: u32,
        /// The first two nodes, in the order of the tree.
        nodes: [NodeId; 2],
    },
}
