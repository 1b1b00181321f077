//! The stream graph: whatever the tree says, what the graph says of it hangs together.

use devicetree::{Blob, Node, Tree};
use topology::{Coverage, Graph, MasterIndex, PciFunction, Smmu, SmmuIndex, Stream, find_smmus};

use crate::promises;

/// How many streams are compared with each other.
const COMPARED: usize = 64;

/// Builds the graph of a blob that passes the gate, and checks it.
pub fn check_graph(bytes: &[u8]) {
    let Ok(blob) = Blob::new(bytes) else { return };
    let tree = Tree::new(blob).unwrap_or_else(|error| panic!("gate and reader disagree: {error}"));
    let functions = invent_functions(&tree);
    let mut graph = Graph::build(&tree, &functions);
    check_gated(&graph, &tree);
    check(&graph);
    promises::check(&graph, &tree, &functions);
    read_aloud(&graph, &tree);
    let before = graph.clone();
    // What the gate tells of the hardware, for some.
    for (index, bits) in (0..graph.smmus().len()).zip([8, 3]) {
        graph.limit_stream_bits(&tree, SmmuIndex(index), bits);
        for stream in covered_streams(&graph).filter(|stream| stream.smmu.0 == index) {
            assert!(stream.highest() >> bits == 0, "{stream:?} beyond {bits} bits");
        }
    }
    check(&graph);
    promises::check(&graph, &tree, &functions);
    promises::check_later(&before, &graph);
}

/// What was shut before the bindings were read are the SMMUs of the graph.
fn check_gated(graph: &Graph, tree: &Tree) {
    let what_is_shut = |smmu: &Smmu| {
        let (frames, disabled_by) = (smmu.frames.clone(), smmu.disabled_by.clone());
        (smmu.node, frames, disabled_by, smmu.unusable.clone())
    };
    let shut = find_smmus(tree);
    assert!(
        shut.iter()
            .map(what_is_shut)
            .eq(graph.smmus().iter().map(what_is_shut))
    );
}

/// Functions behind nodes that may be host bridges: some alike, some behind aliases, some that meet others. Where none
/// are found, a node with an `iommu-map` is a bus of devices that nobody knows; that happens to every other one.
fn invent_functions(tree: &Tree) -> Vec<PciFunction> {
    let may_be_host = |node: &Node<'_>| {
        matches!(node.text("device_type"), Ok(Some("pci")))
            || (node.has("iommu-map") || node.has("#stream-id-cells")) && node.id().index().is_multiple_of(2)
    };
    let hosts = tree.nodes().filter(may_be_host).take(4);
    hosts
        .flat_map(|host| {
            let function = move |bus, device, aliases: &[u16], peers_at| PciFunction {
                host_bridge: host.id(),
                segment: u16::try_from(host.id().index() & 1).unwrap_or(0),
                bus,
                device,
                function: 0,
                requester_ids: aliases.to_vec(),
                peers_at,
            };
            [
                function(0, 1, &[], None),
                function(1, 0, &[], Some(8)),
                function(2, 3, &[0x0200, 0x0008], Some(8)),
                function(0xff, 31, &[0], Some(16)),
            ]
        })
        .collect()
}

fn covered_streams(graph: &Graph) -> impl Iterator<Item = &Stream> {
    let covered = graph
        .masters()
        .iter()
        .filter(|master| master.coverage == Coverage::Covered);
    covered.flat_map(|master| &master.streams)
}

fn check(graph: &Graph) {
    // Every master is in one group, which the graph finds again, and a group has one fate.
    let grouped: usize = graph.groups().iter().map(|group| group.masters.len()).sum();
    assert_eq!(grouped, graph.masters().len());
    for group in graph.groups() {
        let refused = |index: &MasterIndex| graph.master(*index).unwrap().coverage.is_refused();
        assert!(group.masters.iter().all(refused) || !group.masters.iter().any(refused));
        for index in &group.masters {
            assert!(std::ptr::eq(graph.group_of(*index).unwrap(), group));
        }
    }
    for master in graph.masters() {
        let nothing = master.coverage == Coverage::Covered && master.streams.is_empty();
        assert!(!nothing, "{}: covered without a stream", master.identity);
    }
    for stream in covered_streams(graph) {
        let smmu = graph.smmu(stream.smmu).unwrap();
        assert!(
            smmu.is_usable(),
            "{}: lets {stream:?} through and cannot be used",
            smmu.path
        );
        assert!(
            smmu.kind.fits(stream.highest()),
            "{}: {stream:?} does not fit",
            smmu.path
        );
    }
    check_overlaps(graph);
}

/// Writes everything that can be said of the graph.
fn read_aloud(graph: &Graph, tree: &Tree) {
    let _texts = (graph.report().to_string(), graph.outline().to_string());
    for diagnostic in graph.diagnostics() {
        let _texts = (diagnostic.to_string(), diagnostic.severity().to_string());
        let _texts = (diagnostic.isolation(), diagnostic.defect.remedy());
        assert!(!diagnostic.defect.kind().is_empty());
    }
    for master in graph.masters() {
        let _text = master.coverage.to_string();
    }
    for index in 0..graph.masters().len().min(8) {
        let _text = graph.why(tree, MasterIndex(index)).to_string();
    }
}

/// What may be programmed at the same time never matches one ID twice, and streams of different groups share none.
fn check_overlaps(graph: &Graph) {
    let covered = |index: &MasterIndex| graph.master(*index).unwrap().coverage == Coverage::Covered;
    let programmed: Vec<(usize, Stream)> = graph
        .groups()
        .iter()
        .enumerate()
        .filter(|(_, group)| group.masters.iter().any(covered))
        .flat_map(|(index, group)| group.streams.iter().map(move |stream| (index, *stream)))
        .take(COMPARED)
        .collect();
    for (position, (_, one)) in programmed.iter().enumerate() {
        for (_, other) in &programmed[position + 1..] {
            assert!(!one.overlaps(other), "{one:?} and {other:?} match the same ID");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{blob, check_gate};

    /// Runs a check on every input that is kept.
    fn replay(target: &str, check: impl Fn(Vec<u8>)) -> usize {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(target);
        let files = std::fs::read_dir(&folder).unwrap();
        files
            .map(|file| check(std::fs::read(file.unwrap().path()).unwrap()))
            .count()
    }

    #[test]
    fn what_fuzzers_found_still_holds() {
        assert!(replay("gate", |input| check_gate(&input)) > 20);
        assert!(replay("graph", |input| check_graph(&blob(&input))) > 20);
    }

    /// Fixtures have what random bytes seldom make: maps that several functions go through, and buses that share streams.
    #[test]
    fn fixtures_keep_all_promises() {
        for folder in ["topology", "view"] {
            crate::fixtures::each(folder, |_, _, blob| {
                check_gate(blob);
                check_graph(blob);
                // Without functions, no bus with a map is known to be PCI unless it says so.
                let tree = Tree::new(Blob::new(blob).unwrap()).unwrap();
                promises::check(&Graph::build(&tree, &[]), &tree, &[]);
            });
        }
    }

    /// A generator that makes only trees which the gate refuses would check nothing.
    #[test]
    fn made_trees_reach_every_part_of_the_graph() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut byte = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        };
        let (mut accepted, mut covered, mut refused, mut buses, mut groups) = (0, 0, 0, 0, 0);
        for _ in 0..200 {
            let bytes: Vec<u8> = (0..1_000).map(|_| byte()).collect();
            let made = crate::make_tree(&bytes);
            check_gate(&made);
            check_graph(&made);
            let Ok(blob) = Blob::new(&made) else { continue };
            let tree = Tree::new(blob).unwrap();
            let graph = Graph::build(&tree, &invent_functions(&tree));
            accepted += 1;
            covered += graph
                .masters()
                .iter()
                .filter(|master| master.coverage == Coverage::Covered)
                .count();
            refused += graph
                .masters()
                .iter()
                .filter(|master| master.coverage.is_refused())
                .count();
            buses += graph
                .buses()
                .iter()
                .filter(|bus| matches!(&bus.streams, Some(Ok(_))))
                .count();
            groups += graph
                .groups()
                .iter()
                .filter(|group| group.masters.len() > 1)
                .count();
        }
        let seen = [accepted, covered, refused, buses, groups];
        assert!(accepted > 190 && seen.iter().all(|count| *count > 10), "{seen:?}");
    }
}
