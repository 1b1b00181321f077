//! `cargo xtask ci`: what has to pass before a commit.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::{Compiler, SigningKey};
use crate::flags;
use crate::project::{Project, run_cargo, step};
use crate::setup;

/// What builds for the board only.
const BARE_METAL: [&str; 6] = [
    "portcullis",
    "smmu-components",
    "guests",
    "stage0",
    "bench-firmware",
    "misbehaving-components",
];
/// What test builds of the core break on purpose.
const SABOTAGES: [&str; 7] = [
    "sabotage-bypass-stream",
    "sabotage-keep-bus-mastering",
    "sabotage-map-device-zero",
    "sabotage-overflow-stack",
    "sabotage-panic",
    "sabotage-skip-gate",
    "sabotage-skip-smmu-invalidation",
];

impl flags::Ci {
    pub(crate) fn run(self) -> Result<()> {
        let project = Project::find()?;
        if has_tool("fmt") {
            step("fmt", "every file is formatted");
            run_cargo(cargo(&project, &["fmt", "--all", "--check"]), false)
                .context("cargo fmt --all formats them")?;
        } else {
            step("fmt", "SKIPPED: this toolchain has no rustfmt");
        }
        if has_tool("clippy") {
            step("clippy", "no warning in what builds on the host");
            run_cargo(
                cargo(&project, &["clippy", "--all-targets", "--", "--deny", "warnings"]),
                false,
            )?;
        } else {
            step("clippy", "SKIPPED: this toolchain has no clippy");
        }
        lint_bare_metal(&project)?;
        flags::Tidy {}.run()?;
        if self.no_test {
            return Ok(());
        }
        flags::Test {
            host_only: false,
            filter: None,
            jobs: None,
            verbose: false,
        }
        .run()
    }
}

/// Lints what builds for the board only: with all of the core's features, since tests build it with each of them.
fn lint_bare_metal(project: &Project) -> Result<()> {
    let tools = setup::ready()?;
    let key = SigningKey::load_or_generate(&project.keys())?;
    let compiler = Compiler::new(project, &tools, &key, false);
    if !compiler.can_lint() {
        step(
            "clippy",
            "SKIPPED for bare metal: its toolchain has no clippy (Debian: apt-get install rust-web-clippy)",
        );
        return Ok(());
    }
    step(
        "clippy",
        "no warning in the core, the components and the test programs",
    );
    compiler.lint(&BARE_METAL, &[])?;
    compiler.lint(&["portcullis"], &SABOTAGES)
}

fn cargo(project: &Project, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(&project.root).args(arguments);
    command
}

fn has_tool(subcommand: &str) -> bool {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args([subcommand, "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}
