//! What scenarios with Linux guests need: RAM disk, kernel, and disks that are compared with what the guests said of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use system_tests::scenario::{DiskKind, Linux};

use crate::build::Member;
use crate::guest;
use crate::one_image::sha256;
use crate::project::Project;

/// Bytes of a disk.
const DISK_SIZE: usize = 4 << 20;
/// A disk of a run.
#[derive(Debug)]
pub(crate) struct Disk {
    /// How scripts count it: from zero on.
    number: usize,
    disk: guest::Disk,
    /// SHA-256 before the run.
    before: String,
}

/// Kernel and RAM disk, as members of the bundle.
pub(crate) fn members(project: &Project, linux: &Linux) -> Result<[Member; 2]> {
    let script = project.read_text(format!("tests/system/scripts/{}.sh", linux.script))?;
    guest::debian_linux(project, Some(script.into_bytes()))
}

/// Makes the disks anew, in `folder`.
pub(crate) fn disks(linux: &Linux, folder: &Path) -> Result<Vec<Disk>> {
    let make = |(number, (place, kind)): (usize, (u8, &DiskKind))| {
        let file = folder.join(format!("disk{number}.img"));
        fs::write(&file, noise(number)).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Disk {
            number,
            before: sha256(&file)?,
            disk: guest::Disk::new(*kind, file, place),
        })
    };
    (guest::FIRST_DISK..)
        .zip(&linux.disks)
        .enumerate()
        .map(make)
        .collect()
}

/// Bytes without a pattern that a disk could have by chance.
fn noise(number: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ number as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..DISK_SIZE / 8).flat_map(|_| next()).collect()
}

impl Disk {
    /// QEMU's arguments for it.
    pub(crate) fn arguments(&self) -> [String; 4] {
        let [flag, drive] = self.disk.drive();
        [flag, drive, "-device".to_string(), self.disk.device()]
    }

    /// What the guest said of it, if it is not what the file says.
    pub(crate) fn problem(&self, lines: &[String]) -> Option<String> {
        let number = self.number;
        let said = |line: String| lines.iter().any(|said| said.contains(&line));
        let after = match sha256(self.disk.file()) {
            Ok(after) => after,
            Err(error) => return Some(format!("{error:#}")),
        };
        if !said(format!("disk {number} before {}", self.before)) {
            Some(format!(
                "no guest read disk {number} as it was: SHA-256 {}",
                self.before
            ))
        } else if !said(format!("disk {number} after {after}")) {
            Some(format!(
                "no guest read disk {number} as it is now: SHA-256 {after}"
            ))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says_of_a_disk_is_compared_with_the_file() {
        let folder = std::env::temp_dir().join(format!("portcullis-disk-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let linux = Linux {
            script: String::new(),
            disks: vec![DiskKind::Nvme, DiskKind::Virtio],
        };
        let disks = disks(&linux, &folder).unwrap();
        let [nvme, virtio] = disks.as_slice() else {
            panic!("two disks expected")
        };
        assert_ne!(nvme.before, virtio.before);
        assert!(
            virtio.arguments()[3].contains("iommu_platform=on")
                && virtio.arguments()[3].ends_with("addr=0x11")
        );
        let line = |when: &str, sum: &str| format!("[linux  ] disk 0 {when} {sum}");
        let good = [line("before", &nvme.before), line("after", &nvme.before)];
        assert_eq!(nvme.problem(&good), None);
        assert!(nvme.problem(&good[1..]).unwrap().contains("as it was"));
        assert!(virtio.problem(&good).is_some());
        fs::write(nvme.disk.file(), b"changed").unwrap();
        assert!(nvme.problem(&good).unwrap().contains("as it is now"));
        fs::remove_dir_all(&folder).unwrap();
    }
}
