//! Where things are, and how xtask speaks.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, pipe, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The folders of the project.
#[derive(Debug, Clone)]
pub(crate) struct Project {
    /// The workspace's root.
    pub(crate) root: PathBuf,
    /// Cargo's target folder for the host.
    pub(crate) target: PathBuf,
}

impl Project {
    /// Finds the workspace this xtask was started from.
    pub(crate) fn find() -> Result<Self> {
        let manifest_dir =
            env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| OsString::from(env!("CARGO_MANIFEST_DIR")));
        let root = Path::new(&manifest_dir)
            .parent()
            .context("xtask's folder has no parent folder")?
            .to_path_buf();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => env::current_dir()?.join(dir),
            None => root.join("target"),
        };
        Ok(Project { root, target })
    }

    /// Cargo's target folder for the bare-metal binaries.
    pub(crate) fn bare_metal_target(&self) -> PathBuf {
        self.target.join("aarch64")
    }

    /// What xtask makes: images, signatures, bundles, logs.
    pub(crate) fn out(&self) -> PathBuf {
        self.target.join("portcullis")
    }

    /// The signing keys.
    pub(crate) fn keys(&self) -> PathBuf {
        self.target.join("keys")
    }

    /// The text of a file of the project; the error names it.
    pub(crate) fn read_text(&self, path: impl AsRef<Path>) -> Result<String> {
        let path = self.root.join(path);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Prints one line of progress: ` setup      …`.
pub(crate) fn step(what: &str, text: impl std::fmt::Display) {
    println!(" {what:<10} {text}");
}

/// Prints a command as a person would type it.
pub(crate) fn show(command: &Command) {
    let mut words: Vec<String> = Vec::new();
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", key.display(), quoted(&value.to_string_lossy())));
        }
    }
    words.push(quoted(&command.get_program().to_string_lossy()));
    words.extend(command.get_args().map(|word| quoted(&word.to_string_lossy())));
    println!(" $ {}", words.join(" "));
}

/// A word as a shell needs it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\x1f', " ").replace('\'', r"'\''"))
    }
}

/// Runs cargo with its progress visible, without the lines that say nothing new on a second run.
pub(crate) fn run_cargo(mut command: Command, verbose: bool) -> Result<()> {
    if verbose {
        show(&command);
    }
    if stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let (reader, writer) = pipe()?;
    command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    // The command holds the pipe's writing end; without this the loop below would never end.
    drop(command);
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        if verbose || !line.contains("Finished") && !line.contains("Blocking waiting") {
            eprintln!("{line}");
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{program} failed ({status}); its message is above");
    }
    Ok(())
}

/// Waits for a child at most `limit`; a child that takes longer is ended.
pub(crate) fn succeeds_within(command: &mut Command, limit: Duration) -> bool {
    let Ok(mut child) = command.stdin(Stdio::null()).spawn() else {
        return false;
    };
    let started = std::time::Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) if started.elapsed() < limit => std::thread::sleep(Duration::from_millis(50)),
            _ => {
                let _already_ended = child.kill();
                let _status = child.wait();
                return false;
            }
        }
    }
}

/// So many of something, in words: `1 tree`, `2 trees`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {what}{ending}")
}

/// A size for people.
pub(crate) fn size(bytes: usize) -> String {
    if bytes < 10 * 1024 {
        format!("{bytes} bytes")
    } else {
        format!("{} KiB", bytes.div_ceil(1024))
    }
}
