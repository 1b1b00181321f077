//! `cargo xtask bench topology`: what it costs to get from a blob to the stream graph, and how that grows.
//!
//! Instructions are counted, by valgrind, and not time taken: they are the same on every run of every machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::bench_linux;
use crate::flags;
use crate::project::{Project, run_cargo, step};
use crate::setup::Program;
use crate::usage::wrong;

const VALGRIND: Program = Program {
    name: "valgrind",
    package: "valgrind",
    what: "valgrind, which counts instructions",
};

/// The sizes of generated trees: each has twice the one before, the last is just below what the gate lets through.
const SIZES: [u64; 6] = [500, 1000, 2000, 4000, 8000, 16000];

impl flags::Bench {
    pub(crate) fn run(self) -> Result<()> {
        match self.what.as_str() {
            "topology" => {}
            "linux" => return bench_linux::run(),
            what => {
                return Err(wrong(format!(
                    "there is no benchmark {what}; there are: topology, linux"
                )));
            }
        }
        let bench = Bench::prepare()?;
        println!("Parsing cost: blob → graph in instructions, and how it grows\n");
        if !self.file.is_empty() {
            bench.files(&self.file)?;
        }
        bench.shapes()
    }
}

/// The tools, ready.
struct Bench {
    valgrind: PathBuf,
    /// The program that reads one tree.
    program: PathBuf,
    /// Where valgrind writes.
    counts: PathBuf,
}

impl Bench {
    fn prepare() -> Result<Self> {
        let project = Project::find()?;
        let valgrind = VALGRIND.ready()?;
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&project.root)
            .args(["build", "--release", "--package", "cost"]);
        run_cargo(cargo, false)?;
        std::fs::create_dir_all(project.out())?;
        Ok(Bench {
            valgrind,
            program: project.target.join("release/cost"),
            counts: project.out().join("callgrind.out"),
        })
    }

    /// One line for each blob.
    fn files(&self, files: &[PathBuf]) -> Result<()> {
        println!(
            "{:>7} {:>11} {:>9} {:>13} {:>9}  blob",
            "nodes", "properties", "bytes", "instructions", "per node"
        );
        for file in files {
            let (figures, instructions) = self.count(&[&file.to_string_lossy()])?;
            let [nodes, properties, bytes] = figures;
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            println!(
                "{nodes:>7} {properties:>11} {bytes:>9} {instructions:>13} {:>9}  {name}",
                instructions / nodes.max(1)
            );
        }
        println!();
        Ok(())
    }

    /// One line for each shape of generated trees.
    fn shapes(&self) -> Result<()> {
        println!(
            "Millions of instructions, and how often those of a tree of half the size. 2.0 is linear, 4.0 quadratic; more \
             than 2.0 and then less is work up to a limit."
        );
        print!("{:<11}", "");
        for size in SIZES {
            print!(" {size:>7}      ");
        }
        println!(" many");
        let (mut worst, mut last) = (Ratio::default(), Ratio::default());
        for (name, title) in &self.names()? {
            print!("{name:<11}");
            let mut before = None;
            for size in SIZES {
                let (_, count) = self.count(&["--shape", name, &size.to_string()])?;
                let ratio = before.map(|before| Ratio::of(count, before, name, size));
                print!(" {:>7.1}", millions(count));
                match &ratio {
                    Some(ratio) => print!(" {:>4.1} ", ratio.value),
                    None => print!("      "),
                }
                if let Some(ratio) = ratio {
                    worst = worst.or(&ratio);
                    if Some(&size) == SIZES.last() {
                        last = last.or(&ratio);
                    }
                }
                before = Some(count);
            }
            println!(" {title}");
        }
        println!();
        step(
            "bench",
            format!("worst ratio when a tree doubles: {worst}; of the largest trees: {last}"),
        );
        Ok(())
    }

    /// The shapes of generated trees: name and title.
    fn names(&self) -> Result<Vec<(String, String)>> {
        let text = output(Command::new(&self.program).arg("--shapes"))?;
        let lines = text.lines().filter_map(|line| line.split_once('\t'));
        Ok(lines
            .map(|(name, title)| (name.to_string(), title.to_string()))
            .collect())
    }

    /// Nodes, properties and bytes of a tree, and the instructions from its blob to its graph.
    fn count(&self, arguments: &[&str]) -> Result<([u64; 3], u64)> {
        let mut command = Command::new(&self.valgrind);
        command
            // Counts in the one function that is measured, and in what it calls.
            .args(["--tool=callgrind", "--toggle-collect=*blob_to_graph*"])
            .arg(format!("--callgrind-out-file={}", self.counts.display()))
            .arg(&self.program)
            .args(arguments);
        let text = output(&mut command)?;
        let figures: Vec<u64> = text.split(' ').map_while(|word| word.parse().ok()).collect();
        let Some(figures) = figures.first_chunk::<3>() else {
            bail!("{} says {text:?}, which are no figures", self.program.display());
        };
        Ok((*figures, instructions(&self.counts)?))
    }
}

/// What a program prints; its own message if it fails.
fn output(command: &mut Command) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    ensure!(
        output.status.success(),
        "{program} failed:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The sum in a file of callgrind's.
fn instructions(file: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let total = total(&text).with_context(|| format!("{} has no total", file.display()))?;
    ensure!(
        total > 0,
        "valgrind did not see the function that is to be measured"
    );
    Ok(total)
}

fn total(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"))?;
    line.trim().parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "three digits of it are printed")]
fn millions(count: u64) -> f64 {
    count as f64 / 1e6
}

/// How much more a tree costs than one of half its size.
#[derive(Debug, Clone, Default)]
struct Ratio {
    value: f64,
    name: String,
    size: u64,
}

impl Ratio {
    fn of(count: u64, before: u64, name: &str, size: u64) -> Self {
        Ratio {
            value: millions(count) / millions(before),
            name: name.to_string(),
            size,
        }
    }

    /// The larger of two.
    fn or(self, other: &Ratio) -> Self {
        if other.value > self.value {
            other.clone()
        } else {
            self
        }
    }
}

impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({}, {})", self.value, self.name, self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read() {
        assert_eq!(
            total("events: Ir\nsummary: 7\nfn=(1)\n+3 4\ntotals: 12203496\n"),
            Some(12_203_496)
        );
        assert_eq!(total("events: Ir\n"), None);
    }

    #[test]
    fn the_worst_ratio_is_kept() {
        let worst = Ratio::of(20, 10, "a", 1000).or(&Ratio::of(45, 10, "b", 2000));
        assert_eq!(
            worst.or(&Ratio::of(30, 10, "c", 4000)).to_string(),
            "4.50 (b, 2000)"
        );
    }
}
