//! Debian's arm64 kernel and busybox: what an unmodified Linux guest is made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};

use super::modules;
use crate::apt::Apt;
use crate::build::Member;
use crate::project::Project;

/// Who fetches, in the lines of progress.
const WHO: &str = "guest";
/// Depends on the newest kernel for virtual machines.
const NEWEST_KERNEL: &str = "linux-image-cloud-arm64";
/// A busybox that needs no libraries.
const BUSYBOX: &str = "busybox-static";
/// What to do where apt cannot help.
const BY_HAND: &str = "when the network is there again, type the same again; without it, `cargo xtask run --guest linux --kernel FILE \
                       --initrd FILE` takes files of your own";

/// What was unpacked of Debian's packages.
#[derive(Debug)]
pub(crate) struct Debian {
    folder: PathBuf,
}

impl Debian {
    /// Fetches the packages, unless an earlier call did.
    pub(crate) fn ready(project: &Project) -> Result<Self> {
        let folder = project.out().join("guest");
        let debian = Debian { folder };
        if !debian.complete().is_file() {
            let fetched = debian.fetch(project);
            fetched.map_err(|error| anyhow!("{error:#}\n{BY_HAND}"))?;
        }
        Ok(debian)
    }

    /// Is there when everything is.
    fn complete(&self) -> PathBuf {
        self.folder.join("complete")
    }

    fn unpacked(&self) -> PathBuf {
        self.folder.join("unpacked")
    }

    fn fetch(&self, project: &Project) -> Result<()> {
        let apt = Apt::ready(project, WHO)?;
        let kernel = apt.kernel(NEWEST_KERNEL)?;
        let _not_there = fs::remove_dir_all(self.unpacked());
        let patterns = ["./boot/vmlinuz-*", "./lib/modules/*"];
        apt.unpack(WHO, (&kernel, "20 to 40 MB"), &patterns, &self.unpacked())?;
        apt.unpack(WHO, (BUSYBOX, "1 MB"), &["./bin/busybox"], &self.unpacked())?;
        fs::write(self.complete(), kernel)?;
        Ok(())
    }

    /// The version of the kernel, as it says it itself.
    pub(crate) fn version(&self) -> Result<String> {
        let package = fs::read_to_string(self.complete())?;
        let version = package
            .strip_prefix("linux-image-")
            .context("what was fetched is no kernel")?;
        Ok(version.to_string())
    }

    /// The kernel's image.
    pub(crate) fn kernel(&self) -> Result<Vec<u8>> {
        read(
            &self
                .unpacked()
                .join("boot")
                .join(format!("vmlinuz-{}", self.version()?)),
        )
    }

    /// The kernel's modules for disks, in the order in which they are loaded.
    pub(crate) fn modules(&self) -> Result<Vec<Member>> {
        modules::for_disks(&self.unpacked().join("lib/modules").join(self.version()?))
    }

    /// The program.
    pub(crate) fn busybox(&self) -> Result<Vec<u8>> {
        read(&self.unpacked().join("bin/busybox"))
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}
