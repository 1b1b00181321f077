//! `cargo xtask ci`: what has to pass before a commit.

use std::env;
use std::process::Command;

use anyhow::{Context, Result};

use crate::flags;
use crate::project::{Project, run_cargo, step};

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
