//! The attacks, and their verdicts by effect.

use crate::device::{Attacker, SIZE, STRADDLE};
use core::fmt;
use guests::edu::{BUFFER_SIZE, Direction};
use guests::ram::secret;
use guests::{Machine, hypervisor, println};

/// Where in alice's secret page is read; her page is written at its start, which must not spoil the reading.
const SECRET_OFFSET: u64 = 0x800;
/// A reserved field of the arm64 image header.
const HEADER_RESERVED: u64 = 0x20;
/// PL011: a baud rate register, which QEMU ignores, and the first identification register.
const UART_IBRD: u64 = 0x24;
const UART_PERIPHID0: u64 = 0xfe0;
const BAUD_RATE: u64 = 0x5a;
/// edu: a register that reads back inverted.
const EDU_LIVENESS: u64 = 0x04;
const REGISTER: usize = 4;
const PAGE: u64 = 4096;

/// When an attack happens, measured by what her device can do.
#[derive(Clone, Copy)]
pub(crate) enum Phase {
    Before,
    During,
    After,
    Never,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Before => "before",
            Phase::During => "during",
            Phase::After => "after",
            Phase::Never => "never",
        })
    }
}

/// What an attack brought, if it succeeded.
#[derive(Clone, Copy)]
pub(crate) enum Prey {
    /// What she wrote is there.
    Written { address: u64 },
    /// alice's secret.
    Secret,
    /// Something: its first word.
    Word(u32),
}

impl fmt::Display for Prey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prey::Written { address } => write!(f, "{address:#x} holds what she wrote"),
            Prey::Secret => write!(f, "alice's secret came"),
            Prey::Word(word) => write!(f, "{word:#x} came"),
        }
    }
}

/// The outcome of a write and a read at alice's memory; `None` is blocked.
#[derive(Clone, Copy)]
pub(crate) struct OnAlice {
    written: Option<Prey>,
    read: Option<Prey>,
}

impl OnAlice {
    /// An attempt with a device that is absent: whoever reaches its registers can make it do anything.
    pub(crate) fn through_registers(register: Option<u32>) -> OnAlice {
        let prey = register.map(Prey::Word);
        OnAlice {
            written: prey,
            read: prey,
        }
    }

    /// The better of two attempts, from her point of view.
    pub(crate) fn or(self, other: OnAlice) -> OnAlice {
        OnAlice {
            written: self.written.or(other.written),
            read: self.read.or(other.read),
        }
    }
}

/// What she aims at: physical addresses.
pub(crate) struct Targets {
    alice: u64,
    core: u64,
    uart: u64,
    alice_bar: u64,
    unmapped: u64,
}

impl Targets {
    pub(crate) fn from_bootargs(machine: &Machine) -> Option<Targets> {
        Some(Targets {
            alice: machine.argument("alice")?,
            core: machine.argument("core")?,
            uart: machine.argument("uart")?,
            alice_bar: machine.argument("alice-bar")?,
            unmapped: machine.argument("unmapped")?,
        })
    }

    /// Where the registers of alice's device are.
    pub(crate) fn alice_bar(&self) -> u64 {
        self.alice_bar
    }
}

/// The attacks and their count.
pub(crate) struct Attacks {
    targets: Targets,
    blocked: u32,
    succeeded: u32,
}

impl Attacks {
    pub(crate) fn new(targets: Targets) -> Attacks {
        Attacks {
            targets,
            blocked: 0,
            succeeded: 0,
        }
    }

    /// Writes and reads alice's memory.
    pub(crate) fn attempt_on_alice(&self, attacker: &mut Attacker<'_>) -> OnAlice {
        let alice = self.targets.alice;
        let brought = attacker.forbidden_read(alice + SECRET_OFFSET, SIZE);
        let read = brought.anything().map(|word| {
            if brought.any_of(secret) {
                Prey::Secret
            } else {
                Prey::Word(word)
            }
        });
        OnAlice {
            written: write(attacker, alice, SIZE),
            read,
        }
    }

    pub(crate) fn report_on_alice(&mut self, suffix: &str, phase: Phase, outcome: OnAlice) {
        self.report(format_args!("write-alice{suffix}"), phase, outcome.written);
        self.report(format_args!("read-alice{suffix}"), phase, outcome.read);
    }

    /// Everything she can do with one device.
    pub(crate) fn all(&mut self, attacker: &mut Attacker<'_>, phase: Phase) {
        let Targets {
            core,
            uart,
            alice_bar,
            unmapped,
            ..
        } = self.targets;
        let outcome = self.attempt_on_alice(attacker);
        self.report_on_alice("", phase, outcome);

        let outcome = write(attacker, core + HEADER_RESERVED, 8);
        self.report("write-core", phase, outcome);
        self.report("read-core", phase, read(attacker, core, SIZE));

        let outcome = write_value(attacker, uart + UART_IBRD, REGISTER, |_| BAUD_RATE, |_| BAUD_RATE);
        self.report("write-mmio", phase, outcome);
        self.report(
            "read-mmio",
            phase,
            read(attacker, uart + UART_PERIPHID0, REGISTER),
        );

        let value = attacker.new_pattern();
        let outcome = write_value(attacker, alice_bar + EDU_LIVENESS, REGISTER, value, |word| {
            !value(word)
        });
        self.report("write-device", phase, outcome);

        let outcome = write(attacker, unmapped, SIZE);
        self.report("write-unmapped", phase, outcome);
        self.report("read-unmapped", phase, read(attacker, unmapped, SIZE));

        self.straddle(attacker, phase);
        self.given_back(attacker, phase);
    }

    /// A write that begins in her memory and ends behind it.
    fn straddle(&mut self, attacker: &mut Attacker<'_>, phase: Phase) {
        let value = attacker.new_pattern();
        let tail = &attacker.buffers.tail;
        tail.fill(|_| 0);
        let end = tail.address() + STRADDLE;
        attacker.announce(Direction::ToMemory, end);
        attacker.write(tail.address(), BUFFER_SIZE, value);
        let arrived = tail.differs(tail.words(), value).is_none();
        println!(
            "straddle-end: own part {}",
            if arrived { "arrived" } else { "did not arrive" }
        );
        let beyond = tail.words();
        let outcome = attacker
            .forbidden_read(end, SIZE)
            .any_of(|word| value(beyond + word));
        self.report(
            "straddle-end",
            phase,
            outcome.then_some(Prey::Written { address: end }),
        );
    }

    /// A page that she gives back after her device has used it, so that its translation is cached.
    fn given_back(&mut self, attacker: &mut Attacker<'_>, phase: Phase) {
        let page = attacker.buffers.given.address();
        let value = attacker.new_pattern();
        attacker.buffers.given.fill(value);
        let used = attacker.read(page, SIZE).any_of(value);
        println!(
            "given-back: device {} the page before",
            if used { "read" } else { "did not reach" }
        );
        if let Err(status) = hypervisor::relinquish(page, PAGE) {
            println!("given-back: not tried, RELINQUISH answered {status}");
            return;
        }
        // The write comes first: what it left is what the read can bring, even if the page was zeroed meanwhile.
        let outcome = write(attacker, page, SIZE);
        self.report("write-given-back", phase, outcome);
        self.report("read-given-back", phase, read(attacker, page, SIZE));
    }

    fn report(&mut self, name: impl fmt::Display, phase: Phase, prey: Option<Prey>) {
        match prey {
            None => {
                self.blocked += 1;
                println!("attack {name} {phase}: blocked");
            }
            Some(prey) => {
                self.succeeded += 1;
                println!("attack {name} {phase}: SUCCEEDED ({prey})");
            }
        }
    }

    pub(crate) fn summary(&self) {
        let Attacks {
            blocked, succeeded, ..
        } = self;
        println!(
            "{} attacks, {blocked} blocked, {succeeded} succeeded",
            blocked + succeeded
        );
    }
}

/// Writes a new pattern at `target` and reads it back.
fn write(attacker: &mut Attacker<'_>, target: u64, size: usize) -> Option<Prey> {
    let value = attacker.new_pattern();
    write_value(attacker, target, size, value, value)
}

/// Writes `value` at `target`, where it should read back as `expected`.
fn write_value(
    attacker: &Attacker<'_>,
    target: u64,
    size: usize,
    value: impl Fn(usize) -> u64,
    expected: impl Fn(usize) -> u64,
) -> Option<Prey> {
    attacker.forbidden_write(target, size, value);
    attacker
        .forbidden_read(target, size)
        .any_of(expected)
        .then_some(Prey::Written { address: target })
}

fn read(attacker: &Attacker<'_>, target: u64, size: usize) -> Option<Prey> {
    attacker.forbidden_read(target, size).anything().map(Prey::Word)
}
