//! Compares the two readings of a tree, fact by fact.

use std::collections::{BTreeMap, BTreeSet};

use second_reading::{Facts, MmuMastersEntry, Streams, Window};
use topology::{Bus, Graph, Identity};

/// Stream ID and mask at an SMMU.
type Match = (String, u32, u32);

/// What the two readings say of the same thing, where that differs.
pub(crate) fn differences(graph: &Graph, facts: &Facts) -> Vec<String> {
    let streams = Streams::of(facts);
    let mut found = Vec::new();
    smmus(graph, facts, &mut found);
    masters(graph, &streams, &mut found);
    legacy_hosts(graph, facts, &mut found);
    buses(graph, &streams, &mut found);
    found
}

fn differ<T: PartialEq + std::fmt::Debug>(what: &str, first: &T, second: &T, found: &mut Vec<String>) {
    if first != second {
        found.push(format!("{what}: first reading {first:x?}, second {second:x?}"));
    }
}

fn smmus(graph: &Graph, facts: &Facts, found: &mut Vec<String>) {
    let first: Vec<&str> = graph.smmus().iter().map(|smmu| smmu.path.as_str()).collect();
    let second: Vec<&str> = facts.smmus.iter().map(|smmu| smmu.path.as_str()).collect();
    differ("SMMUs", &first, &second, found);
    for (one, other) in graph.smmus().iter().zip(&facts.smmus) {
        let what = |fact: &str| format!("{}: {fact}", one.path);
        differ(&what("compatible"), &one.compatible, &other.compatible, found);
        differ(
            &what("enabled"),
            &one.disabled_by.is_none(),
            &other.enabled,
            found,
        );
        // The second reading says what stands at the node itself; buses hand coherence down.
        differ(
            &what("coherent"),
            &(one.coherent || other.dma_coherent),
            &one.coherent,
            found,
        );
        let mask = other.stream_match_mask.filter(|_| one.kind.masks);
        differ(
            &what("stream-match-mask"),
            &one.match_mask,
            &mask.unwrap_or(0),
            found,
        );
        if one.kind.masks && !one.interrupts.is_empty() {
            let count = Some(one.interrupts.len());
            differ(&what("interrupts"), &count, &other.n_interrupts, found);
        }
    }
}

/// Streams by master, those of PCI bridges themselves as well.
fn masters(graph: &Graph, streams: &Streams, found: &mut Vec<String>) {
    let mut first: BTreeMap<String, BTreeSet<Match>> = BTreeMap::new();
    for master in graph.masters() {
        let Identity::Platform { path, .. } = &master.identity else {
            continue;
        };
        for stream in master.sources.iter().flat_map(|source| &source.streams) {
            let smmu = graph.smmu(stream.smmu).map_or("", |smmu| &smmu.path);
            let matched = (smmu.to_string(), stream.id, stream.mask);
            first.entry(path.clone()).or_default().insert(matched);
        }
    }
    let mut second: BTreeMap<String, BTreeSet<Match>> = BTreeMap::new();
    for (path, streams) in streams.masters.iter().chain(&streams.bridges) {
        let matched = streams
            .iter()
            .map(|stream| (stream.smmu.clone(), stream.id, stream.mask));
        second.entry(path.clone()).or_default().extend(matched);
    }
    let paths: BTreeSet<&String> = first.keys().chain(second.keys()).collect();
    for path in paths {
        differ(
            &format!("{path}: streams"),
            &first.get(path),
            &second.get(path),
            found,
        );
    }
}

/// Host bridges that an `mmu-masters` lists.
fn legacy_hosts(graph: &Graph, facts: &Facts, found: &mut Vec<String>) {
    let first: BTreeSet<(String, String)> = graph
        .buses()
        .iter()
        .flat_map(|bus| bus.legacy.iter().map(move |smmu| (bus, smmu)))
        .filter_map(|(bus, smmu)| Some((bus.path.clone(), graph.smmu(*smmu)?.path.clone())))
        .collect();
    let second: BTreeSet<(String, String)> = facts
        .mmu_masters
        .iter()
        .filter_map(|entry| match entry {
            MmuMastersEntry::Listed(listed) if listed.pci => {
                Some((listed.master.clone(), listed.smmu.clone()))
            }
            _ => None,
        })
        .collect();
    differ("host bridges in mmu-masters", &first, &second, found);
}

/// Maps of buses, asked for the requester IDs at all edges of what the second reading found.
fn buses(graph: &Graph, streams: &Streams, found: &mut Vec<String>) {
    let by_path: BTreeMap<&str, &Bus> = graph.buses().iter().map(|bus| (bus.path.as_str(), bus)).collect();
    for (path, windows) in &streams.buses {
        let Some(bus) = by_path.get(path.as_str()) else {
            found.push(format!("{path}: only the second reading finds a map"));
            continue;
        };
        let edges = windows.iter().flat_map(|window| {
            let last = window
                .rid_base
                .saturating_add(window.length.saturating_sub(1))
                .min(0xffff);
            [window.rid_base.saturating_sub(1), window.rid_base, last, last + 1]
        });
        for requester in edges.filter(|requester| *requester <= 0xffff) {
            let what = format!("{path}: requester ID {requester:#x}");
            differ(
                &what,
                &first_lookup(graph, bus, requester),
                &second_lookup(windows, requester),
                found,
            );
        }
    }
    for (path, bus) in by_path {
        let leads = bus
            .streams
            .iter()
            .flatten()
            .any(|map| map.windows.iter().any(|window| window.target.is_ok()));
        if leads && !streams.buses.contains_key(path) {
            found.push(format!("{path}: only the first reading finds a map"));
        }
    }
}

fn first_lookup(graph: &Graph, bus: &Bus, requester: u32) -> Option<Match> {
    let map = bus.streams.as_ref()?.as_ref().ok()?;
    let (window, id) = map.lookup(requester)?;
    let target = window.target.as_ref().ok()?;
    let smmu = graph.smmu(target.smmu)?;
    Some((smmu.path.clone(), id & !target.mask, target.mask))
}

fn second_lookup(windows: &[Window], requester: u32) -> Option<Match> {
    let holds = |window: &&Window| {
        let masked = requester & window.map_mask;
        masked
            .checked_sub(window.rid_base)
            .is_some_and(|offset| offset < window.length)
    };
    let window = windows.iter().find(holds)?;
    let id = window.out_base + ((requester & window.map_mask) - window.rid_base);
    Some((window.smmu.clone(), id & !window.mask, window.mask))
}
