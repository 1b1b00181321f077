//! Why a file is not loaded.

use crate::{ManifestError, SignatureError};
use elf::parse::ParseError;

/// Why a file is not loaded. Every message is one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It is not signed by the right key.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// It is not an ELF file that this loader takes.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// What it says of itself does not fit.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Why an ELF file is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// The file ends before something that its headers point to.
    #[error("truncated ELF: bytes {start:#x}..{end:#x} are needed, the file has {size:#x}")]
    Truncated {
        /// First byte needed.
        start: u64,
        /// End of the bytes needed.
        end: u64,
        /// Bytes in the file.
        size: usize,
    },
    /// The file or a table in it cannot be read.
    #[error("malformed ELF: {what}")]
    Malformed {
        /// What cannot be read.
        what: &'static str,
    },
    /// A header field has a value that a component's file does not have.
    #[error("unsuitable ELF: {field} is {found:#x}, a component has {wanted}")]
    Header {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u64,
        /// What it must be.
        wanted: &'static str,
    },
    /// A program header of a kind that is not taken.
    #[error("unsuitable ELF: program header {index} is {name} (type {kind:#x})")]
    SegmentKind {
        /// Its index.
        index: usize,
        /// `p_type`.
        kind: u32,
        /// The name of the type.
        name: &'static str,
    },
    /// A segment that could be written and executed.
    #[error("unsuitable ELF: segment {index} has flags {flags:#x}: R, RX or RW are accepted")]
    SegmentFlags {
        /// The index of the program header.
        index: usize,
        /// `p_flags`.
        flags: u32,
    },
    /// A segment at an impossible place.
    #[error("unsuitable ELF: segment {index} at {address:#x}, {memory_size:#x} bytes: {problem}")]
    SegmentPlace {
        /// The index of the program header.
        index: usize,
        /// `p_vaddr`.
        address: u64,
        /// `p_memsz`.
        memory_size: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// More segments than [`crate::MAX_SEGMENTS`].
    #[error("unsuitable ELF: more than {limit} segments to load")]
    TooManySegments {
        /// The limit.
        limit: usize,
    },
    /// The entry point is not an instruction of the component.
    #[error("unsuitable ELF: entry point {entry:#x} is not in an executable segment")]
    Entry {
        /// `e_entry`.
        entry: u64,
    },
    /// An entry of the dynamic section that a component does not have.
    #[error("unsuitable ELF: dynamic entry {name} (tag {tag:#x}) with value {value:#x}")]
    DynamicTag {
        /// The tag's name.
        name: &'static str,
        /// The tag.
        tag: u64,
        /// Its value.
        value: u64,
    },
    /// A relocation table that is not inside the file's segments or not whole.
    #[error("unsuitable ELF: {name} table at {address:#x}, {size:#x} bytes: {problem}")]
    RelocationTable {
        /// Which table.
        name: &'static str,
        /// Its address.
        address: u64,
        /// Its size in bytes.
        size: u64,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A relocation other than `R_AARCH64_RELATIVE`.
    #[error(
        "unsuitable ELF: relocation at {target:#x} has type {kind}, only R_AARCH64_RELATIVE (1027) is accepted"
    )]
    RelocationKind {
        /// The address that it changes.
        target: u64,
        /// Its type.
        kind: u32,
    },
    /// A relocation of code, or outside the image.
    #[error("unsuitable ELF: relocation at {target:#x} is not in a readable or writable segment")]
    RelocationTarget {
        /// The address that it changes.
        target: u64,
    },
    /// A relocation that makes a pointer to somewhere outside the image.
    #[error("unsuitable ELF: relocation at {target:#x} points to {addend:#x}, outside the image")]
    RelocationAddend {
        /// The address that it changes.
        target: u64,
        /// Where it points to.
        addend: u64,
    },
    /// A symbol that someone else would have to define.
    #[error("unsuitable ELF: symbol {index} is undefined")]
    UndefinedSymbol {
        /// Its index in the dynamic symbol table.
        index: usize,
    },
    /// The memory to fill is not what the plan asked for.
    #[error("{size:#x} bytes at {base:#x} given, the plan has {wanted:#x} bytes on a page boundary")]
    Memory {
        /// Bytes given.
        size: usize,
        /// Their address.
        base: u64,
        /// Bytes that the plan has.
        wanted: usize,
    },
}

impl ElfError {
    /// Puts the parser's errors into our words.
    pub(crate) fn from_parse(error: &ParseError, size: usize) -> Self {
        let header = |field, found, wanted| ElfError::Header { field, found, wanted };
        match *error {
            ParseError::SliceReadError((start, end)) => ElfError::Truncated {
                start: start as u64,
                end: end as u64,
                size,
            },
            ParseError::BadOffset(offset) => ElfError::Truncated {
                start: offset,
                end: offset,
                size,
            },
            ParseError::BadMagic(magic) => header("magic", u32::from_be_bytes(magic).into(), "0x7f454c46"),
            ParseError::UnsupportedElfClass(class) => header("class", class.into(), "2 (64-bit)"),
            ParseError::UnsupportedElfEndianness(order) => {
                header("byte order", order.into(), "1 (little-endian)")
            }
            ParseError::UnsupportedVersion((version, _)) => header("version", version, "1"),
            ParseError::BadEntsize((found, _)) => header("table entry size", found, "the size of ELF64"),
            ParseError::IntegerOverflow => ElfError::Malformed {
                what: "an offset or size overflows",
            },
            _ => ElfError::Malformed {
                what: "a table cannot be read",
            },
        }
    }
}
