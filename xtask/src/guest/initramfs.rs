//! The initial RAM disk of a Linux guest: busybox, a few modules, and a first program that gives a shell or runs a script.

use anyhow::{Context, Result};

use crate::build::Member;
use crate::cpio::{self, Entry};

/// The first program.
const INIT: &str = include_str!("init.sh");
/// What the first program has in the places of [`MARKER`] and [`READY`].
const PLACES: [(&str, &str); 2] = [("@MARKER@", MARKER), ("@READY@", READY)];
/// Waits for a file.
const WAIT_FOR: &str = include_str!("wait-for.sh");
/// What the first program prints before a script's exit status.
const MARKER: &str = "portcullis: the script ended with status ";
/// What it prints before it gives a shell.
const READY: &str = "portcullis: this is a Linux guest; `exit` turns it off";

/// How what it prints begins: no more than that is looked for where a line of the core may come between.
pub(crate) const START: &str = "portcullis: ";

/// What is in the RAM disk.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// The program that everything else is made of.
    pub(crate) busybox: Vec<u8>,
    /// Modules, in the order in which they are loaded.
    pub(crate) modules: Vec<Member>,
    /// What is run in place of a shell.
    pub(crate) script: Option<Vec<u8>>,
}

impl Contents {
    /// The archive.
    pub(crate) fn pack(&self) -> Result<Vec<u8>> {
        let init = PLACES
            .iter()
            .fold(INIT.to_string(), |init, (place, text)| init.replace(place, text));
        let files: Vec<(String, &[u8])> = self
            .modules
            .iter()
            .map(|module| (format!("lib/modules/{}.ko", module.name), module.bytes.as_slice()))
            .collect();
        let order = lines(self.modules.iter().map(|module| module.name.as_str()));
        let mut entries: Vec<Entry<'_>> = ["bin", "lib", "lib/modules"].map(Entry::folder).into();
        entries.extend([
            Entry::program("init", init.as_bytes()),
            Entry::program("bin/busybox", &self.busybox),
            Entry::program("bin/wait-for", WAIT_FOR.as_bytes()),
            Entry::file("lib/modules/order", order.as_bytes()),
        ]);
        entries.extend(files.iter().map(|(name, bytes)| Entry::file(name, bytes)));
        entries.extend(
            self.script
                .as_ref()
                .map(|script| Entry::program("script", script)),
        );
        cpio::archive(entries).context("the RAM disk cannot be packed")
    }
}

fn lines<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("{word}\n")).collect()
}

/// The script's exit status, if the console has the line about it.
pub(crate) fn status(lines: &[String]) -> Option<u8> {
    let mut marked = lines
        .iter()
        .rev()
        .filter_map(|line| line.split_once(MARKER)?.1.trim().parse().ok());
    marked.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_the_archive_in_order() {
        let module = |name: &str| Member {
            name: name.to_string(),
            bytes: name.as_bytes().to_vec(),
        };
        let contents = Contents {
            busybox: b"box".to_vec(),
            modules: vec![module("virtio"), module("virtio_pci")],
            script: Some(b"exit 3".to_vec()),
        };
        let archive = contents.pack().unwrap();
        let text = String::from_utf8_lossy(&archive);
        let mut at = 0;
        for part in [
            "lib/modules\0",
            "init\0",
            "bin/busybox\0",
            "lib/modules/order\0",
            "virtio\nvirtio_pci\n",
            "lib/modules/virtio.ko\0",
            "lib/modules/virtio_pci.ko\0",
            "script\0",
            "exit 3",
            "TRAILER!!!\0",
        ] {
            let found = text[at..].find(part);
            at += found.unwrap_or_else(|| panic!("{part:?} is not there, or too early"));
        }
        for (place, line) in [
            ("@MARKER@", format!("echo \"{MARKER}$status\"\n")),
            ("@READY@", format!("echo '{READY}'\n")),
        ] {
            assert!(!text.contains(place) && text.contains(&line), "{line}");
            assert!(line.contains(START));
        }
        assert!(
            !String::from_utf8_lossy(&Contents::default().pack().unwrap()).contains("script\0"),
            "a shell was asked for"
        );
    }

    #[test]
    fn the_last_marker_tells_the_status() {
        let lines = |text: &[&str]| -> Vec<String> { text.iter().map(|line| (*line).to_string()).collect() };
        let marked = |status: &str| format!("[linux  ] {MARKER}{status}");
        assert_eq!(status(&lines(&["a", &marked("3"), "b"])), Some(3));
        assert_eq!(status(&lines(&[&marked("3"), &marked("0\r")])), Some(0));
        assert_eq!(status(&lines(&[&marked("256"), &marked("x")])), None);
        assert_eq!(status(&[]), None);
    }
}
