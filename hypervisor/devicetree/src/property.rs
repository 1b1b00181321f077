//! One property: its value read as cells, numbers or texts.

use core::fmt;

use crate::error::{Problem, ReadError};
use crate::node::Node;

/// A property of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Property<'t> {
    node: Node<'t>,
    name: &'t str,
    value: &'t [u8],
}

impl<'t> Property<'t> {
    pub(crate) fn new(node: Node<'t>, name: &'t str, value: &'t [u8]) -> Self {
        Property { node, name, value }
    }

    /// The node that it belongs to.
    pub fn node(&self) -> Node<'t> {
        self.node
    }

    /// Its name.
    pub fn name(&self) -> &'t str {
        self.name
    }

    /// Its value as it is.
    pub fn bytes(&self) -> &'t [u8] {
        self.value
    }

    /// One cell.
    ///
    /// # Errors
    /// The value is not 4 bytes long.
    pub fn u32(&self) -> Result<u32, ReadError> {
        let bytes = <[u8; 4]>::try_from(self.value).map_err(|_| self.wrong_length("4"))?;
        Ok(u32::from_be_bytes(bytes))
    }

    /// Two cells.
    ///
    /// # Errors
    /// The value is not 8 bytes long.
    pub fn u64(&self) -> Result<u64, ReadError> {
        let bytes = <[u8; 8]>::try_from(self.value).map_err(|_| self.wrong_length("8"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// A number of one or two cells, as boot loaders write addresses.
    ///
    /// # Errors
    /// The value is neither 4 nor 8 bytes long.
    pub fn number(&self) -> Result<u64, ReadError> {
        match self.value.len() {
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => Err(self.wrong_length("4 or 8")),
        }
    }

    /// The value as cells.
    ///
    /// # Errors
    /// Its length is no multiple of 4.
    pub fn cells(&self) -> Result<Cells<'t>, ReadError> {
        if self.value.len().is_multiple_of(4) {
            Ok(Cells(self.value))
        } else {
            Err(self.wrong_length("a multiple of 4"))
        }
    }

    /// The value as entries of `entry` cells each.
    ///
    /// # Errors
    /// It does not divide into such entries.
    pub fn entries(&self, entry: usize) -> Result<impl Iterator<Item = Cells<'t>> + use<'t>, ReadError> {
        let cells = self.cells()?;
        if entry == 0 || !cells.len().is_multiple_of(entry) {
            return Err(self.error(Problem::PartialEntry {
                cells: cells.len(),
                entry,
            }));
        }
        Ok(cells.0.chunks_exact(entry * 4).map(Cells))
    }

    /// One text.
    ///
    /// # Errors
    /// The value is not exactly one NUL-terminated text of printable ASCII.
    pub fn text(&self) -> Result<&'t str, ReadError> {
        let text = self.value.strip_suffix(&[0]).and_then(printable);
        text.ok_or_else(|| self.error(Problem::NotText))
    }

    /// The texts of a list. Parts that are no printable ASCII are left out, as is a last part without its NUL.
    pub fn texts(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        let terminated = self.value.iter().rposition(|&byte| byte == 0).unwrap_or(0);
        let parts = self
            .value
            .get(..terminated)
            .unwrap_or(&[])
            .split(|&byte| byte == 0);
        parts.filter(|part| !part.is_empty()).filter_map(printable)
    }

    /// An error about this property.
    pub fn error(&self, problem: impl Into<Problem>) -> ReadError {
        self.node.error(self.name, problem)
    }

    fn wrong_length(&self, expected: &'static str) -> ReadError {
        self.error(Problem::WrongLength {
            length: self.value.len(),
            expected,
        })
    }
}

impl fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Property({}: {}, {} bytes)",
            self.node,
            self.name,
            self.value.len()
        )
    }
}

/// Text without control characters, so that it can go to a console as it is.
fn printable(bytes: &[u8]) -> Option<&str> {
    let plain = bytes.iter().all(|&byte| (0x20..0x7f).contains(&byte));
    if plain {
        core::str::from_utf8(bytes).ok()
    } else {
        None
    }
}

/// A sequence of big-endian 32-bit words.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Cells<'t>(pub(crate) &'t [u8]);

impl<'t> Cells<'t> {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len() / 4
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The cell at `index`.
    pub fn get(&self, index: usize) -> Option<u32> {
        self.number(index, 1)
            .and_then(|number| u32::try_from(number).ok())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + use<'t> {
        self.0
            .as_chunks::<4>()
            .0
            .iter()
            .map(|cell| u32::from_be_bytes(*cell))
    }

    /// `count` cells from `start` on.
    pub fn part(&self, start: usize, count: usize) -> Option<Cells<'t>> {
        let end = start.checked_add(count)?;
        self.0.get(start.checked_mul(4)?..end.checked_mul(4)?).map(Cells)
    }

    /// The number in `count` cells from `start` on: 0 for no cell, nothing for more than two.
    pub fn number(&self, start: usize, count: usize) -> Option<u64> {
        if count > 2 {
            return None;
        }
        let cells = self.part(start, count)?;
        Some(
            cells
                .iter()
                .fold(0, |number, cell| number << 32 | u64::from(cell)),
        )
    }
}

impl fmt::Debug for Cells<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
