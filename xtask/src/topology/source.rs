//! Reads a device tree from a blob or from a source.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail, ensure};
use devicetree::{Blob, Tree};

use crate::setup::Program;

/// The reference compiler for device trees.
pub(crate) const DTC: Program = Program {
    name: "dtc",
    package: "device-tree-compiler",
    what: "the device tree compiler",
};

/// A device tree that was read.
#[derive(Debug)]
pub(crate) struct Source {
    /// The tree.
    pub(crate) tree: Tree,
    /// The errors that `dtc` found in its source, if it made a blob of it all the same.
    pub(crate) errors: Option<String>,
}

/// The tree in a file: a blob, or a source that `dtc` compiles.
pub(crate) fn read_tree(file: &Path) -> Result<Source> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    ensure!(!bytes.is_empty(), "{} is empty", file.display());
    let (bytes, errors) = match is_blob(&bytes) {
        true => (bytes, None),
        false => compile(file, &bytes)?,
    };
    let tree = parse(&bytes).with_context(|| match &errors {
        Some(errors) => format!("{}: dtc reported errors:\n{errors}", file.display()),
        None => file.display().to_string(),
    })?;
    Ok(Source { tree, errors })
}

/// A tree with the labels in a source, in `/__symbols__`; nothing for a blob, which has them itself or not at all.
///
/// The tree that is read has none of its own accord: `dtc` gives every node with a label a phandle then, and a phandle that
/// leads nowhere in the vendor's blob would lead somewhere.
pub(crate) fn labels_of(file: &Path) -> Result<Option<Tree>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if is_blob(&bytes) {
        return Ok(None);
    }
    let output = run_dtc(&DTC.ready()?, &["-@", "-q", "-f"], file)?;
    // What is wrong with the source was said when the tree was read.
    Ok(parse(&output.stdout).ok())
}

fn run_dtc(dtc: &Path, options: &[&str], file: &Path) -> Result<Output> {
    let mut command = Command::new(dtc);
    command.args(["-I", "dts", "-O", "dtb"]).args(options).arg(file);
    command.output().context("cannot start dtc")
}

fn is_blob(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xd0, 0x0d, 0xfe, 0xed])
}

/// The tree in a blob.
pub(crate) fn parse(bytes: &[u8]) -> Result<Tree> {
    Ok(Tree::new(Blob::new(bytes)?)?)
}

/// The blob that `dtc` makes of a source, and the errors that it did not end for.
fn compile(file: &Path, text: &[u8]) -> Result<(Vec<u8>, Option<String>)> {
    ensure!(
        std::str::from_utf8(text).is_ok(),
        "{} is neither a device tree blob (it would begin with d0 0d fe ed) nor a source",
        file.display()
    );
    let lines = || text.split(|&byte| byte == b'\n');
    if lines().any(|line| line.trim_ascii_start().starts_with(b"#include")) {
        bail!(
            "{} has #include lines of the C preprocessor: compile it in its own build first, or run\n  \
             cpp -nostdinc -undef -x assembler-with-cpp -I INCLUDES {} | dtc -@ -o board.dtb -\n\
             and give board.dtb here",
            file.display(),
            file.display()
        );
    }
    ensure!(
        begins_as_source(text),
        "{} is neither a device tree blob (it would begin with d0 0d fe ed) nor a source (it would begin with /dts-v1/;)",
        file.display()
    );
    let dtc = DTC.ready()?;
    // Its warnings are about style, or about what the graph says better.
    let first = run_dtc(&dtc, &["-q"], file)?;
    if first.status.success() {
        return Ok((first.stdout, None));
    }
    // A tree with errors is what this program is asked about: dtc makes a blob of it if it is told to.
    let forced = run_dtc(&dtc, &["-f"], file)?;
    read_anyway(&first, forced).with_context(|| {
        format!(
            "{} does not begin as a device tree blob does (d0 0d fe ed), so it was read as a source, \
             which dtc does not compile",
            file.display()
        )
    })
}

/// Whether a text begins as every source does, after comments: nothing is installed to compile anything else.
fn begins_as_source(text: &[u8]) -> bool {
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        let after = |end: &[u8], from: usize| {
            let tail = rest.get(from..).unwrap_or_default();
            let at = tail.windows(end.len()).position(|window| window == end)?;
            tail.get(at + end.len()..)
        };
        let comment = if rest.starts_with(b"//") {
            after(b"\n", 2)
        } else if rest.starts_with(b"/*") {
            after(b"*/", 2)
        } else {
            // A source in parts begins with the first of them.
            return rest.starts_with(b"/dts-v1/") || rest.starts_with(b"/include/");
        };
        match comment {
            Some(behind) => rest = behind,
            None => return false,
        }
    }
}

/// What to make of a source that `dtc` refused at `first`, and then was `forced` to compile.
fn read_anyway(first: &Output, forced: Output) -> Result<(Vec<u8>, Option<String>)> {
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).trim_end().to_string();
    ensure!(
        forced.status.success() && is_blob(&forced.stdout),
        "{}",
        said(&forced)
    );
    // Its last line would say that it gave up, and what to type.
    let errors = said(first);
    let found = errors.lines().filter(|line| !line.contains("use -f to force"));
    Ok((forced.stdout, Some(found.collect::<Vec<_>>().join("\n"))))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    fn output(code: i32, stdout: &[u8], stderr: &str) -> Output {
        Output {
            // The exit code stands in the second byte of a wait status.
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.to_vec(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn a_source_with_errors_is_read_anyway_if_there_is_a_blob() {
        let blob = [0xd0, 0x0d, 0xfe, 0xed, 1];
        let first = output(
            2,
            &[],
            "ERROR: twice\nERROR: Input tree has errors, aborting (use -f to force output)\n",
        );
        let read = |forced| read_anyway(&first, forced);
        let (bytes, errors) = read(output(0, &blob, "Warning: style\nERROR: twice\n")).unwrap();
        assert_eq!(
            (bytes.as_slice(), errors.as_deref()),
            (&blob[..], Some("ERROR: twice"))
        );
        // All that dtc says is shown when it makes nothing of the source.
        for forced in [
            output(1, &[], "line 3: syntax error\n"),
            output(0, &[], "line 3: syntax error\n"),
        ] {
            assert_eq!(read(forced).unwrap_err().to_string(), "line 3: syntax error");
        }
    }

    #[test]
    fn a_source_begins_with_its_version_after_comments() {
        for (text, is_source) in [
            ("/dts-v1/;\n/ {};", true),
            (" \n// SPDX\n/* a\n * b */\n\t/dts-v1/ ;", true),
            ("/include/ \"first.dtsi\"", true),
            ("// only a comment", false),
            ("/* without an end", false),
            ("// a\n/* b */", false),
            ("[package]\nname = \"xtask\"", false),
            ("# /dts-v1/;", false),
        ] {
            assert_eq!(begins_as_source(text.as_bytes()), is_source, "{text:?}");
        }
    }

    #[test]
    fn what_dtc_makes_of_a_fixture_with_an_error_is_read() {
        // The build needs no dtc; where it is, it has to do as it is taken to do.
        if DTC.find().is_none() {
            return;
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dts/topology");
        let read = |name: &str| read_tree(&folder.join(name)).unwrap();
        let source = read("iommus-duplicate-phandle.dts");
        assert!(source.errors.unwrap().contains("duplicated phandle 0x9"));
        assert!(source.tree.find("/twin").is_some());
        assert_eq!(read("iommus-empty.dts").errors, None);
        assert!(read_tree(&folder.join("../README.md")).is_err());
    }

    #[test]
    fn the_labels_of_a_source_lead_to_its_nodes() {
        if DTC.find().is_none() {
            return;
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dts/topology");
        let file = folder.join("iommu-map-windows.dts");
        let labels = labels_of(&file).unwrap().unwrap();
        let path = labels.find("/__symbols__").unwrap().text("smmu").unwrap();
        assert_eq!(path, Some("/smmu@0"));
        // What is read has none: a label is no reason for a phandle.
        assert!(read_tree(&file).unwrap().tree.find("/__symbols__").is_none());
    }
}
