//! Finds the device that a person means.

use anyhow::{Result, bail, ensure};
use devicetree::{Node, NodeId, ReadError, Tree};
use topology::{Bus, Graph, Identity, PciFunction};

/// A device that was asked for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// A node.
    Node(NodeId),
    /// A PCI function. No configuration space was read: it is taken to be there, without aliases and peers.
    Function(PciFunction),
}

impl Wanted {
    /// The function to build the graph with.
    pub(crate) fn function(&self) -> Option<PciFunction> {
        match self {
            Wanted::Node(_) => None,
            Wanted::Function(function) => Some(function.clone()),
        }
    }

    /// The chain of reasons.
    pub(crate) fn why(&self, graph: &Graph, tree: &Tree) -> String {
        let view = match self {
            Wanted::Node(node) => graph.master_for_node(*node),
            Wanted::Function(f) => graph.master_for_function(f.segment, f.bus, f.device, f.function),
        };
        match (view.index, self) {
            (Some(index), _) => graph.why(tree, index).to_string(),
            (None, Wanted::Node(node)) => {
                let bus = graph.buses().iter().find(|bus| bus.node == *node);
                let is_smmu = graph.smmus().iter().any(|smmu| smmu.node == *node);
                match bus {
                    _ if is_smmu => format!("{}: an SMMU, which no guest is ever given\n", tree.node(*node)),
                    Some(bus) => whole_bus(bus),
                    None => unnamed(graph, tree.node(*node)),
                }
            }
            (None, Wanted::Function(_)) => String::new(),
        }
    }
}

/// What is to be said of a bus as a whole.
fn whole_bus(bus: &Bus) -> String {
    let path = &bus.path;
    if bus.is_pci {
        format!("{path}: a PCI host bridge, no device: ask for a function behind it, as 0000:01:00.0\n")
    } else {
        format!(
            "{path}: a bus whose devices only its own driver can tell apart: none of them can be given to a guest\n"
        )
    }
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
pub(crate) fn find(tree: &Tree, name: &str) -> Result<Wanted> {
    ensure!(
        !name.is_empty() && name != "/",
        "--why wants the name of a device"
    );
    if let Some(address) = address(name) {
        return function(tree, name, address);
    }
    let looks_like_one =
        name.contains(':') && name.contains('.') && !name.contains('/') && tree.find(name).is_none();
    ensure!(
        !looks_like_one,
        "{name} is no PCI address: segment, bus, device (at most 1f) and function (at most 7), as 0000:01:00.0"
    );
    if let Some(node) = tree.find(name).or_else(|| labelled(tree, name)) {
        return Ok(Wanted::Node(node.id()));
    }
    let named: Vec<Node<'_>> = tree
        .nodes()
        .filter(|node| node.name() == name || node.base_name() == name)
        .collect();
    match named.as_slice() {
        [node] => Ok(Wanted::Node(node.id())),
        [] => bail!(
            "the tree has no node or alias {name}, and no such label (a blob has labels only if it was compiled with `dtc -@`); \
             without --why its devices are listed"
        ),
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

/// The node with a label, in trees that were compiled with their labels (`dtc -@`).
fn labelled<'t>(tree: &'t Tree, name: &str) -> Option<Node<'t>> {
    let symbols = tree.find("/__symbols__")?;
    let path = symbols.property(name.strip_prefix('&').unwrap_or(name))?;
    tree.find(path.text().ok()?)
}

/// Segment, bus, device and function number of `0000:01:00.0`, or of `01:00.0`.
fn address(text: &str) -> Option<[u16; 4]> {
    let (rest, function) = text.split_once('.')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let hex = |text: &str, most: u16| {
        u16::from_str_radix(text, 16)
            .ok()
            .filter(|number| *number <= most)
    };
    let (segment, bus, device) = match parts.as_slice() {
        [segment, bus, device] => (hex(segment, u16::MAX)?, bus, device),
        [bus, device] => (0, bus, device),
        _ => return None,
    };
    Some([segment, hex(bus, 0xff)?, hex(device, 0x1f)?, hex(function, 7)?])
}

fn function(tree: &Tree, name: &str, [segment, bus, device, function]: [u16; 4]) -> Result<Wanted> {
    let hosts = tree.pci_segments();
    ensure!(
        !hosts.is_empty(),
        "{name}: the tree has no enabled PCI host bridge"
    );
    let here = |(_, found): &&(_, Result<u16, _>)| *found == Ok(segment);
    let Some((host, _)) = hosts.iter().find(here) else {
        let text = |(host, found): &(_, Result<u16, ReadError>)| match found {
            Ok(segment) => format!("{} has {segment:04x}", tree.path(*host)),
            Err(error) => error.to_string(),
        };
        let all: Vec<String> = hosts.iter().map(text).collect();
        bail!(
            "{name}: no host bridge has segment {segment:04x}; {}",
            all.join("; ")
        );
    };
    Ok(Wanted::Function(PciFunction {
        host_bridge: *host,
        segment,
        bus: u8::try_from(bus)?,
        device: u8::try_from(device)?,
        function: u8::try_from(function)?,
        requester_ids: Vec::new(),
        peers_at: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        assert_eq!(address("0000:01:1f.7"), Some([0, 1, 0x1f, 7]));
        assert_eq!(address("a:02:00.0"), Some([0xa, 2, 0, 0]));
        assert_eq!(address("02:00.1"), Some([0, 2, 0, 1]));
        for name in ["02:20.0", "02:00.8", "100:00.0x", "usb@1000", "/soc/usb", "1.2"] {
            assert_eq!(address(name), None, "{name}");
        }
    }
}
