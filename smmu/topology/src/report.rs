//! The graph as text, for a console and a terminal alike: one section for each SMMU, then what is behind none.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display, Write};

use crate::bus::Bus;
use crate::diagnostic::Severity;
use crate::graph::{Demand, Graph};
use crate::master::{Coverage, Master, MasterIndex, Stream};
use crate::messages::{MsiIndex, MsiRoute};
use crate::smmu::{Line, Smmu, SmmuIndex};

/// Paths are padded to this width at most, so that one long path does not push all columns away.
const WIDEST: usize = 48;

/// The whole graph as text of many lines.
#[derive(Debug, Clone, Copy)]
pub struct Report<'g> {
    graph: &'g Graph,
    diagnostics: bool,
}

impl Graph {
    /// The graph as text, diagnostics at its end.
    pub fn report(&self) -> Report<'_> {
        Report {
            graph: self,
            diagnostics: true,
        }
    }

    /// The graph as text, with the diagnostics counted only: for a log that has them elsewhere.
    pub fn outline(&self) -> Report<'_> {
        Report {
            graph: self,
            diagnostics: false,
        }
    }

    /// How many of the diagnostics are errors, warnings and notes, with those that are only counted.
    pub fn severities(&self) -> [(Severity, usize); 3] {
        [Severity::Error, Severity::Warning, Severity::Note]
            .map(|severity| (severity, self.count_diagnostics(severity)))
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.graph;
        if graph.smmus().is_empty() {
            writeln!(f, "no SMMU: no device can be isolated on this machine")?;
        }
        for ((index, smmu), demand) in graph.smmus().iter().enumerate().zip(graph.demands()) {
            self.smmu(f, SmmuIndex(index), smmu, demand)?;
        }
        let rest = |refused: bool| {
            let masters = graph.masters().iter();
            masters.filter(move |master| master.streams.is_empty() && master.coverage.is_refused() == refused)
        };
        section(
            f,
            "refused, with no stream known",
            rest(true).map(|master| self.rest(master)),
        )?;
        section(f, "behind no SMMU", rest(false).map(|master| self.rest(master)))?;
        let several = graph.groups().iter().filter(|group| group.masters.len() > 1);
        section(
            f,
            "groups of devices that no SMMU keeps apart",
            several.map(|group| {
                let names: Vec<String> = group.masters.iter().map(|index| self.name(*index)).collect();
                let streams = group.streams.iter().map(ToString::to_string);
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
    fn smmu(&self, f: &mut fmt::Formatter<'_>, index: SmmuIndex, smmu: &Smmu, demand: Demand) -> fmt::Result {
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
        write!(f, "  masters: {}, covered: {covered}", masters.len())?;
        let buses = self.graph.buses().iter();
        match buses
            .filter(|bus| bus.smmus().any(|named| named == index))
            .count()
        {
            0 => {}
            count => write!(f, "; buses: {count}")?,
        }
        if let Some(highest) = smmu.max_stream {
            write!(f, "; highest stream ID {highest:#x}")?;
        }
        if let Some(limit) = smmu.kind.match_registers {
            let Demand { enabled, all } = demand;
            write!(
                f,
                "; stream matches: {enabled} for enabled masters, {all} for all (of at most {limit})"
            )?;
        }
        writeln!(f)?;
        let width = masters
            .iter()
            .map(|master| master.identity.to_string().len())
            .max();
        let width = width.unwrap_or(0).min(WIDEST);
        for master in masters {
            self.master(f, index, master, width)?;
        }
        for bus in self.graph.buses() {
            self.bus(f, index, bus)?;
        }
        Ok(())
    }

    fn master(
        &self,
        f: &mut fmt::Formatter<'_>,
        smmu: SmmuIndex,
        master: &Master,
        width: usize,
    ) -> fmt::Result {
        let streams: Vec<&Stream> = master
            .streams
            .iter()
            .filter(|stream| stream.smmu == smmu)
            .collect();
        write!(
            f,
            "    {:<width$}  {:<8}  stream {}",
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
        if !master.enabled {
            write!(f, "; disabled")?;
        }
        writeln!(f)
    }

    fn bus(&self, f: &mut fmt::Formatter<'_>, smmu: SmmuIndex, bus: &Bus) -> fmt::Result {
        let what = if bus.is_pci {
            "PCI functions"
        } else {
            "devices of a bus that is not PCI"
        };
        let disabled = if bus.enabled { "" } else { "; disabled" };
        if bus.legacy.contains(&smmu) {
            writeln!(
                f,
                "    {}  {what}: each requester ID is a stream ID{disabled}",
                bus.path
            )?;
        }
        let Some(Ok(map)) = &bus.streams else {
            return Ok(());
        };
        let windows = map.windows.iter().filter_map(|window| {
            let target = window.target.as_ref().ok().filter(|target| target.smmu == smmu)?;
            let first = Stream::new(smmu, window.output, target.mask);
            Some(match window.last - window.first {
                0 => alloc::format!("{:#x} → {}", window.first, Streams(&[&first])),
                _ => alloc::format!(
                    "{:#x}..={:#x} → {} and on",
                    window.first,
                    window.last,
                    Streams(&[&first])
                ),
            })
        });
        let windows: Vec<String> = windows.collect();
        if !windows.is_empty() {
            write!(f, "    {}  {what}: requester ID {}", bus.path, windows.join(", "))?;
            if map.mask != u32::MAX {
                write!(f, "; map mask {:#x}", map.mask)?;
            }
            writeln!(f, "{disabled}")?;
        }
        Ok(())
    }

    fn rest(&self, master: &Master) -> String {
        let disabled = if master.enabled { "" } else { "; disabled" };
        alloc::format!("{}  {}{disabled}", master.identity, word(master))
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
        Coverage::Refused(refusal) if refusal.blocked => "refused",
        Coverage::Refused(_) => "REFUSED, not blocked",
    }
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
            write!(word, "{banks} of context banks")?;
            words.push(word);
        }
        f.write_str(or_none(&words.join(" ")))
    }
}
