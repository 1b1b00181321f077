//! The walk over the structure block (DTSpec 5.4): every token is checked and copied, except FDT_NOP.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use super::header::Header;
use super::{GateError, MAX_DEPTH, MAX_NAME, MAX_NODES, MAX_PATH, word};

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;

/// Properties that every reader takes for one cell.
const ONE_CELL: [&str; 5] = [
    "#address-cells",
    "#size-cells",
    "#interrupt-cells",
    "phandle",
    "linux,phandle",
];

/// The structure block without FDT_NOP.
pub(super) struct Compacted {
    pub(super) structure: Vec<u8>,
    pub(super) nodes: usize,
    pub(super) properties: usize,
}

/// A node whose end has not been read yet.
struct Open<'a> {
    name: &'a str,
    /// Length of its path with a slash behind it.
    path_length: usize,
    children: BTreeSet<&'a str>,
    properties: BTreeSet<&'a str>,
}

struct Walk<'a> {
    source: &'a Header<'a>,
    /// Where the next token is.
    at: usize,
    open: Vec<Open<'a>>,
    root_seen: bool,
    out: Compacted,
}

pub(super) fn compact(source: &Header<'_>) -> Result<Compacted, GateError> {
    let size = source.structure.len();
    let mut structure = Vec::new();
    structure
        .try_reserve_exact(size)
        .map_err(|_| GateError::NoMemory { size })?;
    let out = Compacted {
        structure,
        nodes: 0,
        properties: 0,
    };
    let mut walk = Walk {
        source,
        at: 0,
        open: Vec::new(),
        root_seen: false,
        out,
    };
    loop {
        let token = walk.word("a token")?;
        match token {
            BEGIN_NODE => walk.begin_node()?,
            END_NODE => walk.end_node()?,
            PROP => walk.property()?,
            NOP => {}
            END => {
                walk.end()?;
                return Ok(walk.out);
            }
            _ => {
                let offset = walk.offset(walk.at - 4);
                return Err(GateError::UnknownToken {
                    offset,
                    node: walk.path(),
                    token,
                });
            }
        }
    }
}

impl<'a> Walk<'a> {
    /// An offset in the structure block as an offset in the blob.
    fn offset(&self, at: usize) -> usize {
        self.source.structure_offset + at
    }

    /// The path of the innermost open node.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in self.open.iter().skip(1) {
            path.push('/');
            path.push_str(open.name);
        }
        if path.is_empty() {
            path.push('/');
        }
        path
    }

    fn cut(&self, at: usize, inside: &'static str) -> GateError {
        GateError::Cut {
            offset: self.offset(at),
            node: self.path(),
            inside,
        }
    }

    fn word(&mut self, inside: &'static str) -> Result<u32, GateError> {
        let value = word(self.source.structure, self.at).ok_or_else(|| self.cut(self.at, inside))?;
        self.at += 4;
        Ok(value)
    }

    /// Takes `length` bytes and the padding to the next word.
    fn padded(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let next = end.checked_next_multiple_of(4)?;
        let padded = self.source.structure.get(self.at..next)?;
        self.at = next;
        padded.get(..length)
    }

    fn emit(&mut self, word: u32) {
        self.out.structure.extend_from_slice(&word.to_be_bytes());
    }

    /// Writes bytes and zeroes up to the next word.
    fn emit_padded(&mut self, bytes: &[u8]) {
        self.out.structure.extend_from_slice(bytes);
        let size = self.out.structure.len().next_multiple_of(4);
        self.out.structure.resize(size, 0);
    }

    fn begin_node(&mut self) -> Result<(), GateError> {
        let start = self.at - 4;
        let offset = self.offset(start);
        let rest = self.source.structure.get(self.at..).unwrap_or(&[]);
        let length = name_length(rest).map_err(|problem| self.bad_name(offset, rest, problem))?;
        let bytes = self
            .padded(length + 1)
            .ok_or_else(|| self.cut(start, "a node's name"))?;
        let name = bytes.get(..length).unwrap_or(&[]);
        let name = printable(name).map_err(|problem| self.bad_name(offset, name, problem))?;

        let path_length = self.open.last().map_or(0, |parent| parent.path_length) + name.len() + 1;
        if self.open.len() == MAX_DEPTH || path_length > MAX_PATH + 1 {
            let mut node = self.path();
            node.push('/');
            node.push_str(name);
            return Err(match self.open.len() {
                MAX_DEPTH => GateError::TooDeep { offset, node },
                _ => GateError::PathTooLong { offset, node },
            });
        }
        if self.out.nodes == MAX_NODES {
            return Err(GateError::TooManyNodes { offset });
        }
        match self.open.last_mut() {
            None if self.root_seen => {
                return Err(GateError::SecondRoot {
                    offset,
                    name: name.to_owned(),
                });
            }
            None if !name.is_empty() => {
                return Err(GateError::NamedRoot {
                    offset,
                    name: name.to_owned(),
                });
            }
            None => self.root_seen = true,
            Some(_) if name.is_empty() => return Err(self.bad_name(offset, &[], "is empty")),
            Some(parent) => {
                if !parent.children.insert(name) {
                    return Err(GateError::DuplicateNode {
                        offset,
                        node: self.path(),
                        name: name.to_owned(),
                    });
                }
            }
        }
        self.open.push(Open {
            name,
            path_length,
            children: BTreeSet::new(),
            properties: BTreeSet::new(),
        });
        self.out.nodes += 1;
        self.emit(BEGIN_NODE);
        self.emit_padded(bytes);
        Ok(())
    }

    fn end_node(&mut self) -> Result<(), GateError> {
        if self.open.pop().is_none() {
            return Err(GateError::Unbalanced {
                offset: self.offset(self.at - 4),
            });
        }
        self.emit(END_NODE);
        Ok(())
    }

    fn property(&mut self) -> Result<(), GateError> {
        let start = self.at - 4;
        let offset = self.offset(start);
        let length = self.word("a property's length")?;
        let name_offset = self.word("a property's name")?;
        let name = self.property_name(offset, name_offset)?;

        let Some(open) = self.open.last_mut() else {
            return Err(GateError::PropertyOutside { offset });
        };
        let fresh = open.properties.insert(name);
        let late = !open.children.is_empty();
        let property = || name.to_owned();
        if !fresh {
            return Err(GateError::DuplicateProperty {
                offset,
                node: self.path(),
                property: property(),
            });
        }
        if late {
            return Err(GateError::PropertyAfterChild {
                offset,
                node: self.path(),
                property: property(),
            });
        }
        if ONE_CELL.contains(&name) && length != 4 {
            return Err(GateError::CellLength {
                offset,
                node: self.path(),
                property: property(),
                length,
            });
        }
        let available = self.source.structure.len().saturating_sub(self.at);
        let value = usize::try_from(length)
            .ok()
            .and_then(|length| self.padded(length));
        let Some(value) = value else {
            let node = self.path();
            return Err(GateError::ValueOutside {
                offset,
                node,
                property: property(),
                length,
                available,
            });
        };

        self.out.properties += 1;
        self.emit(PROP);
        self.emit(length);
        self.emit(name_offset);
        self.emit_padded(value);
        Ok(())
    }

    fn property_name(&self, offset: usize, name_offset: u32) -> Result<&'a str, GateError> {
        let strings = self.source.strings;
        let rest = strings
            .get(name_offset as usize..)
            .filter(|rest| !rest.is_empty())
            .ok_or_else(|| GateError::NameOutside {
                offset,
                node: self.path(),
                name_offset,
                strings: strings.len(),
            })?;
        let length = name_length(rest).map_err(|problem| self.bad_name(offset, rest, problem))?;
        let name = rest.get(..length).unwrap_or(&[]);
        let name = printable(name).map_err(|problem| self.bad_name(offset, name, problem))?;
        if name.is_empty() {
            return Err(self.bad_name(offset, &[], "is empty"));
        }
        Ok(name)
    }

    fn end(&mut self) -> Result<(), GateError> {
        let offset = self.offset(self.at - 4);
        if !self.open.is_empty() {
            return Err(GateError::EndInside {
                offset,
                node: self.path(),
            });
        }
        if !self.root_seen {
            return Err(GateError::NoRoot { offset });
        }
        if self.source.exact && self.at != self.source.structure.len() {
            return Err(GateError::EndEarly {
                offset,
                end: self.offset(self.source.structure.len()),
            });
        }
        self.emit(END);
        Ok(())
    }

    fn bad_name(&self, offset: usize, name: &[u8], problem: &'static str) -> GateError {
        let shown = name.iter().take(32).take_while(|&&byte| byte != 0);
        let name = shown
            .flat_map(|&byte| core::ascii::escape_default(byte))
            .map(char::from)
            .collect();
        GateError::BadName {
            offset,
            node: self.path(),
            name,
            problem,
        }
    }
}

/// How long the NUL-terminated name at the start of `bytes` is.
///
/// The search is bounded: a blob could make every property search all of the strings block otherwise.
fn name_length(bytes: &[u8]) -> Result<usize, &'static str> {
    match bytes.iter().take(MAX_NAME + 1).position(|&byte| byte == 0) {
        Some(length) => Ok(length),
        None if bytes.len() > MAX_NAME => Err("is too long"),
        None => Err("is not terminated inside its block"),
    }
}

/// The name as text, when it is printable ASCII without `/`.
fn printable(name: &[u8]) -> Result<&str, &'static str> {
    let allowed = |byte: &u8| (0x20..0x7f).contains(byte) && *byte != b'/';
    match core::str::from_utf8(name) {
        Ok(text) if name.iter().all(allowed) => Ok(text),
        _ => Err("has a forbidden character"),
    }
}
