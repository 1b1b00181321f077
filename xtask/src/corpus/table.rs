//! What is in many trees: totals by family of chips, and defects by kind.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use topology::{Coverage, Graph, KINDS, Severity};

use crate::project::counted;

/// How many differences of one tree are printed.
const SHOWN: usize = 3;

/// Totals of one family.
#[derive(Debug, Clone, Default)]
struct Row {
    trees: usize,
    with_smmu: usize,
    /// The chips of the boards with SMMUs.
    chips: BTreeSet<String>,
    /// SMMUs in the order of [`KINDS`].
    smmus: [usize; KINDS.len()],
    /// Devices that a binding describes.
    masters: usize,
    covered: usize,
    /// Devices that do DMA and that none does.
    undescribed: usize,
    streams: usize,
    buses: usize,
    agreeing: usize,
}

/// A kind of defect in many trees.
#[derive(Debug, Clone, Default)]
struct Kind {
    count: usize,
    trees: BTreeSet<String>,
    example: String,
}

/// What is in all trees.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    families: BTreeMap<String, Row>,
    kinds: BTreeMap<(Severity, &'static str), Kind>,
    failed: Vec<String>,
    differing: usize,
}

impl Table {
    /// Counts a tree that was read twice, with how the readings differ.
    pub(crate) fn add(&mut self, name: &str, chip: &str, graph: &Graph, differences: Vec<String>) {
        let row = self.families.entry(family(name)).or_default();
        row.trees += 1;
        if !graph.smmus().is_empty() {
            row.with_smmu += 1;
            row.chips.insert(chip.to_string());
        }
        for (count, kind) in row.smmus.iter_mut().zip(&KINDS) {
            *count += graph.smmus().iter().filter(|smmu| smmu.kind == kind).count();
        }
        let masters = graph.masters();
        row.undescribed += masters
            .iter()
            .filter(|master| master.capability.is_some())
            .count();
        row.masters += masters
            .iter()
            .filter(|master| master.capability.is_none())
            .count();
        row.covered += masters
            .iter()
            .filter(|master| master.coverage == Coverage::Covered)
            .count();
        row.streams += masters.iter().map(|master| master.streams.len()).sum::<usize>();
        row.buses += graph
            .buses()
            .iter()
            .filter(|bus| bus.smmus().next().is_some())
            .count();
        row.agreeing += usize::from(differences.is_empty() && !graph.smmus().is_empty());
        for diagnostic in graph.diagnostics() {
            let key = (diagnostic.severity(), diagnostic.defect.kind());
            let kind = self.kinds.entry(key).or_default();
            if kind.count == 0 {
                kind.example = format!("{name}: {diagnostic}");
            }
            kind.count += 1;
            kind.trees.insert(name.to_string());
        }
        if !differences.is_empty() {
            self.differing += 1;
            let more = differences.len().saturating_sub(SHOWN);
            self.failed.extend(
                differences
                    .into_iter()
                    .take(SHOWN)
                    .map(|text| format!("{name}: {text}")),
            );
            if more > 0 {
                self.failed
                    .push(format!("{name}: and {}", counted(more, "more difference")));
            }
        }
    }

    /// Counts a tree that could not be read.
    pub(crate) fn fail(&mut self, name: &str, error: &anyhow::Error) {
        self.differing += 1;
        self.failed.push(format!("{name}: {error:#}"));
    }

    /// How many trees could not be read, or were read differently.
    pub(crate) fn failures(&self) -> usize {
        self.differing
    }

    fn total(&self) -> Row {
        let mut total = Row::default();
        for row in self.families.values() {
            total.trees += row.trees;
            total.with_smmu += row.with_smmu;
            total.chips.extend(row.chips.iter().cloned());
            for (sum, count) in total.smmus.iter_mut().zip(row.smmus) {
                *sum += count;
            }
            total.masters += row.masters;
            total.covered += row.covered;
            total.undescribed += row.undescribed;
            total.streams += row.streams;
            total.buses += row.buses;
            total.agreeing += row.agreeing;
        }
        total
    }
}

/// The vendor's folder that a kernel keeps a tree in.
fn family(name: &str) -> String {
    match name.rsplit('/').nth(1) {
        Some(folder) if !folder.starts_with("linux-image") => folder.to_string(),
        _ => "(none)".to_string(),
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> = KINDS.iter().map(|kind| format!("{:>7}", kind.name)).collect();
        writeln!(
            f,
            "\n {:<14} {:>6} {:>9} {:>6} {} {:>8} {:>8} {:>11} {:>8} {:>6} {:>15}",
            "family",
            "trees",
            "with SMMU",
            "chips",
            kinds.join(" "),
            "masters",
            "covered",
            "undescribed",
            "streams",
            "buses",
            "readings agree"
        )?;
        let total = ("all".to_string(), self.total());
        let families = self.families.iter().filter(|(_, row)| row.with_smmu > 0);
        for (name, row) in families.chain([(&total.0, &total.1)]) {
            let smmus: Vec<String> = row.smmus.iter().map(|count| format!("{count:>7}")).collect();
            let agreeing = format!("{} of {}", row.agreeing, row.with_smmu);
            writeln!(
                f,
                " {name:<14} {:>6} {:>9} {:>6} {} {:>8} {:>8} {:>11} {:>8} {:>6} {agreeing:>15}",
                row.trees,
                row.with_smmu,
                row.chips.len(),
                smmus.join(" "),
                row.masters,
                row.covered,
                row.undescribed,
                row.streams,
                row.buses
            )?;
        }
        let without = self.families.values().filter(|row| row.with_smmu == 0).count();
        if without > 0 {
            writeln!(
                f,
                " (families without an SMMU, which are only in the total: {without})"
            )?;
        }
        writeln!(f)?;
        for ((severity, name), kind) in self.kinds.iter().rev() {
            writeln!(
                f,
                " {:<8} {name:<22} {:>6} in {:>5} {:<6} as {}",
                severity.to_string(),
                kind.count,
                kind.trees.len(),
                if kind.trees.len() == 1 { "tree;" } else { "trees;" },
                kind.example
            )?;
        }
        if self.kinds.is_empty() {
            writeln!(f, " no diagnostics")?;
        }
        self.failed.iter().try_for_each(|line| writeln!(f, "   ✗ {line}"))
    }
}
