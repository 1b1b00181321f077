//! The graph as a picture: a box for each SMMU, a row for each of its masters, problems in colour.

mod sheet;

use std::collections::{BTreeMap, BTreeSet};

use devicetree::NodeId;
use topology::{Bus, Coverage, Graph, Master, MsiIndex, Refusal, Severity, Smmu, SmmuIndex, Stream};

use super::Known;
use crate::project::counted;
use sheet::{Sheet, shortened, wrapped};

const ROW: usize = 18;
/// Lines of text in an SMMU's box: how far the first is below the top, how far apart they are, and what is left below.
const FIRST_FACT: usize = 38;
const FACT: usize = 16;
const BELOW: usize = 12;
/// Where the columns begin.
const GROUP_X: usize = 24;
const DEVICE_X: usize = 62;
const STREAM_X: usize = 560;
const MESSAGE_X: usize = 940;
const SMMU_X: usize = 1040;
const WIDTH: usize = 1440;
/// How many characters of streams fit their column; more of them stand in further lines.
const STREAM_CHARACTERS: usize = 50;
/// How many characters of a path fit its column.
const DEVICE_CHARACTERS: usize = 66;

const RED: &str = "#c62828";
const AMBER: &str = "#b26a00";
const GREEN: &str = "#2e7d32";
const GREY: &str = "#8a8a8a";
const INK: &str = "#1f2933";
/// Colours that tell groups, and MSI controllers, from their neighbours.
const HUES: [&str; 6] = ["#1565c0", "#6a1b9a", "#00838f", "#ad1457", "#4e342e", "#37474f"];

/// Draws the graph.
pub(crate) fn draw(graph: &Graph, title: &str, known: &Known) -> String {
    let mut picture = Picture {
        graph,
        known,
        unwalked: graph.unwalked_hosts(),
        sheet: Sheet::new(WIDTH),
        groups: group_numbers(graph),
    };
    picture.head(title);
    for (index, smmu) in graph.smmus().iter().enumerate() {
        picture.smmu(SmmuIndex(index), smmu);
    }
    picture.without_streams();
    picture.refused_requesters();
    picture.controllers();
    picture.diagnostics();
    picture.sheet.finish()
}

/// Groups of several masters, numbered from 1, by master.
fn group_numbers(graph: &Graph) -> BTreeMap<usize, usize> {
    let several = graph.groups().iter().filter(|group| group.masters.len() > 1);
    let numbered = several.zip(1..);
    numbered
        .flat_map(|(group, number)| group.masters.iter().map(move |master| (master.0, number)))
        .collect()
}

fn hue(number: usize) -> &'static str {
    HUES.get(number % HUES.len()).copied().unwrap_or(INK)
}

/// The colour of a master, and a word for it.
fn colour(master: &Master) -> (&'static str, &'static str) {
    match &master.coverage {
        Coverage::Refused(refusal) => colour_of(refusal),
        Coverage::Uncovered => (AMBER, "uncovered"),
        Coverage::Covered if !master.enabled => (GREY, "covered, disabled"),
        Coverage::Covered => (GREEN, "covered"),
    }
}

/// The colour of what is refused, and a word for it.
fn colour_of(refusal: &Refusal) -> (&'static str, &'static str) {
    let colour = match refusal.because.severity() {
        Severity::Error => RED,
        _ => AMBER,
    };
    let word = match refusal.blocked {
        true => "refused",
        false => "REFUSED, not blocked",
    };
    (colour, word)
}

/// One row of an SMMU's section.
struct Row {
    device: String,
    word: &'static str,
    colour: &'static str,
    /// The whole of what the row may have to shorten.
    hint: String,
    group: Option<usize>,
    /// Its streams, as lines that fit their column.
    lines: Vec<String>,
    controllers: BTreeSet<MsiIndex>,
}

struct Picture<'g> {
    graph: &'g Graph,
    known: &'g Known,
    /// The host bridges of whose functions none is known.
    unwalked: BTreeSet<NodeId>,
    sheet: Sheet,
    groups: BTreeMap<usize, usize>,
}

impl Picture<'_> {
    fn head(&mut self, title: &str) {
        let sheet = &mut self.sheet;
        sheet.down(34);
        sheet.text(GROUP_X, 20, "bold", INK, &format!("Stream graph of {title}"));
        sheet.down(22);
        let mut x = GROUP_X;
        for (colour, word) in [
            (GREEN, "covered"),
            (GREY, "covered, its node is disabled"),
            (AMBER, "this board cannot isolate it"),
            (RED, "refused: the tree is wrong"),
        ] {
            sheet.dot_above(x + 5, colour);
            sheet.text(x + 16, 12, "normal", INK, word);
            x += 46 + 7 * word.len();
        }
        sheet.down(20);
        let key = "Gn: a group that has one owner · Mn: messages go to MSI controller n · \
                   id/mask: bits of the mask are not compared · r→id: requester ID r emits stream ID id";
        sheet.text(GROUP_X, 12, "normal", INK, key);
        sheet.down(8);
    }

    fn smmu(&mut self, index: SmmuIndex, smmu: &Smmu) {
        let rows = self.rows(index);
        let facts = self.facts(index, smmu);
        let rows_height = rows.iter().map(|row| row.lines.len() * ROW).sum::<usize>();
        // As high as its rows and as its text, and no higher: many SMMUs have no rows.
        let text_height = FIRST_FACT + facts.len().saturating_sub(1) * FACT;
        let height = (rows_height + 2).max(text_height) + BELOW;
        let sheet = &mut self.sheet;
        sheet.down(16);
        let colour = if smmu.disabled_by.is_some() {
            AMBER
        } else if !smmu.is_usable() {
            RED
        } else {
            INK
        };
        sheet.rect(SMMU_X, 0, WIDTH - SMMU_X - 24, height, colour);
        let path = shortened(&smmu.path, 44);
        sheet.at(18).text(SMMU_X + 12, 13, "bold", colour, &path);
        for (line, fact) in facts.iter().enumerate() {
            sheet
                .at(FIRST_FACT + line * FACT)
                .text(SMMU_X + 12, 12, "normal", INK, fact);
        }
        let mut y = 20;
        if rows.is_empty() {
            sheet
                .at(y)
                .text(DEVICE_X, 12, "normal", GREY, "no masters that are understood");
        }
        for row in rows {
            self.row(y, &row);
            y += row.lines.len() * ROW;
        }
        self.sheet.down(height);
    }

    fn row(&mut self, y: usize, row: &Row) {
        let sheet = self.sheet.at(y);
        if let Some(group) = row.group {
            sheet.text(GROUP_X, 11, "bold", hue(group), &format!("G{group}"));
        }
        sheet.at(y - 4).dot(DEVICE_X - 10, row.colour);
        let device = shortened(&row.device, DEVICE_CHARACTERS);
        sheet.at(y).hinted_text(
            DEVICE_X,
            12,
            row.colour,
            &device,
            &format!("{}: {}", row.hint, row.word),
        );
        for (line, text) in row.lines.iter().enumerate() {
            sheet.at(y + line * ROW).text(STREAM_X, 12, "normal", INK, text);
        }
        // A letter is a bit wider than seven units. What is too long for its column gets a shorter line, not one through it.
        let longest = row.lines.iter().map(|line| line.chars().count()).max();
        let x = STREAM_X + longest.unwrap_or(0) * 29 / 4 + 8;
        sheet.at(y - 4).line(
            x.min(MESSAGE_X - 6),
            MESSAGE_X - 6,
            (x.clamp(MESSAGE_X + 50, SMMU_X), SMMU_X),
            row.colour,
        );
        let mut x = MESSAGE_X + 4;
        for controller in &row.controllers {
            let number = controller.0 + 1;
            sheet
                .at(y)
                .text(x, 11, "bold", hue(number), &format!("M{number}"));
            x += 22;
        }
    }

    /// The rows of an SMMU: masters that share a group stand together.
    fn rows(&self, index: SmmuIndex) -> Vec<Row> {
        let mut masters: Vec<(usize, &Master)> = self
            .graph
            .masters()
            .iter()
            .enumerate()
            .filter(|(_, master)| master.streams.iter().any(|stream| stream.smmu == index))
            .collect();
        let first = |master: &Master| master.streams.iter().find(|stream| stream.smmu == index).copied();
        masters.sort_by_key(|(position, master)| {
            let group = self.groups.get(position).and_then(|number| {
                let members = masters_of(&self.groups, *number);
                members
                    .filter_map(|member| self.graph.masters().get(member).and_then(first))
                    .min()
            });
            (group.or(first(master)), first(master))
        });
        let mut rows: Vec<Row> = masters
            .into_iter()
            .map(|(position, master)| self.master_row(index, position, master))
            .collect();
        rows.extend(
            self.graph
                .buses()
                .iter()
                .flat_map(|bus| self.bus_rows(index, bus)),
        );
        rows
    }

    fn master_row(&self, index: SmmuIndex, position: usize, master: &Master) -> Row {
        let (colour, word) = colour(master);
        let streams = master.streams.iter().filter(|stream| stream.smmu == index);
        let streams: Vec<String> = streams.map(number).collect();
        let mut hint = master.identity.to_string();
        if let Coverage::Refused(refusal) = &master.coverage {
            hint = refusal.to_string();
        }
        Row {
            device: master.identity.to_string(),
            word,
            colour,
            hint,
            group: self.groups.get(&position).copied(),
            lines: wrapped(&streams.join(" "), STREAM_CHARACTERS),
            controllers: master.messages.iter().map(|route| route.controller).collect(),
        }
    }

    /// The rows of a bus at an SMMU: one for each binding that describes it.
    fn bus_rows(&self, index: SmmuIndex, bus: &Bus) -> Vec<Row> {
        let mut ways = Vec::new();
        if bus.legacy.contains(&index) {
            ways.push("requester ID = stream ID".to_string());
        }
        let windows = bus.streams.iter().flatten().flat_map(|map| &map.windows);
        let mapped = windows.filter_map(|window| {
            let target = window.target.as_ref().ok();
            let target = target.filter(|target| target.smmu == index)?;
            let first = number(&Stream::new(index, window.output, target.mask));
            Some(match window.last - window.first {
                0 => format!("{:#x}→{first}", window.first),
                _ => format!("{:#x}–{:#x}→{first}…", window.first, window.last),
            })
        });
        let mapped: Vec<String> = mapped.collect();
        if !mapped.is_empty() {
            ways.push(mapped.join(" "));
        }
        let refusal = self.graph.refusal_of_bus(bus);
        let (colour, word) = match (&refusal, bus.enabled, bus.is_pci) {
            (Some(refusal), ..) => colour_of(refusal),
            (None, _, false) => (AMBER, "nobody can say which device has which ID"),
            (None, false, true) => (GREY, "PCI functions, by requester ID; disabled"),
            (None, true, true) => (GREEN, "PCI functions, by requester ID"),
        };
        let row = |streams: String| {
            let text = match refusal {
                Some(_) => format!("{word}: {streams}"),
                None => streams,
            };
            Row {
                device: self.name_of(bus),
                word,
                colour,
                hint: refusal.as_ref().map_or(bus.path.clone(), Refusal::to_string),
                group: None,
                lines: wrapped(&text, STREAM_CHARACTERS),
                controllers: bus.msi_controllers().collect(),
            }
        };
        ways.into_iter().map(row).collect()
    }

    fn facts(&self, index: SmmuIndex, smmu: &Smmu) -> Vec<String> {
        let mut facts = vec![format!(
            "{}: {}",
            smmu.kind.name,
            shortened(&smmu.compatible.join(", "), 36)
        )];
        if let Some(by) = &smmu.disabled_by {
            facts.push(format!("DISABLED by {}", shortened(by, 34)));
        }
        if let Some(why) = &smmu.unusable {
            facts.push(format!("CANNOT BE USED: {}", shortened(why, 31)));
        }
        let frames: Vec<String> = smmu.frames.iter().map(ToString::to_string).collect();
        facts.push(match frames.is_empty() {
            true => "no registers that can be found".to_string(),
            false => format!("registers {}", frames.join(", ")),
        });
        facts.push(format!(
            "{}, {} walks",
            counted(smmu.interrupts.len(), "interrupt"),
            if smmu.coherent { "coherent" } else { "non-coherent" }
        ));
        if smmu.match_mask != 0 {
            facts.push(format!("stream-match-mask {:#x}", smmu.match_mask));
        }
        if let (Some(limit), Some(demand)) = (smmu.kind.match_registers, self.graph.demands().get(index.0))
            && demand.all > 0
        {
            let of = match self.known.match_registers {
                Some(registers) => format!("of {registers}"),
                None => format!("of {limit} at most"),
            };
            facts.push(format!(
                "matches: {} enabled, {} all, {of}",
                demand.enabled, demand.all
            ));
        }
        let mut hosts = self.graph.buses().iter();
        if hosts.any(|bus| self.unwalked.contains(&bus.node) && bus.smmus().any(|named| named == index)) {
            facts.push("without PCI functions, which no tree has".to_string());
        }
        if let Some(highest) = smmu.max_stream {
            facts.push(format!("highest stream ID {highest:#x}"));
        }
        facts
    }

    /// Masters, and host bridges, that no SMMU of the picture has a row for.
    fn without_streams(&mut self) {
        let masters = self.graph.masters().iter();
        let masters = masters.filter(|master| master.streams.is_empty());
        let refused = masters.filter_map(|master| match &master.coverage {
            Coverage::Refused(refusal) => {
                let reason = refusal.because.defect.to_string();
                Some((master.identity.to_string(), colour(master).0, reason))
            }
            _ => None,
        });
        let uncovered = self.graph.uncovered().into_iter();
        let uncovered = uncovered.map(|alike| (alike.name(), colour(alike.first).0, alike.verdict()));
        let (hosts, word) = self.graph.hosts_behind_nothing();
        let hosts = hosts.into_iter();
        let hosts = hosts.map(|bus| (self.name_of(bus), AMBER, format!("PCI functions: {word}")));
        let rows = refused.chain(uncovered).chain(hosts).collect();
        self.section("Behind no SMMU that can be used", rows);
        for line in self.graph.consequences() {
            self.sheet.down(ROW);
            self.sheet.text(DEVICE_X, 12, "normal", INK, &line);
        }
    }

    /// What the `iommu-map`s of buses refuse.
    fn refused_requesters(&mut self) {
        let mut rows = Vec::new();
        for bus in self.graph.buses() {
            for (part, refusal) in self.graph.refused_requesters(bus) {
                let (colour, reason) = match refusal {
                    Some(refusal) => (colour_of(refusal).0, format!(": {}", refusal.because.defect)),
                    None => (AMBER, String::new()),
                };
                rows.push((self.name_of(bus), colour, format!("{part}{reason}")));
            }
        }
        self.section("Requester IDs that are refused", rows);
    }

    /// Rows of a device, a colour and a text, if there are any.
    fn section(&mut self, heading: &str, rows: Vec<(String, &str, String)>) {
        if !rows.is_empty() {
            self.heading(heading);
        }
        for (device, colour, text) in rows {
            self.sheet.down(ROW);
            self.sheet.dot_above(DEVICE_X - 10, colour);
            let device = shortened(&device, DEVICE_CHARACTERS);
            self.sheet.text(DEVICE_X, 12, "normal", colour, &device);
            self.sheet
                .text(STREAM_X, 12, "normal", colour, &shortened(&text, 110));
        }
    }

    /// A bus, with what is on it.
    fn name_of(&self, bus: &Bus) -> String {
        match self.known.segment(bus.node) {
            _ if !bus.is_pci => format!("{} (bus)", bus.path),
            Some(Ok(segment)) => format!("{} (PCI segment {segment:04x})", bus.path),
            _ => format!("{} (PCI)", bus.path),
        }
    }

    fn controllers(&mut self) {
        if self.graph.msi_controllers().is_empty() {
            return;
        }
        self.heading("MSI controllers");
        for (controller, number) in self.graph.msi_controllers().iter().zip(1..) {
            self.sheet.down(ROW);
            self.sheet
                .text(GROUP_X, 12, "bold", hue(number), &format!("M{number}"));
            let text = format!("{} ({})", controller.path, controller.compatible.join(", "));
            self.sheet.text(DEVICE_X, 12, "normal", INK, &text);
        }
    }

    fn diagnostics(&mut self) {
        let [errors, warnings, notes] = self.graph.severities().map(|(_, count)| count);
        self.heading(&format!("errors: {errors}, warnings: {warnings}, notes: {notes}"));
        let mut all: Vec<_> = self.graph.diagnostics().iter().collect();
        all.sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.severity()));
        for diagnostic in all {
            let colour = match diagnostic.severity() {
                Severity::Error => RED,
                Severity::Warning => AMBER,
                Severity::Note => GREY,
            };
            for (line, text) in wrapped(&diagnostic.to_string(), 190).iter().enumerate() {
                self.sheet.down(15);
                let x = if line == 0 { GROUP_X } else { GROUP_X + 16 };
                self.sheet.text(x, 11, "normal", colour, text);
            }
        }
    }

    fn heading(&mut self, text: &str) {
        self.sheet.down(32);
        self.sheet.text(GROUP_X, 14, "bold", INK, text);
    }
}

fn masters_of(groups: &BTreeMap<usize, usize>, number: usize) -> impl Iterator<Item = usize> {
    groups
        .iter()
        .filter(move |(_, group)| **group == number)
        .map(|(master, _)| *master)
}

fn number(stream: &Stream) -> String {
    match stream.mask {
        0 => format!("{:#x}", stream.id),
        mask => format!("{:#x}/{mask:#x}", stream.id),
    }
}
