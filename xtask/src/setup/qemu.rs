//! Finds QEMU.

use std::path::PathBuf;
use std::process::Command;

use super::version::Version;

/// The oldest QEMU whose SMMUv3 on `virt` translates with stage 2 without a switch.
pub(crate) const OLDEST: Version = Version(9, 2, 0);
const PROGRAM: &str = "qemu-system-aarch64";

/// A QEMU that is new enough.
#[derive(Debug, Clone)]
pub(crate) struct Qemu {
    /// The program, found on the PATH.
    pub(crate) program: PathBuf,
    /// Its version.
    pub(crate) version: Version,
}

/// The QEMU on the PATH, when it is new enough.
pub(crate) fn find() -> Option<Qemu> {
    let version = installed_version()?;
    (version >= OLDEST).then(|| Qemu {
        program: PathBuf::from(PROGRAM),
        version,
    })
}

/// The version of the QEMU on the PATH, new enough or not.
pub(crate) fn installed_version() -> Option<Version> {
    let output = Command::new(PROGRAM).arg("--version").output().ok()?;
    Version::find_in(&String::from_utf8_lossy(&output.stdout))
}
