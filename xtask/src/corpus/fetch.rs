//! Fetches Debian's arm64 kernels and keeps the device trees in them.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, anyhow};

use crate::apt::Apt;
use crate::project::Project;

/// Who fetches, in the lines of progress.
const WHO: &str = "corpus";
/// The kernels whose trees are read: the first characters of their packages' names.
const KERNELS: [&str; 2] = ["linux-image-6.1.0-", "linux-image-6.12."];
/// What the names end with: the plain, signed kernel for 64-bit Arm.
const FLAVOUR: &str = "-arm64";

/// The folder with the trees of all kernels. What is there from an earlier call is not fetched again.
pub(crate) fn kernel_trees(project: &Project) -> Result<PathBuf> {
    let folder = project.out().join("corpus");
    let trees = folder.join("trees");
    let complete = folder.join("complete");
    if complete.is_file() {
        return Ok(trees);
    }
    let apt = Apt::ready(project, WHO).map_err(|error| {
        anyhow!("{error:#}; or unpack Debian's arm64 kernels elsewhere and give their folder with --folder")
    })?;
    let listed = apt.output("apt-cache", &["pkgnames"])?;
    for start in KERNELS {
        let package = newest(&listed, start).with_context(|| {
            format!(
                "the apt sources of this machine have no package {start}*{FLAVOUR} for arm64; `cargo xtask setup` adds \
                 bookworm-backports, which has the newer kernel"
            )
        })?;
        if trees.join(package).is_dir() {
            continue;
        }
        // A name of its own until it is whole, so that what was interrupted is not taken for complete.
        let partial = trees.join(format!("{package}.partial"));
        let _not_there = fs::remove_dir_all(&partial);
        apt.unpack(WHO, (package, "60 to 100 MB"), &["*.dtb"], &partial)?;
        fs::rename(&partial, trees.join(package))?;
    }
    fs::write(&complete, "")?;
    Ok(trees)
}

/// The newest plain kernel whose name starts so. Versions compare number by number.
fn newest<'l>(listed: &'l str, start: &str) -> Option<&'l str> {
    let is_plain = |name: &str| {
        let version = name
            .strip_prefix(start)
            .and_then(|rest| rest.strip_suffix(FLAVOUR));
        version.is_some_and(|version| !version.ends_with("-cloud") && !version.ends_with("-rt"))
    };
    let numbers = |name: &str| {
        let digits = name.split(|letter: char| !letter.is_ascii_digit());
        digits
            .filter_map(|number| number.parse().ok())
            .collect::<Vec<u64>>()
    };
    listed
        .lines()
        .filter(|name| is_plain(name))
        .max_by_key(|name| numbers(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_plain_kernel_is_taken() {
        let listed = "linux-image-6.1.0-9-arm64\nlinux-image-6.1.0-56-arm64\nlinux-image-6.1.0-57-cloud-arm64\n\
                      linux-image-6.1.0-58-rt-arm64\nlinux-image-6.1.0-59-arm64-dbg\nlinux-image-6.12.9+deb12-arm64\n\
                      linux-image-6.12.95+deb12-arm64\nlinux-image-6.12.99+deb12-arm64-unsigned\n";
        assert_eq!(newest(listed, KERNELS[0]), Some("linux-image-6.1.0-56-arm64"));
        assert_eq!(
            newest(listed, KERNELS[1]),
            Some("linux-image-6.12.95+deb12-arm64")
        );
        assert_eq!(newest(listed, "linux-image-7."), None);
    }
}
