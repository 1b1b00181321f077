//! A property as a list of cells, and entries in it that begin with a phandle.

use crate::facts::Defect;
use crate::tree::{NodeRef, Tree};

/// The cells of a property that are not read yet.
#[derive(Debug, Clone)]
pub(super) struct Cells<'t> {
    left: &'t [[u8; 4]],
}

/// An entry that cannot be read.
#[derive(Debug)]
pub(super) struct Broken<'t> {
    pub(super) error: Defect,
    pub(super) named: Option<NodeRef<'t>>,
    pub(super) ends_list: bool,
}

impl<'t> Broken<'t> {
    /// A defect after which nobody knows where the next entry begins.
    pub(super) fn for_good(error: Defect, named: Option<NodeRef<'t>>) -> Broken<'t> {
        Broken {
            error,
            named,
            ends_list: true,
        }
    }
}

/// What a list begins with.
pub(super) enum List<'t> {
    /// The node has no such property.
    Absent,
    /// The property has no value.
    Empty,
    /// Its length is no multiple of four bytes; that many cells are whole.
    NoWholeCells(usize),
    /// Cells.
    Cells(Cells<'t>),
}

impl<'t> List<'t> {
    pub(super) fn of(node: NodeRef<'t>, property: &str) -> List<'t> {
        let Some(value) = node.property(property) else {
            return List::Absent;
        };
        match value.as_chunks() {
            ([], []) => List::Empty,
            (cells, []) => List::Cells(Cells { left: cells }),
            (cells, _) => List::NoWholeCells(cells.len()),
        }
    }
}

impl<'t> Cells<'t> {
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.left.len()
    }

    /// Takes the next cell.
    pub(super) fn next(&mut self) -> Option<u32> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(u32::from_be_bytes(*first))
    }

    /// Takes that many cells, or none if there are fewer.
    pub(super) fn take(&mut self, count: u32) -> Option<Vec<u32>> {
        let (taken, rest) = self.left.split_at_checked(usize::try_from(count).ok()?)?;
        self.left = rest;
        Some(taken.iter().copied().map(u32::from_be_bytes).collect())
    }

    /// Takes an entry: a phandle, and as many cells as the node says that it names, in its property `size`.
    pub(super) fn entry(
        &mut self,
        phandle: u32,
        tree: &'t Tree,
        size: &str,
        without_size: Defect,
    ) -> Result<(NodeRef<'t>, Vec<u32>), Broken<'t>> {
        if phandle == 0 {
            // An empty entry, which has nothing after it.
            return Err(Broken {
                error: Defect::ZeroPhandle,
                named: None,
                ends_list: false,
            });
        }
        let named = tree.by_phandle(phandle);
        let named = named.ok_or_else(|| Broken::for_good(Defect::DanglingPhandle, None))?;
        let size = named
            .cell(size)
            .ok_or_else(|| Broken::for_good(without_size, Some(named)))?;
        let arguments = self.take(size);
        let arguments = arguments.ok_or_else(|| Broken::for_good(Defect::TooFewCells, Some(named)))?;
        Ok((named, arguments))
    }

    /// Ends the list if `broken` does, and says how many cells were left.
    pub(super) fn left_by(&mut self, broken: &Broken<'_>) -> Option<usize> {
        if !broken.ends_list {
            return None;
        }
        let left = self.left.len();
        self.left = &[];
        Some(left)
    }
}
