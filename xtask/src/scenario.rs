//! Runs a scenario of `tests/system/scenarios`: prepares core, bundle and device tree, boots, and judges.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use system_tests::Verdict;
use system_tests::attacks::Catalogue;
use system_tests::damage::ComponentDamage;
use system_tests::dtb::{Binding, Dtb, TreeDamage};
use system_tests::scenario::{Ends, Scenario, Typed};
use system_tests::story::Story;

use crate::board::Board;
use crate::build::{self, Artifacts, Compiler, Member};
use crate::bundle;
use crate::project::Project;
use crate::qemu::{self, End, Run, Typist, Watch};
use crate::run::wrong_end;
use crate::setup::Tools;
use crate::symbols::Symbols;

/// How long a machine that stays on is watched after its story was told: for lines that must not come.
const AFTERGLOW: Duration = Duration::from_secs(2);

/// The story `name` of the project.
pub(crate) fn story(project: &Project, name: &str) -> Result<Story> {
    let read = |name: &str| fs::read_to_string(project.root.join(format!("tests/stories/{name}.toml")));
    Ok(Story::load(name, &read)?)
}

/// The list of attacks.
pub(crate) fn catalogue(project: &Project) -> Result<Catalogue> {
    let file = "tests/stories/attacks.toml";
    Catalogue::from_toml(&project.read_text(file)?).context(file)
}

/// How the machine gets to the core.
#[derive(Debug)]
pub(crate) enum Boot<'a> {
    /// QEMU's own boot loader.
    Plain {
        /// The core's image.
        core: &'a Path,
        /// The bundle.
        bundle: &'a Path,
        /// A device tree in place of the one that QEMU makes.
        tree: Option<&'a Path>,
    },
    /// QEMU's boot loader starts a stage 0, which starts the core that lies in memory.
    Stage0 {
        /// The stage 0's image.
        stage0: &'a Path,
        /// The core's image.
        core: &'a Path,
        /// The bundle.
        bundle: &'a Path,
    },
    /// No boot loader: everything is put into memory, and a trampoline hands a device tree over that QEMU
    /// would refuse.
    Loose {
        /// The core's image.
        core: &'a Path,
        /// The bundle, and where the device tree says it is.
        bundle: (&'a Path, u64),
        /// The device tree.
        tree: &'a Path,
        /// A program that passes the tree's address on.
        trampoline: &'a Path,
    },
}

/// Where loose parts lie: above what the core and the bundle use, below the first guest's memory.
const TREE_ADDRESS: u64 = 0x4a00_0000;
const TRAMPOLINE_ADDRESS: u64 = 0x4a80_0000;
/// Where a core lies that a stage 0 starts.
pub(crate) const STAGED_CORE_ADDRESS: u64 = 0x4400_0000;

impl Boot<'_> {
    /// QEMU's command line.
    pub(crate) fn command(&self, tools: &Tools, board: &Board, iommu: bool) -> Command {
        let mut arguments = board.arguments(iommu);
        let mut push = |word: &str, value: String| arguments.extend([word.to_string(), value]);
        match self {
            Boot::Plain { core, bundle, tree } => {
                push("-kernel", core.display().to_string());
                push("-initrd", bundle.display().to_string());
                if let Some(tree) = tree {
                    push("-dtb", tree.display().to_string());
                }
            }
            Boot::Stage0 { stage0, core, bundle } => {
                push("-kernel", stage0.display().to_string());
                push("-initrd", bundle.display().to_string());
                push("-device", loader(core, STAGED_CORE_ADDRESS));
            }
            Boot::Loose {
                core,
                bundle,
                tree,
                trampoline,
            } => {
                push("-device", loader(core, board.load_address));
                push("-device", loader(bundle.0, bundle.1));
                push("-device", loader(tree, TREE_ADDRESS));
                push("-device", loader(trampoline, TRAMPOLINE_ADDRESS));
                push(
                    "-device",
                    format!("loader,addr={TRAMPOLINE_ADDRESS:#x},cpu-num=0"),
                );
            }
        }
        qemu::command(&tools.qemu.program, arguments)
    }
}

/// The device tree that QEMU makes for a command; `file` is where it is kept.
fn dump_tree(mut command: Command, file: &Path) -> Result<Vec<u8>> {
    command.args(["-machine", &format!("dumpdtb={}", file.display())]);
    let output = command.output().context("cannot start QEMU")?;
    ensure!(
        output.status.success(),
        "QEMU does not write its device tree: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(file).with_context(|| format!("QEMU left no {}", file.display()))
}

/// The command that boots `core` on a machine with an SMMU that `binding` describes. Files it needs are kept in `folder`.
pub(crate) fn described_by(
    binding: Binding,
    tools: &Tools,
    board: &Board,
    (core, bundle): (&Path, &Path),
    folder: &Path,
) -> Result<Command> {
    let boot = |tree| Boot::Plain { core, bundle, tree }.command(tools, board, true);
    if binding == Binding::Generic {
        return Ok(boot(None));
    }
    fs::create_dir_all(folder)?;
    let original = dump_tree(boot(None), &folder.join("qemu.dtb"))?;
    let tree = folder.join(format!("{binding}.dtb"));
    build::write_if_changed(&tree, &binding.apply(&original)?)?;
    Ok(boot(Some(&tree)))
}

fn loader(file: &Path, address: u64) -> String {
    format!("loader,file={},addr={address:#x},force-raw=on", file.display())
}

/// Three instructions that do what a boot loader does last: the tree's address in x0, then the core.
fn trampoline(tree: u64, entry: u64) -> Vec<u8> {
    const LDR_X0_AT_16: u32 = 0x5800_0080;
    const LDR_X4_AT_24: u32 = 0x5800_00a4;
    const BR_X4: u32 = 0xd61f_0080;
    const NOP: u32 = 0xd503_201f;
    let mut code: Vec<u8> = [LDR_X0_AT_16, LDR_X4_AT_24, BR_X4, NOP]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    code.extend_from_slice(&tree.to_le_bytes());
    code.extend_from_slice(&entry.to_le_bytes());
    code
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
        let mut problems = self.verdict.problems.clone();
        problems.extend(wrong_end(&self.run, limit));
        if self.ends == Ends::StaysOn && self.run.end != End::Stopped && problems.is_empty() {
            problems.push("the machine did not stay on".to_string());
        }
        problems
    }
}

/// Runs `command` and compares its console with `story`.
pub(crate) fn judge(
    story: &Story,
    catalogue: &Catalogue,
    command: Command,
    symbols: &Symbols,
    limit: Duration,
    ends: Option<Ends>,
    typist: Typist,
    mut show: impl FnMut(&str) -> Watch,
) -> Result<Judged> {
    let ends = ends.unwrap_or_default();
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
    /// The board.
    pub(crate) board: Board,
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
        let core = if scenario.features.is_empty() {
            self.artifacts.core.clone()
        } else {
            build::build_core_variant(self.project, &self.compiler(), &scenario.features)?
        };
        let bundle = folder.join("bundle.cpio");
        build::write_if_changed(&bundle, &self.bundle(scenario)?)?;

        let mut command = match (&scenario.stage0, scenario.device_tree) {
            (Some(_), Some(_)) => bail!("a scenario has a stage 0 or a device tree of its own, not both"),
            (Some(program), None) => {
                let image = folder.join(format!("{program}.img"));
                build::write_if_changed(&image, &self.compiler().image(program)?)?;
                Boot::Stage0 {
                    stage0: &image,
                    core: &core,
                    bundle: &bundle,
                }
                .command(self.tools, &self.board, scenario.iommu)
            }
            (None, Some(damage)) => self.loose(scenario, damage, &core, &bundle, &folder)?,
            (None, None) if scenario.iommu => described_by(
                scenario.binding,
                self.tools,
                &self.board,
                (&core, &bundle),
                &folder,
            )?,
            (None, None) => Boot::Plain {
                core: &core,
                bundle: &bundle,
                tree: None,
            }
            .command(self.tools, &self.board, false),
        };
        command.args(&scenario.arguments);
        let mut story = story(self.project, &scenario.story)?;
        story.expect(name, scenario.expect.clone())?;
        Ok(Prepared {
            name: name.clone(),
            title: scenario.title.clone(),
            story,
            command,
            symbols: Symbols::of(&core),
            limit: Duration::from_secs(scenario.timeout_s),
            ends: scenario.ends,
            typed: scenario.typed.clone(),
        })
    }

    fn bundle(&self, scenario: &Scenario) -> Result<Vec<u8>> {
        let path = format!("tests/partitions/{}.toml", scenario.partition);
        let partition = bundle::partition_member(self.project, Path::new(&path))?;
        let mut members = self.artifacts.guests.clone();
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
        scenario: &Scenario,
        damage: TreeDamage,
        core: &Path,
        bundle: &Path,
        folder: &Path,
    ) -> Result<Command> {
        let plain = Boot::Plain {
            core,
            bundle,
            tree: None,
        };
        let command = plain.command(self.tools, &self.board, scenario.iommu);
        let original = dump_tree(command, &folder.join("qemu.dtb"))?;
        let bundle_address = Dtb::parse(&original)?
            .number("chosen", "linux,initrd-start")
            .context("QEMU's device tree does not say where the bundle is")?;
        let tree: PathBuf = folder.join("spoiled.dtb");
        build::write_if_changed(&tree, &damage.apply(&original)?)?;
        let code = folder.join("trampoline.bin");
        build::write_if_changed(&code, &trampoline(TREE_ADDRESS, self.board.load_address))?;
        let boot = Boot::Loose {
            core,
            bundle: (bundle, bundle_address),
            tree: &tree,
            trampoline: &code,
        };
        Ok(boot.command(self.tools, &self.board, scenario.iommu))
    }

    /// Boots a prepared scenario and judges it.
    pub(crate) fn boot(&self, prepared: Prepared) -> Result<Judged> {
        let Prepared {
            name,
            story,
            command,
            symbols,
            limit,
            ends,
            mut typed,
            ..
        } = prepared;
        let typist = if typed.is_empty() {
            Typist::Nobody
        } else {
            Typist::Watcher
        };
        let judged = judge(
            &story,
            &self.catalogue,
            command,
            &symbols,
            limit,
            Some(ends),
            typist,
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
        Ok(judged)
    }
}

impl Prepared {
    /// How long it may take.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }
}

/// Where a scenario's console is kept.
pub(crate) fn log_path(project: &Project, name: &str) -> PathBuf {
    project.out().join("logs").join(format!("{name}.log"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trampoline_is_what_a_disassembler_says() {
        let code = trampoline(0x4a00_0000, 0x4020_0000);
        assert_eq!(code.len(), 32);
        // ldr x0, 0x10; ldr x4, 0x18; br x4; nop
        assert_eq!(
            &code[..16],
            [
                0x80, 0, 0, 0x58, 0xa4, 0, 0, 0x58, 0x80, 0, 0x1f, 0xd6, 0x1f, 0x20, 3, 0xd5
            ]
        );
        assert_eq!(&code[16..24], 0x4a00_0000u64.to_le_bytes());
        assert_eq!(&code[24..], 0x4020_0000u64.to_le_bytes());
    }
}
