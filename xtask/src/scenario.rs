//! Runs a scenario of `tests/system/scenarios`: prepares core, bundle and device tree, boots, and judges.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use system_tests::Verdict;
use system_tests::attacks::Catalogue;
use system_tests::damage::ComponentDamage;
use system_tests::dtb::{Binding, Dtb, TreeDamage, enable};
use system_tests::firmware::stage0_on_bench;
use system_tests::scenario::{Ends, Scenario, Typed};
use system_tests::story::Story;

use crate::board::Board;
use crate::boot::{Boot, Parts, TREE_ADDRESS, described_by, dump_tree, trampoline};
use crate::build::{self, Artifacts, Compiler, Member};
use crate::bundle;
use crate::linux::{self, Disk};
use crate::one_image::{self, Booted};
use crate::project::Project;
use crate::qemu::{self, End, Run, Typist, Watch};
use crate::run::wrong_end;
use crate::setup::Tools;
use crate::symbols::Symbols;

/// How long a machine that stays on is watched after its story was told: for lines that must not come.
const AFTERGLOW: Duration = Duration::from_secs(2);

/// The story `name` of the project, as it is told on `board`.
pub(crate) fn story(project: &Project, board: &Board, name: &str) -> Result<Story> {
    let read = |name: &str| {
        let path = project.root.join(format!("tests/stories/{name}.toml"));
        let text = fs::read_to_string(&path)
            .map_err(|error| io::Error::other(format!("cannot read {}: {error}", path.display())))?;
        board.name_smmu(&text)
    };
    Ok(Story::load(name, &read)?)
}

/// The list of attacks.
pub(crate) fn catalogue(project: &Project) -> Result<Catalogue> {
    let file = "tests/stories/attacks.toml";
    Catalogue::from_toml(&project.read_text(file)?).context(file)
}

/// A run and what came of it.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The run.
    pub(crate) run: Run,
    /// What its story says of it.
    pub(crate) verdict: Verdict,
    /// Whether the machine should have powered off and did not, or the other way round.
    ends: Ends,
}

impl Judged {
    /// Everything that is wrong with it.
    pub(crate) fn problems(&self, limit: Duration) -> Vec<String> {
        // How it ended comes first: what was not seen may follow from it.
        let mut problems = Vec::from_iter(wrong_end(&self.run, limit));
        problems.extend(self.verdict.problems.iter().cloned());
        if self.ends == Ends::StaysOn && self.run.end != End::Stopped && problems.is_empty() {
            problems.push("the machine did not stay on".to_string());
        }
        problems
    }
}

/// One boot of a machine.
#[derive(Debug)]
pub(crate) struct Session {
    /// QEMU's command line.
    pub(crate) command: Command,
    /// How long it may take.
    pub(crate) limit: Duration,
    /// How it should end.
    pub(crate) ends: Ends,
    /// Who types at its console.
    pub(crate) typist: Typist,
}

/// Boots a machine and compares its console with `story`.
pub(crate) fn judge(
    story: &Story,
    catalogue: &Catalogue,
    symbols: &Symbols,
    session: Session,
    mut show: impl FnMut(&str) -> Watch,
) -> Result<Judged> {
    let Session {
        command,
        limit,
        ends,
        typist,
    } = session;
    let mut watcher = story.watch();
    let mut run = qemu::run(command, limit, typist, |line| {
        watcher.line(line);
        let wish = show(&symbols.annotate(line));
        if ends == Ends::StaysOn && watcher.is_complete() {
            Watch::StopWithin(AFTERGLOW)
        } else {
            wish
        }
    })?;
    run.lines
        .iter_mut()
        .for_each(|line| *line = symbols.annotate(line));
    let verdict = watcher.finish(catalogue);
    Ok(Judged { run, verdict, ends })
}

/// Keeps a run's console.
pub(crate) fn write_log(path: &Path, run: &Run) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let text = run
        .lines
        .iter()
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A scenario with its name.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// The file's name without its ending.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) scenario: Scenario,
}

/// All scenarios, by name.
pub(crate) fn all(project: &Project) -> Result<Vec<Named>> {
    let folder = project.root.join("tests/system/scenarios");
    let mut scenarios = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let scenario = Scenario::from_toml(&text).with_context(|| path.display().to_string())?;
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        scenarios.push(Named { name, scenario });
    }
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

/// What all scenarios share.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    /// The project.
    pub(crate) project: &'a Project,
    /// The tools.
    pub(crate) tools: &'a Tools,
    /// The normal build.
    pub(crate) artifacts: &'a Artifacts,
    /// The list of attacks.
    pub(crate) catalogue: Catalogue,
    /// Whether commands and the compiler's output are printed.
    pub(crate) verbose: bool,
}

/// A scenario whose files are all there: what is left is to boot.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Its name.
    pub(crate) name: String,
    /// What it shows.
    pub(crate) title: String,
    story: Story,
    command: Command,
    symbols: Symbols,
    limit: Duration,
    ends: Ends,
    typed: Vec<Typed>,
    disks: Vec<Disk>,
    core: PathBuf,
    machine: (String, String),
    /// Whether it runs the core that users get.
    normal_core: bool,
}

impl Bench<'_> {
    /// Builds the test programs that any of the scenarios needs.
    pub(crate) fn build_programs(&self, scenarios: &[Named]) -> Result<()> {
        let mut packages = Vec::new();
        if scenarios
            .iter()
            .any(|named| named.scenario.replace_component.is_some())
        {
            packages.push("misbehaving-components");
        }
        if scenarios.iter().any(|named| named.scenario.stage0.is_some()) {
            packages.push("stage0");
        }
        if packages.is_empty() {
            Ok(())
        } else {
            self.compiler().build(&packages, &[])
        }
    }

    /// Builds and writes everything that the scenario needs.
    ///
    /// Sabotaged cores are built here, one after the other, because cargo builds one at a time.
    pub(crate) fn prepare(&self, named: &Named) -> Result<Prepared> {
        let Named { name, scenario } = named;
        let folder = self.project.out().join("scenarios").join(name);
        fs::create_dir_all(&folder)?;
        let board = Board::load(self.project, &scenario.board)?;
        ensure!(
            board.has_smmu() || scenario.binding == Binding::Generic,
            "`binding` says how an SMMU is described, and {} has none: leave it out",
            board.name
        );
        let compiler = self.compiler();
        let firmware = board.firmware_images(self.project, &compiler)?;
        // Scenarios are prepared one after the other, so that two do not fetch at once.
        let tree = enabled(board.device_tree(self.project)?, &scenario.enable, &folder)?;
        let core = if scenario.features.is_empty() {
            self.artifacts.core.clone()
        } else {
            build::build_core_variant(self.project, &compiler, &scenario.features)?
        };
        let bundle = folder.join("bundle.cpio");
        build::write_if_changed(&bundle, &self.bundle(scenario)?)?;

        let stage0 = match &scenario.stage0 {
            None => None,
            Some(program) => {
                let image = compiler.image(program)?;
                let path = folder.join(format!("{program}.img"));
                let image = if firmware.is_some() {
                    stage0_on_bench(image)
                } else {
                    image
                };
                build::write_if_changed(&path, &image)?;
                Some(path)
            }
        };
        let mut command = match scenario.device_tree {
            Some(_) if stage0.is_some() => {
                bail!("a scenario has a stage 0 or a device tree of its own, not both")
            }
            Some(_) if firmware.is_some() => {
                bail!("our firmware starts the core: there are no spoiled device trees on this board")
            }
            Some(_) if tree.is_some() => {
                bail!("what is spoiled is the tree that QEMU makes, and this board has one from a file")
            }
            Some(damage) => self.loose(&board, scenario, damage, (&core, &bundle), &folder)?,
            None => described_by(
                board.described_by(scenario.binding).filter(|_| scenario.iommu),
                self.tools,
                &board,
                Parts {
                    core: &core,
                    bundle: &bundle,
                    stage0: stage0.as_deref(),
                    firmware: firmware.as_ref(),
                    tree: tree.as_deref(),
                    folder: &folder,
                },
            )?,
        };
        command.args(&scenario.arguments);
        let disks = match &scenario.linux {
            Some(linux) => linux::disks(linux, &folder)?,
            None => Vec::new(),
        };
        disks.iter().for_each(|disk| {
            command.args(disk.arguments());
        });
        let mut story = story(self.project, &board, &scenario.story)?;
        story.expect(name, scenario.expect.clone())?;
        story.forbid(name, scenario.never.clone())?;
        Ok(Prepared {
            name: name.clone(),
            title: scenario.title.clone(),
            story,
            command,
            symbols: Symbols::of(&core),
            limit: Duration::from_secs(scenario.timeout_s),
            ends: scenario.ends,
            typed: scenario.typed.clone(),
            disks,
            machine: board.machine(scenario.iommu),
            normal_core: scenario.features.is_empty(),
            core,
        })
    }

    fn bundle(&self, scenario: &Scenario) -> Result<Vec<u8>> {
        let path = format!("tests/partitions/{}.toml", scenario.partition);
        let partition = bundle::partition_member(self.project, Path::new(&path))?;
        let mut members = self.artifacts.guests.clone();
        if let Some(linux) = &scenario.linux {
            members.extend(linux::members(self.project, linux)?);
        }
        let components = match &scenario.replace_component {
            None => self.artifacts.components.clone(),
            Some(replacement) => vec![self.compiler().component_member(replacement)?],
        };
        for component in components {
            members.extend(self.spoil(component, scenario.component));
        }
        bundle::pack(&partition, &members)
    }

    fn compiler(&self) -> Compiler<'_> {
        Compiler::new(self.project, self.tools, &self.artifacts.key, self.verbose)
    }

    /// The component and its signature, spoiled as asked.
    fn spoil(&self, component: Member, damage: Option<ComponentDamage>) -> Vec<Member> {
        let key = &self.artifacts.key;
        let Some(damage) = damage else {
            let signature = key.signature_of(&component);
            return vec![component, signature];
        };
        let spoiled = Member {
            bytes: damage.before_signing(component.bytes),
            name: component.name,
        };
        let signature = key.signature_of(&spoiled);
        let (elf, signature_bytes) = damage.after_signing(spoiled.bytes, signature.bytes);
        let elf = elf.map(|bytes| Member {
            name: spoiled.name,
            bytes,
        });
        let signature = signature_bytes.map(|bytes| Member {
            name: signature.name,
            bytes,
        });
        elf.into_iter().chain(signature).collect()
    }

    /// Takes the device tree that QEMU would hand over, spoils it, and boots without QEMU's boot loader.
    fn loose(
        &self,
        board: &Board,
        scenario: &Scenario,
        damage: TreeDamage,
        (core, bundle): (&Path, &Path),
        folder: &Path,
    ) -> Result<Command> {
        let plain = Boot::Plain {
            core,
            bundle,
            tree: None,
        };
        let command = plain.command(self.tools, board, scenario.iommu);
        let original = dump_tree(command, &folder.join("qemu.dtb"))?;
        let bundle_address = Dtb::parse(&original)?
            .number("chosen", "linux,initrd-start")
            .context("QEMU's device tree does not say where the bundle is")?;
        let tree: PathBuf = folder.join("spoiled.dtb");
        build::write_if_changed(&tree, &damage.apply(&original)?)?;
        let code = folder.join("trampoline.bin");
        build::write_if_changed(&code, &trampoline(TREE_ADDRESS, board.load_address))?;
        let boot = Boot::Loose {
            core,
            bundle: (bundle, bundle_address),
            tree: &tree,
            trampoline: &code,
        };
        Ok(boot.command(self.tools, board, scenario.iommu))
    }

    /// Boots a prepared scenario and judges it. The second part is the image, if it is the one that users get.
    pub(crate) fn boot(&self, prepared: Prepared) -> Result<(Judged, Option<Booted>)> {
        let Prepared {
            name,
            story,
            command,
            symbols,
            limit,
            ends,
            mut typed,
            disks,
            core,
            machine,
            normal_core,
            ..
        } = prepared;
        let sha256 = one_image::sha256(&core)?;
        let typist = if typed.is_empty() {
            Typist::Nobody
        } else {
            Typist::Watcher
        };
        let mut judged = judge(
            &story,
            &self.catalogue,
            &symbols,
            Session {
                command,
                limit,
                ends,
                typist,
            },
            |line| {
                let due = typed.extract_if(.., |typed| line.contains(&typed.after));
                let text: String = due.map(|typed| typed.text + "\n").collect();
                if text.is_empty() {
                    Watch::Continue
                } else {
                    Watch::Type(text)
                }
            },
        )?;
        write_log(&log_path(self.project, &name), &judged.run)?;
        let wrong = disks.iter().filter_map(|disk| disk.problem(&judged.run.lines));
        judged.verdict.problems.extend(wrong);
        let booted = normal_core.then(|| Booted {
            machine,
            core,
            sha256,
            fingerprint: one_image::fingerprint(&judged.run.lines),
        });
        Ok((judged, booted))
    }
}

impl Prepared {
    /// How long it may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }
}

/// The board's tree; another one in `folder`, if nodes of it are to be enabled.
fn enabled(tree: Option<PathBuf>, nodes: &[String], folder: &Path) -> Result<Option<PathBuf>> {
    if nodes.is_empty() {
        return Ok(tree);
    }
    let tree = tree.context("nodes are enabled in a tree from a file, and QEMU makes that of this board")?;
    let blob = fs::read(&tree).with_context(|| format!("cannot read {}", tree.display()))?;
    let enabled = folder.join("enabled.dtb");
    build::write_if_changed(&enabled, &enable(&blob, nodes)?)?;
    Ok(Some(enabled))
}

/// Where a scenario's console is kept.
pub(crate) fn log_path(project: &Project, name: &str) -> PathBuf {
    project.out().join("logs").join(format!("{name}.log"))
}
