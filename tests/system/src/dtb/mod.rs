//! Edits a device tree blob, to hand the core trees that no boot loader would.
//!
//! [`TreeDamage`] spoils a tree, [`Binding`] describes the same machine in other words, [`bench_tree`] another machine, and
//! [`enable`] has more of the same. The format is that of the Devicetree Specification v0.4, chapter 5, version 17.

mod bench;
mod binding;
mod damage;
mod enable;

use std::ops::Range;

pub use bench::bench_tree;
pub use binding::{Binding, UnknownBinding};
pub use damage::TreeDamage;
pub use enable::{EnableError, enable};

/// Why a blob cannot be edited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DtbError {
    /// It is not a blob that can be read.
    #[error("the device tree cannot be read at offset {0}")]
    Malformed(usize),
    /// What is to be changed is not there.
    #[error("the device tree has no node {0}")]
    NoNode(&'static str),
    /// What is to be rewritten is not there.
    #[error("node {node} of the device tree has no {property}")]
    NoProperty {
        /// The node.
        node: &'static str,
        /// What it lacks.
        property: &'static str,
    },
}

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
const LAST_COMPATIBLE_VERSION: u32 = 16;
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const NOP: u32 = 4;
const END: u32 = 9;
const HEADER_SIZE: usize = 40;

/// One token of the structure block, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Begin(Vec<u8>),
    Property { name: u32, value: Vec<u8> },
    End,
    Nop,
}

/// A blob in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dtb {
    boot_cpu: u32,
    reservations: Vec<u8>,
    tokens: Vec<Token>,
    strings: Vec<u8>,
}

impl Dtb {
    /// Takes a blob apart.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn parse(blob: &[u8]) -> Result<Self, DtbError> {
        if word(blob, 0)? != MAGIC {
            return Err(DtbError::Malformed(0));
        }
        let structure = offset(blob, 8)?;
        let strings = offset(blob, 12)?;
        let reservations = offset(blob, 16)?;
        let mut end = reservations;
        while bytes(blob, end, 16)? != [0; 16] {
            end += 16;
        }
        let mut tokens = Vec::new();
        let mut at = structure;
        loop {
            let token = word(blob, at)?;
            at += 4;
            match token {
                BEGIN_NODE => {
                    let rest = blob.get(at..).ok_or(DtbError::Malformed(at))?;
                    let size = rest
                        .iter()
                        .position(|&byte| byte == 0)
                        .ok_or(DtbError::Malformed(at))?;
                    tokens.push(Token::Begin(bytes(blob, at, size)?.to_vec()));
                    at = (at + size + 1).next_multiple_of(4);
                }
                END_NODE => tokens.push(Token::End),
                PROP => {
                    let size = offset(blob, at)?;
                    let name = word(blob, at + 4)?;
                    let value = bytes(blob, at + 8, size)?.to_vec();
                    tokens.push(Token::Property { name, value });
                    at = (at + 8 + size).next_multiple_of(4);
                }
                NOP => tokens.push(Token::Nop),
                END => break,
                _ => return Err(DtbError::Malformed(at - 4)),
            }
        }
        Ok(Dtb {
            boot_cpu: word(blob, 28)?,
            reservations: bytes(blob, reservations, end + 16 - reservations)?.to_vec(),
            tokens,
            strings: bytes(blob, strings, offset(blob, 32)?)?.to_vec(),
        })
    }

    /// Puts the parts together.
    pub fn emit(&self) -> Vec<u8> {
        let mut structure = Vec::new();
        let push = |structure: &mut Vec<u8>, word: u32| structure.extend_from_slice(&word.to_be_bytes());
        for token in &self.tokens {
            match token {
                Token::Begin(name) => {
                    push(&mut structure, BEGIN_NODE);
                    structure.extend_from_slice(name);
                    structure.push(0);
                }
                Token::End => push(&mut structure, END_NODE),
                Token::Nop => push(&mut structure, NOP),
                Token::Property { name, value } => {
                    push(&mut structure, PROP);
                    push(&mut structure, length(value.len()));
                    push(&mut structure, *name);
                    structure.extend_from_slice(value);
                }
            }
            structure.resize(structure.len().next_multiple_of(4), 0);
        }
        push(&mut structure, END);

        let structure_at = HEADER_SIZE + self.reservations.len();
        let strings_at = structure_at + structure.len();
        let total = (strings_at + self.strings.len()).next_multiple_of(8);
        let header = [
            MAGIC,
            length(total),
            length(structure_at),
            length(strings_at),
            length(HEADER_SIZE),
            VERSION,
            LAST_COMPATIBLE_VERSION,
            self.boot_cpu,
            length(self.strings.len()),
            length(structure.len()),
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|word| word.to_be_bytes()).collect();
        blob.extend_from_slice(&self.reservations);
        blob.extend_from_slice(&structure);
        blob.extend_from_slice(&self.strings);
        blob.resize(total, 0);
        blob
    }

    /// The number in a property of a node just below the root, whether it has one cell or two.
    pub fn number(&self, node: &str, property: &str) -> Option<u64> {
        let mut depth = 0;
        let mut inside = false;
        for token in &self.tokens {
            match token {
                Token::Begin(name) => {
                    depth += 1;
                    inside = depth == 2 && name == node.as_bytes();
                }
                Token::End => depth -= 1,
                Token::Property { name, value } if inside && self.string(*name) == property.as_bytes() => {
                    return match value.len() {
                        4 | 8 => Some(
                            value
                                .iter()
                                .fold(0, |number, byte| number << 8 | u64::from(*byte)),
                        ),
                        _ => None,
                    };
                }
                Token::Property { .. } | Token::Nop => {}
            }
        }
        None
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.strings.get(offset..));
        rest.and_then(|rest| rest.split(|&byte| byte == 0).next())
            .unwrap_or_default()
    }

    /// The token that begins the first node whose name is `name`, with or without a unit address.
    fn find(&self, name: &'static str) -> Result<usize, DtbError> {
        self.find_all(name).first().copied().ok_or(DtbError::NoNode(name))
    }

    /// The tokens that begin the nodes of that name, with or without a unit address.
    fn find_all(&self, name: &str) -> Vec<usize> {
        let is_it = |token: &Token| matches!(token, Token::Begin(full) if full.split(|&byte| byte == b'@').next() == Some(name.as_bytes()));
        let tokens = self.tokens.iter().enumerate();
        tokens
            .filter(|(_, token)| is_it(token))
            .map(|(at, _)| at)
            .collect()
    }

    /// The tokens of a node's own properties.
    fn properties(&self, node: usize) -> Range<usize> {
        let from = node + 1;
        let rest = self.tokens.iter().skip(from);
        let count = rest
            .take_while(|token| matches!(token, Token::Property { .. } | Token::Nop))
            .count();
        from..from + count
    }

    /// Where a node has a property.
    fn position(&self, node: usize, property: &str) -> Option<usize> {
        self.properties(node).find(|&at| {
            matches!(self.tokens.get(at), Some(Token::Property { name, .. }) if self.string(*name) == property.as_bytes())
        })
    }

    /// The cells of a node's property.
    fn cells(&self, node: usize, property: &str) -> Option<Vec<u32>> {
        match self.tokens.get(self.position(node, property)?)? {
            Token::Property { value, .. } => {
                let cells = value.as_chunks::<4>().0.iter();
                Some(cells.map(|cell| u32::from_be_bytes(*cell)).collect())
            }
            _ => None,
        }
    }

    /// Gives a node a property of cells; one of that name keeps its place.
    fn set_cells(&mut self, node: usize, property: &str, cells: &[u32]) {
        self.set(
            node,
            property,
            cells.iter().flat_map(|cell| cell.to_be_bytes()).collect(),
        );
    }

    /// Gives a node a property; one of that name keeps its place.
    fn set(&mut self, node: usize, property: &str, value: Vec<u8>) {
        let there = self.position(node, property);
        let at = there.unwrap_or(self.properties(node).end);
        self.unset(node, property);
        let name = self.intern(property);
        self.tokens.insert(at, Token::Property { name, value });
    }

    /// Adds a node without properties below the root, behind all others, and returns the token that begins it.
    fn add_node(&mut self, name: &str) -> usize {
        let is_end = |token: &Token| *token == Token::End;
        let at = self.tokens.iter().rposition(is_end).unwrap_or(0);
        let node = [Token::Begin(name.as_bytes().to_vec()), Token::End];
        self.tokens.splice(at..at, node);
        at
    }

    /// Adds a node without properties below another, before its other children, and returns the token that begins it.
    fn add_child(&mut self, parent: usize, name: &str) -> usize {
        let at = self.properties(parent).end;
        let node = [Token::Begin(name.as_bytes().to_vec()), Token::End];
        self.tokens.splice(at..at, node);
        at
    }

    /// Takes a property from a node, if it has it.
    fn unset(&mut self, node: usize, property: &str) {
        if let Some(at) = self.position(node, property) {
            self.tokens.remove(at);
        }
    }

    /// The offset of a name among the strings; it is added if it is not there.
    fn intern(&mut self, name: &str) -> u32 {
        let wanted = [name.as_bytes(), &[0]].concat();
        let there = self
            .strings
            .windows(wanted.len())
            .position(|window| window == wanted);
        let at = there.unwrap_or_else(|| {
            self.strings.extend_from_slice(&wanted);
            self.strings.len() - wanted.len()
        });
        length(at)
    }

    /// The phandle of a node, which gets one that no other has if it has none.
    fn phandle(&mut self, node: usize) -> u32 {
        if let Some(&[phandle]) = self.cells(node, "phandle").as_deref() {
            return phandle;
        }
        let nodes = (0..self.tokens.len()).filter(|&at| matches!(self.tokens.get(at), Some(Token::Begin(_))));
        let taken = nodes
            .filter_map(|node| self.cells(node, "phandle"))
            .flatten()
            .max();
        let phandle = taken.unwrap_or(0) + 1;
        self.set_cells(node, "phandle", &[phandle]);
        phandle
    }
}

/// Sizes of a blob fit 32 bits: it is made of blobs and a few hundred bytes.
fn length(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

fn bytes(blob: &[u8], at: usize, size: usize) -> Result<&[u8], DtbError> {
    let end = at.checked_add(size);
    end.and_then(|end| blob.get(at..end))
        .ok_or(DtbError::Malformed(at))
}

fn word(blob: &[u8], at: usize) -> Result<u32, DtbError> {
    let word = bytes(blob, at, 4)?
        .try_into()
        .map_err(|_| DtbError::Malformed(at))?;
    Ok(u32::from_be_bytes(word))
}

fn offset(blob: &[u8], at: usize) -> Result<usize, DtbError> {
    usize::try_from(word(blob, at)?).map_err(|_| DtbError::Malformed(at))
}

#[cfg(test)]
pub(crate) mod tests {
    use vm_fdt::FdtWriter;

    use super::*;

    /// A tree with memory, an interrupt controller with a child, and /chosen.
    pub(crate) fn blob() -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        for name in ["memory@40000000", "intc@8000000", "chosen"] {
            let node = fdt.begin_node(name).unwrap();
            fdt.property_string("odd", "four").unwrap();
            fdt.property_u64("linux,initrd-start", 0x1_4800_0000).unwrap();
            if name.starts_with("intc") {
                let child = fdt.begin_node("its@8080000").unwrap();
                fdt.property_null("msi-controller").unwrap();
                fdt.end_node(child).unwrap();
            }
            fdt.end_node(node).unwrap();
        }
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    #[test]
    fn parts_put_together_are_the_same_tree() {
        let dtb = Dtb::parse(&blob()).unwrap();
        assert_eq!(Dtb::parse(&dtb.emit()).unwrap(), dtb);
        assert_eq!(
            Dtb::parse(&TreeDamage::Intact.apply(&blob()).unwrap()).unwrap(),
            dtb
        );
    }

    #[test]
    fn numbers_of_chosen_are_found() {
        let dtb = Dtb::parse(&blob()).unwrap();
        assert_eq!(dtb.number("chosen", "linux,initrd-start"), Some(0x1_4800_0000));
        assert_eq!(dtb.number("chosen", "odd"), None);
        assert_eq!(dtb.number("its@8080000", "msi-controller"), None);
        assert_eq!(dtb.number("absent", "odd"), None);
    }

    #[test]
    fn what_is_no_tree_is_refused() {
        assert_eq!(
            TreeDamage::Intact.apply(b"no tree at all"),
            Err(DtbError::Malformed(0))
        );
        let mut half = blob();
        half.truncate(60);
        assert!(Dtb::parse(&half).is_err());
        let without_memory = TreeDamage::NoMemory.apply(&blob()).unwrap();
        assert_eq!(
            TreeDamage::NoMemory.apply(&without_memory),
            Err(DtbError::NoNode("memory"))
        );
    }
}
