//! Installs what is missing, saying each command before it runs it; where it cannot, it says what to type.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, anyhow};

use super::{qemu, toolchain};
use crate::project::{quoted, show, step, succeeds_within};

/// Something setup did not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Item {
    /// A Rust toolchain for the bare-metal target.
    Toolchain,
    /// LLVM's linker.
    Linker,
    /// A QEMU that is new enough.
    Qemu,
    /// A program that only some subcommand needs.
    Program(Program),
}

/// A program that is used as it comes, in any version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its name on the search path.
    pub(crate) name: &'static str,
    /// Debian's package that has it.
    pub(crate) package: &'static str,
    /// What it is.
    pub(crate) what: &'static str,
}

impl Program {
    /// Where it is, if it is anywhere.
    pub(crate) fn find(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|folder| folder.join(self.name))
            .find(|program| program.is_file())
    }

    /// Where it is; it is installed if it is missing.
    pub(crate) fn ready(self) -> Result<PathBuf> {
        if let Some(found) = self.find() {
            return Ok(found);
        }
        let missing = [Item::Program(self)];
        install(&missing)?;
        self.find().ok_or_else(|| still_missing(&missing))
    }
}

const BACKPORTS_LIST: &str = "/etc/apt/sources.list.d/bookworm-backports.list";
const BACKPORTS: &str = "deb http://deb.debian.org/debian bookworm-backports main";

/// How long rustup may take to fetch the target before apt is tried instead.
const RUSTUP_LIMIT: Duration = Duration::from_secs(90);
/// How long one apt command may take.
const APT_LIMIT: Duration = Duration::from_secs(1200);

/// Tries to install the items. Whether that worked is for the caller to look at.
pub(crate) fn install(missing: &[Item]) -> Result<()> {
    for item in missing {
        step("setup", format!("missing: {}", describe(*item)));
    }
    let mut missing = missing.to_vec();
    if missing.contains(&Item::Toolchain) && add_rustup_target() {
        missing.retain(|item| *item != Item::Toolchain);
        if super::linker::find(toolchain::find().as_ref()).is_some() {
            missing.retain(|item| *item != Item::Linker);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let commands = apt_commands(&missing, &System::read());
    let Some(privilege) = Privilege::of_this_process() else {
        return Err(still_missing(&missing));
    };
    if commands.is_empty() {
        return Err(still_missing(&missing));
    }
    for words in &commands {
        let mut command = privilege.command(words);
        show(&command);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        if !succeeds_within(&mut command, APT_LIMIT) {
            return Err(still_missing(&missing).context(format!("`{}` failed", words.join(" "))));
        }
    }
    Ok(())
}

/// The error that tells what to type.
pub(crate) fn still_missing(missing: &[Item]) -> anyhow::Error {
    let mut text = String::from("this machine lacks:\n");
    for item in missing {
        text.push_str(&format!("  - {}\n", describe(*item)));
    }
    let commands = apt_commands(missing, &System::read());
    if commands.is_empty() {
        text.push_str("Install them by the means of your system.\n");
        if missing.contains(&Item::Toolchain) {
            text.push_str("With rustup, the toolchain is:\n");
            text.push_str(&format!("  rustup target add {}\n", toolchain::TARGET));
        }
    } else {
        text.push_str("Type, as root:\n");
        for words in commands {
            let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
            text.push_str(&format!("  {}\n", words.join(" ")));
        }
        if missing.contains(&Item::Toolchain) {
            text.push_str(&format!(
                "or, with rustup: rustup target add {}\n",
                toolchain::TARGET
            ));
        }
    }
    text.push_str("and then the same cargo xtask command again");
    anyhow!(text)
}

fn describe(item: Item) -> String {
    match item {
        Item::Toolchain => format!(
            "a Rust toolchain, {} or later, with the target {} or the standard library's source",
            toolchain::OLDEST,
            toolchain::TARGET
        ),
        Item::Linker => "an ld.lld (in a rustup toolchain, or Debian's package lld)".to_string(),
        Item::Qemu => match qemu::installed_version() {
            Some(found) => format!("QEMU {} or later (found {found})", qemu::OLDEST),
            None => format!("QEMU {} or later for AArch64", qemu::OLDEST),
        },
        Item::Program(program) => format!("{} ({})", program.what, program.name),
    }
}

/// Asks rustup for the target, when there is a rustup.
fn add_rustup_target() -> bool {
    let rustup_works = Command::new("rustup")
        .arg("--version")
        .output()
        .is_ok_and(|out| out.status.success());
    if !rustup_works {
        return false;
    }
    let mut command = Command::new("rustup");
    command.args(["target", "add", toolchain::TARGET]);
    show(&command);
    if !succeeds_within(&mut command, RUSTUP_LIMIT) {
        step(
            "setup",
            "rustup could not fetch the target; trying the system's packages",
        );
        return false;
    }
    toolchain::find().is_some()
}

/// What is known of the operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
struct System {
    has_apt: bool,
    is_debian_12: bool,
    has_backports: bool,
}

impl System {
    fn read() -> Self {
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        System {
            has_apt: Path::new("/usr/bin/apt-get").is_file(),
            is_debian_12: is_debian_12(&release),
            has_backports: apt_sources().iter().any(|text| names_backports(text)),
        }
    }
}

fn is_debian_12(os_release: &str) -> bool {
    let has = |key: &str, value: &str| {
        os_release.lines().any(|line| {
            line.split_once('=')
                .is_some_and(|(k, v)| k == key && v.trim_matches('"') == value)
        })
    };
    has("ID", "debian") && has("VERSION_ID", "12")
}

fn names_backports(source: &str) -> bool {
    source
        .lines()
        .any(|line| !line.trim_start().starts_with('#') && line.contains("bookworm-backports"))
}

fn apt_sources() -> Vec<String> {
    let mut files = vec![Path::new("/etc/apt/sources.list").to_path_buf()];
    let parts = std::fs::read_dir("/etc/apt/sources.list.d")
        .into_iter()
        .flatten()
        .flatten();
    files.extend(parts.map(|entry| entry.path()).filter(|path| {
        path.extension()
            .is_some_and(|extension| extension == "list" || extension == "sources")
    }));
    files
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .collect()
}

/// The commands that install `missing`, without `sudo`; none when the system is not known.
///
/// Only Debian 12 has been tried. Any other apt is asked by the packages' plain names; the search that
/// follows finds out whether what it installed is new enough.
fn apt_commands(missing: &[Item], system: &System) -> Vec<Vec<String>> {
    if !system.has_apt {
        return Vec::new();
    }
    let words = |text: &str| text.split(' ').map(str::to_string).collect::<Vec<_>>();
    let mut commands = Vec::new();
    let backports = system.is_debian_12 && missing.contains(&Item::Qemu);
    if backports && !system.has_backports {
        commands.push(vec![
            "sh".to_string(),
            "-c".to_string(),
            format!("echo '{BACKPORTS}' > {BACKPORTS_LIST}"),
        ]);
    }
    commands.push(words("apt-get update"));
    // A package that is there is the user's: nothing is removed to make room.
    let install = "apt-get install --yes --no-install-recommends --no-remove";
    let mut packages = Vec::new();
    if missing.contains(&Item::Toolchain) {
        packages.push("rustc-web cargo-web rust-web-src");
    }
    if missing.contains(&Item::Linker) {
        packages.push("lld");
    }
    if missing.contains(&Item::Qemu) && !backports {
        packages.push("qemu-system-arm");
    }
    packages.extend(missing.iter().filter_map(|item| match item {
        Item::Program(program) => Some(program.package),
        _ => None,
    }));
    if !packages.is_empty() {
        commands.push(words(&format!("{install} {}", packages.join(" "))));
    }
    if backports {
        commands.push(words(&format!("{install} -t bookworm-backports qemu-system-arm")));
    }
    commands
}

/// How this process may become root.
#[derive(Debug, Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn of_this_process() -> Option<Self> {
        let id = Command::new("id").arg("-u").output().ok()?;
        if id.stdout.trim_ascii() == b"0" {
            return Some(Privilege::Root);
        }
        let sudo = Command::new("sudo").args(["-n", "true"]).output().ok()?;
        sudo.status.success().then_some(Privilege::Sudo)
    }

    fn command(self, words: &[String]) -> Command {
        let mut all = match self {
            Privilege::Root => Vec::new(),
            Privilege::Sudo => vec!["sudo".to_string(), "-n".to_string()],
        };
        all.extend_from_slice(words);
        let mut words = all.into_iter();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words);
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEBIAN_12: System = System {
        has_apt: true,
        is_debian_12: true,
        has_backports: false,
    };

    fn lines(missing: &[Item], system: &System) -> Vec<String> {
        apt_commands(missing, system)
            .iter()
            .map(|words| words.join(" "))
            .collect()
    }

    #[test]
    fn debian_12_takes_qemu_from_backports() {
        assert_eq!(
            lines(&[Item::Toolchain, Item::Linker, Item::Qemu], &DEBIAN_12),
            [
                "sh -c echo 'deb http://deb.debian.org/debian bookworm-backports main' > /etc/apt/sources.list.d/bookworm-backports.list",
                "apt-get update",
                "apt-get install --yes --no-install-recommends --no-remove rustc-web cargo-web rust-web-src lld",
                "apt-get install --yes --no-install-recommends --no-remove -t bookworm-backports qemu-system-arm",
            ]
        );
    }

    #[test]
    fn a_backports_source_is_not_added_twice() {
        let system = System {
            has_backports: true,
            ..DEBIAN_12
        };
        assert!(
            !lines(&[Item::Qemu], &system)
                .iter()
                .any(|line| line.contains("echo"))
        );
        assert!(names_backports(
            "deb http://deb.debian.org/debian bookworm-backports main"
        ));
        assert!(names_backports("Suites: bookworm bookworm-backports"));
        assert!(!names_backports(
            "# deb http://deb.debian.org/debian bookworm-backports main"
        ));
    }

    #[test]
    fn only_what_is_missing_is_installed() {
        assert_eq!(
            lines(&[Item::Linker], &DEBIAN_12),
            [
                "apt-get update",
                "apt-get install --yes --no-install-recommends --no-remove lld"
            ]
        );
    }

    #[test]
    fn a_program_is_installed_by_its_package() {
        let program = Program {
            name: "dtc",
            package: "device-tree-compiler",
            what: "the device tree compiler",
        };
        assert_eq!(
            lines(&[Item::Program(program)], &DEBIAN_12)[1],
            "apt-get install --yes --no-install-recommends --no-remove device-tree-compiler"
        );
    }

    #[test]
    fn another_apt_gets_plain_names_and_no_apt_gets_no_command() {
        let other = System {
            is_debian_12: false,
            ..DEBIAN_12
        };
        let all = lines(&[Item::Qemu], &other);
        assert_eq!(
            all[1],
            "apt-get install --yes --no-install-recommends --no-remove qemu-system-arm"
        );
        assert!(
            lines(
                &[Item::Qemu],
                &System {
                    has_apt: false,
                    ..other
                }
            )
            .is_empty()
        );
    }

    #[test]
    fn debian_12_is_known_by_its_os_release() {
        assert!(is_debian_12(
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n"
        ));
        assert!(!is_debian_12("ID=debian\nVERSION_ID=\"13\"\n"));
        assert!(!is_debian_12("ID=ubuntu\nVERSION_ID=\"12\"\n"));
    }
}
