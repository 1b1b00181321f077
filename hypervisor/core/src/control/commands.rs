//! What a person asks at the console while guests run, and the answers.

use super::System;
use crate::arch::{gic, percpu, timer};
use crate::console;
use crate::vm::{self, Guest};
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt::{Display, Write};
use core::sync::atomic::{AtomicBool, Ordering};
use devicetree::{GicInterrupt, Node};
use dma::{GuestId, MasterId, SmmuId, State};
use shell::{Command, Event, HELP, Key, Keys, LONGEST, Lines, Pace};
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
    keys: Mutex<Keys>,
    /// The console's interrupt is kept away, until it has rested and what is typed has room.
    paused: AtomicBool,
    /// The guest that has the console has not read what was typed before.
    is_full: AtomicBool,
    /// Somebody wants drivers to be loaded.
    load: AtomicBool,
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
            keys: Mutex::new(Keys::new()),
            paused: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            load: AtomicBool::new(false),
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
                log::info!(target: "shell", "commands are taken; `help` lists them, Ctrl-A c gives the console to a guest");
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
            for _ in 0..BYTES_PER_TURN {
                if self.is_full() {
                    // It waits in the UART, and with flow control in front of that.
                    self.pause();
                    break;
                }
                let Some(byte) = console::receive() else { break };
                let key = self.typing.keys.lock().take(byte);
                match key {
                    Key::Plain(byte) => self.typed(byte),
                    Key::Switch => self.switch_console(),
                    Key::Nothing => {}
                }
            }
            self.rest(from_us);
        }
    }

    /// Somebody typed this for whoever has the console.
    fn typed(&self, byte: u8) {
        if let Some(guest) = self.console_guest() {
            return guest.receive(byte);
        }
        if console::owner().is_some() {
            // It resets itself: what is typed for it is not meant for the core.
            return;
        }
        match console::edit(byte) {
            Event::Line(line) => self.obey(Command::parse(&line)),
            Event::TooLong => self.say(format!("a line of more than {LONGEST} characters is not read")),
            Event::Nothing | Event::Added(_) | Event::Erased | Event::Cleared => {}
        }
    }

    /// The guest that has the console, if it runs.
    fn console_guest(&self) -> Option<&'static Guest> {
        let guest = self.guest(GuestId(console::owner()?))?;
        guest.is_running().then_some(guest)
    }

    /// Whether the guest that has the console must read before it can be given more.
    fn is_full(&self) -> bool {
        let is_full = || self.console_guest().is_some_and(|guest| !guest.has_input_room());
        // It may read in between, and looks at this afterwards: so it is said first, and looked at then.
        let typing = &self.typing.is_full;
        typing.store(true, Ordering::SeqCst);
        let full = is_full();
        typing.store(full, Ordering::SeqCst);
        full
    }

    /// A guest has read what was typed. Its CPU may be any.
    pub fn input_read(&self) {
        if self.typing.is_full.load(Ordering::SeqCst) {
            percpu::of(0).into_iter().for_each(gic::kick);
        }
    }

    /// Gives the console to the guest behind the one that has it; behind the last one the core takes commands.
    fn switch_console(&self) {
        let first = console::owner().map_or(0, |guest| guest + 1);
        let next = (first..self.guests.len())
            .find(|index| self.guest(GuestId(*index)).is_some_and(Guest::is_running));
        self.give_console(next);
    }

    /// Gives the console to a guest, or back to the core, and says so.
    pub fn give_console(&self, to: Option<usize>) {
        let guest = to.and_then(|index| self.guest(GuestId(index)));
        console::give_to(guest.and(to));
        match guest {
            Some(guest) => {
                log::info!(target: "shell", "the console is {}'s; Ctrl-A c switches", guest.name());
                guest.show_unfinished_line();
            }
            None => log::info!(target: "shell", "the console takes commands; `help` lists them"),
        }
    }

    /// Takes the console back from a guest that stopped.
    pub fn take_console_from(&self, id: GuestId) {
        if console::owner() == Some(id.0) {
            self.give_console(None);
        }
    }

    /// Keeps the console's interrupt away.
    fn pause(&self) {
        if !self.typing.paused.swap(true, Ordering::Relaxed) {
            console::pause();
        }
    }

    /// Does what the console wants done, if it has rested. How long until it wants to be looked after again, in
    /// microseconds; nothing if it has no wish.
    pub fn converse(&self) -> Option<u64> {
        let from_us = timer::now_us();
        if let Some(left) = self.rest_left(from_us) {
            return Some(left);
        }
        if self.typing.paused.load(Ordering::Relaxed) && !self.is_full() {
            self.typing.paused.store(false, Ordering::Relaxed);
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
        if self.rest_left(now_us).is_some() {
            self.pause();
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
            Command::Load => self.ask_to_load(),
            Command::Smmus => self.list_smmus(),
            Command::Why(device) => self.tell_why(&device),
            Command::WhyWhat => self.say("why which device? `devices` lists those of the guests"),
            Command::Unknown(line) => self.say(format!("\"{line}\" is no command; `help` lists them")),
        }
    }

    /// Has the drivers loaded, as soon as this CPU looks at what is due.
    fn ask_to_load(&self) {
        if self.registry.lock().is_sealed() {
            self.say("loading is sealed: no driver is accepted any more");
        } else {
            self.typing.load.store(true, Ordering::Relaxed);
        }
    }

    /// Whether somebody has asked for drivers since the last call.
    pub fn take_load(&self) -> bool {
        self.typing.load.swap(false, Ordering::Relaxed)
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
        let node = self.tree.find(device);
        // It may be called by an alias.
        let path = node.map(|node| node.path());
        let name = path.as_deref().unwrap_or(device);
        let registry = self.registry.lock();
        let named = registry
            .ids()
            .find(|id| registry.master(*id).is_some_and(|master| master.name == name));
        let Some(id) = named else {
            drop(registry);
            let everything = self.graph.not_described();
            return match node {
                _ if everything.is_refused() => self.say(format!("{device}: {everything}")),
                Some(node) => self.tell_node(node),
                None => self.say(format!(
                    "{device}: there is no such device; `topology` and `devices` list them"
                )),
            };
        };
        if id.0 < self.graph.masters().len() {
            self.say(self.graph.why(&self.tree, MasterIndex(id.0)));
        }
        if let Some(why) = registry.why(id) {
            self.say(why.to_string().replace(" → ", "\n  → "));
        }
    }

    /// Of a node that is no device of anybody.
    fn tell_node(&self, node: Node<'_>) {
        let segments = self.tree.pci_segments();
        let segment = segments.iter().find(|(host, _)| *host == node.id());
        let segment = segment.map(|(_, segment)| segment);
        self.say(self.graph.why_no_master(&self.tree, node.id(), segment));
        let path = node.path();
        if let Some(index) = self.units.iter().position(|unit| unit.path == path) {
            self.say(format!("  {}", self.standing(SmmuId(index))));
        }
    }

    fn list_smmus(&self) {
        if self.units.is_empty() {
            self.say("this machine has no SMMU");
        }
        for (index, unit) in self.units.iter().enumerate() {
            let version = unit.gate.as_ref().map_or("unusable", |report| &report.version);
            self.say(format!(
                "{}: {version}: {}",
                unit.path,
                self.standing(SmmuId(index))
            ));
        }
    }

    /// Where an SMMU stands.
    fn standing(&self, id: SmmuId) -> String {
        let attached = self.attachments.lock().count(id);
        let registry = self.registry.lock();
        let Some(smmu) = registry.smmu(id) else {
            return String::new();
        };
        let gate = if smmu.opened.is_some() {
            "ITS GATE WAS NOT SHUT"
        } else {
            "its gate is shut"
        };
        match smmu {
            dma::Smmu {
                unusable: Some(why), ..
            } => why.clone(),
            dma::Smmu {
                driver: Some(driver), ..
            } => format!("live under {driver}; streams attached: {attached}"),
            dma::Smmu {
                failure: Some(why), ..
            } => format!("its driver was given up: {why}; {gate}"),
            _ if registry.is_sealed() => format!("no driver, and loading is sealed; {gate}"),
            _ => format!("no driver yet; {gate}"),
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
