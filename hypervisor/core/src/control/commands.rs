//! What a person asks at the console while guests run, and the answers.

use super::System;
use crate::arch::{gic, percpu, timer};
use crate::{console, vm};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::{Display, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use devicetree::GicInterrupt;
use dma::{MasterId, State};
use shell::{Command, Event, HELP, LONGEST, Lines, Pace};
use spin::Mutex;
use topology::MasterIndex;

/// Bytes that are taken in one turn.
const BYTES_PER_TURN: usize = 64;
/// Bytes that wait to be printed: what a tree can make of an answer must not take the heap.
const MOST_WAITING: usize = 256 << 10;

/// Somebody at the console.
#[derive(Debug)]
pub struct Typing {
    interrupt: Option<GicInterrupt>,
    answer: Mutex<Answer>,
    pace: Mutex<Pace>,
    /// The console's interrupt is kept away until it has rested.
    paused: AtomicBool,
}

/// Lines that wait to be printed.
#[derive(Debug, Default)]
struct Answer {
    lines: VecDeque<String>,
    bytes: usize,
    /// More was asked for than is kept.
    cut_off: bool,
}

impl Answer {
    fn add(&mut self, line: &str) {
        // An empty line takes its place in the queue as well.
        let bytes = line.len() + size_of::<String>();
        if self.bytes + bytes > MOST_WAITING {
            self.cut_off = true;
            return;
        }
        self.bytes += bytes;
        self.lines.push_back(line.to_string());
    }

    fn next(&mut self) -> Option<String> {
        let Some(line) = self.lines.pop_front() else {
            let said = core::mem::take(&mut self.cut_off);
            return said.then(|| "the rest is cut off: ask for less at a time".to_string());
        };
        self.bytes -= line.len() + size_of::<String>();
        Some(line)
    }
}

impl Typing {
    /// Nobody has typed yet. Takes the console's interrupt before any guest is given one; without it nobody can type.
    pub fn new(interrupt: Option<GicInterrupt>) -> Typing {
        let shared = interrupt.filter(|found| gic::is_shared(found.intid));
        Typing {
            interrupt: shared.filter(|found| vm::claim_interrupt(found.intid)),
            answer: Mutex::new(Answer::default()),
            pace: Mutex::new(Pace::default()),
            paused: AtomicBool::new(false),
        }
    }
}

impl System {
    /// Listens to the console, if it can be: on the boot CPU, which does everything that a command asks for.
    pub fn listen(&self) {
        let Some(interrupt) = self.typing.interrupt else {
            log::info!(target: "shell", "the console has no shared interrupt that can be read and is free: no commands are taken");
            return;
        };
        let enabled = gic::set_trigger(interrupt.intid, interrupt.trigger)
            .and_then(|()| gic::route(interrupt.intid, percpu::this()))
            .and_then(|()| gic::enable(interrupt.intid));
        match enabled {
            Ok(()) => {
                console::listen();
                log::info!(target: "shell", "commands are taken; `help` lists them");
            }
            Err(error) => log::warn!(target: "shell", "no commands are taken: {error}"),
        }
    }

    /// Takes what was typed, if the interrupt is the console's.
    pub fn console_interrupt(&self, intid: u32) {
        if self
            .typing
            .interrupt
            .is_some_and(|console| console.intid == intid)
        {
            let from_us = timer::now_us();
            let lines = console::read_lines(BYTES_PER_TURN);
            for line in lines {
                match line {
                    Event::Line(line) => self.obey(Command::parse(&line)),
                    _ => self.say(format!("a line of more than {LONGEST} characters is not read")),
                }
            }
            self.rest(from_us);
        }
    }

    /// Does what the console wants done, if it has rested. How long until it wants to be looked after again, in
    /// microseconds; nothing if it has no wish.
    pub fn converse(&self) -> Option<u64> {
        let from_us = timer::now_us();
        if let Some(left) = self.rest_left(from_us) {
            return Some(left);
        }
        if self.typing.paused.swap(false, Ordering::Relaxed) {
            console::listen();
        }
        if self.print_some() {
            self.rest(from_us);
            Some(self.rest_left(timer::now_us()).unwrap_or(0))
        } else {
            None
        }
    }

    /// Prints all that was asked for: the run is over, and nothing else is due.
    pub fn conclude(&self) {
        while self.print_some() {}
    }

    /// Prints the next line of what was asked for. Whether there was one: a turn is no longer than that.
    fn print_some(&self) -> bool {
        let next = self.typing.answer.lock().next();
        next.inspect(|line| log::info!(target: "shell", "{line}"))
            .is_some()
    }

    /// Notes how long the console was looked after. Its interrupt is kept away until it has rested.
    fn rest(&self, from_us: u64) {
        let now_us = timer::now_us();
        self.typing.pace.lock().worked(from_us, now_us);
        if self.rest_left(now_us).is_some() && !self.typing.paused.swap(true, Ordering::Relaxed) {
            console::pause();
        }
    }

    fn rest_left(&self, now_us: u64) -> Option<u64> {
        self.typing.pace.lock().wait_us(now_us)
    }

    fn obey(&self, command: Command) {
        match command {
            Command::Nothing => {}
            Command::Help => HELP.iter().for_each(|line| self.say(line)),
            Command::Topology => self.say(self.graph.report()),
            Command::Devices => self.list_devices(),
            Command::Why(device) => self.tell_why(&device),
            Command::WhyWhat => self.say("why which device? `devices` lists those of the guests"),
            Command::Unknown(line) => self.say(format!("\"{line}\" is no command; `help` lists them")),
        }
    }

    fn list_devices(&self) {
        let registry = self.registry.lock();
        for given in &self.given {
            let Some(master) = registry.master(given.master) else {
                continue;
            };
            let guest = registry.guest_name(given.guest);
            let reason = master.reason().map(ToString::to_string).unwrap_or_default();
            self.say(format!(
                "{} for {guest}: {}: {reason}",
                master.name,
                master.state().word()
            ));
        }
        let idle = |id: &MasterId| registry.master(*id).filter(|master| master.assignment.is_none());
        let (count, open) = registry
            .ids()
            .filter_map(|id| idle(&id))
            .fold((0, 0), |(count, open), master| {
                (count + 1, open + usize::from(master.state() == State::Uncovered))
            });
        self.say(format!(
            "{count} other devices are nobody's, {open} of them uncovered: behind no SMMU"
        ));
    }

    fn tell_why(&self, device: &str) {
        let registry = self.registry.lock();
        let named = registry
            .ids()
            .find(|id| registry.master(*id).is_some_and(|master| master.name == device));
        let Some(id) = named else {
            let everything = self.graph.not_described();
            let what = match self.tree.find(device) {
                _ if everything.is_refused() => everything.to_string(),
                Some(_) => "no `iommus` and no `mmu-masters` speaks of this node, and no guest was given it"
                    .to_string(),
                None => "there is no such device; `topology` and `devices` list them".to_string(),
            };
            return self.say(format!("{device}: {what}"));
        };
        if id.0 < self.graph.masters().len() {
            self.say(self.graph.why(&self.tree, MasterIndex(id.0)));
        }
        if let Some(why) = registry.why(id) {
            self.say(why.to_string().replace(" → ", "\n  → "));
        }
    }

    /// Puts text in the queue, line by line.
    fn say(&self, text: impl Display) {
        let mut answer = self.typing.answer.lock();
        let mut lines = Lines::new(|line: &str| answer.add(line));
        // Lines report no error.
        let _ = write!(lines, "{text}");
        lines.finish();
    }
}
