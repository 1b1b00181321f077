//! Fetches Debian's arm64 kernels and keeps the device trees in them.
//!
//! apt is asked with a configuration, lists and a cache of our own, so that the system's stay as they are; only its
//! sources and keys are used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::project::{Project, step};

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
    ensure!(
        Path::new("/usr/bin/apt-get").is_file(),
        "the trees come from Debian's packages, and there is no apt here: unpack Debian's arm64 kernels elsewhere and give \
         their folder with --folder"
    );
    let apt = Apt::new(&folder)?;
    step(
        "corpus",
        "asking for the list of Debian's arm64 packages (some 15 MB)",
    );
    apt.run("apt-get", &["update", "-q"])?;
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
        step("corpus", format!("fetching {package} (60 to 100 MB)"));
        apt.run("apt-get", &["download", "-q", package])?;
        unpack(&apt.folder, package, &trees)?;
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

/// Keeps the trees of a package, and nothing else of it.
fn unpack(folder: &Path, package: &str, trees: &Path) -> Result<()> {
    let prefix = format!("{package}_");
    let entries = fs::read_dir(folder)?;
    let archive = entries
        .flatten()
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
        })
        .with_context(|| format!("apt left no {prefix}*.deb in {}", folder.display()))?;
    // A name of its own until it is whole, so that what was interrupted is not taken for complete.
    let partial = trees.join(format!("{package}.partial"));
    let _not_there = fs::remove_dir_all(&partial);
    fs::create_dir_all(&partial)?;
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let stream = reader.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = Command::new("tar")
        .args(["-x", "-C"])
        .arg(&partial)
        .args(["--wildcards", "*.dtb"])
        .stdin(stream)
        .status()
        .context("cannot start tar")?;
    let read = reader.wait()?;
    ensure!(
        unpacked.success() && read.success(),
        "{} cannot be unpacked",
        archive.display()
    );
    fs::rename(&partial, trees.join(package))?;
    fs::remove_file(&archive)?;
    Ok(())
}

/// apt with everything of its own but the sources.
struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    fn new(folder: &Path) -> Result<Self> {
        let root = folder.join("apt");
        for part in ["lists/partial", "cache/archives/partial", "state", "sources"] {
            fs::create_dir_all(root.join(part))?;
        }
        // Debian's own sources; another party's may not have arm64, and apt would complain.
        let sources = root.join("sources");
        for entry in fs::read_dir("/etc/apt/sources.list.d")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            if ["debian", "bookworm"]
                .iter()
                .any(|start| name.to_string_lossy().starts_with(start))
            {
                fs::copy(entry.path(), sources.join(name))?;
            }
        }
        let list = Path::new("/etc/apt/sources.list");
        let main = if list.is_file() {
            list
        } else {
            Path::new("/dev/null")
        };
        let at = |part: &str| root.join(part).display().to_string();
        let configuration = root.join("apt.conf");
        fs::write(
            &configuration,
            format!(
                "APT::Architecture \"arm64\";\nAPT::Architectures {{ \"arm64\"; }};\nAPT::Sandbox::User \"\";\n\
                 Dir::State \"{}\";\nDir::State::Lists \"{}\";\nDir::State::status \"/dev/null\";\nDir::Cache \"{}\";\n\
                 Dir::Etc::SourceList \"{}\";\nDir::Etc::SourceParts \"{}\";\n",
                at("state"),
                at("lists"),
                at("cache"),
                main.display(),
                at("sources"),
            ),
        )?;
        Ok(Apt {
            folder: root,
            configuration,
        })
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("APT_CONFIG", &self.configuration)
            .stdin(Stdio::null());
        command
    }

    /// Runs a command; what it says is shown only if it fails.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        self.output(program, arguments).map(|_| ())
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = self
            .command(program, arguments)
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            bail!(
                "{program} {} failed:\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr)
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
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
