//! What the gate refuses a blob for.

use alloc::string::String;
use core::fmt;

use super::{MAX_DEPTH, MAX_NAME, MAX_NODES, MAX_PATH, MAX_SIZE};

/// One of the parts of a blob that the header points at (DTSpec 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The header itself.
    Header,
    /// The memory reservation block.
    Reservations,
    /// The structure block.
    Structure,
    /// The strings block.
    Strings,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Block::Header => "header",
            Block::Reservations => "memory reservation block",
            Block::Structure => "structure block",
            Block::Strings => "strings block",
        })
    }
}

/// Why a blob is refused. Offsets count from the start of the blob as it was handed over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    /// Fewer bytes than a header has.
    #[error("device tree: only {available} bytes, too few for a header")]
    TooShort {
        /// How many bytes there are.
        available: usize,
    },
    /// The first word is not 0xd00dfeed.
    #[error("device tree: magic number is {value:#010x}, not 0xd00dfeed: this is no device tree blob")]
    BadMagic {
        /// The first word.
        value: u32,
    },
    /// The blob says a size that no sane tree has.
    #[error("device tree: totalsize is {totalsize}, outside 40..={MAX_SIZE} bytes")]
    BadSize {
        /// The size from the header.
        totalsize: u32,
    },
    /// The blob says that it is longer than what was handed over.
    #[error(
        "device tree: totalsize is {totalsize}, but only {available} bytes are there: the blob is truncated"
    )]
    Truncated {
        /// The size from the header.
        totalsize: usize,
        /// How many bytes there are.
        available: usize,
    },
    /// A version that cannot be read.
    #[error(
        "device tree: version {version}, compatible back to {last_compatible}; \
         versions 16 and 17 can be read"
    )]
    BadVersion {
        /// `version` of the header.
        version: u32,
        /// `last_comp_version` of the header.
        last_compatible: u32,
    },
    /// A block lies outside the blob.
    #[error(
        "device tree: the {block} at {offset:#x} ({size} bytes) ends outside the blob of {totalsize} bytes"
    )]
    BlockOutside {
        /// Which block.
        block: Block,
        /// Its offset.
        offset: u32,
        /// Its size as far as it is known.
        size: u32,
        /// The size of the blob.
        totalsize: usize,
    },
    /// A block starts at an offset that its words cannot have.
    #[error("device tree: the {block} at {offset:#x} is not aligned to {alignment} bytes")]
    Misaligned {
        /// Which block.
        block: Block,
        /// Its offset.
        offset: u32,
        /// The alignment that it must have.
        alignment: u32,
    },
    /// Two blocks share bytes.
    #[error("device tree: the {first} and the {second} overlap")]
    Overlap {
        /// The block that starts first.
        first: Block,
        /// The other one.
        second: Block,
    },
    /// No all-zero entry before the end of the blob.
    #[error("device tree: the memory reservation block at {offset:#x} has no terminating entry")]
    ReservationsUnterminated {
        /// Where the block starts.
        offset: usize,
    },
    /// The structure block ends in the middle of something.
    #[error("device tree at {offset:#x}: the structure block ends inside {node}, in {inside}")]
    Cut {
        /// Where the cut thing starts.
        offset: usize,
        /// The innermost open node.
        node: String,
        /// What is cut.
        inside: &'static str,
    },
    /// A word that is no token.
    #[error("device tree at {offset:#x}: {token:#010x} in {node} is no token")]
    UnknownToken {
        /// Where.
        offset: usize,
        /// The innermost open node.
        node: String,
        /// The word.
        token: u32,
    },
    /// Nodes nested deeper than any real tree.
    #[error("device tree at {offset:#x}: {node} is nested deeper than {MAX_DEPTH} nodes")]
    TooDeep {
        /// Where the node starts.
        offset: usize,
        /// The node.
        node: String,
    },
    /// A path longer than any real one.
    #[error("device tree at {offset:#x}: the path of {node} is longer than {MAX_PATH} bytes")]
    PathTooLong {
        /// Where the node starts.
        offset: usize,
        /// The node.
        node: String,
    },
    /// More nodes than any real tree.
    #[error("device tree at {offset:#x}: more than {MAX_NODES} nodes")]
    TooManyNodes {
        /// Where the first node too many starts.
        offset: usize,
    },
    /// The structure block has no node.
    #[error("device tree at {offset:#x}: FDT_END before any node: there is no root")]
    NoRoot {
        /// Where FDT_END is.
        offset: usize,
    },
    /// The root has a name.
    #[error("device tree at {offset:#x}: the root is named \"{name}\", it must be nameless")]
    NamedRoot {
        /// Where the root starts.
        offset: usize,
        /// Its name.
        name: String,
    },
    /// A node behind the end of the root.
    #[error("device tree at {offset:#x}: a second root, \"{name}\"")]
    SecondRoot {
        /// Where it starts.
        offset: usize,
        /// Its name.
        name: String,
    },
    /// A name that is empty, too long, or holds bytes that names never have.
    #[error(
        "device tree at {offset:#x}: name \"{name}\" in {node} {problem} \
         (names are 1..={MAX_NAME} printable ASCII characters without '/')"
    )]
    BadName {
        /// Where the node or property starts.
        offset: usize,
        /// The node around it.
        node: String,
        /// The name, escaped, as far as it can be read.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Two nodes of one parent have the same name.
    #[error("device tree at {offset:#x}: {node} has two children named \"{name}\"")]
    DuplicateNode {
        /// Where the second one starts.
        offset: usize,
        /// The parent.
        node: String,
        /// The name.
        name: String,
    },
    /// Two properties of one node have the same name.
    #[error("device tree at {offset:#x}: {node} has property \"{property}\" twice")]
    DuplicateProperty {
        /// Where the second one starts.
        offset: usize,
        /// The node.
        node: String,
        /// The name.
        property: String,
    },
    /// A property outside any node.
    #[error("device tree at {offset:#x}: a property outside any node")]
    PropertyOutside {
        /// Where it starts.
        offset: usize,
    },
    /// A property behind a child node (DTSpec 5.4.2 puts properties first).
    #[error("device tree at {offset:#x}: property \"{property}\" of {node} comes after a child node")]
    PropertyAfterChild {
        /// Where it starts.
        offset: usize,
        /// The node.
        node: String,
        /// The name.
        property: String,
    },
    /// A property's name lies outside the strings block.
    #[error(
        "device tree at {offset:#x}: a property of {node} has its name at {name_offset:#x} \
         of a strings block of {strings} bytes"
    )]
    NameOutside {
        /// Where the property starts.
        offset: usize,
        /// The node.
        node: String,
        /// Offset of the name in the strings block.
        name_offset: u32,
        /// Size of the strings block.
        strings: usize,
    },
    /// A value longer than what is left of the structure block.
    #[error("device tree at {offset:#x}: {node}: {property} has {length} bytes, only {available} are left")]
    ValueOutside {
        /// Where the property starts.
        offset: usize,
        /// The node.
        node: String,
        /// The name.
        property: String,
        /// The length from the property.
        length: u32,
        /// What is left of the structure block.
        available: usize,
    },
    /// A property that must be one cell has another length.
    #[error(
        "device tree at {offset:#x}: {node}: {property} has {length} bytes, it must be one cell of 4 bytes"
    )]
    CellLength {
        /// Where the property starts.
        offset: usize,
        /// The node.
        node: String,
        /// The name.
        property: String,
        /// Its length.
        length: u32,
    },
    /// FDT_END_NODE without a node to end.
    #[error("device tree at {offset:#x}: FDT_END_NODE without an open node")]
    Unbalanced {
        /// Where.
        offset: usize,
    },
    /// FDT_END inside a node.
    #[error("device tree at {offset:#x}: FDT_END inside {node}")]
    EndInside {
        /// Where.
        offset: usize,
        /// The innermost open node.
        node: String,
    },
    /// Bytes behind FDT_END that the header counts as structure.
    #[error("device tree at {offset:#x}: FDT_END, but the structure block goes on to {end:#x}")]
    EndEarly {
        /// Where FDT_END is.
        offset: usize,
        /// Where the block ends.
        end: usize,
    },
    /// No memory for the copy.
    #[error("device tree: no memory for a copy of {size} bytes")]
    NoMemory {
        /// The size of the copy.
        size: usize,
    },
}
