//! A device tree as values that it owns: nodes in the order of the text, and the bytes of their properties.

use std::collections::BTreeMap;
use std::iter;

/// A device tree.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: Vec<Node>,
    by_phandle: BTreeMap<u32, usize>,
}

#[derive(Debug, Clone)]
struct Node {
    path: String,
    parent: Option<usize>,
    properties: BTreeMap<String, Vec<u8>>,
}

/// A node in its tree.
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'t> {
    tree: &'t Tree,
    node: &'t Node,
}

impl Tree {
    /// Every node, parents before their children.
    pub fn nodes(&self) -> impl Iterator<Item = NodeRef<'_>> {
        self.nodes.iter().map(|node| NodeRef { tree: self, node })
    }

    /// The node that `phandle` names. Of two with the same number it is the first.
    pub fn by_phandle(&self, phandle: u32) -> Option<NodeRef<'_>> {
        self.at(*self.by_phandle.get(&phandle)?)
    }

    fn at(&self, index: usize) -> Option<NodeRef<'_>> {
        let node = self.nodes.get(index)?;
        Some(NodeRef { tree: self, node })
    }

    /// Adds a node below `parent`, or the root, and says where it is.
    pub(crate) fn add_node(&mut self, parent: Option<usize>, name: &str) -> usize {
        let path = match parent.and_then(|index| self.nodes.get(index)) {
            None => "/".to_string(),
            Some(root) if root.parent.is_none() => format!("/{name}"),
            Some(node) => format!("{}/{name}", node.path),
        };
        self.nodes.push(Node {
            path,
            parent,
            properties: BTreeMap::new(),
        });
        self.nodes.len() - 1
    }

    /// Adds a property to a node, unless the node has it already.
    pub(crate) fn add_property(&mut self, node: usize, name: &str, value: Vec<u8>) -> bool {
        let Some(properties) = self.nodes.get_mut(node).map(|node| &mut node.properties) else {
            return false;
        };
        if properties.contains_key(name) {
            return false;
        }
        properties.insert(name.to_string(), value);
        true
    }

    /// Learns the phandles, under both of their names. Two numbers are no phandles: 0 and the highest.
    pub(crate) fn learn_phandles(&mut self) {
        let mut by_phandle = BTreeMap::new();
        for (index, node) in self.nodes().enumerate() {
            let phandle = node.cell("phandle").or_else(|| node.cell("linux,phandle"));
            if let Some(phandle) = phandle.filter(|phandle| ![0, u32::MAX].contains(phandle)) {
                by_phandle.entry(phandle).or_insert(index);
            }
        }
        self.by_phandle = by_phandle;
    }
}

impl<'t> NodeRef<'t> {
    /// The tree that it is in.
    pub(crate) fn tree(self) -> &'t Tree {
        self.tree
    }

    /// Its path: `/` or `/soc/dma@1000`.
    pub fn path(self) -> &'t str {
        &self.node.path
    }

    /// The node above it.
    pub fn parent(self) -> Option<NodeRef<'t>> {
        self.tree.at(self.node.parent?)
    }

    /// The bytes of a property.
    pub fn property(self, name: &str) -> Option<&'t [u8]> {
        self.node.properties.get(name).map(Vec::as_slice)
    }

    /// The first cell of a property.
    pub fn cell(self, name: &str) -> Option<u32> {
        let (first, _) = self.property(name)?.split_first_chunk()?;
        Some(u32::from_be_bytes(*first))
    }

    /// The strings of a property; what is no UTF-8 in them is replaced.
    pub fn strings(self, name: &str) -> Vec<String> {
        let bytes = self.property(name).unwrap_or_default();
        let Some(bytes) = bytes.strip_suffix(&[0]) else {
            return Vec::new();
        };
        let text = String::from_utf8_lossy(bytes);
        text.split('\0').map(str::to_string).collect()
    }

    /// Whether it and everything above it is there to be used: no `status`, or one that says so.
    pub fn is_enabled(self) -> bool {
        let says_so = |node: NodeRef<'_>| {
            let status = node.property("status");
            status.is_none_or(|status| {
                let end = status.iter().position(|byte| *byte == 0);
                let status = end.and_then(|end| status.get(..end));
                [Some(&b"okay"[..]), Some(b"ok")].contains(&status)
            })
        };
        iter::successors(Some(self), |node| node.parent()).all(says_so)
    }

    /// Whether it is a PCI host bridge, or another bridge of PCI.
    pub fn is_pci(self) -> bool {
        self.property("device_type") == Some(b"pci\0")
    }
}
