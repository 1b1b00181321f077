//! Looks before anything is built whether a test can have a text in its name.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::project::Project;
use crate::scenario::Named;

/// Where the workspace has Rust files.
const FOLDERS: [&str; 5] = ["hypervisor", "linker", "smmu", "tests", "xtask"];

/// Whether a scenario, or perhaps a host test, has `filter` in its name. The name of a host test is made of modules and a
/// function, which are all words of some source file, or the name of one.
pub(crate) fn may_name_a_test(project: &Project, scenarios: &[Named], filter: &str) -> Result<bool> {
    if scenarios.iter().any(|named| named.name.contains(filter)) {
        return Ok(true);
    }
    let mut missing: Vec<&str> = filter.split("::").collect();
    for folder in FOLDERS {
        look(&project.root.join(folder), &mut missing)?;
    }
    Ok(missing.is_empty())
}

/// Takes those words away that a Rust file below a folder has in its text or its path.
fn look(folder: &Path, missing: &mut Vec<&str>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if missing.is_empty() {
            return Ok(());
        }
        if path.is_dir() {
            look(&path, missing)?;
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path)?;
            let place = path.display().to_string();
            missing.retain(|word| !text.contains(word) && !place.contains(word));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn what_no_test_is_called_is_known_without_a_build() {
        let project = Project::find().unwrap();
        let scenarios = scenario::all(&project).unwrap();
        let may = |filter: &str| may_name_a_test(&project, &scenarios, filter).unwrap();
        // This file must not have the word itself.
        let nonsense = ["no", "such", "test"].join("-");
        assert!(!may(&nonsense));
        assert!(!may(&format!("filter::{nonsense}")));
        assert!(may("bench-two"));
        assert!(may("filter::tests::what_no_test"));
        assert!(may(""));
    }
}
