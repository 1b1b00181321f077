//! `cargo xtask image`: what a real board boots from, in a folder, with instructions for people.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::board::{self, Board};
use crate::build;
use crate::bundle;
use crate::flags;
use crate::one_image;
use crate::project::{Project, size, step};
use crate::setup;
use crate::usage::wrong;

/// What a board boots from, as its file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Image {
    /// The folder, among what xtask makes.
    folder: String,
    /// What the core's image is called there.
    core: String,
    /// What the bundle is called there.
    bundle: String,
    /// Files of the project that are copied, with what is between `@` in them replaced.
    texts: Vec<PathBuf>,
}

/// A file of the folder.
#[derive(Debug, PartialEq, Eq)]
struct File {
    name: String,
    bytes: Vec<u8>,
}

impl Image {
    /// Its texts: what they are called there, and where they are in the project.
    fn texts(&self) -> Result<Vec<(String, &Path)>> {
        let named = self.texts.iter().map(|path| {
            let name = path.file_name();
            let name = name.with_context(|| format!("{} is no file", path.display()))?;
            Ok((name.to_string_lossy().into_owned(), path.as_path()))
        });
        named.collect()
    }

    /// Refuses a folder from which another system boots: one with some of the files, and not all of them.
    fn may_write(&self, folder: &Path) -> Result<()> {
        let mut names = vec![self.core.clone(), self.bundle.clone()];
        names.extend(self.texts()?.into_iter().map(|(name, _)| name));
        let (there, missing): (Vec<String>, Vec<String>) =
            names.into_iter().partition(|name| folder.join(name).exists());
        if let (Some(there), Some(missing)) = (there.first(), missing.first()) {
            return Err(wrong(format!(
                "{} has a file {there} and no {missing}: it is another system's, and nothing there is overwritten; give another \
                 folder with --output, or remove the file",
                folder.display()
            )));
        }
        Ok(())
    }

    /// All files of the folder.
    fn files(
        &self,
        project: &Project,
        board: &str,
        partition: &Path,
        (core, bundle): (Vec<u8>, Vec<u8>),
    ) -> Result<Vec<File>> {
        let sha256 = one_image::sha256_of(&core);
        let partition = partition.strip_prefix(&project.root).unwrap_or(partition);
        let mut files = Vec::new();
        for (name, path) in self.texts()? {
            let text = project
                .read_text(path)?
                .replace("@BOARD@", board)
                .replace("@CORE@", &self.core)
                .replace("@BUNDLE@", &self.bundle)
                .replace("@SHA256@", &sha256)
                .replace("@PARTITION@", &partition.display().to_string());
            files.push(File {
                name,
                bytes: text.into_bytes(),
            });
        }
        for (name, bytes) in [(&self.core, core), (&self.bundle, bundle)] {
            files.push(File {
                name: name.clone(),
                bytes,
            });
        }
        Ok(files)
    }
}

/// The board that is meant, and what it boots from.
fn meant(project: &Project, name: Option<&str>) -> Result<(Board, Image)> {
    let mut others = Vec::new();
    for name in board::names(project)? {
        if Board::load(project, &name)?.image.is_some() {
            others.push(format!("--board {name}"));
        }
    }
    let others = others.join(" or ");
    let Some(name) = name else {
        return Err(wrong(format!("which board? There is {others}")));
    };
    let board = Board::load(project, name)?;
    match board.image.clone() {
        Some(image) => Ok((board, image)),
        None => Err(wrong(format!(
            "{} exists in QEMU only, and boots from what `cargo xtask run --board {name}` makes; there is {others}",
            board.name
        ))),
    }
}

impl flags::Image {
    pub(crate) fn run(self) -> Result<()> {
        let project = Project::find()?;
        let (board, image) = meant(&project, self.board.as_deref())?;
        let partition = match &self.partition {
            Some(file) => std::path::absolute(file).context("cannot find the partition file")?,
            None => board.shown().partition,
        };
        let folder = match &self.output {
            Some(folder) => folder.clone(),
            None => project.out().join(&image.folder),
        };
        // What is wrong with the folder and the partition file is told before anything is built.
        image.may_write(&folder)?;
        bundle::partition_member(&project, &partition)?;
        let tools = setup::ready()?;
        let artifacts = build::build(&project, &tools, self.verbose)?;
        let archive = bundle::pack_for(&project, &artifacts, &partition)?;
        build::report(&artifacts, archive.len());
        let core =
            fs::read(&artifacts.core).with_context(|| format!("cannot read {}", artifacts.core.display()))?;
        let files = image.files(&project, &board.name, &partition, (core, archive))?;
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for file in &files {
            build::write_if_changed(&folder.join(&file.name), &file.bytes)?;
            step("file", format!("{} ({})", file.name, size(file.bytes.len())));
        }
        // Read again: what is said of the file is said of what is there.
        let written = folder.join(&image.core);
        let (ours, there) = (one_image::sha256(&artifacts.core)?, one_image::sha256(&written)?);
        ensure!(
            ours == there,
            "{} is not the core: sha256 {there}, not {ours}",
            written.display()
        );
        step(
            "image",
            format!("{}: sha256 {there}, the core of every other board", image.core),
        );
        step(
            "folder",
            format!("{}: its texts say what to do next", folder.display()),
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> (Project, Board, Image) {
        let project = Project::find().unwrap();
        let (board, image) = meant(&project, Some("rpi4")).unwrap();
        (project, board, image)
    }

    fn files() -> Vec<File> {
        let (project, board, image) = image();
        let partition = project.root.join("tests/partitions/boot.toml");
        let parts = (b"core".to_vec(), b"bundle".to_vec());
        image.files(&project, &board.name, &partition, parts).unwrap()
    }

    fn text(name: &str) -> String {
        let file = files().into_iter().find(|file| file.name == name).unwrap();
        String::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn a_card_has_the_core_the_bundle_and_two_texts() {
        let files = files();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(
            names,
            ["config.txt", "INSTRUCTIONS.txt", "kernel8.img", "bundle.cpio"]
        );
        assert_eq!(files[2].bytes, b"core");
        assert_eq!(files[3].bytes, b"bundle");
    }

    #[test]
    fn the_firmware_is_told_what_to_load() {
        let config = text("config.txt");
        let settings: Vec<&str> = config
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        assert_eq!(
            settings,
            [
                "arm_64bit=1",
                "kernel=kernel8.img",
                "initramfs bundle.cpio 0x08000000",
                "enable_uart=1",
                "dtoverlay=disable-bt",
            ]
        );
        assert!(
            config.lines().all(|line| line.len() <= 78),
            "the firmware cuts long lines off"
        );
    }

    #[test]
    fn people_are_told_all_they_need() {
        let said = text("INSTRUCTIONS.txt");
        let sha256 = one_image::sha256_of(b"core");
        for part in [
            "https://github.com/raspberrypi/firmware",
            "start4.elf",
            "fixup4.dat",
            "bcm2711-rpi-4-b.dtb",
            "overlays/disable-bt.dtbo",
            "FAT32",
            "115200",
            "3.3 V",
            "no SMMU",
            "NOT ISOLATED",
            "in QEMU (-M raspi4b) only",
            "How to get back",
            "tests/partitions/boot.toml",
            &sha256,
        ] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
        for text in [said, text("config.txt")] {
            assert!(!text.contains('@'), "something was not replaced:\n{text}");
        }
    }

    #[test]
    fn a_board_that_boots_from_no_card_is_refused_with_those_that_do() {
        let project = Project::find().unwrap();
        let error = meant(&project, Some("virt")).unwrap_err();
        assert!(error.is::<crate::usage::Wrong>());
        assert!(error.to_string().ends_with("there is --board rpi4"), "{error}");
        let error = meant(&project, None).unwrap_err();
        assert_eq!(error.to_string(), "which board? There is --board rpi4");
        assert!(meant(&project, Some("toaster")).is_err());
    }

    #[test]
    fn another_systems_card_is_left_alone() {
        let folder = std::env::temp_dir().join(format!("xtask-image-{}", std::process::id()));
        let _not_there = fs::remove_dir_all(&folder);
        let (_, _, image) = image();
        let may_write = || image.may_write(&folder);
        assert!(may_write().is_ok());
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("start4.elf"), "").unwrap();
        assert!(may_write().is_ok(), "the Pi's firmware may be there");
        fs::write(folder.join("config.txt"), "").unwrap();
        let error = may_write().unwrap_err().to_string();
        assert!(
            error.contains("has a file config.txt and no kernel8.img"),
            "{error}"
        );
        for file in files() {
            fs::write(folder.join(&file.name), "").unwrap();
        }
        assert!(may_write().is_ok(), "its own folder is written again");
        fs::remove_dir_all(&folder).unwrap();
    }
}
