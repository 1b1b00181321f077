//! `cargo xtask test`: the host tests, then the system tests in QEMU, and one count for all of them.

use std::collections::VecDeque;
use std::env;
use std::io::{BufRead, BufReader, pipe};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build;
use crate::filter::may_name_a_test;
use crate::flags;
use crate::one_image::{Booted, one_image};
use crate::project::{Project, counted, show, step};
use crate::scenario::{self, Bench, Judged, Named, Prepared, log_path};
use crate::setup;
use crate::usage::wrong;

/// How many machines run at the same time, unless the command line says otherwise.
const JOBS: usize = 2;

/// Passed and failed tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    passed: usize,
    failed: usize,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl flags::Test {
    pub(crate) fn run(self) -> Result<()> {
        let project = Project::find()?;
        if let Some(filter) = &self.filter
            && !may_name_a_test(&project, &scenario::all(&project)?, filter)?
        {
            return Err(wrong(format!("no test has {filter:?} in its name")));
        }
        let mut count = self.host_tests(&project)?;
        let mut failures: Vec<String> = Vec::new();
        if !self.host_only {
            let (system, names) = self.system_tests(&project)?;
            count.add(system);
            failures = names;
        }
        println!();
        for name in &failures {
            println!(
                " failed: {name}; its console: {}",
                log_path(&project, name).display()
            );
        }
        if count.passed + count.failed == 0 {
            bail!("no test has the filter's text in its name");
        }
        println!("{} passed, {} failed", count.passed, count.failed);
        if count.failed > 0 {
            // Not an error to be printed: the count stays the last line, for people and for CI.
            std::process::exit(1);
        }
        Ok(())
    }

    /// Runs cargo's tests of the workspace's default members.
    fn host_tests(&self, project: &Project) -> Result<Count> {
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .current_dir(&project.root)
            .args(["test", "--no-fail-fast"]);
        if let Some(filter) = &self.filter {
            command.args(["--", filter]);
        }
        if self.verbose {
            show(&command);
        }
        step("host", "building and running the tests of the libraries");
        let started = Instant::now();
        let (reader, writer) = pipe()?;
        command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer);
        let mut child = command.spawn().context("cannot start cargo")?;
        // The command holds the pipe's writing end; without this the loop below would never end.
        drop(command);

        let mut report = HostReport::default();
        for line in BufReader::new(reader).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            for print in report.line(&line, self.verbose) {
                println!("{print}");
            }
        }
        let status = child.wait()?;
        let mut count = report.count;
        if !status.success() && count.failed == 0 {
            // A crate that does not compile, or a test binary that died, fails as a whole.
            count.failed = 1;
        }
        step(
            "host",
            format!(
                "{} passed, {} failed in {:.1} s",
                count.passed,
                count.failed,
                started.elapsed().as_secs_f64()
            ),
        );
        Ok(count)
    }

    /// Runs the scenarios, some at a time; returns the names of those that failed.
    fn system_tests(&self, project: &Project) -> Result<(Count, Vec<String>)> {
        let mut scenarios = scenario::all(project)?;
        if let Some(filter) = &self.filter {
            scenarios.retain(|named| named.name.contains(filter));
            if scenarios.is_empty() {
                return Ok((Count::default(), Vec::new()));
            }
        }
        let tools = setup::ready()?;
        let artifacts = build::build(project, &tools, self.verbose)?;
        let bench = Bench {
            project,
            tools: &tools,
            artifacts: &artifacts,
            catalogue: scenario::catalogue(project)?,
            verbose: self.verbose,
        };
        bench.build_programs(&scenarios)?;
        let jobs = self.jobs.unwrap_or(JOBS).max(1);
        step(
            "system",
            format!("{}, {jobs} at a time", counted(scenarios.len(), "scenario")),
        );

        let mut count = Count::default();
        let mut failures: Vec<String> = Vec::new();
        let mut ready = VecDeque::new();
        for named in &scenarios {
            match bench.prepare(named) {
                Ok(prepared) => ready.push_back(prepared),
                Err(error) => {
                    println!("   ✗ {:<28} cannot be prepared: {error:#}", named.name);
                    count.failed += 1;
                    failures.push(named.name.clone());
                }
            }
        }
        match sabotage_free(&bench, &scenarios) {
            Ok(checked) => count.passed += checked,
            Err(error) => {
                println!("   ✗ {error:#}");
                count.failed += 1;
            }
        }
        let ready = Mutex::new(ready);
        let outcomes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..jobs {
                scope.spawn(|| {
                    while let Some(prepared) = next(&ready) {
                        let outcome = run_one(&bench, prepared, self.verbose);
                        if let Ok(mut outcomes) = outcomes.lock() {
                            outcomes.push(outcome);
                        }
                    }
                });
            }
        });
        let mut booted = Vec::new();
        for outcome in outcomes.into_inner().unwrap_or_default() {
            booted.extend(outcome.booted);
            if outcome.passed {
                count.passed += 1;
            } else {
                count.failed += 1;
                failures.push(outcome.name);
            }
        }
        if !booted.is_empty() {
            count.add(compare_images(&booted));
        }
        Ok((count, failures))
    }
}

fn next(ready: &Mutex<VecDeque<Prepared>>) -> Option<Prepared> {
    ready.lock().ok()?.pop_front()
}

/// What came of a scenario.
struct Outcome {
    name: String,
    passed: bool,
    /// The image, if it is the one that users get.
    booted: Option<Booted>,
}

/// All machines must have booted the same image; prints which it was.
fn compare_images(booted: &[Booted]) -> Count {
    match one_image(booted) {
        Ok(line) => {
            println!("   ✓ {line}");
            Count { passed: 1, failed: 0 }
        }
        Err(error) => {
            println!("   ✗ {error:#}");
            Count { passed: 0, failed: 1 }
        }
    }
}

/// Boots one scenario and prints its line.
fn run_one(bench: &Bench<'_>, prepared: Prepared, verbose: bool) -> Outcome {
    let (name, title, limit) = (prepared.name.clone(), prepared.title.clone(), prepared.limit());
    let mut image = None;
    let (took, problems) = match bench.boot(prepared) {
        Ok((judged, booted)) => {
            image = booted;
            let took = judged.run.took;
            let problems = judged.problems(limit);
            (took, with_end(problems, &judged, verbose))
        }
        Err(error) => (Duration::ZERO, vec![format!("{error:#}")]),
    };
    let mark = if problems.is_empty() { "✓" } else { "✗" };
    let mut text = format!("   {mark} {name:<28} {:>5.1} s  {title}", took.as_secs_f64());
    for problem in &problems {
        text.push_str(&format!("\n       {problem}"));
    }
    // One call, so that lines of two scenarios do not mix.
    println!("{text}");
    Outcome {
        name,
        passed: problems.is_empty(),
        booted: image,
    }
}

/// Adds the console's end to the problems: it usually tells what went wrong.
fn with_end(mut problems: Vec<String>, judged: &Judged, verbose: bool) -> Vec<String> {
    if problems.is_empty() && !verbose {
        return problems;
    }
    if !problems.is_empty() {
        let lines = &judged.run.lines;
        let end = lines.get(lines.len().saturating_sub(12)..).unwrap_or_default();
        problems.extend(end.iter().map(|line| format!("| {line}")));
    }
    problems
}

/// The normal core must have nothing of the sabotage: neither its code nor the words it announces itself with.
///
/// The same words must be in each sabotaged core, or their absence would prove nothing.
fn sabotage_free(bench: &Bench<'_>, scenarios: &[Named]) -> Result<usize> {
    const WORD: &[u8] = b"sabotage";
    let has_word = |path: &std::path::Path| -> Result<bool> {
        let image = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(image
            .windows(WORD.len())
            .any(|window| window.eq_ignore_ascii_case(WORD)))
    };
    let mut variants: Vec<_> = scenarios
        .iter()
        .filter(|named| !named.scenario.features.is_empty())
        .map(|named| {
            bench
                .project
                .out()
                .join(format!("portcullis+{}.img", named.scenario.features.join("+")))
        })
        .collect();
    variants.sort();
    variants.dedup();
    if variants.is_empty() {
        return Ok(0);
    }
    for variant in &variants {
        if !has_word(variant)? {
            bail!("{} does not announce its sabotage", variant.display());
        }
    }
    if has_word(&bench.artifacts.core)? {
        bail!("{} contains sabotage", bench.artifacts.core.display());
    }
    println!(
        "   ✓ {:<28}          the normal core has no sabotage in it",
        "normal-core"
    );
    Ok(1)
}

/// Follows cargo's output: one line per crate, and everything about a failure.
#[derive(Debug, Default)]
struct HostReport {
    count: Count,
    current: String,
    /// Lines since the current test binary started.
    lines: Vec<String>,
}

impl HostReport {
    /// Takes a line of cargo's output and returns what is to be printed.
    fn line(&mut self, line: &str, verbose: bool) -> Vec<String> {
        let trimmed = line.trim_start();
        if verbose {
            self.progress(trimmed);
            return vec![line.to_string()];
        }
        if trimmed.starts_with("Compiling ")
            || trimmed.starts_with("Downloading ")
            || trimmed.starts_with("Downloaded ")
        {
            return vec![line.to_string()];
        }
        if self.progress(trimmed) || trimmed.starts_with("all doctests ran") {
            return Vec::new();
        }
        if let Some(count) = parse_result(trimmed) {
            return self.result(count);
        }
        if trimmed.starts_with("error") || trimmed.starts_with("warning") {
            // Compiler messages, and cargo's word on a test binary that died, are shown as they come.
            self.current.clear();
        }
        if self.current.is_empty() {
            let quiet =
                trimmed.is_empty() || trimmed.starts_with("Finished") || trimmed.starts_with("Blocking");
            return if quiet { Vec::new() } else { vec![line.to_string()] };
        }
        self.lines.push(line.to_string());
        Vec::new()
    }

    /// Notes which test binary is running; counts in verbose mode as well.
    fn progress(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix("Running ") {
            self.start(binary_name(rest));
        } else if let Some(rest) = line.strip_prefix("Doc-tests ") {
            self.start(format!("{rest} (doc)"));
        } else {
            return false;
        }
        true
    }

    fn start(&mut self, name: String) {
        self.current = name;
        self.lines.clear();
    }

    fn result(&mut self, count: Count) -> Vec<String> {
        self.count.add(count);
        let name = std::mem::take(&mut self.current);
        let lines = std::mem::take(&mut self.lines);
        if count.failed > 0 {
            let mut print = lines;
            print.push(format!(
                "   ✗ {name:<28} {} passed, {} failed",
                count.passed, count.failed
            ));
            return print;
        }
        if count.passed > 0 {
            vec![format!("   ✓ {name:<28} {} passed", count.passed)]
        } else {
            Vec::new()
        }
    }
}

/// `unittests src/lib.rs (target/debug/deps/stage2-0123456789abcdef)` is `stage2`, and
/// `tests/driver.rs (target/debug/deps/driver-0123456789abcdef)` is `driver (tests/driver.rs)`.
fn binary_name(rest: &str) -> String {
    let (source, binary) = rest.split_once(" (").unwrap_or((rest, ""));
    let binary = binary
        .trim_end_matches(')')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let name = binary.rsplit_once('-').map_or(binary, |(name, _)| name);
    if source.starts_with("unittests") {
        name.to_string()
    } else {
        format!("{name} ({source})")
    }
}

/// `test result: ok. 12 passed; 0 failed; …`
fn parse_result(line: &str) -> Option<Count> {
    let rest = line.strip_prefix("test result: ")?;
    let number_before = |word: &str| -> Option<usize> {
        let at = rest.find(word)?;
        rest.get(..at)?.trim_end().rsplit(' ').next()?.parse().ok()
    };
    Some(Count {
        passed: number_before("passed")?,
        failed: number_before("failed")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: [&str; 12] = [
        "   Compiling stage2 v0.1.0 (/x/hypervisor/stage2)",
        "    Finished `test` profile [unoptimized + debuginfo] target(s) in 1.2s",
        "     Running unittests src/lib.rs (target/debug/deps/stage2-0123456789abcdef)",
        "",
        "running 2 tests",
        "test a ... ok",
        "test b ... FAILED",
        "thread 'b' panicked at src/lib.rs:1:1: why",
        "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        "   Doc-tests stage2",
        "running 0 tests",
        "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
    ];

    #[test]
    fn a_failed_crate_shows_its_output_and_a_good_one_its_count() {
        let mut report = HostReport::default();
        let printed: Vec<String> = OUTPUT.iter().flat_map(|line| report.line(line, false)).collect();
        assert_eq!(report.count, Count { passed: 1, failed: 1 });
        assert!(printed.iter().any(|line| line.contains("Compiling stage2")));
        assert!(
            printed
                .iter()
                .any(|line| line.contains("panicked at src/lib.rs:1:1: why"))
        );
        assert!(
            printed.iter().any(|line| line.contains("✗ stage2")),
            "{printed:?}"
        );
        assert!(!printed.iter().any(|line| line.contains("Doc-tests")));

        let mut report = HostReport::default();
        report.line(OUTPUT[2], false);
        report.line(OUTPUT[5], false);
        let printed = report.line("test result: ok. 12 passed; 0 failed; 0 ignored", false);
        assert_eq!(printed, ["   ✓ stage2                       12 passed"]);
    }

    #[test]
    fn compiler_errors_are_shown() {
        let mut report = HostReport::default();
        assert_eq!(
            report.line("error[E0308]: mismatched types", false),
            ["error[E0308]: mismatched types"]
        );
        assert_eq!(
            report.line("  --> src/lib.rs:1:1", false),
            ["  --> src/lib.rs:1:1"]
        );
    }

    #[test]
    fn names_and_results_are_read() {
        assert_eq!(
            binary_name("unittests src/main.rs (target/debug/deps/xtask-0123)"),
            "xtask"
        );
        assert_eq!(
            binary_name("tests/driver.rs (target/debug/deps/driver-0123)"),
            "driver (tests/driver.rs)"
        );
        assert_eq!(
            parse_result("test result: ok. 12 passed; 3 failed; 0 ignored"),
            Some(Count {
                passed: 12,
                failed: 3
            })
        );
        assert_eq!(parse_result("test a ... ok"), None);
    }
}
