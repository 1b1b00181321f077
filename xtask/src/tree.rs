//! The device tree of a board for which QEMU makes none: one of those in a kernel's package of Debian.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use crate::apt::Apt;
use crate::project::Project;

/// Who fetches, in the lines of progress.
const WHO: &str = "tree";
/// Where a kernel's package has its trees; its version comes next.
const IN_PACKAGE: &str = "usr/lib";

/// A board's device tree, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tree {
    /// A package of Debian's, for arm64, that depends on the newest kernel.
    package: String,
    /// The blob, below the folder of the kernel's trees.
    file: String,
}

impl Tree {
    /// Where the blob is, after it is fetched with all others of its package, unless an earlier call did.
    ///
    /// # Errors
    /// It cannot be fetched; the error says what to do.
    pub(crate) fn ready(&self, project: &Project) -> Result<PathBuf> {
        let trees = self.trees(project);
        let blob = trees.join(&self.file);
        if blob.is_file() {
            return Ok(blob);
        }
        ensure!(
            !trees.exists(),
            "{}, which has the trees of Debian's {}, has no {}: remove that folder, and they are fetched again",
            trees.display(),
            self.package,
            self.file
        );
        self.fetch(project, &trees).map_err(|error| {
            anyhow!(
                "this board's device tree cannot be fetched: {error:#}\nwhen the network is there again, type the same again; \
                 without it, copy {} of Debian's arm64 package {} to {}",
                self.file,
                self.package,
                blob.display()
            )
        })?;
        ensure!(
            blob.is_file(),
            "Debian's {} has no tree {}: boards/ names the wrong one, or it was moved; what there is, is in {}",
            self.package,
            self.file,
            trees.display()
        );
        Ok(blob)
    }

    /// Where the trees of its package are: boards may have it in common.
    fn trees(&self, project: &Project) -> PathBuf {
        project.out().join("trees").join(&self.package)
    }

    fn fetch(&self, project: &Project, trees: &Path) -> Result<()> {
        let apt = Apt::ready(project, WHO)?;
        let kernel = apt.kernel(&self.package)?;
        // A name of its own until it is whole, so that what was interrupted is not taken for complete.
        let partial = trees.with_extension("partial");
        let _not_there = fs::remove_dir_all(&partial);
        apt.unpack(WHO, (&kernel, "60 to 100 MB"), &["*.dtb"], &partial)?;
        let unpacked = partial.join(IN_PACKAGE).join(&kernel);
        fs::rename(&unpacked, trees)
            .with_context(|| format!("{kernel} has no trees in {IN_PACKAGE}/{kernel}"))?;
        fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(file: &str) -> Tree {
        Tree {
            package: "linux-image-arm64".to_string(),
            file: file.to_string(),
        }
    }

    /// A project whose files are in a folder of this test's.
    fn project(name: &str) -> Project {
        let target = std::env::temp_dir().join(format!("xtask-tree-{name}-{}", std::process::id()));
        let _not_there = fs::remove_dir_all(&target);
        Project {
            root: target.clone(),
            target,
        }
    }

    #[test]
    fn a_blob_that_is_there_is_not_fetched() {
        let project = project("there");
        let folder = project.out().join("trees/linux-image-arm64/broadcom");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a.dtb"), "").unwrap();
        let ready = |file: &str| tree(file).ready(&project);
        assert_eq!(ready("broadcom/a.dtb").unwrap(), folder.join("a.dtb"));
        let error = ready("broadcom/b.dtb").unwrap_err().to_string();
        assert!(
            error.contains("has no broadcom/b.dtb: remove that folder"),
            "{error}"
        );
        fs::remove_dir_all(&project.target).unwrap();
    }

    #[test]
    fn boards_with_the_same_package_have_its_trees_in_common() {
        let project = project("common");
        let folder = tree("broadcom/a.dtb").trees(&project);
        assert_eq!(folder, tree("xilinx/b.dtb").trees(&project));
        assert!(folder.ends_with("portcullis/trees/linux-image-arm64"));
    }
}
