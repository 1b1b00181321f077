//! Debian's arm64 kernel and busybox: what an unmodified Linux guest is made of.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};

use super::modules;
use crate::apt::{self, Apt};
use crate::build::Member;
use crate::project::{Project, step};

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
            let fetched = debian.fetch();
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

    fn fetch(&self) -> Result<()> {
        ensure!(
            Apt::is_here(),
            "the guest's kernel comes from Debian's packages, and there is no apt here"
        );
        let apt = Apt::new(&self.folder)?;
        step(
            "guest",
            "asking for the list of Debian's arm64 packages (some 15 MB, once)",
        );
        apt.update()
            .context("apt cannot fetch Debian's list of packages")?;
        let listed = apt.output("apt-cache", &["depends", NEWEST_KERNEL])?;
        let kernel = kernel_among(&listed).with_context(|| {
            format!("the apt sources of this machine have no {NEWEST_KERNEL} for arm64; /etc/apt names them")
        })?;
        let _not_there = fs::remove_dir_all(self.unpacked());
        let patterns = ["./boot/vmlinuz-*", "./lib/modules/*"];
        for (package, patterns, size) in [
            (kernel, &patterns[..], "20 to 40 MB"),
            (BUSYBOX, &["./bin/busybox"], "1 MB"),
        ] {
            step("guest", format!("fetching {package} ({size}, once)"));
            let archive = apt
                .download(package)
                .with_context(|| format!("apt cannot fetch {package}"))?;
            apt::unpack(&archive, patterns, &self.unpacked())?;
            fs::remove_file(&archive)?;
        }
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

/// The kernel that the answer of `apt-cache depends` names.
fn kernel_among(listed: &str) -> Option<&str> {
    listed
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.starts_with("linux-image-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_kernel_is_found_in_what_apt_says() {
        let listed = "linux-image-cloud-arm64\n  Depends: linux-image-6.1.0-56-cloud-arm64\n";
        assert_eq!(kernel_among(listed), Some("linux-image-6.1.0-56-cloud-arm64"));
        assert_eq!(kernel_among("linux-image-cloud-arm64\n"), None);
        assert_eq!(kernel_among(""), None);
    }
}
