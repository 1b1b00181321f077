//! Runs QEMU: bounded in time, watched line by line, and never left behind.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IsTerminal, Write, pipe, stdin};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// How a machine's run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// QEMU ended by itself: the guest powered the machine off, when the status is 0.
    Exited {
        /// QEMU's exit status, if it was not ended by a signal.
        status: Option<i32>,
    },
    /// The watcher had seen enough.
    Stopped,
    /// Time was up.
    TimedOut,
}

/// What the watcher wants after a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watch {
    /// More.
    Continue,
    /// This to be typed at the machine's console.
    Type(String),
    /// Only what still comes within this time.
    StopWithin(Duration),
}

/// Who types at the machine's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typist {
    /// Nobody.
    Nobody,
    /// Whoever sits at this terminal, if it is one: whole lines.
    Terminal,
    /// The watcher.
    Watcher,
}

impl Typist {
    /// Nobody's machine has no keyboard. A terminal is not handed to QEMU: it would take its echo, and leave it without
    /// one when it is ended.
    fn stdin(self) -> Stdio {
        match self {
            Typist::Watcher => Stdio::piped(),
            Typist::Terminal if stdin().is_terminal() => Stdio::piped(),
            Typist::Terminal | Typist::Nobody => Stdio::null(),
        }
    }
}

/// Passes on what is typed at this terminal, line by line, as long as the machine takes it.
fn pass_on(mut keyboard: ChildStdin) {
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            if writeln!(keyboard, "{line}").is_err() {
                return;
            }
        }
    });
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    /// Everything on the console, line by line, and QEMU's own messages.
    pub(crate) lines: Vec<String>,
    /// How it ended.
    pub(crate) end: End,
    /// How long it took.
    pub(crate) took: Duration,
}

/// QEMU as a command that dies with this process, even when this process is killed.
pub(crate) fn command(program: &Path, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Command {
    const SETPRIV: &str = "/usr/bin/setpriv";
    let mut command = if Path::new(SETPRIV).is_file() {
        let mut command = Command::new(SETPRIV);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.args(arguments.into_iter().map(Into::into));
    command
}

/// Runs `command` for at most `limit` and shows each line to `watch`.
pub(crate) fn run(
    mut command: Command,
    limit: Duration,
    typist: Typist,
    mut watch: impl FnMut(&str) -> Watch,
) -> Result<Run> {
    let (reader, writer) = pipe()?;
    command
        .stdin(typist.stdin())
        .stdout(writer.try_clone()?)
        .stderr(writer);
    let started = Instant::now();
    let child = command.spawn().context("cannot start QEMU")?;
    // The command holds the pipe's writing end, and the reader waits for all of them to be closed.
    drop(command);
    let mut child = KillOnDrop(child);
    let mut keyboard = child.0.stdin.take();
    if typist == Typist::Terminal
        && let Some(keyboard) = keyboard.take()
    {
        pass_on(keyboard);
    }

    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(reader).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line);
            if sender.send(line.trim_end_matches('\r').to_string()).is_err() {
                return;
            }
        }
    });

    let mut lines = Vec::new();
    let mut deadline = started + limit;
    let mut enough = false;
    let end = loop {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                match watch(&line) {
                    Watch::StopWithin(rest) if !enough => {
                        enough = true;
                        deadline = deadline.min(Instant::now() + rest);
                    }
                    // A machine that is gone reads nothing; its end is seen below.
                    Watch::Type(text) => {
                        let _gone = keyboard
                            .as_mut()
                            .map(|keyboard| keyboard.write_all(text.as_bytes()));
                    }
                    Watch::StopWithin(_) | Watch::Continue => {}
                }
                lines.push(line);
                // A machine that never falls silent has a deadline, too.
                if Instant::now() >= deadline {
                    break if enough { End::Stopped } else { End::TimedOut };
                }
            }
            Err(RecvTimeoutError::Timeout) if enough => break End::Stopped,
            Err(RecvTimeoutError::Timeout) => break End::TimedOut,
            Err(RecvTimeoutError::Disconnected) => {
                break End::Exited {
                    status: child.0.wait()?.code(),
                };
            }
        }
    };
    Ok(Run {
        lines,
        end,
        took: started.elapsed(),
    })
}

/// Ends the child on every way out.
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _already_ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        command(Path::new("/bin/sh"), ["-c", script])
    }

    #[test]
    fn a_run_that_ends_by_itself_keeps_its_lines_and_status() {
        let run = run(
            shell("echo one; echo two >&2; exit 3"),
            Duration::from_secs(20),
            Typist::Nobody,
            |_| Watch::Continue,
        )
        .unwrap();
        assert_eq!(run.lines, ["one", "two"]);
        assert_eq!(run.end, End::Exited { status: Some(3) });
    }

    #[test]
    fn a_run_that_hangs_is_ended() {
        let run = run(
            shell("echo here; exec sleep 60"),
            Duration::from_millis(600),
            Typist::Nobody,
            |_| Watch::Continue,
        )
        .unwrap();
        assert_eq!(run.end, End::TimedOut);
        assert_eq!(run.lines, ["here"]);
        assert!(run.took < Duration::from_secs(20), "{:?}", run.took);
    }

    #[test]
    fn a_run_that_never_falls_silent_is_ended() {
        let script = "while :; do echo again; done";
        let run = run(shell(script), Duration::from_millis(300), Typist::Nobody, |_| {
            Watch::Continue
        })
        .unwrap();
        assert_eq!(run.end, End::TimedOut);
    }

    #[test]
    fn a_watcher_that_has_seen_enough_ends_the_run_a_little_later() {
        let watch = |line: &str| match line {
            "enough" => Watch::StopWithin(Duration::from_millis(500)),
            _ => Watch::Continue,
        };
        let run = run(
            shell("echo enough; echo more; exec sleep 60"),
            Duration::from_secs(20),
            Typist::Nobody,
            watch,
        )
        .unwrap();
        assert_eq!(run.end, End::Stopped);
        assert_eq!(run.lines, ["enough", "more"]);
    }

    #[test]
    fn what_the_watcher_types_arrives() {
        let watch = |line: &str| match line {
            "name?" => Watch::Type("alice\n".to_string()),
            _ => Watch::Continue,
        };
        let run = run(
            shell("echo name?; read name; echo hello $name"),
            Duration::from_secs(20),
            Typist::Watcher,
            watch,
        )
        .unwrap();
        assert_eq!(run.lines, ["name?", "hello alice"]);
    }
}
