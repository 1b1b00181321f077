//! Runs QEMU: bounded in time, watched line by line, and never left behind.

use std::ffi::OsString;
use std::io::{IsTerminal, PipeReader, Read, Write, pipe, stdin};
use std::mem::take;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::guest::{Keyboard, Raw, Typed};
use crate::output;

/// Bytes that are passed on at once, in either direction.
const AT_ONCE: usize = 4096;

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
    /// Somebody pressed the key that ends it.
    Quit,
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
    /// Whoever or whatever this process's input comes from, byte by byte, and sees what the machine writes at once, as it
    /// is. What does not come from a terminal waits for a line with this text, if any: a guest forgets what came before it
    /// listened.
    Bytes {
        /// The text.
        after: Option<&'static str>,
    },
    /// The watcher.
    Watcher,
}

impl Typist {
    /// Nobody's machine has no keyboard. A terminal is not handed to QEMU: it would take its echo, and leave it without
    /// one when it is ended.
    fn stdin(self) -> Stdio {
        match self {
            Typist::Watcher | Typist::Bytes { .. } => Stdio::piped(),
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

/// Passes on this process's input as it comes, as long as the machine takes it, and says when the run is to end.
///
/// It begins when nobody holds the other end of `hold` any more.
fn pass_on_bytes(mut keyboard: ChildStdin, events: Sender<Event>, hold: Receiver<()>) {
    thread::spawn(move || {
        let _begins = hold.recv();
        let mut keys = Keyboard::default();
        let mut buffer = [0; AT_ONCE];
        while let Some(typed) = read_some(&mut stdin().lock(), &mut buffer) {
            match keys.take(typed) {
                Typed::Bytes(bytes) if keyboard.write_all(&bytes).is_ok() => {}
                Typed::Bytes(_) => return,
                Typed::Quit => {
                    let _over_already = events.send(Event::Quit);
                    return;
                }
            }
        }
    });
}

/// What there is to read; nothing at the end.
fn read_some<'b>(reader: &mut impl Read, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let count = reader.read(buffer).ok().filter(|count| *count > 0)?;
    buffer.get(..count)
}

/// What happens while a machine runs.
enum Event {
    /// It wrote something.
    Output(Vec<u8>),
    /// It will write nothing more.
    Silence,
    /// Somebody wants it to end.
    Quit,
}

/// Tells what the machine writes, as it comes.
fn listen(mut reader: PipeReader, events: Sender<Event>) {
    thread::spawn(move || {
        let mut buffer = [0; AT_ONCE];
        while let Some(bytes) = read_some(&mut reader, &mut buffer) {
            if events.send(Event::Output(bytes.to_vec())).is_err() {
                return;
            }
        }
        let _over_already = events.send(Event::Silence);
    });
}

/// Makes lines of what a machine writes.
#[derive(Debug, Default)]
struct Lines(Vec<u8>);

impl Lines {
    /// The lines that are complete with these bytes.
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut pieces = bytes.split(|byte| *byte == b'\n');
        let mut complete = Vec::new();
        self.0.extend_from_slice(pieces.next().unwrap_or_default());
        for piece in pieces {
            complete.extend(self.complete());
            self.0.extend_from_slice(piece);
        }
        complete
    }

    /// What no line end came behind, if anything.
    fn rest(&mut self) -> Option<String> {
        if self.0.is_empty() { None } else { self.complete() }
    }

    fn complete(&mut self) -> Option<String> {
        let line = take(&mut self.0);
        let line = String::from_utf8_lossy(&line);
        Some(line.trim_end_matches('\r').to_string())
    }
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
    let (sender, receiver) = mpsc::channel();
    let mut keyboard = child.0.stdin.take();
    let is_live = matches!(typist, Typist::Bytes { .. });
    let raw = if is_live { Raw::enter()? } else { None };
    let mut held = None;
    match (typist, keyboard.take()) {
        (Typist::Terminal, Some(keyboard)) => pass_on(keyboard),
        (Typist::Bytes { after }, Some(keyboard)) => {
            let (holder, hold) = mpsc::channel();
            held = after.filter(|_| raw.is_none()).map(|after| (after, holder));
            pass_on_bytes(keyboard, sender.clone(), hold);
        }
        (_, watchers) => keyboard = watchers,
    }
    listen(reader, sender);

    let mut written = Lines::default();
    let mut lines = Vec::new();
    let mut deadline = started + limit;
    let mut enough = false;
    let end = loop {
        let event = match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => event,
            Err(RecvTimeoutError::Disconnected) => Event::Silence,
            Err(RecvTimeoutError::Timeout) if enough => break End::Stopped,
            Err(RecvTimeoutError::Timeout) => break End::TimedOut,
        };
        let (complete, over) = match event {
            Event::Output(bytes) => {
                if is_live {
                    output::write_now(&bytes);
                }
                (written.push(&bytes), false)
            }
            Event::Silence => (written.rest().into_iter().collect(), true),
            Event::Quit => break End::Quit,
        };
        for line in complete {
            held = held.filter(|(after, _)| !line.contains(after));
            match watch(&line) {
                Watch::StopWithin(rest) if !enough => {
                    enough = true;
                    deadline = deadline.min(Instant::now() + rest);
                }
                // A machine that is gone reads nothing; its end is seen above.
                Watch::Type(text) => {
                    let _gone = keyboard
                        .as_mut()
                        .map(|keyboard| keyboard.write_all(text.as_bytes()));
                }
                Watch::StopWithin(_) | Watch::Continue => {}
            }
            lines.push(line);
        }
        if over {
            break End::Exited {
                status: child.0.wait()?.code(),
            };
        }
        // A machine that never falls silent has a deadline, too.
        if Instant::now() >= deadline {
            break if enough { End::Stopped } else { End::TimedOut };
        }
    };
    lines.extend(written.rest());
    drop(raw);
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
    fn lines_are_made_of_pieces() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"on"), [""; 0]);
        assert_eq!(lines.push(b"e\r\n\ntw"), ["one", ""]);
        assert_eq!(lines.push(b"o\n"), ["two"]);
        assert_eq!(lines.rest(), None);
        assert_eq!(lines.push(b"/ # \xff"), [""; 0]);
        assert_eq!(lines.rest().unwrap(), "/ # \u{fffd}");
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
