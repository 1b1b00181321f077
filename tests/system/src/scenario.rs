//! Scenarios: one run in QEMU each, as a file of `tests/system/scenarios` describes it.

use serde::Deserialize;

use crate::damage::ComponentDamage;
use crate::dtb::{Binding, TreeDamage};
use crate::story::{ExpectedLine, LabelledLine};

/// One run.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// What it shows.
    pub title: String,
    /// The story it has to tell: a file of `tests/stories`.
    pub story: String,
    /// The partition: a file of `tests/partitions`.
    #[serde(default = "main_partition")]
    pub partition: String,
    /// The board: a file of `boards`.
    #[serde(default = "virt")]
    pub board: String,
    /// Whether the machine has an SMMU.
    #[serde(default = "yes")]
    pub iommu: bool,
    /// Features of the core: sabotage that shows what the sabotaged part is good for.
    #[serde(default)]
    pub features: Vec<String>,
    /// What is wrong with the SMMU's component.
    pub component: Option<ComponentDamage>,
    /// A component of the tests that takes the place of the SMMU's.
    pub replace_component: Option<String>,
    /// What is wrong with the device tree.
    pub device_tree: Option<TreeDamage>,
    /// Nodes that the board's device tree disables, and that are enabled for this run.
    #[serde(default)]
    pub enable: Vec<String>,
    /// Which binding describes what is behind the SMMU.
    #[serde(default)]
    pub binding: Binding,
    /// A program of the tests that runs before the core, as firmware would.
    pub stage0: Option<String>,
    /// What Linux guests of the partition start from.
    pub linux: Option<Linux>,
    /// Further arguments for QEMU.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// What is typed at the core's console, and when.
    #[serde(default, rename = "type")]
    pub typed: Vec<Typed>,
    /// What has to be seen besides the story.
    #[serde(default)]
    pub expect: Vec<ExpectedLine>,
    /// What must not be seen, besides what the story forbids.
    #[serde(default)]
    pub never: Vec<LabelledLine>,
    /// How the run ends.
    #[serde(default)]
    pub ends: Ends,
    /// Seconds after which the run has failed.
    #[serde(default = "timeout_s")]
    pub timeout_s: u64,
}

/// Debian's kernel as a guest. All guests with the image `linux.img` and the RAM disk `linux.cpio` share it, and may look at
/// their command line to see which one they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Linux {
    /// What the guests run: a file of `tests/system/scripts`.
    pub script: String,
    /// Disks of the machine, at 0000:00:10.0 and on. Of each the guest that has it prints the SHA-256 as
    /// `disk N before SUM`, and `disk N after SUM` when it will write no more; both must be those of the file.
    #[serde(default)]
    pub disks: Vec<DiskKind>,
}

/// A disk as QEMU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskKind {
    /// NVMe.
    Nvme,
    /// Virtio, modern, with its DMA behind the SMMU.
    Virtio,
}

/// A line that is typed once.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Typed {
    /// After the first line of the console that has this in it.
    pub after: String,
    /// What is typed, without the line end.
    pub text: String,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ends {
    /// The core powers the machine off.
    #[default]
    PowerOff,
    /// The machine stays on; it is ended a little after the story was told.
    StaysOn,
}

fn main_partition() -> String {
    "main".to_string()
}

fn virt() -> String {
    "virt".to_string()
}

fn yes() -> bool {
    true
}

fn timeout_s() -> u64 {
    90
}

impl Scenario {
    /// Reads a scenario's file.
    ///
    /// # Errors
    /// The text has another form.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_scenario_refers_to_files_that_exist() {
        let tests = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let mut count = 0;
        for entry in std::fs::read_dir(tests.join("system/scenarios")).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let scenario =
                Scenario::from_toml(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            for file in [
                format!("stories/{}.toml", scenario.story),
                format!("partitions/{}.toml", scenario.partition),
                format!("../boards/{}.toml", scenario.board),
            ] {
                assert!(tests.join(&file).is_file(), "{}: no {file}", path.display());
            }
            count += 1;
        }
        assert!(count >= 15, "{count} scenarios found");
    }
}
