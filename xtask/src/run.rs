//! `cargo xtask run`: the story on QEMU, live, and the table at its end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use system_tests::attacks::{Attacks, Catalogue, Outcome, Reports};
use system_tests::dtb::Binding;
use system_tests::scenario::Ends;
use system_tests::story::Story;

use crate::board::Board;
use crate::boot::{self, Parts};
use crate::build::{self, Artifacts, Compiler, FirmwareImages};
use crate::bundle;
use crate::flags;
use crate::guest;
use crate::one_image;
use crate::project::{Project, show, step};
use crate::qemu::{End, Run, Typist, Watch};
use crate::scenario::{self, Judged, Session};
use crate::setup::{self, Tools};
use crate::symbols::Symbols;
use crate::usage::wrong;

/// How long a run may take, unless the command line says otherwise.
const TIMEOUT_S: u64 = 120;
/// The partition of the control.
const NO_IOMMU_PARTITION: &str = "tests/partitions/no-iommu.toml";

/// One of the runs that this subcommand offers.
#[derive(Debug, Clone)]
struct Plan {
    story: &'static str,
    partition: PathBuf,
    /// Which binding describes what is behind the SMMU; nothing on a machine without one.
    binding: Option<Binding>,
}

/// Everything a run needs.
#[derive(Debug)]
struct Runner<'a> {
    project: &'a Project,
    tools: &'a Tools,
    board: &'a Board,
    artifacts: &'a Artifacts,
    firmware: Option<FirmwareImages>,
    catalogue: &'a Catalogue,
    timeout: Duration,
    verbose: bool,
}

impl flags::Run {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match guest::Options::read(&self).map_err(|error| wrong(format!("{error:#}")))? {
            Some(options) => guest::run(&self, &options),
            None => self.tell().map(|()| ExitCode::SUCCESS),
        }
    }

    /// Runs a story of the project, or a partition file of the user's.
    fn tell(self) -> Result<()> {
        let project = Project::find()?;
        let mut board = Board::load(&project, self.board.as_deref().unwrap_or("virt"))?;
        board.fits(&self).map_err(wrong)?;
        if !self.disk.is_empty() {
            guest::attach(&mut board, &self.disk).map_err(|error| wrong(format!("{error:#}")))?;
        }
        let plan = self.plan().map_err(wrong)?;
        let tools = setup::ready()?;
        let artifacts = build::build(&project, &tools, self.verbose)?;
        let compiler = Compiler::new(&project, &tools, &artifacts.key, self.verbose);
        let firmware = board.firmware_images(&project, &compiler)?;
        let archive = bundle::pack_for(&project, &artifacts, &plan.partition)?;
        build::report(&artifacts, archive.len());
        step("image", format!("sha256 {}", one_image::sha256(&artifacts.core)?));
        let described = plan.binding.map(|binding| match binding {
            Binding::Generic => String::new(),
            other => format!(" · described by the binding: {other}"),
        });
        step(
            "boot",
            board.describe(plan.binding.is_some()) + &described.unwrap_or_default(),
        );
        let context = Runner {
            project: &project,
            tools: &tools,
            board: &board,
            artifacts: &artifacts,
            firmware,
            catalogue: &scenario::catalogue(&project)?,
            timeout: Duration::from_secs(self.timeout.unwrap_or(TIMEOUT_S)),
            verbose: self.verbose,
        };
        let with_control = plan.story == "main" && !self.no_control;
        context.run(&plan, with_control)
    }

    fn plan(&self) -> Result<Plan> {
        let binding: Binding = self.binding.as_deref().unwrap_or("generic").parse()?;
        if self.timeout == Some(0) {
            bail!("--timeout 0 leaves no time for anything: give it seconds, at least 1");
        }
        if self.no_iommu && self.binding.is_some() {
            bail!(
                "--binding says how the SMMU is described, and --no-iommu runs without one: leave one of them out"
            );
        }
        if self.never_load && binding == Binding::Conflict {
            bail!(
                "--binding conflict has every device refused at boot, and --never-load shows devices that stay pending: leave one of them out"
            );
        }
        let (story, partition) = match (self.no_iommu, self.never_load, &self.partition) {
            (true, true, _) => {
                bail!("--no-iommu and --never-load exclude each other: without an SMMU there is no driver")
            }
            (true, _, Some(_)) | (_, true, Some(_)) => {
                bail!("--partition is a run of its own: leave out --no-iommu and --never-load")
            }
            (true, false, None) => ("no-iommu", NO_IOMMU_PARTITION.into()),
            (false, true, None) => ("never-load", PathBuf::from("tests/partitions/never-load.toml")),
            (false, false, Some(file)) => (
                "own",
                std::path::absolute(file).context("cannot find the partition file")?,
            ),
            (false, false, None) if binding == Binding::Conflict => {
                ("binding-conflict", PathBuf::from(bundle::MAIN_PARTITION))
            }
            (false, false, None) => ("main", PathBuf::from(bundle::MAIN_PARTITION)),
        };
        Ok(Plan {
            story,
            partition,
            binding: (!self.no_iommu).then_some(binding),
        })
    }
}

impl Runner<'_> {
    fn run(&self, plan: &Plan, with_control: bool) -> Result<()> {
        let control = Plan {
            story: "no-iommu",
            partition: NO_IOMMU_PARTITION.into(),
            binding: None,
        };
        // The control runs beside the main run, silently: its machine has CPUs and memory of its own.
        let (main, control) = std::thread::scope(|scope| {
            let beside = with_control.then(|| {
                let log = self.log("run-control");
                step(
                    "control",
                    format!(
                        "the same attacks without an SMMU run beside this: {}",
                        log.display()
                    ),
                );
                scope.spawn(move || self.boot(&control, false, &log))
            });
            let main = self.boot(plan, true, &self.log("run"));
            let control = beside.map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("the control run's thread panicked")))
            });
            (main, control)
        });
        let main = main?;
        let control = control.transpose()?;
        self.conclude(plan, &main, control.as_ref())
    }

    /// Where the console of a run is kept.
    fn log(&self, name: &str) -> PathBuf {
        scenario::log_path(self.project, name)
    }

    /// Boots one machine; shows its console when `live`, and keeps it in `log`.
    fn boot(&self, plan: &Plan, live: bool, log: &Path) -> Result<Judged> {
        let story = scenario::story(self.project, self.board, plan.story)?;
        let partition = bundle::partition_member(self.project, &plan.partition)?;
        let archive = bundle::pack(
            &partition,
            &bundle::members_for(self.project, self.artifacts, &partition)?,
        )?;
        let archive_path = self.project.out().join(format!("bundle-run-{}.cpio", plan.story));
        build::write_if_changed(&archive_path, &archive)?;
        let parts = Parts {
            core: &self.artifacts.core,
            bundle: &archive_path,
            stage0: None,
            firmware: self.firmware.as_ref(),
            folder: &self.project.out().join("run"),
        };
        let command = boot::described_by(plan.binding, self.tools, self.board, parts)?;
        if live {
            if self.verbose {
                show(&command);
            }
            println!();
        }
        let symbols = Symbols::of(&self.artifacts.core);
        let judged = scenario::judge(
            &story,
            self.catalogue,
            &symbols,
            Session {
                command,
                limit: self.timeout,
                ends: Ends::PowerOff,
                typist: if live { Typist::Terminal } else { Typist::Nobody },
            },
            |line| {
                if live {
                    println!("{line}");
                }
                Watch::Continue
            },
        )?;
        scenario::write_log(log, &judged.run)?;
        Ok(judged)
    }

    fn conclude(&self, plan: &Plan, main: &Judged, control: Option<&Judged>) -> Result<()> {
        println!();
        let story = scenario::story(self.project, self.board, plan.story)?;
        if let Some(attacks) = &story.attacks {
            self.table(&story, attacks, main, control)?;
        }
        let mut problems: Vec<String> = self.problems("", main);
        if let Some(control) = control {
            problems.extend(self.problems("control: ", control));
        }
        for problem in &problems {
            println!(" ✗ {problem}");
        }
        println!(
            " {} of {} expectations met in {:.1} s after QEMU's start",
            main.verdict.met,
            main.verdict.expected,
            main.run.took.as_secs_f64()
        );
        if problems.is_empty() {
            let mut parts = Vec::new();
            if let Some(attacks) = &story.attacks {
                let reports = &main.verdict.reports;
                parts.push(format!(
                    "{} of {} attacks {}",
                    reports.count(attacks.verdict),
                    reports.total(),
                    attacks.verdict.word()
                ));
            }
            parts.extend(main.verdict.summary.iter().cloned());
            if plan.binding.is_some() {
                parts.extend(self.board.model_verdict());
            }
            parts.push("exit 0".to_string());
            println!(" {}", parts.join(" · "));
            return Ok(());
        }
        bail!(
            "the run did not tell its story: {}, listed above; its console: {}",
            plural(problems.len(), "problem"),
            self.log("run").display()
        )
    }

    fn problems(&self, prefix: &str, judged: &Judged) -> Vec<String> {
        judged
            .problems(self.timeout)
            .into_iter()
            .map(|problem| format!("{prefix}{problem}"))
            .collect()
    }

    fn table(&self, story: &Story, attacks: &Attacks, main: &Judged, control: Option<&Judged>) -> Result<()> {
        let control_attacks = match control {
            Some(_) => scenario::story(self.project, self.board, "no-iommu")?.attacks,
            None => None,
        };
        let own = if story
            .attacks
            .as_ref()
            .is_some_and(|attacks| attacks.verdict == Outcome::Succeeded)
        {
            "without SMMU"
        } else {
            "with SMMU"
        };
        let control_title = if control.is_some() {
            "control (--no-iommu)"
        } else {
            ""
        };
        let row = |columns: [&str; 4]| {
            let [attack, phase, result, compared] = columns;
            println!(
                "{}",
                format!(" {attack:<38} {phase:<8} {result:<14} {compared}").trim_end()
            );
        };
        row(["attack", "driver", own, control_title]);
        let tries: Vec<_> = self.catalogue.tries(attacks).collect();
        let control_tries: Vec<_> = control_attacks
            .as_ref()
            .map(|attacks| self.catalogue.tries(attacks).collect())
            .unwrap_or_default();
        for (index, (attack, phase)) in tries.iter().enumerate() {
            let result = word(&main.verdict.reports, &attack.name, phase);
            let compared = match (control, control_tries.get(index)) {
                (Some(control), Some((attack, phase))) => word(&control.verdict.reports, &attack.name, phase),
                _ => "",
            };
            row([&attack.says, phase, result, compared]);
        }
        println!();
        Ok(())
    }
}

fn word(reports: &Reports, name: &str, phase: &str) -> &'static str {
    reports.outcome(name, phase).map_or("not reported", Outcome::word)
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

/// How a run ended, when that was not as it should.
pub(crate) fn wrong_end(run: &Run, limit: Duration) -> Option<String> {
    match run.end {
        End::Exited { status: Some(0) } | End::Stopped | End::Quit => None,
        End::Exited { status: Some(status) } => Some(format!("QEMU ended with status {status}")),
        End::Exited { status: None } => Some("QEMU was ended by a signal".to_string()),
        End::TimedOut => Some(format!(
            "still running after {} s: QEMU was ended (--timeout allows more)",
            limit.as_secs()
        )),
    }
}
