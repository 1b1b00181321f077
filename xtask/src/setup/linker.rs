//! Finds an ELF linker for AArch64: LLVM's, from a Rust toolchain or from the system.

use std::fmt;
use std::path::{Path, PathBuf};

use super::toolchain::Toolchain;

/// An ld.lld.
#[derive(Debug, Clone)]
pub(crate) struct Linker {
    /// The program; its name tells rustc how to speak to it.
    pub(crate) path: PathBuf,
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        write!(f, "{}", name.display())
    }
}

/// The toolchain's own linker, else any rustup toolchain's, else the system's.
pub(crate) fn find(toolchain: Option<&Toolchain>) -> Option<Linker> {
    let own = toolchain.map(|toolchain| toolchain.sysroot.clone());
    let rustup = std::env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".rustup")));
    let mut sysroots: Vec<PathBuf> = rustup
        .and_then(|home| std::fs::read_dir(home.join("toolchains")).ok())
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    sysroots.sort();
    let in_sysroots = own
        .into_iter()
        .chain(sysroots)
        .find_map(|sysroot| in_sysroot(&sysroot));
    in_sysroots.or_else(on_path).map(|path| Linker { path })
}

/// `lib/rustlib/<host>/bin/rust-lld`, or the wrapper below it.
fn in_sysroot(sysroot: &Path) -> Option<PathBuf> {
    let hosts = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    hosts.flatten().find_map(|host| {
        let bin = host.path().join("bin");
        [bin.join("rust-lld"), bin.join("gcc-ld/ld.lld")]
            .into_iter()
            .find(|path| path.is_file())
    })
}

fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .flat_map(|dir| [dir.join("ld.lld"), dir.join("rust-lld")])
        .find(|candidate| candidate.is_file())
}
