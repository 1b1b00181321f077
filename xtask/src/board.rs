//! A board: one data file in `boards/`.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};
use serde::Deserialize;
use system_tests::firmware::Kind;

use crate::build::{Compiler, FirmwareImages};
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
            let known = names(project)?.join(", ");
            return Err(wrong(format!("there is no board {name:?}; there are: {known}")));
        }
        let text = project.read_text(&file)?;
        toml::from_str(&text).with_context(|| format!("{file} does not describe a board"))
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

    /// What the machine has, in a line.
    pub(crate) fn describe(&self, iommu: bool) -> String {
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
            "qemu virt with a bench at EL3 · 4 CPUs · SMMUv2 · 3 × edu"
        );
        assert_eq!(board.load_address, system_tests::firmware::CORE);
        let machine = "virt,secure=on,virtualization=on,gic-version=3".to_string();
        assert!(board.arguments(true).contains(&machine));
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
    fn a_board_that_does_not_exist_is_named() {
        let project = Project::find().unwrap();
        let error = Board::load(&project, "toaster").unwrap_err();
        assert!(error.is::<crate::usage::Wrong>());
        let said = error.to_string();
        assert!(
            said.contains("\"toaster\"; there are: virt, virt-smmuv1"),
            "{said}"
        );
        assert!(Board::load(&project, "../xtask/Cargo").is_err());
    }
}
