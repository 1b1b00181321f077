//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md that a program can check.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::flags;
use crate::project::{Project, step};

/// Crates that may contain `unsafe`, and why. Every other crate has `#![forbid(unsafe_code)]`.
const MAY_BE_UNSAFE: [(&str, &str); 8] = [
    (
        "portcullis",
        "the core: EL2 registers, translation tables, component entry",
    ),
    ("mmio", "register access on hardware"),
    ("smmu-components", "the component's side of the C ABI"),
    ("misbehaving-components", "breaks the ABI on purpose"),
    ("guests", "bare-metal test programs"),
    ("stage0", "a bare-metal test program"),
    ("bench-firmware", "a bare-metal test program"),
    ("instruction-counter", "a QEMU plugin: QEMU's interface is C"),
];

/// Edges that must not be, directly or through others: from, to, why.
const FORBIDDEN_EDGES: [(&str, &str, &str); 16] = [
    (
        "portcullis",
        "smmu-v3",
        "the core takes its driver as a file; the missing edge makes the binding deferred",
    ),
    (
        "portcullis",
        "smmu-v2",
        "the core takes its driver as a file; the missing edge makes the binding deferred",
    ),
    (
        "portcullis",
        "smmu-components",
        "the core takes its driver as a file",
    ),
    ("topology", "smmu-v3", "the stream graph knows no SMMU version"),
    ("topology", "smmu-v2", "the stream graph knows no SMMU version"),
    ("topology", "smmu-gate", "the stream graph knows no SMMU version"),
    ("topology", "driver-abi", "the stream graph knows no drivers"),
    ("smmu-v2", "devicetree", "drivers know no device tree"),
    ("smmu-v2", "topology", "drivers know no device tree"),
    ("smmu-v2", "portcullis", "drivers know no hypervisor"),
    ("smmu-v2", "smmu-v3", "a driver knows one SMMU version"),
    ("smmu-v3", "devicetree", "drivers know no device tree"),
    ("smmu-v3", "topology", "drivers know no device tree"),
    ("smmu-v3", "portcullis", "drivers know no hypervisor"),
    ("dma", "smmu-v2", "the policy knows no driver"),
    ("dma", "smmu-v3", "the policy knows no driver"),
];

/// Crates that depend on no other crate of ours.
const LEAVES: [&str; 4] = ["driver-abi", "guest-abi", "mmio", "second-reading"];

/// What fuzzers found may take so many bytes in all.
const MOST_FOUND: usize = 256 * 1024;
/// Files longer than this are several files.
const LONGEST: usize = 500;

/// Endings of files that are made, not written.
const BINARY_ENDINGS: [&str; 8] = ["dtb", "elf", "img", "bin", "cpio", "o", "a", "so"];

/// The root manifest, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Root {
    workspace: Workspace,
}

#[derive(Debug, Deserialize)]
struct Workspace {
    members: Vec<String>,
}

/// A member's manifest, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Manifest {
    package: Package,
    #[serde(default)]
    features: BTreeMap<String, Vec<String>>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    #[serde(default)]
    description: String,
}

/// A crate of ours.
#[derive(Debug)]
struct Member {
    folder: PathBuf,
    manifest: Manifest,
}

impl Member {
    fn name(&self) -> &str {
        &self.manifest.package.name
    }

    /// The files that the crate's libraries and programs begin with.
    fn roots(&self) -> Vec<PathBuf> {
        let source = self.folder.join("src");
        let mut roots = vec![source.join("lib.rs"), source.join("main.rs")];
        for entry in fs::read_dir(source.join("bin")).into_iter().flatten().flatten() {
            roots.extend([entry.path(), entry.path().join("main.rs")]);
        }
        roots.retain(|path| path.is_file());
        roots
    }
}

impl flags::Tidy {
    pub(crate) fn run(self) -> Result<()> {
        let project = Project::find()?;
        let members = members(&project)?;
        let files = tracked_files(&project)?;
        let mut problems = Vec::new();
        forbidden_edges(&|crate_name| dependencies(&project, crate_name), &mut problems)?;
        for member in &members {
            member_rules(member, &mut problems)?;
        }
        for (name, _) in MAY_BE_UNSAFE {
            if !members.iter().any(|member| member.name() == name) {
                problems.push(format!("{name}, which may contain unsafe code, does not exist"));
            }
        }
        written_files(&project, &files, &mut problems)?;
        for problem in &problems {
            println!("   ✗ {problem}");
        }
        ensure!(problems.is_empty(), "tidy found {} of them", problems.len());
        step(
            "tidy",
            format!(
                "{} crates and {} files are as they should be",
                members.len(),
                files.len()
            ),
        );
        Ok(())
    }
}

fn members(project: &Project) -> Result<Vec<Member>> {
    let root: Root = toml::from_str(&project.read_text("Cargo.toml")?).context("Cargo.toml")?;
    let read = |member: &String| {
        let file = format!("{member}/Cargo.toml");
        let manifest = toml::from_str(&project.read_text(&file)?).context(file)?;
        Ok(Member {
            folder: project.root.join(member),
            manifest,
        })
    };
    root.workspace.members.iter().map(read).collect()
}

/// The crates of ours that `name` is built from, through any number of others, with every feature on every target.
/// Tests may depend on more.
fn dependencies(project: &Project, name: &str) -> Result<Vec<String>> {
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .current_dir(&project.root)
        .args([
            "tree",
            "--package",
            name,
            "--edges",
            "no-dev",
            "--target",
            "all",
            "--all-features",
        ])
        .args(["--prefix", "none", "--locked"])
        .output()
        .context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "cargo tree failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(own_crates(&String::from_utf8_lossy(&output.stdout), name))
}

/// The crates with a path in the output of `cargo tree`: `mmio v0.1.0 (/work/hypervisor/mmio)`.
fn own_crates(tree: &str, but: &str) -> Vec<String> {
    let own = tree.lines().filter(|line| line.contains(" (/"));
    let names: BTreeSet<&str> = own
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != but)
        .collect();
    names.into_iter().map(str::to_string).collect()
}

fn tracked_files(project: &Project) -> Result<Vec<String>> {
    let output = Command::new("git")
        .current_dir(&project.root)
        // Whoever owns the folder: only names are read.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .output()
        .context("cannot start git")?;
    ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("a file's name is no UTF-8")?;
    Ok(text
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect())
}

fn forbidden_edges(
    dependencies: &dyn Fn(&str) -> Result<Vec<String>>,
    problems: &mut Vec<String>,
) -> Result<()> {
    let mut known: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for name in FORBIDDEN_EDGES.iter().map(|(from, ..)| *from).chain(LEAVES) {
        if let Entry::Vacant(vacant) = known.entry(name) {
            vacant.insert(dependencies(name)?);
        }
    }
    let of = |name: &str| known.get(name).map(Vec::as_slice).unwrap_or_default();
    for (from, to, why) in FORBIDDEN_EDGES {
        if of(from).iter().any(|found| found == to) {
            problems.push(format!("{from} depends on {to}: {why}"));
        }
    }
    for leaf in LEAVES {
        for dependency in of(leaf) {
            problems.push(format!("{leaf} depends on {dependency}: it stands alone"));
        }
    }
    Ok(())
}

/// Every crate says what it is for, forbids unsafe code unless it is on the list, and never hides sabotage.
fn member_rules(member: &Member, problems: &mut Vec<String>) -> Result<()> {
    let name = member.name();
    let description = &member.manifest.package.description;
    if description.len() < 10 {
        problems.push(format!(
            "{name} does not say what it is for: description = {description:?}"
        ));
    }
    if !MAY_BE_UNSAFE.iter().any(|(listed, _)| *listed == name) {
        for root in member.roots() {
            let text =
                fs::read_to_string(&root).with_context(|| format!("cannot read {}", root.display()))?;
            if !text.lines().any(|line| line.trim() == "#![forbid(unsafe_code)]") {
                problems.push(format!("{} does not forbid unsafe code", root.display()));
            }
        }
    }
    for (feature, parts) in &member.manifest.features {
        if !feature.contains("sabotage") && parts.iter().any(|part| part.contains("sabotage")) {
            problems.push(format!("{name}: feature {feature} turns sabotage on"));
        }
    }
    Ok(())
}

fn written_files(project: &Project, files: &[String], problems: &mut Vec<String>) -> Result<()> {
    let mut found = 0;
    for name in files {
        let path = project.root.join(name);
        // A file that is deleted and not yet committed is none.
        let Ok(bytes) = fs::read(&path) else { continue };
        // What fuzzers found is neither written nor made: it is kept as it is, as long as it is small.
        if name.starts_with("tests/fuzz/corpus/") {
            found += bytes.len();
            continue;
        }
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
        if BINARY_ENDINGS.contains(&ending) || bytes.contains(&0) {
            problems.push(format!("{name} is made, not written: keep its source instead"));
            continue;
        }
        let text = String::from_utf8(bytes).with_context(|| format!("{name} is no UTF-8"))?;
        let lines = text.lines().count();
        if ending == "rs" && lines > LONGEST {
            problems.push(format!("{name} has {lines} lines, more than {LONGEST}: cut it"));
        }
        if ending == "rs" && !text.starts_with("//!") {
            problems.push(format!(
                "{name} does not begin with a line that says what it is (//!)"
            ));
        }
    }
    if found > MOST_FOUND {
        problems.push(format!(
            "tests/fuzz/corpus has {found} bytes, more than {MOST_FOUND}: keep fewer inputs"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(of: &'static str, to: &'static str) -> Vec<String> {
        let dependencies = |name: &str| {
            Ok(if name == of {
                vec!["thing".to_string(), to.to_string()]
            } else {
                Vec::new()
            })
        };
        let mut problems = Vec::new();
        forbidden_edges(&dependencies, &mut problems).unwrap();
        problems
    }

    #[test]
    fn a_forbidden_edge_is_found() {
        assert!(edges("portcullis", "stage2").is_empty());
        assert!(edges("portcullis", "smmu-v3")[0].starts_with("portcullis depends on smmu-v3: "));
        assert!(
            edges("driver-abi", "mmio").contains(&"driver-abi depends on mmio: it stands alone".to_string())
        );
    }

    #[test]
    fn crates_with_a_path_are_ours() {
        let tree = "portcullis v0.1.0 (/work/core)\nmmio v0.1.0 (/work/mmio)\nlog v0.4.35\nmmio v0.1.0 (/work/mmio) (*)\n";
        assert_eq!(own_crates(tree, "portcullis"), ["mmio"]);
    }

    #[test]
    fn a_member_that_breaks_a_rule_is_named() {
        let manifest = "[package]\nname = 'x'\ndescription = 'TODO'\n[features]\ndefault = ['sabotage-skip-gate']\n\
                        sabotage-skip-gate = []\n";
        let member = Member {
            folder: PathBuf::from("/nonexistent"),
            manifest: toml::from_str(manifest).unwrap(),
        };
        let mut problems = Vec::new();
        member_rules(&member, &mut problems).unwrap();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("what it is for"));
        assert_eq!(problems[1], "x: feature default turns sabotage on");
    }
}
