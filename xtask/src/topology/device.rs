//! Finds the device that a person means.

use anyhow::{Context, Result, bail, ensure};
use devicetree::{Node, NodeId, Tree};
use topology::{Bus, Graph, Identity, PciFunction};

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
            (None, Wanted::Node(node)) => {
                let bus = graph.buses().iter().find(|bus| bus.node == *node);
                let is_smmu = graph.smmus().iter().any(|smmu| smmu.node == *node);
                match bus {
                    _ if is_smmu => format!("{}: an SMMU, which no guest is ever given\n", tree.node(*node)),
                    Some(bus) => whole_bus(graph, tree, known, bus),
                    None => unnamed(graph, tree.node(*node)),
                }
            }
            (None, Wanted::Function { .. }) => String::new(),
        }
    }
}

/// What is to be said of a bus as a whole.
fn whole_bus(graph: &Graph, tree: &Tree, known: &Known, bus: &Bus) -> String {
    let path = &bus.path;
    let mut text = if bus.is_pci {
        let ask = "a PCI host bridge, no device";
        let node = tree.node(bus.node);
        match (node.disabled_by(), known.segment(bus.node)) {
            (Some(by), _) => format!("{path}: {ask}; disabled by the status of {}\n", by.path()),
            (None, Some(Err(error))) => format!("{path}: {ask}, and its segment cannot be told: {error}\n"),
            (None, Some(Ok(segment))) => {
                let bus = node
                    .pci_bus_range()
                    .map_or(1, |(first, last)| last.min(first.saturating_add(1)));
                format!("{path}: {ask}: ask for a function behind it, as {segment:04x}:{bus:02x}:00.0\n")
            }
            (None, None) => format!("{path}: {ask}\n"),
        }
    } else {
        format!(
            "{path}: a bus whose devices only its own driver can tell apart: none of them can be given to a guest\n"
        )
    };
    if let Some(refusal) = graph.refusal_of_bus(bus) {
        text += &format!("  {refusal}\n");
    }
    for (part, _) in graph.refused_requesters(bus) {
        text += &format!("  {part}\n");
    }
    text
}

/// What is to be said of a node that no binding names. Those below it that are named may be what is meant.
fn unnamed(graph: &Graph, node: Node<'_>) -> String {
    let below: Vec<String> = graph
        .masters()
        .iter()
        .filter_map(|master| match &master.identity {
            Identity::Platform { node: id, path } => Some((node.tree().node(*id), path)),
            Identity::Pci { .. } => None,
        })
        .filter(|(master, _)| master.ancestors().any(|above| above == node))
        .map(|(_, path)| path.clone())
        .collect();
    if !below.is_empty() {
        return format!(
            "{node}: no `iommus` and no `mmu-masters` speaks of it, but of what is below it; ask for that: {}\n",
            below.join(", ")
        );
    }
    format!(
        "{node}: no `iommus` and no `mmu-masters` speaks of it\n  \
         so: uncovered if it does DMA; nothing translates or stops that, and only `dma = \"trusted\"` gives it to a guest\n"
    )
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
