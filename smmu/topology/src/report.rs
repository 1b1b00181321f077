//! The graph as text, for a console and a terminal alike: one section for each SMMU, then what is behind none.

mod buses;
mod uncovered;

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use devicetree::{NodeId, ReadError};

use crate::bus::Bus;
use crate::diagnostic::Severity;
use crate::graph::{Demand, Graph};
use crate::master::{Coverage, Master, MasterIndex, Stream};
use crate::messages::{MsiIndex, MsiRoute};
use crate::smmu::{Line, Smmu, SmmuIndex};
use buses::{Requesters, refusal_word};
pub use uncovered::Alike;

/// Paths are padded to this width at most, so that one long path does not push all columns away.
const WIDEST: usize = 48;
/// Words of coverage are padded to this width at least.
const NARROWEST: usize = 8;

/// The whole graph as text of many lines.
#[derive(Debug, Clone, Copy)]
pub struct Report<'g> {
    graph: &'g Graph,
    diagnostics: bool,
    segments: &'g [(NodeId, Result<u16, ReadError>)],
    match_registers: Option<usize>,
}

impl Graph {
    /// The graph as text, diagnostics at its end.
    pub fn report(&self) -> Report<'_> {
        Report {
            graph: self,
            diagnostics: true,
            segments: &[],
            match_registers: None,
        }
    }

    /// The graph as text, with the diagnostics counted only: for a log that has them elsewhere.
    pub fn outline(&self) -> Report<'_> {
        Report {
            diagnostics: false,
            ..self.report()
        }
    }

    /// How many of the diagnostics are errors, warnings and notes, with those that are only counted.
    pub fn severities(&self) -> [(Severity, usize); 3] {
        [Severity::Error, Severity::Warning, Severity::Note]
            .map(|severity| (severity, self.count_diagnostics(severity)))
    }
}

impl<'g> Report<'g> {
    /// The same with the segments of the PCI host bridges, as `Tree::pci_segments` has them.
    pub fn with_segments(self, segments: &'g [(NodeId, Result<u16, ReadError>)]) -> Report<'g> {
        Report { segments, ..self }
    }

    /// The same for who knows how many stream match registers each SMMU has that has any.
    pub fn with_match_registers(self, match_registers: Option<usize>) -> Report<'g> {
        Report {
            match_registers,
            ..self
        }
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.graph;
        if graph.smmus().is_empty() {
            writeln!(f, "no SMMU: no device can be isolated on this machine")?;
        }
        let unwalked = graph.unwalked_hosts();
        for ((index, smmu), demand) in graph.smmus().iter().enumerate().zip(graph.demands()) {
            self.smmu(f, SmmuIndex(index), smmu, demand, &unwalked)?;
        }
        let refused = graph
            .masters()
            .iter()
            .filter(|master| master.streams.is_empty() && master.coverage.is_refused());
        section(
            f,
            "refused, with no stream known",
            refused.map(|master| {
                let disabled = disabled(master.enabled);
                alloc::format!("{}  {}{disabled}", master.identity, word(master))
            }),
        )?;
        let refused = graph.buses().iter().flat_map(|bus| {
            let parts = graph.refused_requesters(bus).into_iter();
            parts.map(|(part, _)| {
                let (path, disabled) = (&bus.path, disabled(bus.enabled));
                alloc::format!("{path}  {}: {part}{disabled}", self.devices_on(bus))
            })
        });
        section(f, "requester IDs that are refused", refused)?;
        let (hosts, word) = graph.hosts_behind_nothing();
        let hosts = hosts.into_iter().map(|bus| {
            let disabled = disabled(bus.enabled);
            let verdict = alloc::format!("{}: {word}{disabled}", self.devices_on(bus));
            (bus.path.clone(), verdict)
        });
        let uncovered = graph.uncovered().into_iter();
        let uncovered = uncovered.map(|alike| (alike.name(), alike.verdict()));
        let open: Vec<(String, String)> = uncovered.chain(hosts).collect();
        let width = open.iter().map(|(name, _)| name.len()).max();
        let width = width.unwrap_or(0).min(WIDEST);
        let rows = open
            .iter()
            .map(|(name, verdict)| alloc::format!("{name:<width$}  {verdict}"));
        section(f, "behind no SMMU", rows)?;
        section(f, "what that means", graph.consequences().into_iter())?;
        let several = graph.groups().iter().filter(|group| group.masters.len() > 1);
        section(
            f,
            "groups of devices that no SMMU keeps apart",
            several.map(|group| {
                let names: Vec<String> = group.masters.iter().map(|index| self.name(*index)).collect();
                let first = group.streams.first().map(|stream| stream.smmu);
                let is_at_one = group.streams.iter().all(|stream| Some(stream.smmu) == first);
                let streams = group.streams.iter().map(|stream| match graph.smmu(stream.smmu) {
                    Some(smmu) if !is_at_one => alloc::format!("{stream} at {}", smmu.path),
                    _ => stream.to_string(),
                });
                let places = group
                    .peers_at
                    .iter()
                    .map(|at| alloc::format!("they meet at {at}"));
                let bonds: Vec<String> = streams.chain(places).collect();
                alloc::format!("{}: {}", names.join(", "), bonds.join(", "))
            }),
        )?;
        let controllers = graph.msi_controllers().iter();
        section(
            f,
            "MSI controllers",
            controllers.map(|controller| {
                alloc::format!("{} ({})", controller.path, controller.compatible.join(", "))
            }),
        )?;
        self.diagnostics(f)
    }
}

impl Report<'_> {
    fn smmu(
        &self,
        f: &mut fmt::Formatter<'_>,
        index: SmmuIndex,
        smmu: &Smmu,
        demand: Demand,
        unwalked: &BTreeSet<NodeId>,
    ) -> fmt::Result {
        writeln!(
            f,
            "{}: {} ({})",
            smmu.path,
            smmu.kind.name,
            smmu.compatible.join(", ")
        )?;
        if let Some(by) = &smmu.disabled_by {
            writeln!(
                f,
                "  DISABLED by the status of {by}: what is behind it is not isolated"
            )?;
        }
        if let Some(why) = &smmu.unusable {
            writeln!(f, "  CANNOT BE USED: {why}; what is behind it is not isolated")?;
        }
        let frames: Vec<String> = smmu.frames.iter().map(ToString::to_string).collect();
        write!(f, "  registers {}", or_none(&frames.join(", ")))?;
        write!(
            f,
            "; {} walks",
            if smmu.coherent { "coherent" } else { "non-coherent" }
        )?;
        write!(f, "; interrupts {}", Interrupts(smmu))?;
        self.messages(f, &smmu.messages)?;
        if !smmu.reports_faults() {
            write!(f, "; faults are not reported by interrupt")?;
        }
        writeln!(f)?;
        if smmu.match_mask != 0 {
            writeln!(
                f,
                "  stream-match-mask {:#x} for specifiers of one cell",
                smmu.match_mask
            )?;
        }
        let masters: Vec<&Master> = self
            .graph
            .masters()
            .iter()
            .filter(|master| master.streams.iter().any(|stream| stream.smmu == index))
            .collect();
        let covered = masters
            .iter()
            .filter(|master| master.coverage == Coverage::Covered)
            .count();
        let buses = self.graph.buses().iter();
        let buses: Vec<&Bus> = buses
            .filter(|bus| bus.smmus().any(|named| named == index))
            .collect();
        let lacks_functions = buses.iter().any(|bus| unwalked.contains(&bus.node));
        let without = |text| if lacks_functions { text } else { "" };
        let note = without(" (without PCI functions)");
        write!(f, "  masters: {}{note}, covered: {covered}", masters.len())?;
        match buses.len() {
            0 => {}
            count => write!(f, "; buses: {count}")?,
        }
        if let Some(highest) = smmu.max_stream {
            write!(f, "; highest stream ID {highest:#x}")?;
        }
        if let Some(limit) = smmu.kind.match_registers {
            let Demand { enabled, all } = demand;
            let without = without("without PCI functions; ");
            let (most, limit) = match self.match_registers.or(smmu.match_registers) {
                Some(registers) => ("", registers),
                None => ("at most ", limit),
            };
            write!(
                f,
                "; stream matches: {enabled} for enabled masters, {all} for all ({without}of {most}{limit})"
            )?;
        }
        writeln!(f)?;
        let paths = masters.iter().map(|master| master.identity.to_string().len());
        let width = paths.max().unwrap_or(0).min(WIDEST);
        let words = masters.iter().map(|master| word(master).len());
        let word_width = words.fold(NARROWEST, usize::max);
        for master in masters {
            self.master(f, index, master, [width, word_width])?;
        }
        for bus in buses {
            self.bus(f, index, bus, width)?;
        }
        Ok(())
    }

    fn master(
        &self,
        f: &mut fmt::Formatter<'_>,
        smmu: SmmuIndex,
        master: &Master,
        [width, word_width]: [usize; 2],
    ) -> fmt::Result {
        let streams: Vec<&Stream> = master
            .streams
            .iter()
            .filter(|stream| stream.smmu == smmu)
            .collect();
        write!(
            f,
            "    {:<width$}  {:<word_width$}  stream {}",
            master.identity.to_string(),
            word(master),
            Streams(&streams)
        )?;
        if master.coherent {
            write!(f, "; coherent")?;
        }
        self.messages(f, &master.messages)?;
        for region in &master.regions {
            write!(f, "; {:?} region {}", region.kind, region.range)?;
        }
        writeln!(f, "{}", disabled(master.enabled))
    }

    fn bus(&self, f: &mut fmt::Formatter<'_>, smmu: SmmuIndex, bus: &Bus, width: usize) -> fmt::Result {
        let (path, what) = (&bus.path, self.devices_on(bus));
        let refusal = self.graph.refusal_of_bus(bus);
        let word = refusal.map_or(String::new(), |refusal| {
            alloc::format!("{}  ", refusal_word(&refusal))
        });
        let disabled = disabled(bus.enabled);
        if bus.legacy.contains(&smmu) {
            writeln!(
                f,
                "    {path:<width$}  {word}{what}: each requester ID is a stream ID{disabled}"
            )?;
        }
        let Some(Ok(map)) = &bus.streams else {
            return Ok(());
        };
        let windows = map.windows.iter().filter_map(|window| {
            let target = window.target.as_ref().ok().filter(|target| target.smmu == smmu)?;
            let first = Stream::new(smmu, window.output, target.mask);
            let and_on = if window.first == window.last {
                ""
            } else {
                " and on"
            };
            let ids = Requesters(window.first, window.last);
            Some(alloc::format!("{ids} → {}{and_on}", Streams(&[&first])))
        });
        let windows: Vec<String> = windows.collect();
        if !windows.is_empty() {
            let windows = windows.join(", ");
            write!(f, "    {path:<width$}  {word}{what}: requester ID {windows}")?;
            if map.mask != u32::MAX {
                write!(f, "; map mask {:#x}", map.mask)?;
            }
            writeln!(f, "{disabled}")?;
        }
        Ok(())
    }

    /// What is on a bus, with the segment if it is known.
    fn devices_on(&self, bus: &Bus) -> String {
        if !bus.is_pci {
            return "devices of a bus that is not PCI".to_string();
        }
        let segment = self.segments.iter().find(|(host, _)| *host == bus.node);
        match segment {
            Some((_, Ok(segment))) => alloc::format!("PCI functions of segment {segment:04x}"),
            Some((_, Err(_))) => "PCI functions of a segment that cannot be told".to_string(),
            None => "PCI functions".to_string(),
        }
    }

    fn messages(&self, f: &mut fmt::Formatter<'_>, routes: &[MsiRoute]) -> fmt::Result {
        for route in routes {
            write!(f, "; messages to {}", self.controller(route.controller))?;
            if let Some(id) = route.device_id {
                write!(f, " as {id:#x}")?;
            }
        }
        Ok(())
    }

    fn controller(&self, index: MsiIndex) -> &str {
        let controller = self.graph.msi_controllers().get(index.0);
        controller.map_or("?", |controller| controller.path.as_str())
    }

    fn name(&self, index: MasterIndex) -> String {
        let master = self.graph.master(index);
        master
            .map(|master| master.identity.to_string())
            .unwrap_or_default()
    }

    fn diagnostics(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [errors, warnings, notes] = self.graph.severities().map(|(_, count)| count);
        write!(f, "errors: {errors}, warnings: {warnings}, notes: {notes}")?;
        match self.graph.omitted_diagnostics() {
            0 => writeln!(f)?,
            more => writeln!(f, "; {more} of them were only counted")?,
        }
        let mut all: Vec<_> = self
            .graph
            .diagnostics()
            .iter()
            .filter(|_| self.diagnostics)
            .collect();
        all.sort_by_key(|diagnostic| core::cmp::Reverse(diagnostic.severity()));
        all.iter()
            .try_for_each(|diagnostic| writeln!(f, "  {diagnostic}"))
    }
}

/// What a table says of a master.
pub(crate) fn word(master: &Master) -> &'static str {
    match &master.coverage {
        Coverage::Covered => "covered",
        Coverage::Uncovered => "uncovered",
        Coverage::Refused(refusal) => refusal_word(refusal),
    }
}

fn disabled(enabled: bool) -> &'static str {
    if enabled { "" } else { "; disabled" }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: impl Iterator<Item = String>) -> fmt::Result {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            writeln!(f, "{title}:")?;
        }
        writeln!(f, "    {line}")?;
    }
    Ok(())
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Stream IDs in a row, with their masks behind a slash.
pub(crate) struct Streams<'s>(pub(crate) &'s [&'s Stream]);

impl Display for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, stream) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { ", " })?;
            write!(f, "{:#x}", stream.id)?;
            if stream.mask != 0 {
                write!(f, "/{:#x}", stream.mask)?;
            }
        }
        Ok(())
    }
}

/// Interrupts by what they report; those of context banks are only counted.
struct Interrupts<'s>(&'s Smmu);

impl Display for Interrupts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interrupts(smmu) = self;
        let mut words: Vec<String> = Vec::new();
        let mut banks = 0;
        for found in &smmu.interrupts {
            let intid = found.interrupt.intid;
            match found.line {
                Line::EventQueue => words.push(alloc::format!("eventq={intid}")),
                Line::GlobalError => words.push(alloc::format!("gerror={intid}")),
                Line::PageRequests => words.push(alloc::format!("priq={intid}")),
                Line::CommandSync => words.push(alloc::format!("cmdq-sync={intid}")),
                Line::Combined => words.push(alloc::format!("combined={intid}")),
                Line::Global(_) => words.push(alloc::format!("global={intid}")),
                Line::Context(_) => banks += 1,
            }
        }
        if banks > 0 {
            let mut word = String::new();
            write!(word, "{banks} for context banks")?;
            words.push(word);
        }
        f.write_str(or_none(&words.join(", ")))
    }
}
