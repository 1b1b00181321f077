//! `cargo xtask topology`: the stream graph of any board, read from its device tree, without booting anything.

mod address;
mod device;
mod json;
mod partition;
mod source;
mod svg;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context, Result};
use devicetree::{NodeId, ReadError, Tree};
use topology::{Graph, Severity};

use crate::flags;
use crate::project::{counted, step};
use crate::usage::wrong;

use partition::Plan;
pub(crate) use source::{DTC, parse};
use source::{Source, labels_of, read_tree};

/// What is known beside the graph.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// The segments of the enabled PCI host bridges.
    segments: Vec<(NodeId, Result<u16, ReadError>)>,
    /// How many stream match registers each SMMU has that has any.
    match_registers: Option<usize>,
}

impl Known {
    /// The segment of a host bridge, unless it is disabled.
    fn segment(&self, host: NodeId) -> Option<&Result<u16, ReadError>> {
        let found = self.segments.iter().find(|(node, _)| *node == host);
        found.map(|(_, segment)| segment)
    }
}

impl flags::Topology {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(text) = self.contradiction() {
            return Err(wrong(format!(
                "{text}; `cargo xtask topology --help` lists what there is"
            )));
        }
        let Source { tree, errors } = read_tree(&self.file)?;
        if let Some(errors) = &errors {
            eprintln!(
                "note: {}: dtc reported errors; read anyway:\n{errors}",
                self.file.display()
            );
        }
        let wanted = self
            .why
            .as_deref()
            .map(|name| self.wanted(&tree, name))
            .transpose()?;
        let plan = self
            .partition
            .as_deref()
            .map(|file| Plan::read(file, &tree))
            .transpose()?;
        let wanted_function = wanted.iter().filter_map(|wanted| wanted.function());
        let planned = plan.iter().flat_map(Plan::functions);
        let functions: Vec<_> = wanted_function.chain(planned).collect();
        let graph = Graph::build(&tree, &functions);
        let known = Known {
            segments: tree.pci_segments(),
            match_registers: self.match_registers,
        };
        if let Some(file) = &self.svg {
            let title = self.file.file_name().unwrap_or_default().to_string_lossy();
            std::fs::write(file, svg::draw(&graph, &title, &known))
                .with_context(|| format!("cannot write {}", file.display()))?;
            step("topology", format!("drawn into {}", file.display()));
        }
        if let Some(wanted) = wanted {
            print!("{}", wanted.why(&graph, &tree, &known));
        } else if let Some(plan) = plan {
            print!("{}", plan.tell(&graph, &tree));
        } else if self.json {
            println!("{}", json::write(&graph, &known)?);
        } else if self.svg.is_none() {
            let report = graph.report().with_segments(&known.segments);
            print!("{}", report.with_match_registers(self.match_registers));
        }
        for said in self.unsaid(&graph) {
            eprintln!("{said}");
        }
        let problems = self.problems(&graph, errors.is_some());
        for problem in &problems {
            eprintln!("error: {problem}");
        }
        if !problems.is_empty() {
            // Not an error of this program: what is wrong was said.
            std::process::exit(1);
        }
        Ok(())
    }

    /// What is wrong with the command line, whatever is in the files.
    fn contradiction(&self) -> Option<String> {
        let both = match (self.json, self.why.is_some(), self.partition.is_some()) {
            (true, true, _) => Some("--json prints the whole graph and --why text about one device"),
            (true, _, true) => Some("--json prints the whole graph and --partition text about guests"),
            (_, true, true) => Some("--why prints text about one device and --partition about guests"),
            _ => None,
        };
        if let Some(both) = both {
            return Some(format!("{both}: choose one"));
        }
        let output = self.svg.as_deref().filter(|output| is_same(output, &self.file))?;
        Some(format!(
            "--svg {} would overwrite the device tree",
            output.display()
        ))
    }

    /// The device that is meant; of a source the labels count as well.
    fn wanted(&self, tree: &Tree, name: &str) -> Result<device::Wanted> {
        let labels = labels_of(&self.file)?;
        device::find(tree, labels.as_ref(), name)
    }

    /// The errors that a check fails for, if nothing that is printed has them.
    fn unsaid(&self, graph: &Graph) -> Vec<String> {
        let is_graph = self.why.is_none() && self.partition.is_none();
        let is_said = is_graph && (self.json || self.svg.is_none());
        if !self.check || is_said {
            return Vec::new();
        }
        let errors = graph.diagnostics().iter();
        errors
            .filter(|found| found.severity() == Severity::Error)
            .map(ToString::to_string)
            .collect()
    }

    /// What makes the check fail.
    fn problems(&self, graph: &Graph, dtc_reported_errors: bool) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(registers) = self.match_registers {
            for (smmu, demand) in graph.smmus().iter().zip(graph.demands()) {
                if smmu.kind.match_registers.is_some() && demand.enabled > registers {
                    problems.push(format!(
                        "{}: its enabled masters need {} stream {}, and it has registers for {registers}",
                        smmu.path,
                        demand.enabled,
                        if demand.enabled == 1 { "match" } else { "matches" },
                    ));
                }
            }
        }
        let [(_, errors), ..] = graph.severities();
        if self.check && errors > 0 {
            problems.push(format!("{}: {}", self.file.display(), counted(errors, "error")));
        }
        if self.check && dtc_reported_errors {
            problems.push(format!("{}: dtc reported errors", self.file.display()));
        }
        problems
    }
}

/// Whether two paths lead to the same file that is there.
fn is_same(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
