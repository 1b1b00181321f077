//! `cargo xtask fuzz`: fuzzes everything that reads a device tree, within bounds, and says how much was tried.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::flags;
use crate::project::{Project, counted, run_cargo, show, step};
use crate::setup::Program;
use crate::topology::DTC;
use crate::usage::wrong;

/// The fuzz targets, files of `tests/fuzz/fuzz_targets`.
const TARGETS: [&str; 2] = ["gate", "graph"];
/// How often each is run, unless the command line says otherwise.
const RUNS: u64 = 200_000;
/// Nothing that reads a tree may take longer for one input, in seconds.
const TIMEOUT_S: u32 = 10;
/// Nor may the fuzzer as a whole hold more memory, in MiB; what is read has the core's heap, which the targets see to.
const MEMORY_MIB: u32 = 2048;
/// The longest input, in bytes.
const LONGEST: u32 = 8192;
/// The version of cargo-fuzz that the targets were tried with.
const CARGO_FUZZ: &str = "0.13.2";

/// What libFuzzer says at the end.
#[derive(Debug, Default)]
struct Statistics(BTreeMap<String, u64>);

impl flags::Fuzz {
    pub(crate) fn run(self) -> Result<()> {
        let project = Project::find()?;
        let wanted = self.target.as_deref().unwrap_or("all");
        let targets: Vec<&str> = TARGETS
            .into_iter()
            .filter(|target| wanted == "all" || wanted == *target)
            .collect();
        if targets.is_empty() {
            let known = TARGETS.join(", ");
            return Err(wrong(format!(
                "there is no fuzz target {wanted:?}: {known} and all are known"
            )));
        }
        install_cargo_fuzz(&project)?;
        let seeds = write_seeds(&project)?;
        let runs = self.runs.unwrap_or(RUNS);
        let (mut total, started) = (0, Instant::now());
        for target in targets {
            total += fuzz(&project, target, runs, &seeds)?;
        }
        step(
            "fuzz",
            format!(
                "{total} executions in {} s, no crash, no hang; what was fuzzed never held more than the core's heap",
                started.elapsed().as_secs()
            ),
        );
        Ok(())
    }
}

fn install_cargo_fuzz(project: &Project) -> Result<()> {
    let program = Program {
        name: "cargo-fuzz",
        package: "cargo-fuzz",
        what: "the fuzzer's driver",
    };
    let home = std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo/bin/cargo-fuzz"));
    if program.find().is_some() || home.is_some_and(|path| path.is_file()) {
        return Ok(());
    }
    step("fuzz", "installing cargo-fuzz from crates.io (some minutes)");
    let mut command = Command::new("cargo");
    command
        .args(["install", "cargo-fuzz", "--locked", "--version", CARGO_FUZZ])
        .current_dir(&project.root);
    run_cargo(command, true).context("cargo-fuzz cannot be installed")
}

/// The fixtures as inputs of each target.
fn write_seeds(project: &Project) -> Result<PathBuf> {
    let dtc = DTC.ready()?;
    let folder = project.out().join("fuzz/seeds");
    for target in TARGETS {
        fs::create_dir_all(folder.join(target))?;
    }
    for part in ["topology", "view"] {
        let fixtures = project.root.join("tests/dts").join(part);
        for entry in fs::read_dir(&fixtures).with_context(|| format!("cannot read {}", fixtures.display()))? {
            let path = entry?.path();
            let output = Command::new(&dtc)
                .args(["-q", "-f", "-I", "dts", "-O", "dtb"])
                .arg(&path)
                .stderr(Stdio::null())
                .output()
                .context("cannot start dtc")?;
            // Some fixtures are broken in ways that the compiler does not write.
            if let (true, Some(name)) = (!output.stdout.is_empty(), path.file_stem()) {
                fs::write(folder.join("gate").join(name), &output.stdout)?;
                // A byte before it says that it is a blob, and nothing to make a tree of.
                fs::write(
                    folder.join("graph").join(name),
                    [&[0], output.stdout.as_slice()].concat(),
                )?;
            }
        }
    }
    Ok(folder)
}

/// Runs one target; returns how often it was executed.
fn fuzz(project: &Project, target: &str, runs: u64, seeds: &Path) -> Result<u64> {
    let found = project.out().join("fuzz/corpus").join(target);
    fs::create_dir_all(&found)?;
    let kept = project.root.join("tests/fuzz/corpus").join(target);
    let mut command = Command::new("cargo");
    command
        .current_dir(&project.root)
        // libFuzzer's instrumentation is a flag of the compiler that a stable one does not take otherwise.
        .env("RUSTC_BOOTSTRAP", "1")
        // Without a sanitizer for memory: what is fuzzed forbids unsafe code, and runs several times faster so.
        .args([
            "fuzz",
            "run",
            "--fuzz-dir",
            "tests/fuzz",
            "--sanitizer",
            "none",
            target,
        ])
        .args([&found, &kept, &seeds.join(target)])
        .arg("--")
        .args([
            format!("-runs={runs}"),
            format!("-timeout={TIMEOUT_S}"),
            format!("-rss_limit_mb={MEMORY_MIB}"),
            format!("-max_len={LONGEST}"),
            "-dict=tests/fuzz/dictionary".to_string(),
            "-print_final_stats=1".to_string(),
        ])
        .stdin(Stdio::null())
        .stderr(Stdio::piped());
    show(&command);
    let mut child = command.spawn().context("cannot start cargo fuzz")?;
    let errors = child.stderr.take().context("cargo fuzz has no output")?;
    let mut statistics = Statistics::default();
    let mut last = Vec::new();
    let mut shown = Instant::now();
    for line in BufReader::new(errors).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        statistics.read(&line);
        if line.starts_with('#') && shown.elapsed() > Duration::from_secs(10) {
            step("fuzz", format!("{target}: {}", line.trim()));
            shown = Instant::now();
        }
        last.push(line);
        if last.len() > 60 {
            last.remove(0);
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{target}: the fuzzer stopped ({status}):\n{}\n\nTo see it again: cargo fuzz run --fuzz-dir tests/fuzz {target} ARTIFACT, \
             with RUSTC_BOOTSTRAP=1 in the environment; the artifact's path is above",
            last.join("\n")
        );
    }
    let executed = statistics.get("number_of_executed_units");
    step(
        "fuzz",
        format!(
            "{target}: {executed} executions, {}, slowest {} s, memory of the whole fuzzer at most {} MiB, {} kept",
            rate(statistics.get("average_exec_per_sec")),
            statistics.get("slowest_unit_time_sec"),
            statistics.get("peak_rss_mb"),
            counted(fs::read_dir(&found)?.count(), "input"),
        ),
    );
    Ok(executed)
}

/// The average that libFuzzer tells. It has none for a run that took less than a second.
fn rate(average: u64) -> String {
    match average {
        0 => "too short for a rate".to_string(),
        rate => format!("{rate} a second"),
    }
}

impl Statistics {
    /// Reads a line as `stat::peak_rss_mb: 74`.
    fn read(&mut self, line: &str) {
        if let Some((name, value)) = line.strip_prefix("stat::").and_then(|rest| rest.split_once(':'))
            && let Ok(value) = value.trim().parse()
        {
            self.0.insert(name.to_string(), value);
        }
    }

    fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read() {
        let mut statistics = Statistics::default();
        for line in [
            "stat::number_of_executed_units: 1000",
            "#12 pulse",
            "stat::peak_rss_mb:      74",
            "stat::odd: x",
        ] {
            statistics.read(line);
        }
        assert_eq!(statistics.get("number_of_executed_units"), 1000);
        assert_eq!((statistics.get("peak_rss_mb"), statistics.get("odd")), (74, 0));
    }

    #[test]
    fn a_rate_is_never_none_at_all() {
        assert_eq!(rate(3333), "3333 a second");
        assert_eq!(rate(0), "too short for a rate");
    }

    #[test]
    fn every_target_has_its_file() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/fuzz_targets");
        for target in TARGETS {
            assert!(folder.join(target).with_extension("rs").is_file(), "{target}");
        }
    }
}
