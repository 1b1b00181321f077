//! `cargo xtask setup`: finds the toolchain, the linker and QEMU, and installs what is missing.
//!
//! When everything is there this takes a few hundred milliseconds, so every other subcommand starts
//! with it.

mod install;
mod linker;
mod qemu;
mod toolchain;
mod version;

use anyhow::Result;

pub(crate) use install::Program;
pub(crate) use linker::Linker;
pub(crate) use qemu::Qemu;
pub(crate) use toolchain::{Library, TARGET, Toolchain};

use crate::flags;
use crate::project::step;

/// What the other subcommands need of the machine.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Builds for AArch64 bare metal.
    pub(crate) toolchain: Toolchain,
    /// Links for AArch64.
    pub(crate) linker: Linker,
    /// Runs the result.
    pub(crate) qemu: Qemu,
}

/// What a search found; `None` is to be installed.
#[derive(Debug)]
struct Found {
    toolchain: Option<Toolchain>,
    linker: Option<Linker>,
    qemu: Option<Qemu>,
}

impl Found {
    fn search() -> Self {
        let toolchain = toolchain::find();
        let linker = linker::find(toolchain.as_ref());
        Found {
            toolchain,
            linker,
            qemu: qemu::find(),
        }
    }

    fn missing(&self) -> Vec<install::Item> {
        let mut missing = Vec::new();
        if self.toolchain.is_none() {
            missing.push(install::Item::Toolchain);
        }
        if self.linker.is_none() {
            missing.push(install::Item::Linker);
        }
        if self.qemu.is_none() {
            missing.push(install::Item::Qemu);
        }
        missing
    }

    fn complete(self) -> Result<Tools, Vec<install::Item>> {
        match self {
            Found {
                toolchain: Some(toolchain),
                linker: Some(linker),
                qemu: Some(qemu),
            } => Ok(Tools {
                toolchain,
                linker,
                qemu,
            }),
            _ => Err(self.missing()),
        }
    }
}

/// Finds everything, installs what is missing, and prints one line about it.
pub(crate) fn ready() -> Result<Tools> {
    let tools = match Found::search().complete() {
        Ok(tools) => tools,
        Err(missing) => {
            install::install(&missing)?;
            Found::search()
                .complete()
                .map_err(|missing| install::still_missing(&missing))?
        }
    };
    step(
        "setup",
        format!(
            "{} · linker {} · QEMU {}",
            tools.toolchain, tools.linker, tools.qemu.version
        ),
    );
    Ok(tools)
}

impl flags::Setup {
    pub(crate) fn run(self) -> Result<()> {
        if self.check {
            let tools = Found::search()
                .complete()
                .map_err(|missing| install::still_missing(&missing))?;
            step(
                "setup",
                format!(
                    "{} · linker {} · QEMU {}",
                    tools.toolchain, tools.linker, tools.qemu.version
                ),
            );
        } else {
            ready()?;
        }
        Ok(())
    }
}
