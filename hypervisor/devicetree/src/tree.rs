//! The tree: an index over the blob's nodes, properties and phandles, built once.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use fdt::Fdt;
use fdt::node::FdtNode;

use crate::address::AddressRange;
use crate::error::PhandleError;
use crate::gate::Blob;
use crate::gic::GIC_COMPATIBLES;
use crate::node::{Node, NodeId};

/// Why a blob that passed the gate has no tree. It means that gate and reader disagree: a defect of ours.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TreeError {
    /// The reader refused the header.
    #[error("device tree: the reader refuses a blob that passed the gate: {0}")]
    Refused(fdt::FdtError),
    /// The reader saw another number of nodes or properties than the gate.
    #[error("device tree: the gate counted {gate} {what}, the reader {reader}")]
    Disagreement {
        /// What was counted.
        what: &'static str,
        /// The gate's count.
        gate: usize,
        /// The reader's count.
        reader: usize,
    },
}

/// A piece of the blob.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

/// What the index keeps of a node. Nodes are stored in the order of the blob, each before its children.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NodeData {
    pub(crate) name: Span,
    /// Index of the parent; the root is its own.
    pub(crate) parent: u32,
    /// Index behind the last node of the subtree.
    pub(crate) end: u32,
    /// Index of the first property.
    pub(crate) properties: u32,
    /// Index behind the last property.
    pub(crate) properties_end: u32,
}

/// What the index keeps of a property.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PropertyData {
    pub(crate) name: Span,
    pub(crate) value: Span,
}

/// A device tree that can be asked questions. It owns its blob, so it can live in a `static`.
pub struct Tree {
    blob: Blob,
    nodes: Vec<NodeData>,
    properties: Vec<PropertyData>,
    /// The properties again, those of each node sorted by name: a node of many properties may be asked by many others.
    by_name: Vec<PropertyData>,
    /// The GICs, in the order of the tree: their lists of names are searched once, however many interrupts they take.
    gics: Vec<NodeId>,
    /// Phandle and node, sorted by both.
    phandles: Vec<(u32, NodeId)>,
    reservations: Vec<AddressRange>,
}

impl Tree {
    /// Reads the blob once. Takes time in proportion to its size.
    ///
    /// # Errors
    /// Only when the `fdt` crate sees another tree than the gate did.
    pub fn new(blob: Blob) -> Result<Tree, TreeError> {
        let mut index = Index::new(&blob);
        let fdt = Fdt::new(blob.bytes()).map_err(TreeError::Refused)?;
        index.read(&fdt);
        let Index {
            nodes, properties, ..
        } = index;
        agree("nodes", blob.node_count(), nodes.len())?;
        agree("properties", blob.property_count(), properties.len())?;
        let reservations = reservations(&fdt);
        let mut tree = Tree {
            blob,
            nodes,
            properties,
            by_name: Vec::new(),
            gics: Vec::new(),
            phandles: Vec::new(),
            reservations,
        };
        tree.by_name = tree.sort_properties();
        tree.gics = tree.compatible(&GIC_COMPATIBLES).map(|node| node.id()).collect();
        tree.phandles = tree.index_phandles();
        Ok(tree)
    }

    /// The root node.
    pub fn root(&self) -> Node<'_> {
        self.node(NodeId::ROOT)
    }

    /// The node with this id. An id of another tree may give a node without name, properties or children.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        Node::new(self, id)
    }

    /// The path of the node with this id.
    pub fn path(&self, id: NodeId) -> String {
        self.node(id).path()
    }

    /// All nodes in the order of the blob: each before its children.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.range(0, self.nodes.len())
    }

    /// The blob that the tree was read from.
    pub fn blob(&self) -> &Blob {
        &self.blob
    }

    /// The node at `path`: `/soc/serial@1000`, or `serial0/child` where `serial0` is an alias.
    ///
    /// A component without unit address also matches a node with one, if there is only one such node (DTSpec 2.2.3).
    pub fn find(&self, path: &str) -> Option<Node<'_>> {
        let (mut node, rest) = match path.strip_prefix('/') {
            Some(rest) => (self.root(), rest),
            None => {
                let (alias, rest) = path.split_once('/').unwrap_or((path, ""));
                (self.alias(alias)?, rest)
            }
        };
        for component in rest.split('/').filter(|component| !component.is_empty()) {
            node = node.child(component)?;
        }
        Some(node)
    }

    /// The node that `/aliases` calls `name`. Aliases of aliases are not followed.
    pub fn alias(&self, name: &str) -> Option<Node<'_>> {
        let path = self.root().child("aliases")?.property(name)?.text().ok()?;
        if path.starts_with('/') {
            self.find(path)
        } else {
            None
        }
    }

    /// The node with this phandle.
    ///
    /// # Errors
    /// No node has it, several have it, or the value is none that a phandle can have.
    pub fn by_phandle(&self, phandle: u32) -> Result<Node<'_>, PhandleError> {
        if phandle == 0 || phandle == u32::MAX {
            return Err(PhandleError::Invalid { phandle });
        }
        let start = self.phandles.partition_point(|&(key, _)| key < phandle);
        let mut owners = self
            .phandles
            .iter()
            .skip(start)
            .take_while(|&&(key, _)| key == phandle)
            .map(|&(_, node)| node);
        match (owners.next(), owners.next()) {
            (Some(node), None) => Ok(self.node(node)),
            (Some(first), Some(second)) => Err(PhandleError::Ambiguous {
                phandle,
                nodes: [first, second],
            }),
            _ => Err(PhandleError::Dangling { phandle }),
        }
    }

    /// Phandles that more than one node has, each once. No reference to them can be followed.
    pub fn duplicate_phandles(&self) -> Vec<PhandleError> {
        let mut found: Vec<PhandleError> = Vec::new();
        let mut last = None;
        for pair in self.phandles.windows(2) {
            if let [(phandle, first), (next, second)] = *pair
                && phandle == next
                && last != Some(phandle)
            {
                last = Some(phandle);
                found.push(PhandleError::Ambiguous {
                    phandle,
                    nodes: [first, second],
                });
            }
        }
        found
    }

    /// All nodes with any of `wanted` anywhere in their `compatible`, enabled or not.
    pub fn compatible<'t>(&'t self, wanted: &'t [&'t str]) -> impl Iterator<Item = Node<'t>> {
        self.nodes().filter(|node| node.is_compatible(wanted))
    }

    /// The entries of the memory reservation block (DTSpec 5.3), empty ones left out.
    pub fn reservations(&self) -> &[AddressRange] {
        &self.reservations
    }

    pub(crate) fn range(&self, start: usize, end: usize) -> impl Iterator<Item = Node<'_>> {
        (start..end)
            .filter_map(|index| u32::try_from(index).ok())
            .map(|index| self.node(NodeId(index)))
    }

    pub(crate) fn node_data(&self, id: NodeId) -> NodeData {
        self.nodes.get(id.index()).copied().unwrap_or_default()
    }

    pub(crate) fn property_data(&self, start: u32, end: u32) -> &[PropertyData] {
        self.properties.get(start as usize..end as usize).unwrap_or(&[])
    }

    /// The property with this name among those from `start` to `end`, which are all of one node.
    pub(crate) fn property_named(&self, start: u32, end: u32, name: &str) -> Option<&PropertyData> {
        let sorted = self.by_name.get(start as usize..end as usize)?;
        // The gate made sure that no node has a name twice.
        let found = sorted.binary_search_by(|data| self.bytes(data.name).cmp(name.as_bytes()));
        sorted.get(found.ok()?)
    }

    /// Whether a node is a GIC.
    pub(crate) fn is_gic(&self, id: NodeId) -> bool {
        self.gics.binary_search(&id).is_ok()
    }

    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        self.blob
            .bytes()
            .get(span.start as usize..span.end as usize)
            .unwrap_or(&[])
    }

    /// A name; the gate made sure that it is ASCII.
    pub(crate) fn name(&self, span: Span) -> &str {
        core::str::from_utf8(self.bytes(span)).unwrap_or("")
    }

    fn sort_properties(&self) -> Vec<PropertyData> {
        let mut sorted = self.properties.clone();
        for node in &self.nodes {
            if let Some(own) = sorted.get_mut(node.properties as usize..node.properties_end as usize) {
                own.sort_unstable_by(|one, other| self.bytes(one.name).cmp(self.bytes(other.name)));
            }
        }
        sorted
    }

    fn index_phandles(&self) -> Vec<(u32, NodeId)> {
        let mut found = Vec::new();
        for node in self.nodes() {
            for name in ["phandle", "linux,phandle"] {
                if let Some(Ok(phandle)) = node.property(name).map(|property| property.u32()) {
                    found.push((phandle, node.id()));
                }
            }
        }
        found.sort_unstable();
        // A node has both spellings in older trees.
        found.dedup();
        found
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree")
            .field("blob", &self.blob)
            .finish_non_exhaustive()
    }
}

fn agree(what: &'static str, gate: usize, reader: usize) -> Result<(), TreeError> {
    if gate == reader {
        Ok(())
    } else {
        Err(TreeError::Disagreement { what, gate, reader })
    }
}

/// The reservation entries that reserve something. One that wraps reserves all up to the last address.
fn reservations(fdt: &Fdt<'_>) -> Vec<AddressRange> {
    let entries = fdt
        .memory_reservations()
        .map(|entry| (entry.address() as u64, entry.size() as u64));
    let ranges =
        entries.filter_map(|(address, size)| AddressRange::new(address, size.min(u64::MAX - address)));
    ranges.filter(|range| !range.is_empty()).collect()
}

/// The index while it is built.
struct Index<'b> {
    blob: &'b [u8],
    nodes: Vec<NodeData>,
    properties: Vec<PropertyData>,
}

impl<'b> Index<'b> {
    fn new(blob: &'b Blob) -> Self {
        Index {
            blob: blob.bytes(),
            nodes: Vec::with_capacity(blob.node_count()),
            properties: Vec::with_capacity(blob.property_count()),
        }
    }

    /// Reads all nodes. The reader gives no parents, so each level's iterator stays on a stack of our own.
    fn read(&mut self, fdt: &Fdt<'_>) {
        let Some(root) = fdt.all_nodes().next() else {
            return;
        };
        let id = self.add(root, 0);
        let mut levels = alloc::vec![(id, root.children())];
        while let Some((parent, children)) = levels.last_mut() {
            if let Some(child) = children.next() {
                let id = self.add(child, *parent);
                levels.push((id, child.children()));
            } else {
                let end = to_u32(self.nodes.len());
                if let Some(node) = self.nodes.get_mut(*parent as usize) {
                    node.end = end;
                }
                levels.pop();
            }
        }
    }

    fn add(&mut self, node: FdtNode<'_, '_>, parent: u32) -> u32 {
        let properties = to_u32(self.properties.len());
        for property in node.properties() {
            let name = self.span(property.name.as_bytes());
            let value = self.span(property.value);
            self.properties.push(PropertyData { name, value });
        }
        let properties_end = to_u32(self.properties.len());
        let id = to_u32(self.nodes.len());
        // The reader's name of the root is a text of its own, which is nowhere in the blob: the span is empty.
        let name = self.span(node.name.as_bytes());
        self.nodes.push(NodeData {
            name,
            parent,
            end: id,
            properties,
            properties_end,
        });
        id
    }

    /// Where in the blob a slice of it lies.
    fn span(&self, part: &[u8]) -> Span {
        let start = part.as_ptr().addr().wrapping_sub(self.blob.as_ptr().addr());
        match start.checked_add(part.len()) {
            Some(end) if end <= self.blob.len() => Span {
                start: to_u32(start),
                end: to_u32(end),
            },
            _ => Span::default(),
        }
    }
}

/// An index or offset; the gate keeps blobs far below 4 GiB.
fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
