//! `cargo xtask run`: the story on QEMU, live, and the table at its end.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use system_tests::attacks::{Attacks, Catalogue, Outcome, Reports};
use system_tests::dtb::Binding;
use system_tests::scenario::Ends;

use crate::board::{Board, Control, NO_IOMMU, NO_IOMMU_PARTITION, Shown};
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

/// One of the runs that this subcommand offers.
#[derive(Debug, Clone)]
struct Plan {
    story: String,
    partition: PathBuf,
    /// Which binding describes what is behind the SMMU; nothing on a machine without one.
    binding: Option<Binding>,
    /// What the column of its attacks is called.
    column: String,
    /// What it is compared with.
    control: Option<Control>,
}

impl Plan {
    /// A control on its own; it is compared with nothing.
    fn of(control: &Control) -> Self {
        Plan {
            story: control.story.clone(),
            partition: control.partition.clone(),
            binding: None,
            column: control.column.clone(),
            control: None,
        }
    }
}

/// Everything a run needs.
#[derive(Debug)]
struct Runner<'a> {
    project: &'a Project,
    tools: &'a Tools,
    board: &'a Board,
    artifacts: &'a Artifacts,
    firmware: Option<FirmwareImages>,
    tree: Option<PathBuf>,
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
        let plan = self.plan(&board).map_err(wrong)?;
        // A story that is wrong is told before anything is built.
        for story in [
            Some(&plan.story),
            plan.control.as_ref().map(|control| &control.story),
        ]
        .into_iter()
        .flatten()
        {
            scenario::story(&project, &board, story)?;
        }
        let tools = setup::ready()?;
        let artifacts = build::build(&project, &tools, self.verbose)?;
        let compiler = Compiler::new(&project, &tools, &artifacts.key, self.verbose);
        let firmware = board.firmware_images(&project, &compiler)?;
        let tree = board.device_tree(&project)?;
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
            tree,
            catalogue: &scenario::catalogue(&project)?,
            timeout: Duration::from_secs(self.timeout.unwrap_or(TIMEOUT_S)),
            verbose: self.verbose,
        };
        context.run(&plan)
    }

    fn plan(&self, board: &Board) -> Result<Plan> {
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
        let shown = board.shown();
        let (story, partition) = match (self.no_iommu, self.never_load, &self.partition) {
            (true, true, _) => {
                bail!("--no-iommu and --never-load exclude each other: without an SMMU there is no driver")
            }
            (true, _, Some(_)) | (_, true, Some(_)) => {
                bail!("--partition is a run of its own: leave out --no-iommu and --never-load")
            }
            (true, false, None) => (NO_IOMMU, NO_IOMMU_PARTITION.into()),
            (false, true, None) => ("never-load", PathBuf::from("tests/partitions/never-load.toml")),
            (false, false, Some(file)) => (
                "own",
                std::path::absolute(file).context("cannot find the partition file")?,
            ),
            (false, false, None) if binding == Binding::Conflict => ("binding-conflict", shown.partition),
            (false, false, None) => return Ok(self.main(board.described_by(binding), shown)),
        };
        Ok(Plan {
            story: story.to_string(),
            partition,
            binding: board.described_by(binding).filter(|_| !self.no_iommu),
            column: if self.no_iommu {
                "without SMMU".to_string()
            } else {
                shown.column
            },
            control: None,
        })
    }

    /// What the board shows.
    fn main(&self, binding: Option<Binding>, shown: Shown) -> Plan {
        Plan {
            story: shown.story,
            partition: shown.partition,
            binding,
            column: shown.column,
            control: shown.control.filter(|_| !self.no_control),
        }
    }
}

impl Runner<'_> {
    fn run(&self, plan: &Plan) -> Result<()> {
        // The control runs beside the main run, silently: its machine has CPUs and memory of its own.
        let (main, control) = std::thread::scope(|scope| {
            let beside = plan.control.as_ref().map(|control| {
                let log = self.log("run-control");
                step(
                    "control",
                    format!("{} run beside this: {}", control.says, log.display()),
                );
                scope.spawn(move || self.boot(&Plan::of(control), false, &log))
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
        let story = scenario::story(self.project, self.board, &plan.story)?;
        let partition = bundle::partition_member(self.project, &plan.partition)?;
        let archive = bundle::pack(
            &partition,
            &bundle::members_for(self.project, self.artifacts, &partition)?,
        )?;
        let name = if live { "bundle-run" } else { "bundle-run-control" };
        let archive_path = self.project.out().join(format!("{name}.cpio"));
        build::write_if_changed(&archive_path, &archive)?;
        let parts = Parts {
            core: &self.artifacts.core,
            bundle: &archive_path,
            stage0: None,
            firmware: self.firmware.as_ref(),
            tree: self.tree.as_deref(),
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
        let story = scenario::story(self.project, self.board, &plan.story)?;
        if let Some(attacks) = &story.attacks {
            self.table(plan, attacks, main, control)?;
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

    fn table(&self, plan: &Plan, attacks: &Attacks, main: &Judged, control: Option<&Judged>) -> Result<()> {
        let control_attacks = match (&plan.control, control) {
            (Some(of), Some(_)) => scenario::story(self.project, self.board, &of.story)?.attacks,
            _ => None,
        };
        let compared_with = plan
            .control
            .as_ref()
            .map_or("", |control| control.column.as_str());
        // Phases are relative to an SMMU's driver: without an SMMU there are none.
        let phases = self.board.has_smmu();
        let width = (plan.column.chars().count() + 1).max(14);
        let row = |columns: [&str; 4]| {
            let [attack, phase, result, compared] = columns;
            let phase = if phases {
                format!("{phase:<9}")
            } else {
                String::new()
            };
            println!(
                "{}",
                format!(" {attack:<38} {phase}{result:<width$} {compared}").trim_end()
            );
        };
        row(["attack", "driver", &plan.column, compared_with]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::MAIN_PARTITION;

    /// What a command line plans on its board.
    fn plan(line: &str) -> Result<Plan> {
        let words = ["run"].into_iter().chain(line.split_whitespace());
        let flags = flags::Xtask::from_vec(words.map(Into::into).collect()).unwrap();
        let flags::XtaskCmd::Run(run) = flags.subcommand else {
            unreachable!()
        };
        let board = Board::load(&Project::find()?, run.board.as_deref().unwrap_or("virt"))?;
        run.plan(&board)
    }

    #[test]
    fn a_board_with_an_smmu_shows_it_beside_a_control_without() {
        let shown = plan("").unwrap();
        assert_eq!(
            (shown.story.as_str(), shown.column.as_str()),
            ("main", "with SMMU")
        );
        assert_eq!(shown.partition, Path::new(MAIN_PARTITION));
        assert_eq!(shown.binding, Some(Binding::Generic));
        let control = Plan::of(&shown.control.unwrap());
        assert_eq!(
            (control.story.as_str(), control.column.as_str()),
            ("no-iommu", "control (--no-iommu)")
        );
        assert_eq!(
            control.partition,
            plan("--no-iommu").unwrap().partition,
            "the control is what --no-iommu runs"
        );
        assert_eq!(control.binding, None);
    }

    #[test]
    fn other_endings_have_no_control() {
        for (line, story, column) in [
            ("--no-control", "main", "with SMMU"),
            ("--no-iommu", "no-iommu", "without SMMU"),
            ("--never-load", "never-load", "with SMMU"),
            ("--binding conflict", "binding-conflict", "with SMMU"),
            ("--partition x", "own", "with SMMU"),
            ("--board rpi4 --no-control", "trusted", "dma = \"trusted\""),
        ] {
            let plan = plan(line).unwrap();
            assert_eq!(
                (plan.story.as_str(), plan.column.as_str()),
                (story, column),
                "{line}"
            );
            assert!(plan.control.is_none(), "{line}");
        }
    }

    #[test]
    fn a_board_without_an_smmu_shows_what_its_file_says() {
        let shown = plan("--board rpi4").unwrap();
        assert_eq!(shown.story, "trusted");
        assert_eq!(shown.binding, None);
        let control = Plan::of(&shown.control.unwrap());
        assert_eq!(
            (control.story.as_str(), control.column.as_str()),
            ("untrusted", "without the flag")
        );
        let own = plan("--board rpi4 --partition x").unwrap();
        assert_eq!((own.story.as_str(), own.binding), ("own", None));
    }
}
