//! Finds a Rust toolchain that can build for AArch64 bare metal.
//!
//! In this order: a toolchain with the target's `core` installed, then one with the standard library's
//! source, from which cargo's build-std makes it. Candidates are rustup's toolchains, the active one
//! first, then the system's `/usr` (Debian's rustc-web with rust-web-src), then whatever `rustc` is on the PATH.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::version::Version;

/// The only target of everything that runs on the board: no FP registers, so that none are saved.
pub(crate) const TARGET: &str = "aarch64-unknown-none-softfloat";
/// The oldest compiler that builds the workspace (`rust-version` in Cargo.toml).
pub(crate) const OLDEST: Version = Version(1, 95, 0);

/// Where the target's `core` comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    /// Installed beside the compiler.
    Installed,
    /// Built from the library's source by cargo's build-std.
    Source,
}

/// A toolchain that can build for the target.
#[derive(Debug, Clone)]
pub(crate) struct Toolchain {
    /// The compiler's folder, holding `bin/rustc` and `lib/rustlib`.
    pub(crate) sysroot: PathBuf,
    /// The compiler's version.
    pub(crate) version: Version,
    /// Where the target's `core` comes from.
    pub(crate) library: Library,
    /// Who installed it, for people.
    origin: String,
}

impl Toolchain {
    /// The compiler.
    pub(crate) fn rustc(&self) -> PathBuf {
        self.sysroot.join("bin/rustc")
    }

    /// The cargo that belongs to the compiler.
    pub(crate) fn cargo(&self) -> PathBuf {
        self.sysroot.join("bin/cargo")
    }

    /// The folder of the standard library's source.
    pub(crate) fn library_source(&self) -> PathBuf {
        library_source(&self.sysroot)
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let library = match self.library {
            Library::Installed => "target installed",
            Library::Source => "build-std",
        };
        write!(f, "rustc {} ({}, {library})", self.version, self.origin)
    }
}

/// The first toolchain that can build for the target, in the order of the module's text.
pub(crate) fn find() -> Option<Toolchain> {
    let candidates = candidates();
    [Library::Installed, Library::Source]
        .into_iter()
        .find_map(|library| candidates.iter().find_map(|candidate| candidate.usable(library)))
}

/// A sysroot that may do.
#[derive(Debug)]
struct Candidate {
    sysroot: PathBuf,
    origin: String,
}

impl Candidate {
    fn usable(&self, library: Library) -> Option<Toolchain> {
        let has_library = match library {
            Library::Installed => self.sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir(),
            Library::Source => library_source(&self.sysroot).join("Cargo.lock").is_file(),
        };
        if !has_library || !self.sysroot.join("bin/cargo").is_file() {
            return None;
        }
        // The sysroot's own binary, not rustup's proxy, so that no environment variable redirects it.
        let version = version_of(&self.sysroot.join("bin/rustc"))?;
        (version >= OLDEST).then(|| Toolchain {
            sysroot: self.sysroot.clone(),
            version,
            library,
            origin: self.origin.clone(),
        })
    }
}

fn library_source(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

fn candidates() -> Vec<Candidate> {
    let mut candidates: Vec<Candidate> = rustup_toolchains();
    let debian = Path::new("/etc/debian_version").is_file();
    candidates.push(Candidate {
        sysroot: PathBuf::from("/usr"),
        origin: if debian { "Debian" } else { "system" }.to_string(),
    });
    if let Some(sysroot) = sysroot_on_path()
        && !candidates.iter().any(|candidate| candidate.sysroot == sysroot)
    {
        candidates.push(Candidate {
            origin: sysroot.display().to_string(),
            sysroot,
        });
    }
    candidates
}

/// Rustup's toolchains, read from its folder: asking rustup itself is slow and may start a download.
fn rustup_toolchains() -> Vec<Candidate> {
    let Some(home) = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")))
    else {
        return Vec::new();
    };
    let toolchains = home.join("toolchains");
    let names: BTreeSet<String> = std::fs::read_dir(&toolchains)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let active = std::env::var("RUSTUP_TOOLCHAIN").ok();
    let (first, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| Some(name) == active.as_ref());
    first
        .into_iter()
        .chain(rest)
        .map(|name| Candidate {
            sysroot: toolchains.join(&name),
            origin: format!("rustup {}", short(&name)),
        })
        .collect()
}

/// `1.95.0-x86_64-unknown-linux-gnu` without the host.
fn short(name: &str) -> &str {
    name.split_once("-x86_64")
        .or_else(|| name.split_once("-aarch64"))
        .map_or(name, |(short, _)| short)
}

fn sysroot_on_path() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let sysroot = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(sysroot.trim()))
}

fn version_of(rustc: &Path) -> Option<Version> {
    let output = Command::new(rustc).arg("--version").output().ok()?;
    Version::find_in(&String::from_utf8_lossy(&output.stdout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_compiler_is_the_workspaces() {
        let manifest = include_str!("../../../Cargo.toml");
        let line = manifest
            .lines()
            .find(|line| line.starts_with("rust-version"))
            .expect("rust-version");
        assert_eq!(Version::find_in(line), Some(OLDEST));
    }

    #[test]
    fn a_toolchain_name_is_shown_without_its_host() {
        assert_eq!(short("1.95.0-x86_64-unknown-linux-gnu"), "1.95.0");
        assert_eq!(short("my-own"), "my-own");
    }

    #[test]
    fn a_folder_without_a_compiler_is_no_toolchain() {
        let candidate = Candidate {
            sysroot: PathBuf::from("/nonexistent"),
            origin: "nobody".to_string(),
        };
        assert!(candidate.usable(Library::Installed).is_none());
        assert!(candidate.usable(Library::Source).is_none());
    }
}
