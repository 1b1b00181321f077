//! The graph as JSON, for programs.
//!
#![doc = include_str!("json.md")]

use anyhow::Result;
use serde::Serialize;
use topology::{Binding, Coverage, Graph, Line, MsiRoute, RegionKind, SmmuInterrupt, Stream};

use super::Known;

/// It rises when a field goes, changes its name or means something else.
const VERSION: u32 = 2;

#[derive(Serialize)]
struct Document<'g> {
    version: u32,
    smmus: Vec<Smmu<'g>>,
    masters: Vec<Master<'g>>,
    unknown_devices: usize,
    buses: Vec<Bus<'g>>,
    groups: Vec<Group<'g>>,
    msi_controllers: Vec<MsiController<'g>>,
    diagnostics: Vec<Diagnostic<'g>>,
    omitted_diagnostics: usize,
}

#[derive(Serialize)]
struct Smmu<'g> {
    path: &'g str,
    kind: &'g str,
    compatible: &'g [String],
    enabled: bool,
    disabled_by: Option<&'g str>,
    unusable: Option<&'g str>,
    registers: Vec<Range>,
    coherent_walks: bool,
    interrupts: Vec<Interrupt>,
    messages: Vec<Message<'g>>,
    stream_match_mask: u32,
    highest_stream: Option<u32>,
    stream_matches: Matches,
}

#[derive(Serialize)]
struct Matches {
    enabled: usize,
    all: usize,
    limit: Option<usize>,
}

#[derive(Serialize)]
struct Range {
    address: u64,
    size: u64,
}

#[derive(Serialize)]
struct Interrupt {
    line: &'static str,
    index: Option<usize>,
    intid: u32,
}

#[derive(Serialize)]
struct Message<'g> {
    controller: &'g str,
    device_id: Option<u32>,
}

#[derive(Serialize)]
struct StreamMatch<'g> {
    smmu: &'g str,
    id: u32,
    mask: u32,
}

#[derive(Serialize)]
struct Master<'g> {
    device: String,
    enabled: bool,
    coherent: bool,
    coverage: &'static str,
    blocked: bool,
    reason: Option<String>,
    streams: Vec<StreamMatch<'g>>,
    sources: Vec<Source<'g>>,
    capability: Option<Capability>,
    messages: Vec<Message<'g>>,
    regions: Vec<Region<'g>>,
}

#[derive(Serialize)]
struct Capability {
    kind: &'static str,
    evidence: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Source<'g> {
    binding: &'static str,
    node: &'g str,
    property: &'static str,
    streams: Vec<StreamMatch<'g>>,
}

#[derive(Serialize)]
struct Region<'g> {
    node: &'g str,
    kind: &'static str,
    address: u64,
    size: u64,
}

#[derive(Serialize)]
struct Bus<'g> {
    path: &'g str,
    pci: bool,
    segment: Option<u16>,
    enabled: bool,
    requester_id_mask: Option<u32>,
    windows: Vec<Window<'g>>,
    legacy_smmus: Vec<&'g str>,
    refused: Option<String>,
}

#[derive(Serialize)]
struct Window<'g> {
    first: u32,
    last: u32,
    smmu: Option<&'g str>,
    first_stream: u32,
    mask: u32,
    refused: Option<String>,
}

#[derive(Serialize)]
struct Group<'g> {
    devices: Vec<String>,
    streams: Vec<StreamMatch<'g>>,
    peers_at: &'g [String],
}

#[derive(Serialize)]
struct MsiController<'g> {
    path: &'g str,
    compatible: &'g [String],
}

#[derive(Serialize)]
struct Diagnostic<'g> {
    severity: String,
    kind: &'static str,
    node: &'g str,
    property: &'static str,
    cell: Option<usize>,
    value: Option<u32>,
    defect: String,
    isolation: &'static str,
    remedy: &'static str,
}

/// The graph as one JSON document.
pub(crate) fn write(graph: &Graph, known: &Known) -> Result<String> {
    let names = Names(graph, known);
    let document = Document {
        version: VERSION,
        smmus: names.smmus(),
        masters: graph
            .masters()
            .iter()
            .map(|master| names.master(master))
            .collect(),
        unknown_devices: graph.unknown_devices(),
        buses: graph.buses().iter().map(|bus| names.bus(bus)).collect(),
        groups: graph.groups().iter().map(|group| names.group(group)).collect(),
        msi_controllers: graph
            .msi_controllers()
            .iter()
            .map(|controller| MsiController {
                path: &controller.path,
                compatible: &controller.compatible,
            })
            .collect(),
        diagnostics: graph.diagnostics().iter().map(diagnostic).collect(),
        omitted_diagnostics: graph.omitted_diagnostics(),
    };
    Ok(serde_json::to_string_pretty(&document)?)
}

fn diagnostic(diagnostic: &topology::Diagnostic) -> Diagnostic<'_> {
    Diagnostic {
        severity: diagnostic.severity().to_string(),
        kind: diagnostic.defect.kind(),
        node: &diagnostic.node,
        property: diagnostic.property,
        cell: diagnostic.cell,
        value: diagnostic.value,
        defect: diagnostic.defect.to_string(),
        isolation: diagnostic.isolation(),
        remedy: diagnostic.defect.remedy(),
    }
}

fn capability(found: topology::Capability) -> Capability {
    let (kind, evidence) = match found {
        topology::Capability::Known { compatible, .. } => ("compatible", compatible),
        topology::Capability::Controller => ("property", "#dma-cells"),
        topology::Capability::Coherence(property) => ("property", property),
    };
    Capability {
        kind,
        evidence,
        text: found.to_string(),
    }
}

fn interrupt(found: &SmmuInterrupt) -> Interrupt {
    // The names are those of the bindings where they have names.
    let (line, index) = match found.line {
        Line::EventQueue => ("eventq", None),
        Line::GlobalError => ("gerror", None),
        Line::PageRequests => ("priq", None),
        Line::CommandSync => ("cmdq-sync", None),
        Line::Combined => ("combined", None),
        Line::Global(position) => ("global", Some(position)),
        Line::Context(bank) => ("context", Some(bank)),
    };
    Interrupt {
        line,
        index,
        intid: found.interrupt.intid,
    }
}

/// Writes paths where the graph has positions.
struct Names<'g>(&'g Graph, &'g Known);

impl<'g> Names<'g> {
    fn smmu(&self, index: topology::SmmuIndex) -> &'g str {
        self.0.smmu(index).map_or("", |smmu| smmu.path.as_str())
    }

    fn smmus(&self) -> Vec<Smmu<'g>> {
        let all = self.0.smmus().iter().zip(self.0.demands());
        all.map(|(smmu, demand)| Smmu {
            path: &smmu.path,
            kind: smmu.kind.name,
            compatible: &smmu.compatible,
            enabled: smmu.disabled_by.is_none(),
            disabled_by: smmu.disabled_by.as_deref(),
            unusable: smmu.unusable.as_deref(),
            registers: smmu
                .frames
                .iter()
                .map(|frame| Range {
                    address: frame.address(),
                    size: frame.size(),
                })
                .collect(),
            coherent_walks: smmu.coherent,
            interrupts: smmu.interrupts.iter().map(interrupt).collect(),
            messages: self.messages(&smmu.messages),
            stream_match_mask: smmu.match_mask,
            highest_stream: smmu.max_stream,
            stream_matches: Matches {
                enabled: demand.enabled,
                all: demand.all,
                limit: smmu.kind.match_registers,
            },
        })
        .collect()
    }

    fn streams(&self, streams: &[Stream]) -> Vec<StreamMatch<'g>> {
        let one = |stream: &Stream| StreamMatch {
            smmu: self.smmu(stream.smmu),
            id: stream.id,
            mask: stream.mask,
        };
        streams.iter().map(one).collect()
    }

    fn messages(&self, routes: &[MsiRoute]) -> Vec<Message<'g>> {
        let one = |route: &MsiRoute| {
            let controller = self.0.msi_controllers().get(route.controller.0);
            Message {
                controller: controller.map_or("", |found| found.path.as_str()),
                device_id: route.device_id,
            }
        };
        routes.iter().map(one).collect()
    }

    fn master(&self, master: &'g topology::Master) -> Master<'g> {
        let (coverage, blocked, reason) = match &master.coverage {
            Coverage::Covered => ("covered", true, None),
            Coverage::Uncovered => ("uncovered", false, None),
            Coverage::Refused(refusal) => ("refused", refusal.blocked, Some(refusal.to_string())),
        };
        Master {
            device: master.identity.to_string(),
            enabled: master.enabled,
            coherent: master.coherent,
            coverage,
            blocked,
            reason,
            streams: self.streams(&master.streams),
            sources: master
                .sources
                .iter()
                .map(|source| Source {
                    binding: match source.binding {
                        Binding::Legacy => "legacy",
                        Binding::Generic => "generic",
                    },
                    node: &source.node,
                    property: source.property,
                    streams: self.streams(&source.streams),
                })
                .collect(),
            capability: master.capability.map(capability),
            messages: self.messages(&master.messages),
            regions: master
                .regions
                .iter()
                .map(|region| Region {
                    node: &region.path,
                    kind: match region.kind {
                        RegionKind::Identity => "identity",
                        RegionKind::Reserved => "reserved",
                    },
                    address: region.range.address(),
                    size: region.range.size(),
                })
                .collect(),
        }
    }

    fn bus(&self, bus: &'g topology::Bus) -> Bus<'g> {
        let map = bus.streams.as_ref().and_then(|map| map.as_ref().ok());
        let windows = map.iter().flat_map(|map| &map.windows);
        Bus {
            path: &bus.path,
            pci: bus.is_pci,
            segment: self.1.segment(bus.node).and_then(|found| found.clone().ok()),
            enabled: bus.enabled,
            requester_id_mask: map.map(|map| map.mask),
            windows: windows
                .map(|window| {
                    let target = window.target.as_ref().ok();
                    Window {
                        first: window.first,
                        last: window.last,
                        smmu: target.map(|target| self.smmu(target.smmu)),
                        first_stream: window.output,
                        mask: target.map_or(0, |target| target.mask),
                        refused: window.target.as_ref().err().map(ToString::to_string),
                    }
                })
                .collect(),
            legacy_smmus: bus.legacy.iter().map(|smmu| self.smmu(*smmu)).collect(),
            refused: self.0.refusal_of_bus(bus).map(|refusal| refusal.to_string()),
        }
    }

    fn group(&self, group: &'g topology::Group) -> Group<'g> {
        let masters = group.masters.iter().filter_map(|index| self.0.master(*index));
        Group {
            devices: masters.map(|master| master.identity.to_string()).collect(),
            streams: self.streams(&group.streams),
            peers_at: &group.peers_at,
        }
    }
}
