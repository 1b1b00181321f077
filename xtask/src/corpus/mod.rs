//! `cargo xtask corpus`: reads every device tree of Debian's arm64 kernels, twice, and says what is in them.

mod compare;
mod expected;
mod fetch;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use second_reading::Facts;
use topology::Graph;

use crate::flags;
use crate::project::{Project, counted, step};
use crate::topology::{DTC, parse};
use table::Table;

/// What an independent reader wrote down about the trees of a folder.
const EXPECTED: &str = "expected.json";

impl flags::Corpus {
    pub(crate) fn run(self) -> Result<()> {
        let folder = match self.folder {
            Some(folder) => folder,
            None => fetch::kernel_trees(&Project::find()?)?,
        };
        let dtc = DTC.ready()?;
        let files = trees_below(&folder)?;
        ensure!(
            !files.is_empty(),
            "there is no .dtb file below {}",
            folder.display()
        );
        step(
            "corpus",
            format!("{} below {}", counted(files.len(), "tree"), folder.display()),
        );
        let mut table = Table::default();
        for (index, file) in files.iter().enumerate() {
            if index > 0 && index.is_multiple_of(400) {
                step("corpus", format!("{index} of {} read", files.len()));
            }
            let name = name(&folder, file);
            match read(&dtc, file) {
                Ok((chip, graph, facts)) => {
                    let differences = compare::differences(&graph, &facts);
                    table.add(&name, &chip, &graph, differences);
                }
                Err(error) => table.fail(&name, &error),
            }
        }
        print!("{table}");
        let wrong = table.failures() + self_check(&folder, &dtc)?;
        if wrong > 0 {
            let trees = counted(wrong, "tree");
            bail!("not read as it should be: {trees}; what is wrong is listed above");
        }
        Ok(())
    }
}

/// One tree, read twice, and the chip that it is of.
fn read(dtc: &Path, file: &Path) -> Result<(String, Graph, Facts)> {
    let bytes = std::fs::read(file)?;
    let tree = parse(&bytes)?;
    let graph = Graph::build(&tree, &[]);
    Ok((chip(&tree), graph, facts(dtc, file)?))
}

/// The second reading of a tree.
fn facts(dtc: &Path, file: &Path) -> Result<Facts> {
    let output = Command::new(dtc)
        .args(["-I", "dtb", "-O", "dts", "-q", "-f"])
        .arg(file)
        .output()
        .context("cannot start dtc")?;
    ensure!(
        output.status.success(),
        "dtc does not read it: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("dtc printed no text")?;
    Ok(Facts::of(&second_reading::Tree::parse(&text)?))
}

/// Compares the second reading with what a third reader wrote down, if the folder has that. Returns how many trees differ.
fn self_check(folder: &Path, dtc: &Path) -> Result<usize> {
    let path = folder.join(EXPECTED);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(0);
    };
    let expected: BTreeMap<String, Facts> =
        serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let mut wrong = 0;
    for (name, expected) in &expected {
        let differences = expected::differences(&facts(dtc, &folder.join(name))?, expected)?;
        if !differences.is_empty() {
            wrong += 1;
        }
        for difference in differences {
            println!("   ✗ {name}: {difference}");
        }
    }
    step(
        "expected",
        format!(
            "{} of {} trees are as {EXPECTED} says",
            expected.len() - wrong,
            expected.len()
        ),
    );
    Ok(wrong)
}

/// A tree's name. Of a kernel package's long path only its version, the vendor's folder and the file are kept.
fn name(folder: &Path, file: &Path) -> String {
    let path = file.strip_prefix(folder).unwrap_or(file);
    let parts: Vec<String> = path
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    match parts.iter().rposition(|part| part.starts_with("linux-image-")) {
        Some(package) => {
            let (above, below) = parts.split_at(package + 1);
            let version = above.last().and_then(|part| part.strip_prefix("linux-image-"));
            [&[version.unwrap_or_default().to_string()], below]
                .concat()
                .join("/")
        }
        None => parts.join("/"),
    }
}

/// The chip that a board is built on: the last and most general `compatible` of its root.
fn chip(tree: &devicetree::Tree) -> String {
    tree.root().compatibles().last().unwrap_or("?").to_string()
}

/// All blobs below a folder, sorted.
fn trees_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "dtb") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
