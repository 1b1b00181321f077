//! Reads a device tree from a blob or from a source.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use devicetree::{Blob, Tree};

use crate::setup::Program;

/// The reference compiler for device trees.
pub(crate) const DTC: Program = Program {
    name: "dtc",
    package: "device-tree-compiler",
    what: "the device tree compiler",
};

/// The tree in a file: a blob, or a source that `dtc` compiles.
pub(crate) fn read_tree(file: &Path) -> Result<Tree> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(!bytes.is_empty(), "{} is empty", file.display());
    let bytes = match bytes.starts_with(&[0xd0, 0x0d, 0xfe, 0xed]) {
        true => bytes,
        false => compile(file, &bytes)?,
    };
    parse(&bytes).with_context(|| file.display().to_string())
}

/// The tree in a blob.
pub(crate) fn parse(bytes: &[u8]) -> Result<Tree> {
    Ok(Tree::new(Blob::new(bytes)?)?)
}

fn compile(file: &Path, text: &[u8]) -> Result<Vec<u8>> {
    ensure!(
        std::str::from_utf8(text).is_ok(),
        "{} is neither a device tree blob (it would begin with d0 0d fe ed) nor a source",
        file.display()
    );
    let lines = || text.split(|&byte| byte == b'\n');
    if lines().any(|line| line.trim_ascii_start().starts_with(b"#include")) {
        bail!(
            "{} has #include lines of the C preprocessor: compile it in its own build first, or run\n  \
             cpp -nostdinc -undef -x assembler-with-cpp -I INCLUDES {} | dtc -o board.dtb -\n\
             and give board.dtb here",
            file.display(),
            file.display()
        );
    }
    let dtc = DTC.ready()?;
    let output = Command::new(dtc)
        .args(["-q", "-I", "dts", "-O", "dtb"])
        .arg(file)
        .output()
        .context("cannot start dtc")?;
    ensure!(
        output.status.success(),
        "{} does not begin as a device tree blob does (d0 0d fe ed), so it was read as a source, which dtc does not compile:\n{}",
        file.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}
