//! A board: one data file in `boards/`.

mod limits;
mod shown;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use system_tests::dtb::Binding;
use system_tests::firmware::Kind;

pub(crate) use shown::{Control, NO_IOMMU, NO_IOMMU_PARTITION, Shown};

use crate::build::{Compiler, FirmwareImages};
use crate::image::Image;
use crate::project::Project;
use crate::tree::Tree;
use crate::usage::wrong;

/// What a machine has in place of an SMMU.
const NO_SMMU: &str = "no SMMU";
/// The device of a firmware that is no PCI function, and which a board has if its file lists it.
const PLATFORM_DEVICE: &str = "platform edu";

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
    /// What `cargo xtask run` shows on it, if that is not what it shows on a board with an SMMU.
    #[serde(default, rename = "run")]
    shown: Option<Shown>,
    /// Where its boot loader places the core.
    pub(crate) load_address: u64,
    /// Firmware of ours that makes it what it is.
    firmware: Option<Firmware>,
    /// Its device tree, if QEMU makes none.
    tree: Option<Tree>,
    /// Its SMMU, if it has one.
    smmu: Option<Smmu>,
    /// What a real one boots from, if there are real ones.
    pub(crate) image: Option<Image>,
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
    /// The devices that it emulates.
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
    /// What its SMMU is called, for people.
    iommu: Option<String>,
    /// Its CPUs, if QEMU has a choice.
    cpu: Option<String>,
    memory: String,
    /// If QEMU has no choice of CPUs and memory: the most that one guest can get of the memory.
    guest_memory_at_most: Option<String>,
    /// Whether QEMU emulates PCI, where disks are.
    #[serde(default = "yes")]
    has_pci: bool,
    arguments: Vec<String>,
    #[serde(default)]
    devices: Vec<String>,
}

fn yes() -> bool {
    true
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
        Board::from_toml(&text).with_context(|| format!("{file} does not describe a board"))
    }

    fn from_toml(text: &str) -> Result<Self> {
        let board: Board = toml::from_str(text)?;
        ensure!(
            board.smmu.is_some() == board.qemu.iommu.is_some(),
            "a board with an SMMU has [smmu] and, in [qemu], `iommu`; a board without has neither"
        );
        ensure!(
            board.smmu.is_some() || board.shown.is_some() || !board.scenarios.is_empty(),
            "what `cargo xtask run` shows by itself needs an SMMU: say in [run] what it shows here, or list `scenarios`"
        );
        Ok(board)
    }

    /// Whether it has an SMMU.
    pub(crate) fn has_smmu(&self) -> bool {
        self.smmu.is_some()
    }

    /// How its tree describes what is behind its SMMU, if it has one.
    pub(crate) fn described_by(&self, binding: Binding) -> Option<Binding> {
        self.has_smmu().then_some(binding)
    }

    /// Where its device tree is, if QEMU makes none; fetches it, unless an earlier call did.
    pub(crate) fn device_tree(&self, project: &Project) -> Result<Option<PathBuf>> {
        let tree = self.tree.as_ref();
        tree.map(|tree| tree.ready(project)).transpose()
    }

    /// What `cargo xtask run` shows on it.
    pub(crate) fn shown(&self) -> Shown {
        self.shown.clone().unwrap_or_else(Shown::isolation)
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
            "-smp".to_string(),
            self.cpus.to_string(),
            "-m".to_string(),
            qemu.memory.clone(),
        ];
        if let Some(cpu) = &qemu.cpu {
            arguments.extend(["-cpu".to_string(), cpu.clone()]);
        }
        arguments.extend(qemu.arguments.iter().cloned());
        for device in &qemu.devices {
            arguments.extend(["-device".to_string(), device.clone()]);
        }
        arguments
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

    /// Whether its tree tells of the firmware's device that is no PCI function.
    pub(crate) fn has_platform_device(&self) -> bool {
        let mut devices = self.firmware.iter().flat_map(|firmware| &firmware.devices);
        devices.any(|device| device == PLATFORM_DEVICE)
    }

    /// A story's text with the names of this board's SMMU and driver.
    ///
    /// # Errors
    /// It names them, and this board has none.
    pub(crate) fn name_smmu(&self, text: &str) -> io::Result<String> {
        const NODE: &str = "@SMMU@";
        const DRIVER: &str = "@DRIVER@";
        match &self.smmu {
            Some(smmu) => Ok(text.replace(NODE, &smmu.node).replace(DRIVER, &smmu.driver)),
            None if text.contains(NODE) || text.contains(DRIVER) => Err(io::Error::other(format!(
                "it is about an SMMU, and {} has none",
                self.name
            ))),
            None => Ok(text.to_string()),
        }
    }

    /// What a machine of this board is called among others: what it is built from, and its SMMU.
    pub(crate) fn machine(&self, iommu: bool) -> (String, String) {
        let base = if self.firmware.is_some() {
            "bench"
        } else {
            &self.name
        };
        (base.to_string(), self.smmu_name(iommu).to_string())
    }

    /// What its SMMU is called, for people, on a machine that has it if `iommu`.
    fn smmu_name(&self, iommu: bool) -> &str {
        let name = self.qemu.iommu.as_deref().filter(|_| iommu);
        name.unwrap_or(NO_SMMU)
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
        let mut parts = vec![
            self.name.clone(),
            format!("{} CPUs", self.cpus),
            self.smmu_name(iommu).to_string(),
        ];
        parts.extend(kinds.iter().map(|(kind, count)| format!("{count} × {kind}")));
        parts.join(" · ")
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
mod tests;
