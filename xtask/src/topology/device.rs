//! Finds the device that a person means.

use anyhow::{Context, Result, bail, ensure};
use devicetree::{Node, NodeId, Tree};
use topology::{Graph, PciFunction};

use super::Known;
use super::address::{address, function};

/// A device that was asked for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A node.
    Node(NodeId),
    /// A PCI function. No configuration space was read: it is taken to be there, without aliases and peers.
    Function {
        /// The function.
        function: PciFunction,
        /// The address that was typed, if that had no segment.
        without_segment: Option<String>,
    },
}

impl Wanted {
    /// The function to build the graph with.
    pub(crate) fn function(&self) -> Option<PciFunction> {
        match self {
            Wanted::Node(_) => None,
            Wanted::Function { function, .. } => Some(function.clone()),
        }
    }

    /// The chain of reasons.
    pub(crate) fn why(&self, graph: &Graph, tree: &Tree, known: &Known) -> String {
        let view = match self {
            Wanted::Node(node) => graph.master_for_node(*node),
            Wanted::Function { function: f, .. } => {
                graph.master_for_function(f.segment, f.bus, f.device, f.function)
            }
        };
        let chain = view.index.map(|index| graph.why(tree, index).without_functions());
        match (chain, self) {
            (
                Some(chain),
                Wanted::Function {
                    function,
                    without_segment: Some(typed),
                },
            ) => {
                format!(
                    "{typed} is taken as one of segment {:04x}\n{chain}",
                    function.segment
                )
            }
            (Some(chain), _) => chain.to_string(),
            (None, Wanted::Node(node)) => graph.why_no_master(tree, *node, known.segment(*node)),
            (None, Wanted::Function { .. }) => String::new(),
        }
    }
}

/// The device of that name: a PCI address, a path, an alias, a label, or a node name that only one node has.
///
/// `labels` is the tree with its labels, if it has none itself.
pub(crate) fn find(tree: &Tree, labels: Option<&Tree>, name: &str) -> Result<Wanted> {
    ensure!(
        !name.is_empty() && name != "/",
        "--why wants the name of a device"
    );
    if let Some(address) = address(name) {
        let without_segment = (name.matches(':').count() == 1).then(|| name.to_string());
        let function = function(tree, address).with_context(|| match &without_segment {
            Some(typed) => format!("{typed} is taken as one of segment 0000"),
            None => name.to_string(),
        })?;
        return Ok(Wanted::Function {
            function,
            without_segment,
        });
    }
    let looks_like_one =
        name.contains(':') && name.contains('.') && !name.contains('/') && tree.find(name).is_none();
    ensure!(
        !looks_like_one,
        "{name} is no PCI address: segment, bus, device (at most 1f) and function (at most 7), as 0000:01:00.0"
    );
    if let Some(node) = tree
        .find(name)
        .or_else(|| labelled(tree, labels.unwrap_or(tree), name))
    {
        return Ok(Wanted::Node(node.id()));
    }
    let named: Vec<Node<'_>> = tree
        .nodes()
        .filter(|node| node.name() == name || node.base_name() == name)
        .collect();
    match named.as_slice() {
        [node] => Ok(Wanted::Node(node.id())),
        [] => {
            let note = match labels.unwrap_or(tree).find("/__symbols__") {
                Some(_) => "",
                None => " (a blob has labels only if it was compiled with `dtc -@`, and this one was not)",
            };
            bail!(
                "the tree has no node or alias {name}, and no such label{note}; without --why its devices are listed"
            )
        }
        several => {
            let paths: Vec<String> = several.iter().take(8).map(Node::path).collect();
            bail!(
                "{} nodes are named {name}; give a path: {}",
                several.len(),
                paths.join(", ")
            )
        }
    }
}

/// The node with a label, if `labels` was compiled with them (`dtc -@`).
fn labelled<'t>(tree: &'t Tree, labels: &Tree, name: &str) -> Option<Node<'t>> {
    let symbols = labels.find("/__symbols__")?;
    let path = symbols.property(name.strip_prefix('&').unwrap_or(name))?;
    tree.find(path.text().ok()?)
}
