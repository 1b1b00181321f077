//! One image: every machine boots the same core, byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// In the core's first line, what comes before where it lies.
const PLACE: &str = " KiB at ";
/// In its last lines, what comes before XXH3 of its code and constants as they are in memory.
const FINGERPRINT: &str = "core code and constants unchanged (xxh3 ";

/// What a core says of itself. It relocates itself, so the same image looks the same where it lies at the same place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Fingerprint {
    /// Where it lies.
    place: String,
    hash: String,
}

/// An image that a machine booted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Booted {
    /// What the machine is built from, and its SMMU.
    pub(crate) machine: (String, String),
    /// The file.
    pub(crate) core: PathBuf,
    /// SHA-256 of it, taken when it was booted.
    pub(crate) sha256: String,
    /// What the core said of itself, if its run got that far.
    pub(crate) fingerprint: Option<Fingerprint>,
}

/// SHA-256 of a file, in hexadecimal digits.
pub(crate) fn sha256(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(sha256_of(&bytes))
}

/// SHA-256, in hexadecimal digits.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a core said of itself on the console.
pub(crate) fn fingerprint(lines: &[String]) -> Option<Fingerprint> {
    let first = lines.iter().find(|line| line.contains(" at EL2, "))?;
    let (_, place) = first.split_once(PLACE)?;
    let (_, said) = lines.iter().find_map(|line| line.split_once(FINGERPRINT))?;
    Some(Fingerprint {
        place: place.to_string(),
        hash: said.trim_end_matches(')').to_string(),
    })
}

/// Says on which machines the one image ran.
///
/// # Errors
/// It was not one.
pub(crate) fn one_image(runs: &[Booted]) -> Result<String> {
    let first = runs.first().context("no machine booted the normal core")?;
    let mut machines: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut places: BTreeMap<&str, (&str, &Booted)> = BTreeMap::new();
    for run in runs {
        ensure!(
            (&run.core, &run.sha256) == (&first.core, &first.sha256),
            "two images: {:?} booted {} (sha256 {}), and {:?} {} (sha256 {})",
            first.machine,
            first.core.display(),
            first.sha256,
            run.machine,
            run.core.display(),
            run.sha256
        );
        let (board, smmu) = &run.machine;
        machines.entry(board).or_default().insert(smmu);
        if let Some(Fingerprint { place, hash }) = &run.fingerprint {
            let (expected, other) = *places.entry(place).or_insert((hash, run));
            ensure!(
                expected == hash,
                "one file, but in memory it differs: hash {expected} on {:?}, {hash} on {:?}",
                other.machine,
                run.machine
            );
        }
    }
    let machines: Vec<String> = machines
        .into_iter()
        .map(|(board, smmus)| format!("{board}: {}", smmus.into_iter().collect::<Vec<_>>().join(" · ")))
        .collect();
    Ok(format!(
        "one image: sha256 {} ran on: {}",
        first.sha256,
        machines.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{self, Board};
    use crate::project::Project;
    use crate::scenario;

    fn at(place: &str, hash: &str) -> Option<Fingerprint> {
        Some(Fingerprint {
            place: place.to_string(),
            hash: hash.to_string(),
        })
    }

    fn booted(smmu: &str, sha256: &str) -> Booted {
        Booted {
            machine: ("virt".to_string(), smmu.to_string()),
            core: PathBuf::from("core.img"),
            sha256: sha256.to_string(),
            fingerprint: at("0x4000", "12"),
        }
    }

    #[test]
    fn one_image_names_each_machine_once() {
        let runs = [
            booted("SMMUv3", "ab"),
            booted("no SMMU", "ab"),
            booted("SMMUv3", "ab"),
        ];
        assert_eq!(
            one_image(&runs).unwrap(),
            "one image: sha256 ab ran on: virt: SMMUv3 · no SMMU"
        );
    }

    #[test]
    fn two_images_are_not_one() {
        let other = booted("SMMUv2", "cd");
        assert!(one_image(&[booted("SMMUv3", "ab"), other]).is_err());
        let mut other = booted("SMMUv2", "ab");
        other.core = PathBuf::from("other.img");
        assert!(one_image(&[booted("SMMUv3", "ab"), other]).is_err());
        let mut other = booted("SMMUv2", "ab");
        other.fingerprint = at("0x4000", "34");
        assert!(one_image(&[booted("SMMUv3", "ab"), other.clone()]).is_err());
        other.fingerprint = at("0x8000", "34");
        assert!(one_image(&[booted("SMMUv3", "ab"), other]).is_ok());
        assert!(one_image(&[]).is_err());
    }

    #[test]
    fn what_the_core_says_of_itself_is_read() {
        let lines = [
            "[  0.0] portcullis 0.1.0 at EL2, 4 CPUs, image 704 KiB at 0x40200000",
            "[  9.1] run    core code and constants unchanged (xxh3 d172924b4264)",
        ];
        assert_eq!(
            fingerprint(&lines.map(String::from)),
            at("0x40200000", "d172924b4264")
        );
        assert_eq!(fingerprint(&[]), None);
    }

    #[test]
    fn every_kind_of_machine_has_a_scenario_with_the_normal_core() {
        let project = Project::find().unwrap();
        let machines: BTreeSet<_> = scenario::all(&project)
            .unwrap()
            .iter()
            .filter(|named| named.scenario.features.is_empty())
            .map(|named| {
                let board = Board::load(&project, &named.scenario.board).unwrap();
                board.machine(named.scenario.iommu)
            })
            .collect();
        for name in board::names(&project).unwrap() {
            let machine = Board::load(&project, &name).unwrap().machine(true);
            assert!(machines.contains(&machine), "{machine:?}");
        }
        let without = Board::load(&project, "virt").unwrap().machine(false);
        assert!(machines.contains(&without), "{without:?}");
    }
}
