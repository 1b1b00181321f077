//! This terminal, made to pass on each key as it is pressed.

use std::io::{IsTerminal, stdin};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

/// Each key goes through at once, none has a meaning here, and none is echoed; what is written goes out as it is.
const RAW: [&str; 14] = [
    "-icanon", "-echo", "-isig", "-iexten", "-icrnl", "-inlcr", "-igncr", "-ixon", "-istrip", "-opost",
    "min", "1", "time", "0",
];
/// Waits until its input is closed, which happens on every way on which we can end, and sets the terminal, which is its
/// output, as it was. A signal that ends us must not end it, and the terminal may belong to the next program already.
const KEEPER: &str = "trap '' HUP INT QUIT TERM TSTP TTOU; cat >/dev/null; exec stty \"$1\" <&1";

/// A terminal in raw mode. It is as it was before when this is dropped, and also when this process ends in any other way.
#[derive(Debug)]
pub(crate) struct Raw {
    keeper: Child,
}

impl Raw {
    /// Sets this process's terminal, if its input is one.
    pub(crate) fn enter() -> Result<Option<Self>> {
        if !stdin().is_terminal() {
            return Ok(None);
        }
        let saved = stty(&["-g"])?;
        let terminal = stdin().as_fd().try_clone_to_owned()?;
        let keeper = Command::new("/bin/sh")
            .args(["-c", KEEPER, "sh", saved.trim()])
            .stdin(Stdio::piped())
            .stdout(terminal)
            .spawn()
            .context("cannot start /bin/sh")?;
        // From here on the terminal is restored.
        let raw = Raw { keeper };
        stty(&RAW)?;
        Ok(Some(raw))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _status = self.keeper.wait();
    }
}

/// Asks `stty`, which speaks of the terminal that is its input.
fn stty(arguments: &[&str]) -> Result<String> {
    let output = Command::new("stty")
        .args(arguments)
        .stdin(Stdio::inherit())
        .output()
        .context("cannot start stty, which makes the terminal pass on each key")?;
    ensure!(
        output.status.success(),
        "stty {} failed: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
