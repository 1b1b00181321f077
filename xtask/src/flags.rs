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
        /// Run the story on QEMU: devices wait for the late SMMU driver, mallory attacks, everything is blocked.
        cmd run {
            /// The board, a file of boards/ without its ending (default: virt).
            optional --board name: String
            /// Run the same attacks without an SMMU, on devices assigned as trusted: they succeed.
            optional --no-iommu
            /// Never load the SMMU driver: the devices stay blocked, and are refused in the end.
            optional --never-load
            /// Do not run the control without SMMU beside the main run.
            optional --no-control
            /// Another partition file; only panics and successful attacks are then looked for.
            optional --partition file: PathBuf
            /// Seconds after which QEMU is ended and the run has failed (default: 120).
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
        /// What has to pass before a commit: fmt, clippy, the tidy checks and all tests.
        cmd ci {
            /// Leave the tests out.
            optional --no-test
        }
        /// Check the rules a program can check: crate edges, unsafe code, file length, stray binaries.
        cmd tidy { }
    }
}
