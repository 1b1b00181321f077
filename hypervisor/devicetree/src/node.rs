//! One node: its place in the tree, its properties, and whether it is enabled.

use alloc::string::{String, ToString};
use core::fmt;

use crate::error::{Problem, ReadError};
use crate::property::{Cells, Property};
use crate::tree::{NodeData, PropertyData, Tree};

/// The index of a node in its tree. Nodes are numbered in the order of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) u32);

impl NodeId {
    /// The root of every tree.
    pub const ROOT: NodeId = NodeId(0);

    /// The index, from 0 for the root.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A node of a tree. Displays as its path.
#[derive(Clone, Copy)]
pub struct Node<'t> {
    tree: &'t Tree,
    id: NodeId,
    data: NodeData,
}

impl<'t> Node<'t> {
    pub(crate) fn new(tree: &'t Tree, id: NodeId) -> Self {
        Node {
            tree,
            id,
            data: tree.node_data(id),
        }
    }

    /// Its index, to keep and hand to [`Tree::node`] later.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The tree that it is part of.
    pub fn tree(&self) -> &'t Tree {
        self.tree
    }

    /// Its name with unit address; empty for the root.
    pub fn name(&self) -> &'t str {
        self.tree.name(self.data.name)
    }

    /// Its name without unit address.
    pub fn base_name(&self) -> &'t str {
        let name = self.name();
        name.split_once('@').map_or(name, |(base, _)| base)
    }

    /// Its full path. [`Node`] displays the same without allocating.
    pub fn path(&self) -> String {
        self.to_string()
    }

    /// The node around it; none for the root.
    pub fn parent(&self) -> Option<Node<'t>> {
        if self.id == NodeId::ROOT {
            None
        } else {
            Some(self.tree.node(NodeId(self.data.parent)))
        }
    }

    /// The node itself, its parent, and so on up to the root.
    pub fn ancestors(&self) -> impl Iterator<Item = Node<'t>> + use<'t> {
        core::iter::successors(Some(*self), Node::parent)
    }

    /// Its children, in the order of the blob.
    pub fn children(&self) -> impl Iterator<Item = Node<'t>> + use<'t> {
        let tree = self.tree;
        let end = self.data.end;
        let mut next = self.id.0.saturating_add(1);
        core::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let child = tree.node(NodeId(next));
            // A child's subtree ends where the next child starts.
            next = child.data.end.max(next.saturating_add(1));
            Some(child)
        })
    }

    /// The child with this name; without unit address, the only child whose name starts so.
    pub fn child(&self, name: &str) -> Option<Node<'t>> {
        if let Some(exact) = self.children().find(|child| child.name() == name) {
            return Some(exact);
        }
        let mut similar = self.children().filter(|child| child.base_name() == name);
        let found = similar.next()?;
        if similar.next().is_none() {
            Some(found)
        } else {
            None
        }
    }

    /// Its properties, in the order of the blob.
    pub fn properties(&self) -> impl Iterator<Item = Property<'t>> + use<'t> {
        let node = *self;
        let data = self
            .tree
            .property_data(self.data.properties, self.data.properties_end);
        data.iter().map(move |data| node.read(data))
    }

    /// The property with this name.
    pub fn property(&self, name: &str) -> Option<Property<'t>> {
        let (start, end) = (self.data.properties, self.data.properties_end);
        let data = self.tree.property_named(start, end, name)?;
        Some(self.read(data))
    }

    fn read(&self, data: &PropertyData) -> Property<'t> {
        Property::new(*self, self.tree.name(data.name), self.tree.bytes(data.value))
    }

    /// Whether it has a property of this name, whatever its value.
    pub fn has(&self, name: &str) -> bool {
        self.property(name).is_some()
    }

    /// The property with this name, which the caller cannot do without.
    ///
    /// # Errors
    /// It is missing.
    pub fn required(&self, name: &str) -> Result<Property<'t>, ReadError> {
        self.property(name)
            .ok_or_else(|| self.error(name, Problem::Missing))
    }

    /// A property of one cell, if it is there.
    ///
    /// # Errors
    /// It is there with another length.
    pub fn u32(&self, name: &str) -> Result<Option<u32>, ReadError> {
        self.property(name).map(|property| property.u32()).transpose()
    }

    /// A property of two cells, if it is there.
    ///
    /// # Errors
    /// It is there with another length.
    pub fn u64(&self, name: &str) -> Result<Option<u64>, ReadError> {
        self.property(name).map(|property| property.u64()).transpose()
    }

    /// A property of one text, if it is there.
    ///
    /// # Errors
    /// It is there and no text.
    pub fn text(&self, name: &str) -> Result<Option<&'t str>, ReadError> {
        self.property(name).map(|property| property.text()).transpose()
    }

    /// A property of cells, if it is there.
    ///
    /// # Errors
    /// Its length is no multiple of a cell's.
    pub fn cells(&self, name: &str) -> Result<Option<Cells<'t>>, ReadError> {
        self.property(name).map(|property| property.cells()).transpose()
    }

    /// The texts of its `compatible`, most specific first; none if it has no such list.
    pub fn compatibles(&self) -> impl Iterator<Item = &'t str> {
        self.property("compatible")
            .into_iter()
            .flat_map(|property| property.texts())
    }

    /// Whether any of `wanted` is anywhere in its `compatible`.
    pub fn is_compatible(&self, wanted: &[&str]) -> bool {
        self.compatibles().any(|compatible| wanted.contains(&compatible))
    }

    /// Its phandle, if it has a usable one.
    pub fn phandle(&self) -> Option<u32> {
        let read = |name| self.u32(name).ok().flatten();
        read("phandle")
            .or_else(|| read("linux,phandle"))
            .filter(|&phandle| phandle != 0 && phandle != u32::MAX)
    }

    /// Whether its own `status` lets it be used: absent, "okay" or "ok" (DTSpec 2.3.4).
    pub fn own_status_okay(&self) -> bool {
        match self.property("status") {
            None => true,
            // All nodes below ask: a long value is not read as a text each time.
            Some(status) => matches!(status.bytes(), b"okay\0" | b"ok\0"),
        }
    }

    /// The outermost node, of it and its parents, whose status takes it out of use.
    pub fn disabled_by(&self) -> Option<Node<'t>> {
        self.ancestors().filter(|node| !node.own_status_okay()).last()
    }

    /// Whether it and all nodes around it are enabled.
    pub fn is_enabled(&self) -> bool {
        self.disabled_by().is_none()
    }

    /// Whether DMA of the node snoops the CPU's caches: the nearest `dma-coherent` or `dma-noncoherent` at the node
    /// or around it decides; without any it does not.
    pub fn is_dma_coherent(&self) -> bool {
        for node in self.ancestors() {
            if node.has("dma-noncoherent") {
                return false;
            }
            if node.has("dma-coherent") {
                return true;
            }
        }
        false
    }

    /// An error about a property of this node.
    pub fn error(&self, property: &str, problem: impl Into<Problem>) -> ReadError {
        ReadError {
            node: self.path(),
            property: property.to_string(),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parent() {
            None => f.write_str("/"),
            Some(parent) if parent.id == NodeId::ROOT => write!(f, "/{}", self.name()),
            // The gate bounds the depth, and with it this recursion.
            Some(parent) => write!(f, "{parent}/{}", self.name()),
        }
    }
}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({self})")
    }
}

impl PartialEq for Node<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id && core::ptr::eq(self.tree, other.tree)
    }
}

impl Eq for Node<'_> {}
