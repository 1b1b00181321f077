//! Fetches arm64 packages of Debian without changing the machine.
//!
//! apt is asked with a configuration, lists and a cache of our own, so that the system's stay as they are; only its
//! sources and keys are used.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::project::{Project, step};

/// apt with everything of its own but the sources.
pub(crate) struct Apt {
    folder: PathBuf,
    configuration: PathBuf,
}

impl Apt {
    /// One that knows Debian's packages. `who` needs it, in the lines of progress; everything it keeps is among what xtask makes.
    ///
    /// # Errors
    /// There is no apt on this machine, or it cannot fetch the list of packages.
    pub(crate) fn ready(project: &Project, who: &str) -> Result<Self> {
        ensure!(
            Path::new("/usr/bin/apt-get").is_file(),
            "what is needed comes from Debian's packages, and there is no apt here"
        );
        let apt = Apt::new(&project.out())?;
        step(
            who,
            "asking for the list of Debian's arm64 packages (some 15 MB, once)",
        );
        // Without this a server that cannot be reached is no error.
        let strict = "-oAPT::Update::Error-Mode=any";
        apt.output("apt-get", &["update", "-q", strict])
            .context("apt cannot fetch Debian's list of packages")?;
        Ok(apt)
    }

    /// One that keeps everything below `folder`.
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

    /// The kernel's package, whose name has a version, that `newest` depends on.
    pub(crate) fn kernel(&self, newest: &str) -> Result<String> {
        let listed = self.output("apt-cache", &["depends", newest])?;
        let kernel = kernel_among(&listed).with_context(|| {
            format!("the apt sources of this machine have no {newest} for arm64; /etc/apt names them")
        })?;
        Ok(kernel.to_string())
    }

    /// Fetches a package of about `size` and unpacks the files whose paths match one of `patterns`.
    pub(crate) fn unpack(
        &self,
        who: &str,
        (package, size): (&str, &str),
        patterns: &[&str],
        into: &Path,
    ) -> Result<()> {
        step(who, format!("fetching {package} ({size}, once)"));
        let archive = self
            .download(package)
            .with_context(|| format!("apt cannot fetch {package}"))?;
        unpack(&archive, patterns, into)?;
        fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
    }

    /// Fetches a package; where its archive is.
    fn download(&self, package: &str) -> Result<PathBuf> {
        self.output("apt-get", &["download", "-q", package])?;
        let prefix = format!("{package}_");
        let entries = fs::read_dir(&self.folder)?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .find(|path| {
                path.file_name()
                    .is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
            })
            .with_context(|| format!("apt left no {prefix}*.deb in {}", self.folder.display()))
    }

    /// Asks a program of apt; what it says besides its answer is shown only if it fails.
    pub(crate) fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(&self.folder)
            .env("APT_CONFIG", &self.configuration)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start {program}"))?;
        if !output.status.success() {
            bail!(
                "{program} {} failed:\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stderr).trim_end()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Unpacks the files of a package whose paths match one of `patterns`.
fn unpack(archive: &Path, patterns: &[&str], into: &Path) -> Result<()> {
    fs::create_dir_all(into)?;
    let mut reader = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let stream = reader.stdout.take().context("dpkg-deb has no output")?;
    let unpacked = Command::new("tar")
        .args(["-x", "-C"])
        .arg(into)
        .arg("--wildcards")
        .args(patterns)
        .stdin(stream)
        .status()
        .context("cannot start tar")?;
    let read = reader.wait()?;
    ensure!(
        unpacked.success() && read.success(),
        "{} cannot be unpacked",
        archive.display()
    );
    Ok(())
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
