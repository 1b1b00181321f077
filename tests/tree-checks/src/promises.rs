//! What a stream graph promises of every tree. A promise that is broken lets a device through, or two guests meet.

use std::fmt::Debug;

use devicetree::Tree;
use topology::{Bus, Coverage, Graph, Map, Master, PciFunction, SmmuIndex, Stream};

/// Windows and masters that are compared with each other.
const COMPARED: usize = 128;

/// Checks all that needs no other graph.
pub(crate) fn check(graph: &Graph, tree: &Tree, functions: &[PciFunction]) {
    graph.masters().iter().for_each(check_master);
    check_programmed(graph);
    check_smmus(graph);
    for bus in graph.buses() {
        if let Some(Ok(map)) = &bus.streams {
            check_windows(map);
        }
        if let Some(map) = &bus.messages {
            check_windows(map);
        }
        if !functions.iter().any(|function| function.host_bridge == bus.node) {
            check_unknown_devices(graph, tree, bus);
        }
    }
    for function in functions {
        check_function(graph, function);
    }
}

/// What was covered may be refused later, when more is known of the hardware; never the other way round.
pub(crate) fn check_later(before: &Graph, after: &Graph) {
    for (before, after) in before.masters().iter().zip(after.masters()) {
        assert!(
            is_covered(before) || !is_covered(after),
            "{} becomes covered",
            after.identity
        );
    }
}

fn is_covered(master: &Master) -> bool {
    master.coverage == Coverage::Covered
}

fn check_master(master: &Master) {
    let name = &master.identity;
    let uncovered = master.coverage == Coverage::Uncovered;
    assert!(
        !uncovered || master.streams.is_empty(),
        "{name}: uncovered, and has streams"
    );
    assert!(
        master.streams.windows(2).all(|pair| pair[0] < pair[1]),
        "{name}: streams are not sorted"
    );
    // Only who is behind no SMMU, and of whom nothing is said, is known by what it is.
    assert!(
        master.capability.is_none() || uncovered && master.sources.is_empty(),
        "{name}: is described, and known to do DMA"
    );
    for stream in &master.streams {
        assert_eq!(stream.id & stream.mask, 0, "{name}: bits under a mask");
    }
}

/// What is programmed for a group matches every stream of its masters.
fn check_programmed(graph: &Graph) {
    for group in graph.groups() {
        let masters = group.masters.iter().map(|index| graph.master(*index).unwrap());
        let streams = masters
            .filter(|master| is_covered(master))
            .flat_map(|master| &master.streams);
        for stream in streams.take(COMPARED) {
            let mut programmed = group.streams.iter();
            assert!(
                programmed.any(|wide| wide.holds(stream)),
                "{stream} is not programmed for its group"
            );
        }
    }
}

/// What is said of an SMMU is what its masters need.
fn check_smmus(graph: &Graph) {
    for (index, (smmu, demand)) in graph.smmus().iter().zip(graph.demands()).enumerate() {
        let covered = graph.masters().iter().filter(|master| is_covered(master));
        let streams = covered.flat_map(|master| &master.streams);
        let here = streams.filter(|stream| stream.smmu == SmmuIndex(index));
        assert_eq!(here.map(Stream::highest).max(), smmu.max_stream, "{}", smmu.path);
        assert!(demand.enabled <= demand.all, "{}", smmu.path);
        assert_eq!(demand.all > 0, smmu.max_stream.is_some(), "{}", smmu.path);
    }
}

/// The windows of a map are sorted and apart, and are found.
fn check_windows<T: Debug>(map: &Map<T>) {
    for window in &map.windows {
        assert!(window.first <= window.last, "{window:?}");
        for requester in [window.first, window.last] {
            // Only what the mask leaves as it is can be looked up as it is.
            if requester & map.mask == requester {
                let found = map.lookup(requester).map(|(found, _)| found);
                assert!(
                    found.is_some_and(|found| std::ptr::eq(found, window)),
                    "{window:?} is not found"
                );
            }
        }
    }
    for pair in map.windows.windows(2) {
        assert!(
            pair[0].last < pair[1].first,
            "{:?} and {:?} overlap",
            pair[0],
            pair[1]
        );
    }
}

/// Devices that nobody knows may emit all streams of their bus: no covered master has one of them.
fn check_unknown_devices(graph: &Graph, tree: &Tree, bus: &Bus) {
    let (first, last) = tree.node(bus.node).pci_bus_range().unwrap_or((0, 0xff));
    let (first, last) = (u32::from(first) << 8, u32::from(last) << 8 | 0xff);
    let some = |span: u32| (0..span).take(COMPARED).chain([span]);
    for map in bus.streams.iter().flatten() {
        let may_emit = |requester| !bus.is_pci || map.mask != u32::MAX || (first..=last).contains(&requester);
        for window in map.windows.iter().take(COMPARED) {
            let Some(target) = window.target.as_ref().ok().or(window.perhaps.as_ref()) else {
                continue;
            };
            for id in some(window.last - window.first) {
                if may_emit(window.first + id) {
                    let stream = (window.output.wrapping_add(id), target.mask);
                    check_nobody_has(graph, target.smmu, stream, &bus.path);
                }
            }
        }
    }
    for smmu in &bus.legacy {
        for id in some(last - first) {
            check_nobody_has(graph, *smmu, (first + id, 0), &bus.path);
        }
    }
}

/// No covered master has a stream with this ID and mask, of which an SMMU sees no more bits than it has.
fn check_nobody_has(graph: &Graph, index: SmmuIndex, (id, mask): (u32, u32), path: &str) {
    let highest = graph.smmu(index).unwrap().kind.highest();
    let stream = Stream::new(index, id & highest, mask & highest);
    let covered = graph.masters().iter().filter(|master| is_covered(master));
    for master in covered.take(COMPARED) {
        assert!(
            !master.streams.iter().any(|own| own.overlaps(&stream)),
            "{} has {stream}, and so may a device on {path}",
            master.identity,
        );
    }
}

/// A covered function has the stream of every requester ID that it may arrive with, in every binding that counts.
fn check_function(graph: &Graph, function: &PciFunction) {
    let view = graph.master_for_function(function.segment, function.bus, function.device, function.function);
    if *view.coverage != Coverage::Covered {
        return;
    }
    let bus = graph
        .buses()
        .iter()
        .find(|bus| bus.node == function.host_bridge)
        .expect("a function is covered, and its bus is none");
    let own = function.requester_id();
    for requester in function.requester_ids.iter().copied().chain([own]).map(u32::from) {
        let mut expected: Vec<Stream> = Vec::new();
        if let Some(map) = &bus.streams {
            let map = map
                .as_ref()
                .expect("a function is covered, and its map is refused");
            let found = map.lookup(requester);
            let target = found.and_then(|(window, id)| Some((window.target.as_ref().ok()?, id)));
            let (target, id) = target.expect("a function is covered, and a requester ID of it has no stream");
            expected.push(Stream::new(target.smmu, id, target.mask));
        }
        expected.extend(bus.legacy.iter().map(|smmu| Stream::new(*smmu, requester, 0)));
        assert!(!expected.is_empty(), "requester ID {requester:#x} has no stream");
        for stream in expected {
            assert!(
                view.streams.iter().any(|known| known.holds(&stream)),
                "requester ID {requester:#x} emits {stream}, which its function does not have"
            );
        }
    }
}
