//! `cargo xtask topology`: the stream graph of any board, read from its device tree, without booting anything.

mod device;
mod json;
mod source;
mod svg;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result};
use topology::Graph;

use crate::flags;
use crate::project::step;

pub(crate) use source::{DTC, parse};
use source::{Source, read_tree};

impl flags::Topology {
    pub(crate) fn run(self) -> Result<()> {
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
            .map(|name| device::find(&tree, name))
            .transpose()?;
        let functions: Vec<_> = wanted.iter().filter_map(|wanted| wanted.function()).collect();
        let graph = Graph::build(&tree, &functions);
        let mut problems = self.problems(&graph);
        if self.check && errors.is_some() {
            problems.push(format!("{}: dtc reported errors", self.file.display()));
        }
        if let Some(file) = &self.svg {
            let title = self.file.file_name().unwrap_or_default().to_string_lossy();
            std::fs::write(file, svg::draw(&graph, &title))
                .with_context(|| format!("cannot write {}", file.display()))?;
            step("topology", format!("drawn into {}", file.display()));
        }
        if let Some(wanted) = wanted {
            print!("{}", wanted.why(&graph, &tree));
        } else if self.json {
            println!("{}", json::write(&graph)?);
        } else if self.svg.is_none() {
            print!("{}", graph.report());
        }
        for problem in &problems {
            eprintln!("error: {problem}");
        }
        if !problems.is_empty() {
            // Not an error of this program: what is wrong was said.
            std::process::exit(1);
        }
        Ok(())
    }

    /// What makes the check fail.
    fn problems(&self, graph: &Graph) -> Vec<String> {
        let mut problems = Vec::new();
        if let Some(registers) = self.match_registers {
            for (smmu, demand) in graph.smmus().iter().zip(graph.demands()) {
                if smmu.kind.match_registers.is_some() && demand.enabled > registers {
                    problems.push(format!(
                        "{}: its enabled masters need {} stream matches, and it has registers for {registers}",
                        smmu.path, demand.enabled
                    ));
                }
            }
        }
        let [(_, errors), ..] = graph.severities();
        if self.check && errors > 0 {
            problems.push(format!("{}: {errors} errors", self.file.display()));
        }
        problems
    }
}
