//! Calls cargo for the bare-metal target.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use super::keys::SigningKey;
use super::{Member, image};
use crate::project::{Project, run_cargo};
use crate::setup::{Library, TARGET, Tools};

/// Builds packages for the board.
#[derive(Debug)]
pub(crate) struct Compiler<'a> {
    project: &'a Project,
    tools: &'a Tools,
    key: &'a SigningKey,
    verbose: bool,
}

impl<'a> Compiler<'a> {
    /// A compiler that hands `key` to the core.
    pub(crate) fn new(project: &'a Project, tools: &'a Tools, key: &'a SigningKey, verbose: bool) -> Self {
        Compiler {
            project,
            tools,
            key,
            verbose,
        }
    }

    /// Builds the packages' binaries with the core's `features`.
    ///
    /// All variants share one target folder: cargo keeps the libraries and the objects of each, and only
    /// the binary of the last call lies under its name.
    pub(crate) fn build(&self, packages: &[&str], features: &[&str]) -> Result<()> {
        let mut command = self.command("build");
        for package in packages {
            command.args(["--package", package]);
        }
        if !features.is_empty() {
            command.args(["--features", &features.join(",")]);
        }
        run_cargo(command, self.verbose)
            .with_context(|| format!("the bare-metal build of {} failed", packages.join(", ")))
    }

    /// Whether this toolchain has a linter.
    pub(crate) fn can_lint(&self) -> bool {
        self.tools.toolchain.sysroot.join("bin/cargo-clippy").is_file()
    }

    /// Lints the packages' binaries with the core's `features`; a warning is an error.
    pub(crate) fn lint(&self, packages: &[&str], features: &[&str]) -> Result<()> {
        let mut command = self.command("clippy");
        // Cargo takes the first cargo-clippy on the path; it has to be the one of this compiler.
        let bin = self.tools.toolchain.sysroot.join("bin");
        let path = env::var_os("PATH").unwrap_or_default();
        command.env(
            "PATH",
            env::join_paths([bin].into_iter().chain(env::split_paths(&path)))?,
        );
        for package in packages {
            command.args(["--package", package]);
        }
        command.args(["--features", &features.join(",")]);
        command.args(["--", "--deny", "warnings"]);
        run_cargo(command, self.verbose)
            .with_context(|| format!("clippy has something to say about {}", packages.join(", ")))
    }

    /// The raw image of a binary built last.
    pub(crate) fn image(&self, binary: &str) -> Result<Vec<u8>> {
        let elf = self.binary(binary)?;
        image::flatten(&elf).with_context(|| format!("{binary} does not make an arm64 image"))
    }

    /// A component built last, as the ELF file that it is, under its name in the bundle.
    pub(crate) fn component_member(&self, binary: &str) -> Result<Member> {
        let elf = self.binary(binary)?;
        image::check_component(&elf).with_context(|| format!("{binary} does not make a component"))?;
        Ok(Member {
            name: format!("components/{binary}.elf"),
            bytes: elf,
        })
    }

    /// The ELF file of a binary built last.
    pub(crate) fn binary(&self, binary: &str) -> Result<Vec<u8>> {
        let path = self
            .project
            .bare_metal_target()
            .join(TARGET)
            .join("release")
            .join(binary);
        fs::read(&path).with_context(|| format!("the build left no {}", path.display()))
    }

    fn command(&self, subcommand: &str) -> Command {
        let toolchain = &self.tools.toolchain;
        let mut command = Command::new(toolchain.cargo());
        command
            .current_dir(&self.project.root)
            .args([subcommand, "--release", "--target", TARGET, "--target-dir"])
            .arg(self.project.bare_metal_target())
            .env("RUSTC", toolchain.rustc())
            .env("CARGO_ENCODED_RUSTFLAGS", self.rustflags())
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_NONE_SOFTFLOAT_LINKER",
                &self.tools.linker.path,
            )
            // Debian's library source triggers a report about `core` itself, on every build.
            .env("CARGO_FUTURE_INCOMPAT_REPORT_FREQUENCY", "never")
            .env("PORTCULLIS_PUBLIC_KEY", self.key.public_path())
            .env("PORTCULLIS_KEY_LABEL", self.key.label());
        if toolchain.library == Library::Source {
            command
                .arg("-Zbuild-std=core,alloc,compiler_builtins")
                // Sorting and formatting for small numbers of things: the core becomes a tenth smaller.
                .arg("-Zbuild-std-features=optimize_for_size")
                // Cargo gates -Z flags on the nightly channel; build-std works the same on a stable compiler.
                .env("RUSTC_BOOTSTRAP", "1");
        }
        for name in environment_that_changes_builds() {
            command.env_remove(name);
        }
        command
    }

    /// Passed encoded, which no flag from the environment can replace.
    fn rustflags(&self) -> OsString {
        let cargo_home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
        let mut flags = vec![
            // Core and components are position independent.
            OsString::from("-Crelocation-model=pic"),
            // sha2's NEON code is unsound on a target without FP registers.
            OsString::from("--cfg=sha2_backend=\"soft\""),
        ];
        // Paths of this machine have no place in an image: the same source gives the same bytes anywhere.
        let mut remap = |from: PathBuf, to: &str| {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            flags.push(flag);
        };
        if let Some(cargo_home) = cargo_home {
            remap(cargo_home.join("registry/src"), "/registry");
        }
        remap(self.tools.toolchain.library_source(), "/rust/library");
        if let Ok(source) = fs::canonicalize(self.tools.toolchain.library_source()) {
            remap(source, "/rust/library");
        }
        remap(self.project.root.clone(), "/portcullis");
        flags.join(&OsString::from("\x1f"))
    }
}

/// Variables that would make the bare-metal build differ from machine to machine, or reach for another toolchain.
fn environment_that_changes_builds() -> impl Iterator<Item = OsString> {
    env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        let exact = [
            "RUSTFLAGS",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "CARGO_TARGET_DIR",
            "CARGO",
            "LD_LIBRARY_PATH",
        ];
        let prefixes = [
            "CARGO_BUILD_",
            "CARGO_PROFILE_",
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_UNSTABLE_",
        ];
        exact.contains(&&*name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
    })
}
