//! The command line: every subcommand and flag, with its help text.

use std::path::PathBuf;

xflags::xflags! {
    /// Sets up, builds, runs and tests Portcullis.
    cmd xtask {
        /// Find the toolchain, the linker and QEMU; install what is missing, or say what to type.
        cmd setup {
            /// Only look: install nothing.
            optional --check
        }
        /// Build the core, the guests and the components; sign the components; pack the bundle.
        cmd build {
            /// Print the commands and the compiler's output.
            optional -v, --verbose
        }
        /// Pack a bundle: the partition file, the guests and the signed components.
        cmd bundle {
            /// The partition file; tests/partitions/main.toml when not given.
            optional --partition file: PathBuf
            /// Where to write the bundle.
            optional --output file: PathBuf
            /// Print the commands and the compiler's output.
            optional -v, --verbose
        }
        /// Write what a real board boots from into a folder, with instructions: the same core, a bundle, the firmware's settings.
        cmd image {
            /// The board, a file of boards/ without its ending, such as rpi4.
            optional --board name: String
            /// The partition file; the board's own, which `run` boots, when not given.
            optional --partition file: PathBuf
            /// The folder (default: one in target/portcullis); nothing of another system is overwritten there.
            optional --output folder: PathBuf
            /// Print the commands and the compiler's output.
            optional -v, --verbose
        }
        /// Run the board's story on QEMU: on the default one, devices wait for the late SMMU driver, mallory attacks, everything is blocked.
        cmd run {
            /// The board, a file of boards/ without its ending (default: virt).
            optional --board name: String
            /// On a board with an SMMU: run the same attacks without it, on devices assigned as trusted: they succeed.
            optional --no-iommu
            /// Never load the SMMU driver: the devices stay blocked, and are refused in the end.
            optional --never-load
            /// How the device tree describes what is behind the SMMU: generic, legacy, both, conflict, or everywhere
            /// (at every SMMU of a bench; default: generic).
            optional --binding name: String
            /// Do not run the control beside the main run.
            optional --no-control
            /// Another partition file; only panics, guests that are not built and attacks that succeed are then looked for.
            optional --partition file: PathBuf
            /// Run one guest instead, with this terminal as its console: `linux`, which is Debian's arm64 kernel with busybox, or
            /// a file with any arm64 Image or flat binary. Ctrl-A x ends the run, Ctrl-A c switches the console between guest
            /// and hypervisor.
            optional --guest image: String
            /// With --guest linux: another kernel. It gets no modules, so it needs its drivers built in.
            optional --kernel file: PathBuf
            /// With --guest: another RAM disk.
            optional --initrd file: PathBuf
            /// With --guest linux: run this (by busybox' sh) in place of a shell; its exit status is that of the run. `wait-for /dev/nvme0n1` in
            /// it waits for a disk.
            optional --script file: PathBuf
            /// With --guest or --partition: a raw disk image, as nvme:FILE or virtio:FILE; may be repeated. The first one is
            /// 0000:00:10.0, the next one 0000:00:11.0.
            repeated --disk disk: String
            /// With --guest: give it this PCI function of the board, such as 0000:00:01.0; may be repeated.
            repeated --device address: String
            /// With --guest: its command line; for linux it is added to `console=ttyAMA0`.
            optional --bootargs text: String
            /// With --guest: its memory, such as 512M or 2G (default: 256M).
            optional --memory size: String
            /// With --guest: how many CPUs it has (default: 1).
            optional --cpus count: u32
            /// Seconds after which QEMU is ended and the run has failed (default: 120; 600 with --script, no limit with --guest).
            optional --timeout seconds: u64
            /// Print the commands and the compiler's output.
            optional -v, --verbose
        }
        /// Run the host tests, then the system tests in QEMU.
        cmd test {
            /// Only the host tests.
            optional --host-only
            /// Only the tests with this text in their name.
            optional --filter text: String
            /// System tests that run at the same time (default: 2).
            optional --jobs count: usize
            /// Print the commands and every test's output.
            optional -v, --verbose
        }
        /// Read the device tree of any board: which device emits which stream ID on which SMMU, and what is wrong.
        cmd topology {
            /// A device tree blob, or a source (then `dtc` compiles it).
            required file: PathBuf
            /// Print the graph as JSON instead; xtask/src/topology/json.md says what is in it.
            optional --json
            /// Draw the graph into this file.
            optional --svg output: PathBuf
            /// Why this device can or cannot be given to a guest: a path, an alias, a label (of a blob if it was compiled with
            /// `dtc -@`), or a PCI address as 0000:01:00.0.
            optional --why device: String
            /// What each guest of this partition file would get on the board: isolated and by which SMMU, refused and why, or not
            /// isolated; and who could read and write everything.
            optional --partition partition: PathBuf
            /// Exit with status 1 if the tree is wrong: for a board vendor's CI. A board that cannot isolate a device is no error.
            optional --check
            /// The stream match registers that each SMMUv1 or v2 has; exit with status 1 if enabled masters need more.
            optional --match-registers count: usize
        }
        /// Read all device trees of Debian's arm64 kernels, twice by independent means, and say what is in them.
        cmd corpus {
            /// Read the .dtb files below this folder instead; what an expected.json there says is compared as well.
            optional --folder folder: PathBuf
        }
        /// Fuzz everything that reads a device tree, within bounds of time and memory.
        cmd fuzz {
            /// The target: gate, graph, or all (default: all).
            optional --target name: String
            /// How often each target is run (default: 200000).
            optional --runs count: u64
        }
        /// Count instructions: of reading a device tree, and how they grow as the tree does, or of a Linux guest; takes minutes.
        cmd bench {
            /// What to measure: topology, which goes from a blob to the stream graph, or linux, a guest's boot and disk.
            required what: String
            /// Device tree blobs to read as well.
            repeated file: PathBuf
        }
        /// What has to pass before a commit: fmt, clippy, the tidy checks and all tests.
        cmd ci {
            /// Leave the tests out.
            optional --no-test
        }
        /// Check the rules a program can check: crate edges, unsafe code, file length, stray binaries.
        cmd tidy { }
    }
}

/// The help text of the subcommand that `arguments` ask about; the macro's own help is about all of them.
pub(crate) fn help(arguments: &[String]) -> Option<&'static str> {
    let (name, rest) = arguments.split_first()?;
    if !rest
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        return None;
    }
    section(name)
}

/// The names of all subcommands.
pub(crate) fn subcommands() -> Vec<&'static str> {
    let titles = Xtask::HELP_
        .lines()
        .filter_map(|line| line.strip_prefix("xtask "));
    titles.collect()
}

/// The flags of a subcommand in full, with their dashes.
pub(crate) fn names(subcommand: &str) -> Vec<&'static str> {
    let lines = section(subcommand).unwrap_or_default().lines();
    lines
        .filter(|line| line.starts_with("    -"))
        .flat_map(str::split_whitespace)
        .filter(|word| word.starts_with("--"))
        .collect()
}

/// The help text of a subcommand.
fn section(name: &str) -> Option<&'static str> {
    let title = format!("xtask {name}\n");
    Xtask::HELP_.split("\n\n\n").find_map(|section| {
        let start = if section.starts_with(&title) {
            0
        } else {
            section.find(&format!("\n{title}"))? + 1
        };
        section.get(start..)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_subcommand_has_help_of_its_own() {
        for name in [
            "setup", "build", "bundle", "image", "run", "test", "topology", "bench", "ci", "tidy",
        ] {
            let text = help(&[name.to_string(), "--help".to_string()]).unwrap();
            assert!(text.starts_with(&format!("xtask {name}\n")), "{text}");
            assert_eq!(text.matches("xtask ").count(), 1, "{text}");
        }
        assert_eq!(help(&["--help".to_string()]), None);
        assert_eq!(help(&["run".to_string()]), None);
        assert_eq!(help(&["fly".to_string(), "--help".to_string()]), None);
    }

    #[test]
    fn subcommands_and_their_flags_are_read_from_the_help() {
        assert_eq!(subcommands().len(), 12);
        assert!(subcommands().contains(&"corpus"));
        assert_eq!(
            names("topology"),
            [
                "--json",
                "--svg",
                "--why",
                "--partition",
                "--check",
                "--match-registers"
            ]
        );
        assert_eq!(names("build"), ["--verbose"]);
        assert_eq!(
            names("image"),
            ["--board", "--partition", "--output", "--verbose"]
        );
        assert_eq!(names("tidy"), [""; 0]);
        assert_eq!(names("fly"), [""; 0]);
    }
}
