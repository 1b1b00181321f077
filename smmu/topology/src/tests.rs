//! The graph, checked on fixtures: each is a device tree source that says which graph comes of it.

mod properties;
mod undescribed;

use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use devicetree::{Blob, Tree};

use crate::fixtures::{check_folder, each};
use crate::{Bus, Coverage, Graph, Master, MsiRoute, PciFunction, Region, Smmu, SmmuIndex, Stream};

#[test]
fn fixtures_say_which_graph_comes_of_them() {
    check_folder("topology", |source, blob| {
        let tree = tree(blob);
        describe(&Graph::build(&tree, &functions(source, &tree)))
    });
}

/// Every defect that the graph knows is in some fixture.
#[test]
fn every_defect_has_a_fixture() {
    let source = include_str!("diagnostic/defect.rs");
    let (_, names) = source.split_once("fn name_and_remedy").unwrap();
    // Names are the only texts of small letters and hyphens alone.
    let is_name = |text: &&str| {
        text.contains('-')
            && text
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || letter == '-')
            || matches!(
                *text,
                "repeated" | "contradicted" | "truncated" | "unmatched" | "unreadable" | "wraps"
            )
    };
    let known: BTreeSet<&str> = names.split('"').filter(is_name).collect();
    let seen = std::cell::RefCell::new(BTreeSet::new());
    each("topology", |_, source, blob| {
        let tree = tree(blob);
        let graph = Graph::build(&tree, &functions(source, &tree));
        seen.borrow_mut()
            .extend(graph.diagnostics().iter().map(|found| found.defect.kind()));
    });
    let seen = seen.into_inner();
    // Trees of thousands of masters have tests of their own.
    let missing: Vec<&&str> = known.iter().filter(|name| !seen.contains(**name)).collect();
    assert_eq!(missing, [&"too-large", &"too-many-matches"]);
    assert!(known.len() > 40, "{known:?}");
}

fn tree(blob: &[u8]) -> Tree {
    Tree::new(Blob::new(blob).unwrap()).unwrap()
}

/// The functions that a fixture names: `// function /pcie@0 0000:01:02.3`, aliases behind it, and `peers` with the
/// requester ID at which it may meet others.
fn functions(source: &str, tree: &Tree) -> Vec<PciFunction> {
    let lines = source
        .lines()
        .filter_map(|line| line.strip_prefix("// function "));
    lines
        .map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let parts: Vec<&str> = words[1].split([':', '.']).collect();
            let hex = |text: &str| u16::from_str_radix(text, 16).unwrap();
            let byte = |text: &str| u8::from_str_radix(text, 16).unwrap();
            let (aliases, peers) = match &words[2..] {
                [aliases @ .., "peers", place] => (aliases, Some(*place)),
                aliases => (aliases, None),
            };
            PciFunction {
                host_bridge: tree.find(words[0]).unwrap().id(),
                segment: hex(parts[0]),
                bus: byte(parts[1]),
                device: byte(parts[2]),
                function: byte(parts[3]),
                requester_ids: aliases.iter().map(|alias| hex(alias)).collect(),
                peers_at: peers.map(hex),
            }
        })
        .collect()
}

/// The whole graph as lines. Properties that are at their defaults are left out.
fn describe(graph: &Graph) -> Vec<String> {
    let mut out: Vec<String> = graph
        .smmus()
        .iter()
        .map(|smmu| describe_smmu(graph, smmu))
        .collect();
    out.extend(graph.buses().iter().flat_map(|bus| describe_bus(graph, bus)));
    out.extend(
        graph
            .masters()
            .iter()
            .map(|master| describe_master(graph, master)),
    );
    for group in graph.groups().iter().filter(|group| group.masters.len() > 1) {
        let names = group
            .masters
            .iter()
            .map(|index| graph.master(*index).unwrap().identity.to_string());
        let names: Vec<String> = names.collect();
        let streams = group.streams.iter().map(ToString::to_string);
        let places = group.peers_at.iter().map(|at| format!("peers at {at}"));
        let bonds: Vec<String> = streams.chain(places).collect();
        out.push(format!("group {}: {}", names.join(" "), bonds.join(", ")));
    }
    out.extend(graph.diagnostics().iter().map(ToString::to_string));
    out
}

fn describe_smmu(graph: &Graph, smmu: &Smmu) -> String {
    let mut line = format!("smmu {} {}", smmu.path, smmu.kind.name);
    smmu.frames.iter().for_each(|frame| line += &format!(" {frame}"));
    smmu.interrupts
        .iter()
        .for_each(|found| line += &format!(" {:?}={}", found.line, found.interrupt.intid));
    line += &describe_messages(graph, &smmu.messages);
    if smmu.coherent {
        line += " coherent";
    }
    if smmu.match_mask != 0 {
        line += &format!(" match-mask {:#x}", smmu.match_mask);
    }
    if let Some(by) = &smmu.disabled_by {
        line += &format!(" disabled by {by}");
    }
    if let Some(max) = smmu.max_stream {
        line += &format!(" up to {max:#x}");
    }
    let position = graph.smmus().iter().position(|other| other == smmu).unwrap();
    let demand = graph.demands()[position];
    if smmu.kind.match_registers.is_some() && demand.all > 0 {
        line += &format!(" matches {}/{}", demand.enabled, demand.all);
    }
    line
}

/// A bus with its windows; one that has none and is in no list is left out.
fn describe_bus(graph: &Graph, bus: &Bus) -> Vec<String> {
    let kind = if bus.is_pci { "pci" } else { "other" };
    let mut out = Vec::new();
    for smmu in &bus.legacy {
        out.push(format!("bus {} {kind} legacy {}", bus.path, smmu.0));
    }
    let windows = bus.streams.iter().flatten().flat_map(|map| &map.windows);
    for window in windows {
        let to = match &window.target {
            Ok(target) => {
                let first = Stream::new(target.smmu, window.output, target.mask);
                format!("{}: {first}", target.smmu.0)
            }
            Err(refusal) if refusal.blocked => "refused, blocked".to_string(),
            Err(_) => "refused, NOT BLOCKED".to_string(),
        };
        out.push(format!(
            "bus {} {kind} {:#x}-{:#x} -> {to}",
            bus.path, window.first, window.last
        ));
    }
    if let Some(map) = &bus.messages {
        for window in &map.windows {
            let to = match window.target {
                Ok(target) => format!("{}={:#x}", graph.msi_controllers()[target.0].path, window.output),
                Err(_) => "refused".to_string(),
            };
            out.push(format!(
                "bus {} {kind} {:#x}-{:#x} msi {to}",
                bus.path, window.first, window.last
            ));
        }
    }
    out
}

fn describe_messages(graph: &Graph, routes: &[MsiRoute]) -> String {
    let route = |route: &MsiRoute| {
        let path = &graph.msi_controllers()[route.controller.0].path;
        match route.device_id {
            Some(id) => format!(" msi {path}={id:#x}"),
            None => format!(" msi {path}"),
        }
    };
    routes.iter().map(route).collect()
}

fn describe_master(graph: &Graph, master: &Master) -> String {
    let verdict = match &master.coverage {
        Coverage::Covered => "covered",
        Coverage::Uncovered => "uncovered",
        Coverage::Refused(refusal) if refusal.blocked => "refused, blocked",
        Coverage::Refused(_) => "refused, NOT BLOCKED",
    };
    let streams: Vec<String> = master
        .streams
        .iter()
        .map(|stream| format!("{}: {stream}", stream.smmu.0))
        .collect();
    let enabled = if master.enabled { "" } else { " (disabled)" };
    let coherent = if master.coherent { " coherent" } else { "" };
    let messages = describe_messages(graph, &master.messages);
    let region = |region: &Region| format!(" {:?} {} ({})", region.kind, region.range, region.path);
    let regions: String = master.regions.iter().map(region).collect();
    let capability = master.capability.map(|found| format!(" by {found}"));
    let capability = capability.unwrap_or_default();
    format!(
        "master {}{enabled} {verdict} [{}]{coherent}{messages}{regions}{capability}",
        master.identity,
        streams.join(", ")
    )
}

#[test]
fn what_is_not_described_is_uncovered() {
    let source = "/ { #address-cells = <1>; #size-cells = <1>; dma@0 { reg = <0 1>; }; };";
    let tree = tree(&crate::source::compile(source).unwrap());
    let graph = Graph::build(&tree, &[]);
    for view in [
        graph.master_for_path("/dma@0"),
        graph.master_for_path("/nowhere"),
        graph.master_for_node(tree.find("/dma@0").unwrap().id()),
        graph.master_for_function(0, 0, 1, 0),
    ] {
        assert_eq!(
            (view.index, view.streams, view.coverage),
            (None, &[][..], &Coverage::Uncovered)
        );
    }
}

#[test]
fn described_masters_are_found_by_path_node_and_address() {
    let source = include_str!("../../../tests/dts/topology/iommu-map-and-iommus.dts");
    let tree = tree(&crate::source::compile(source).unwrap());
    let graph = Graph::build(&tree, &functions(source, &tree));
    let by_path = graph.master_for_path("/dma@40000");
    assert_eq!(
        by_path.index,
        graph.master_for_node(tree.find("/dma@40000").unwrap().id()).index
    );
    assert_eq!(by_path.streams[0].id, 0x2000);
    assert_eq!(by_path.coverage, &Coverage::Covered);
    let function = graph.master_for_function(0, 0, 2, 0);
    assert_eq!(function.streams[0].id, 0x10);
    assert!(graph.group_of(function.index.unwrap()).unwrap().masters.len() == 1);
}

#[test]
fn one_absurd_stream_costs_only_its_master() {
    let source = include_str!("../../../tests/dts/topology/iommu-map-and-iommus.dts");
    let tree = tree(&crate::source::compile(source).unwrap());
    let mut graph = Graph::build(&tree, &functions(source, &tree));
    assert_eq!(graph.smmus()[0].max_stream, Some(0x2000));
    graph.limit_stream_bits(&tree, SmmuIndex(0), 13);
    assert_eq!(graph.smmus()[0].max_stream, Some(0x10));
    assert!(graph.master_for_path("/dma@40000").coverage.is_refused());
    assert_eq!(graph.master_for_function(0, 0, 2, 0).coverage, &Coverage::Covered);
}

/// An SMMU that has fewer bits than a stream ID takes the rest for another one's.
#[test]
fn what_arrives_with_fewer_bits_is_nobody_elses() {
    let source = "/dts-v1/; / { #address-cells = <1>; #size-cells = <1>;
        smmu: smmu@0 { compatible = \"arm,smmu-v3\"; reg = <0 0x20000>; #iommu-cells = <1>; };
        wide { iommus = <&smmu 0x105>; };
        same { iommus = <&smmu 5>; };
        other { iommus = <&smmu 6>; };
        pcie { device_type = \"pci\"; iommu-map = <0 &smmu 0x207 1>; };
        bus { iommus = <&smmu 7>; };
    };";
    let tree = tree(&crate::source::compile(source).unwrap());
    let mut graph = Graph::build(&tree, &[]);
    let refused = |graph: &Graph| {
        let all = ["/wide", "/same", "/other", "/bus"];
        all.map(|path| graph.master_for_path(path).coverage.is_refused())
    };
    assert_eq!(refused(&graph), [false; 4]);
    graph.limit_stream_bits(&tree, SmmuIndex(0), 10);
    assert_eq!(refused(&graph), [false; 4]);
    graph.limit_stream_bits(&tree, SmmuIndex(0), 8);
    assert_eq!(refused(&graph), [true, true, false, true]);
}

#[test]
fn nothing_is_blocked_at_an_smmu_that_is_not_shut() {
    let source = include_str!("../../../tests/dts/topology/iommus-truncated.dts");
    let tree = tree(&crate::source::compile(source).unwrap());
    let graph = Graph::build_gated(&tree, &[], &[Some("its gate is broken")]);
    let good = graph.master_for_path("/good").coverage.to_string();
    assert!(good.contains("its gate is broken"), "{good}");
    let is_blocked = |text: String| text.contains("stay blocked") || text.contains("stays shut");
    assert!(
        !graph
            .diagnostics()
            .iter()
            .any(|found| is_blocked(found.to_string()))
    );
}

#[test]
fn notes_displace_no_errors() {
    let tuples = "<0 &smmu 0 0>, ".repeat(1100);
    let source = std::format!(
        "/dts-v1/; / {{ #address-cells = <1>; #size-cells = <1>;
        smmu: smmu@0 {{ compatible = \"arm,smmu-v3\"; reg = <0 0x20000>; #iommu-cells = <1>; }};
        pcie {{ device_type = \"pci\"; iommu-map = {tuples} <0 0x999 0 1>; }}; }};"
    );
    let tree = tree(&crate::source::compile(&source).unwrap());
    let graph = Graph::build(&tree, &[]);
    let [errors, warnings, notes] = graph.severities().map(|(_, count)| count);
    assert_eq!((errors, warnings, notes), (1, 0, 1100 + 1));
    let last = graph.diagnostics().last().unwrap().to_string();
    assert!(last.contains("0x999"), "{last}");
    assert_eq!(graph.diagnostics().len() + graph.omitted_diagnostics(), 1102);
}

#[test]
fn a_bridge_below_a_host_bridge_is_no_bus_of_its_own() {
    let source = include_str!("../../../tests/dts/topology/pci-bridge-node.dts");
    let tree = tree(&crate::source::compile(source).unwrap());
    assert_eq!(Graph::build(&tree, &[]).buses().len(), 1);
}

#[test]
fn a_function_alone_meets_nobody() {
    let source = include_str!("../../../tests/dts/topology/group-peers.dts");
    let tree = tree(&crate::source::compile(source).unwrap());
    let graph = Graph::build(&tree, &functions(source, &tree));
    let peers = |bus| {
        let index = graph.master_for_function(0, bus, 0, 0).index.unwrap();
        graph.group_of(index).unwrap().peers_at.clone()
    };
    assert_eq!(peers(1), ["0000:00:01.0"]);
    assert_eq!(peers(3), [""; 0]);
}

/// Sets of stream IDs are compared one by one only so long; what is too large for what is left counts as different.
#[test]
fn endless_comparing_is_not_endless() {
    let masters = |count: usize| {
        let wide = (0..count).map(|index| {
            format!("w{index}: w{index} {{ #stream-id-cells = <1>; iommus = <&smmu 0 0xffff>; }};")
        });
        let list = (0..count)
            .map(|index| format!("&w{index} {index} "))
            .collect::<String>();
        let source = format!(
            "/ {{ #address-cells = <1>; #size-cells = <1>; smmu: smmu@0 {{ compatible = \"arm,smmu-v2\"; reg = <0 1>; \
             #iommu-cells = <2>; mmu-masters = <{list} &m 0 1>; }}; {} \
             m: z {{ #stream-id-cells = <2>; iommus = <&smmu 0 1>; }}; }};",
            wide.collect::<String>()
        );
        let tree = tree(&crate::source::compile(&source).unwrap());
        let graph = Graph::build(&tree, &[]);
        let verdicts = graph.diagnostics().iter();
        verdicts
            .filter(|found| found.defect.kind() == "bindings-disagree")
            .map(|found| found.node.clone())
            .collect::<Vec<_>>()
    };
    assert!(!masters(3).contains(&"/z".to_string()), "equal sets agree");
    assert_eq!(masters(3).len(), 3);
    // Each is larger than the budget, and refused for it.
    assert_eq!(masters(100).len(), 100);
}

/// A tree is not trusted with the core's heap: one that describes too much is refused as a whole.
#[test]
fn a_tree_that_describes_too_much_gives_nobody_anything() {
    let masters: String = (0..2_000)
        .map(|index| format!("m{index} {{ iommus = <&smmu {index}>; }};"))
        .collect();
    let source = format!(
        "/ {{ #address-cells = <1>; #size-cells = <1>; smmu: smmu@0 {{ compatible = \"arm,smmu-v3\"; reg = <0 1>; \
         #iommu-cells = <1>; }}; pcie {{ device_type = \"pci\"; }}; {masters} }};"
    );
    let tree = tree(&crate::source::compile(&source).unwrap());
    let function = functions("// function /pcie 0000:00:01.0", &tree);
    let graph = Graph::build(&tree, &function);
    // The SMMU is still known: it has to be shut.
    assert_eq!((graph.smmus().len(), graph.masters().len()), (1, 1));
    for view in [
        graph.master_for_path("/m0"),
        graph.master_for_path("/nowhere"),
        graph.master_for_function(0, 0, 1, 0),
        graph.master_for_function(0, 0, 2, 0),
    ] {
        assert!(matches!(view.coverage, Coverage::Refused(refusal) if !refusal.blocked));
    }
    assert_eq!(graph.diagnostics().len(), 1);
    assert_eq!(graph.diagnostics()[0].defect.kind(), "too-large");
}

#[test]
fn more_smmus_than_are_read_leave_nobody_uncovered() {
    let build = |count: usize| {
        let smmu = |at: usize| {
            let address = at * 16;
            format!("s{at}: smmu@{address:x} {{ compatible = \"arm,mmu-500\"; reg = <{address} 1>; }};")
        };
        let smmus: String = (0..count).map(smmu).collect();
        let last = "smmu@ffff00 { compatible = \"arm,mmu-500\"; reg = <0xffff00 1>; mmu-masters = <&m 1>; };";
        let source = format!(
            "/ {{ #address-cells = <1>; #size-cells = <1>; {smmus} {last} m: m {{ #stream-id-cells = <1>; }}; }};"
        );
        let tree = tree(&crate::source::compile(&source).unwrap());
        let graph = Graph::build(&tree, &[]);
        (graph.smmus().len(), graph.master_for_path("/m").coverage.clone())
    };
    assert_eq!(build(127), (128, Coverage::Covered));
    let (count, coverage) = build(128);
    assert!(count == 128 && coverage.is_refused(), "{coverage}");
}

#[test]
fn more_masks_than_registers_refuse_one_smmu_only() {
    let smmu = |at: u32, label: &str| {
        format!(
            "{label}: smmu@{at:x} {{ compatible = \"arm,smmu-v2\"; reg = <{at} 1>; #iommu-cells = <2>; }};"
        )
    };
    let masters: String = (0..1025)
        .map(|index| format!("m{index} {{ iommus = <&many {} 3>; }};", index * 4))
        .collect();
    let source = format!(
        "/ {{ #address-cells = <1>; #size-cells = <1>; {} {} {masters} other {{ iommus = <&few 1 3>; }}; }};",
        smmu(0, "many"),
        smmu(16, "few"),
    );
    let tree = tree(&crate::source::compile(&source).unwrap());
    let graph = Graph::build(&tree, &[]);
    let refused = graph
        .masters()
        .iter()
        .filter(|master| master.coverage.is_refused())
        .count();
    assert_eq!(refused, 1025);
    assert_eq!(graph.master_for_path("/other").coverage, &Coverage::Covered);
    assert_eq!(
        graph.master_for_path("/m0").coverage.to_string(),
        "refused: error: /m0: iommus: 1025 stream matches with masks, more than the 1024 that are compared: \
         every device behind this SMMU is refused; correct the lists"
    );
}

#[test]
fn damaged_trees_give_a_graph() {
    let source = include_str!("../../../tests/dts/topology/both-bindings-equal.dts");
    let original = crate::source::compile(source).unwrap();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 16).unwrap()
    };
    let (mut accepted, mut refused) = (0, 0);
    for _ in 0..10_000 {
        let mut bytes = original.clone();
        for _ in 0..1 + next() % 3 {
            let at = next() % bytes.len();
            bytes[at] ^= 1 << (next() % 8);
        }
        let Ok(blob) = Blob::new(&bytes) else { continue };
        let tree = Tree::new(blob).unwrap();
        let hosts = tree.nodes().filter(|node| node.has("device_type"));
        let functions: Vec<PciFunction> = hosts
            .map(|host| PciFunction {
                host_bridge: host.id(),
                segment: 0,
                bus: 0,
                device: 1,
                function: 0,
                requester_ids: Vec::new(),
                peers_at: None,
            })
            .collect();
        let graph = Graph::build(&tree, &functions);
        accepted += 1;
        refused += usize::from(graph.masters().iter().any(|master| master.coverage.is_refused()));
        describe(&graph);
        // Every master is in exactly one group.
        let grouped: usize = graph.groups().iter().map(|group| group.masters.len()).sum();
        assert_eq!(grouped, graph.masters().len());
    }
    assert!(
        accepted > 1_000 && refused > 100,
        "{accepted} accepted, {refused} with a refused master"
    );
}
