//! A board: one data file in `boards/`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use system_tests::firmware::Kind;

use crate::build::{Compiler, FirmwareImages};
use crate::flags;
use crate::partition_file;
use crate::project::Project;
use crate::usage::wrong;

/// What a machine has in place of an SMMU.
const NO_SMMU: &str = "no SMMU";

/// A board as its file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Board {
    /// Its name, for people.
    pub(crate) name: String,
    /// How many CPUs it has.
    pub(crate) cpus: u32,
    /// If the stories of `cargo xtask run` do not fit it: the scenarios that it is there for.
    #[serde(default)]
    scenarios: Vec<String>,
    /// Where its boot loader places the core.
    pub(crate) load_address: u64,
    /// Firmware of ours that makes it what it is.
    firmware: Option<Firmware>,
    /// Its SMMU.
    smmu: Smmu,
    /// How QEMU emulates it.
    pub(crate) qemu: Machine,
}

/// A program at EL3 that emulates what QEMU does not.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Firmware {
    /// The program.
    program: String,
    /// The kind of SMMU that it emulates.
    smmu: String,
    /// The PCI functions that it emulates.
    devices: Vec<String>,
}

/// What a board's SMMU is called.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Smmu {
    /// The path of its node.
    node: String,
    /// The component that drives it.
    driver: String,
    /// How many SMMUs there are.
    #[serde(default = "one")]
    count: usize,
}

fn one() -> usize {
    1
}

/// How QEMU emulates a board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Machine {
    machine: String,
    #[serde(default)]
    with_iommu: String,
    #[serde(default)]
    without_iommu: String,
    iommu: String,
    cpu: String,
    memory: String,
    arguments: Vec<String>,
    devices: Vec<String>,
}

impl Board {
    /// Reads `boards/<name>.toml`.
    pub(crate) fn load(project: &Project, name: &str) -> Result<Self> {
        let file = format!("boards/{name}.toml");
        if !names(project)?.iter().any(|known| known == name) {
            let known = list(project)?;
            return Err(wrong(format!("there is no board {name:?}\n{known}")));
        }
        let text = project.read_text(&file)?;
        toml::from_str(&text).with_context(|| format!("{file} does not describe a board"))
    }

    /// Whether it can do what a command line asks of `cargo xtask run`.
    ///
    /// # Errors
    /// It cannot; the error says what to type.
    pub(crate) fn fits(&self, asked: &flags::Run) -> Result<()> {
        let name = &self.name;
        if self.smmu.count > 1 && asked.binding.is_some() {
            bail!(
                "{name} has {} SMMUs, and --binding rewrites what describes one: leave it out",
                self.smmu.count
            );
        }
        if !self.scenarios.is_empty() && asked.partition.is_none() && asked.guest.is_none() && !asked.no_iommu
        {
            bail!(
                "no story of this subcommand fits {name}: type `cargo xtask test --filter {}`, or add --partition FILE",
                self.scenarios.join("`, or `cargo xtask test --filter ")
            );
        }
        Ok(())
    }

    /// QEMU's arguments for the machine, without anything that is loaded.
    pub(crate) fn arguments(&self, iommu: bool) -> Vec<String> {
        let qemu = &self.qemu;
        let iommu = if iommu {
            &qemu.with_iommu
        } else {
            &qemu.without_iommu
        };
        let mut arguments = vec![
            "-machine".to_string(),
            if iommu.is_empty() {
                qemu.machine.clone()
            } else {
                format!("{},{iommu}", qemu.machine)
            },
            "-cpu".to_string(),
            qemu.cpu.clone(),
            "-smp".to_string(),
            self.cpus.to_string(),
            "-m".to_string(),
            qemu.memory.clone(),
        ];
        arguments.extend(qemu.arguments.iter().cloned());
        for device in &qemu.devices {
            arguments.extend(["-device".to_string(), device.clone()]);
        }
        arguments
    }

    /// Gives a machine more: memory beyond its own in MiB, so many CPUs at least, arguments for QEMU, devices.
    ///
    /// # Errors
    /// It has a limit.
    pub(crate) fn extend(
        &mut self,
        memory_mib: u64,
        cpus: u32,
        arguments: Vec<String>,
        devices: Vec<String>,
    ) -> Result<()> {
        let own = partition_file::size(&self.qemu.memory).context("the board's memory")?;
        self.qemu.memory = format!("{}M", (own >> 20) + memory_mib);
        if let Some(Firmware { program, .. }) = &self.firmware {
            ensure!(
                cpus <= self.cpus,
                "this board has {} CPUs, and its firmware starts no more",
                self.cpus
            );
            ensure!(
                devices.is_empty(),
                "this board's SMMU is emulated by {program}, and QEMU's disks do not go through it: leave out --disk"
            );
        }
        self.cpus = self.cpus.max(cpus);
        self.qemu.arguments.extend(arguments);
        self.qemu.devices.extend(devices);
        Ok(())
    }

    /// Builds its firmware, if it is ours.
    pub(crate) fn firmware_images(
        &self,
        project: &Project,
        compiler: &Compiler<'_>,
    ) -> Result<Option<FirmwareImages>> {
        let Some(Firmware { program, smmu, .. }) = &self.firmware else {
            return Ok(None);
        };
        let (_, kind) = Kind::named(smmu).with_context(|| format!("{program} knows no SMMU {smmu:?}"))?;
        FirmwareImages::build(project, compiler, program, kind).map(Some)
    }

    /// A story's text with the names of this board's SMMU and driver.
    pub(crate) fn name_smmu(&self, text: &str) -> String {
        text.replace("@SMMU@", &self.smmu.node)
            .replace("@DRIVER@", &self.smmu.driver)
    }

    /// What a machine of this board is called among others: what it is built from, and its SMMU.
    pub(crate) fn machine(&self, iommu: bool) -> (String, String) {
        let base = if self.firmware.is_some() {
            "bench"
        } else {
            &self.name
        };
        let iommu = if iommu { &self.qemu.iommu } else { NO_SMMU };
        (base.to_string(), iommu.to_string())
    }

    /// What the machine has, in a line, and what of it can only be believed so far.
    pub(crate) fn describe(&self, iommu: bool) -> String {
        let model = match &self.firmware {
            Some(Firmware { smmu, .. }) if iommu => {
                format!(" · {smmu} emulated by our own model (tests/bench/README.md)")
            }
            _ => String::new(),
        };
        self.parts(iommu) + &model
    }

    /// What the machine has, in a line.
    fn parts(&self, iommu: bool) -> String {
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        let emulated = self.firmware.iter().flat_map(|firmware| &firmware.devices);
        for device in self.qemu.devices.iter().chain(emulated) {
            let kind = device.split(',').next().unwrap_or(device);
            *kinds.entry(kind).or_default() += 1;
        }
        let devices: Vec<String> = kinds
            .iter()
            .map(|(kind, count)| format!("{count} × {kind}"))
            .collect();
        let iommu = if iommu { &self.qemu.iommu } else { NO_SMMU };
        format!(
            "{} · {} CPUs · {iommu} · {}",
            self.name,
            self.cpus,
            devices.join(" · ")
        )
    }

    /// What a run without any problem says of the model of its SMMU: stories forbid that it reports a violation.
    pub(crate) fn model_verdict(&self) -> Option<String> {
        let Firmware { smmu, .. } = self.firmware.as_ref()?;
        Some(format!("0 violations of {smmu}'s rules"))
    }
}

/// All boards, one a line, for people.
pub(crate) fn list(project: &Project) -> Result<String> {
    let mut lines = vec!["boards:".to_string()];
    for name in names(project)? {
        let board = Board::load(project, &name)?;
        let only = if board.scenarios.is_empty() {
            String::new()
        } else {
            format!(" · for scenarios only: {}", board.scenarios.join(", "))
        };
        lines.push(format!("  {name:<20} {}{only}", board.parts(true)));
    }
    lines.push("a bench is emulated by firmware and a model of ours: tests/bench/README.md".to_string());
    Ok(lines.join("\n"))
}

/// The names of all boards.
pub(crate) fn names(project: &Project) -> Result<Vec<String>> {
    let folder = project.root.join("boards");
    let files = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for file in files {
        let name = file?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".toml").map(str::to_string));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virt_is_described_with_and_without_its_smmu() {
        let board = Board::load(&Project::find().unwrap(), "virt").unwrap();
        assert_eq!(board.describe(true), "qemu virt · 4 CPUs · SMMUv3 · 3 × edu");
        assert_eq!(board.describe(false), "qemu virt · 4 CPUs · no SMMU · 3 × edu");
        assert!(
            board
                .arguments(true)
                .contains(&"virt,virtualization=on,gic-version=3,iommu=smmuv3".to_string())
        );
        assert!(
            board
                .arguments(false)
                .contains(&"virt,virtualization=on,gic-version=3,iommu=none".to_string())
        );
    }

    #[test]
    fn the_bench_is_described_with_what_its_firmware_emulates() {
        let board = Board::load(&Project::find().unwrap(), "virt-smmuv2").unwrap();
        assert_eq!(
            board.describe(true),
            "qemu virt, bench mmu-500 · 4 CPUs · SMMUv2 · 3 × edu · mmu-500 emulated by our own model (tests/bench/README.md)"
        );
        assert_eq!(
            board.describe(false),
            "qemu virt, bench mmu-500 · 4 CPUs · no SMMU · 3 × edu"
        );
        assert_eq!(board.load_address, system_tests::firmware::CORE);
        let machine = "virt,secure=on,virtualization=on,gic-version=3".to_string();
        assert!(board.arguments(true).contains(&machine));
    }

    #[test]
    fn a_machine_is_extended_unless_its_firmware_has_limits() {
        let project = Project::find().unwrap();
        let disk = || vec!["nvme,drive=disk0".to_string()];
        let mut board = Board::load(&project, "virt").unwrap();
        board.extend(256, 6, vec!["-drive".to_string()], disk()).unwrap();
        assert_eq!(
            board.describe(true),
            "qemu virt · 6 CPUs · SMMUv3 · 3 × edu · 1 × nvme"
        );
        let arguments = board.arguments(true).join(" ");
        for part in ["-smp 6", "-m 1280M", "-drive", "-device nvme,drive=disk0"] {
            assert!(arguments.contains(part), "{part:?} is not in {arguments}");
        }
        let mut board = Board::load(&project, "virt-smmuv2").unwrap();
        assert!(board.extend(256, 5, Vec::new(), Vec::new()).is_err());
        assert!(board.extend(256, 1, Vec::new(), disk()).is_err());
        board.extend(256, 1, Vec::new(), Vec::new()).unwrap();
        assert_eq!(board.cpus, 4);
    }

    #[test]
    fn stories_name_the_boards_smmu() {
        let board = Board::load(&Project::find().unwrap(), "virt").unwrap();
        assert_eq!(
            board.name_smmu("smmu +@SMMU@: live, by @DRIVER@"),
            "smmu +/smmuv3@9050000: live, by smmu-v3"
        );
    }

    #[test]
    fn boards_differ_in_their_names_and_refer_to_scenarios_of_theirs() {
        let project = Project::find().unwrap();
        let scenarios = crate::scenario::all(&project).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for name in names(&project).unwrap() {
            let board = Board::load(&project, &name).unwrap();
            for wanted in &board.scenarios {
                let named = scenarios.iter().find(|named| named.name == *wanted).unwrap();
                assert_eq!(named.scenario.board, name, "{wanted}");
            }
            assert!(seen.insert(board.name.clone()), "{}", board.name);
        }
        assert!(seen.len() >= 6);
    }

    #[test]
    fn what_does_not_fit_a_board_is_refused_with_what_to_type() {
        let said = |name: &str, line: &str| {
            let words = ["run"].into_iter().chain(line.split_whitespace());
            let flags = flags::Xtask::from_vec(words.map(Into::into).collect()).unwrap();
            let flags::XtaskCmd::Run(run) = flags.subcommand else {
                unreachable!()
            };
            let board = Board::load(&Project::find().unwrap(), name).unwrap();
            board
                .fits(&run)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        let refused = said("virt-smmuv2-two", "");
        assert!(refused.contains("type `cargo xtask test --filter bench-two-smmus`, or "));
        assert!(refused.ends_with(", or add --partition FILE"));
        assert!(said("virt-smmuv2-and-v3", "--never-load").contains("bench-v2-attacks-v3`, or `cargo"));
        assert!(said("virt-smmuv2-two", "--partition x --binding both").contains("leave it out"));
        assert_eq!(said("virt-smmuv2-two", "--no-iommu"), "");
        assert_eq!(said("virt-smmuv2-two", "--partition x"), "");
        assert_eq!(said("virt-smmuv2-pair", "--binding both"), "");
    }

    #[test]
    fn a_board_that_does_not_exist_is_named() {
        let project = Project::find().unwrap();
        let error = Board::load(&project, "toaster").unwrap_err();
        assert!(error.is::<crate::usage::Wrong>());
        let said = error.to_string();
        assert!(said.contains("\"toaster\"\nboards:\n  virt "), "{said}");
        assert!(Board::load(&project, "../xtask/Cargo").is_err());
    }
}
