//! The order of events.

use crate::attacks::{Attacks, OnAlice, Phase, Targets};
use crate::device::{Attacker, Buffers};
use crate::sweep::Sweep;
use guests::clock::{Instant, Seconds};
use guests::edu::Edu;
use guests::interrupts::Interrupts;
use guests::pci::{Function, Pci};
use guests::{Machine, hypervisor, println, probe_read32};

guests::entry!(run);

/// The device that is absent until it is live.
const LATE: Function = Function::new(2);
/// The device that she has from the start.
const EARLY: Function = Function::new(3);
/// Phase `during` begins then: the SMMU's driver is loaded at 2 s.
const DURING_US: u64 = 1_200_000;
/// What has not come by then does not come.
const NEVER_US: u64 = 6_000_000;
/// How long the second device may become live after the first.
const LATE_US: u64 = 500_000;
const POLL_US: u64 = 10_000;
/// Between two pages that she gives back: less than a driver waits for an SMMU that does not answer.
const GIVE_BACK_US: u64 = 90_000;
/// How many she gives back at most.
const GIVEN_BACK: usize = 40;
const PAGE: usize = 4096;
/// What her device is marked with before she resets herself.
const MARK: u32 = 0x6d61_6c31;
/// Bytes of an edu's BAR. The hypervisor assigns BARs one behind the other, by rising slot.
const BAR_SIZE: u64 = 1 << 20;

fn run(machine: Machine) {
    println!(
        "mallory: up, memory {:#x}-{:#x}",
        machine.memory.start,
        machine.memory.end - 1
    );
    let done = match Sweep::from_bootargs(&machine) {
        Some(sweep) => sweep.run(&machine),
        None => attack(&machine),
    };
    if let Err(missing) = done {
        println!("mallory: {missing}");
    }
}

fn attack(machine: &Machine) -> Result<(), &'static str> {
    let start = Instant::now();
    let buffers = Buffers::new(machine).ok_or("her memory is too small")?;
    let targets = Targets::from_bootargs(machine).ok_or("bootargs lack a target")?;
    let interrupts = &machine.interrupts;
    let early = match machine.pci {
        Some(pci) => Edu::open(&pci, EARLY),
        None => Some(Edu::on_platform(machine).ok_or("no PCI, and no platform device")?),
    };
    let Some(early) = early else {
        println!("device {EARLY}: absent");
        // Without a device there is no DMA; she can still look for its registers, which lie two slots behind alice's.
        read_absent_bar(targets.alice_bar().wrapping_add(2 * BAR_SIZE));
        return Ok(());
    };

    reset_once(machine, &early, start);

    let mut late = machine.pci.map(|pci| LateDevice::new(pci, start, &early));
    late.iter_mut().for_each(LateDevice::look_first);
    let place = early.place();

    let mut attacker = Attacker::new(early, interrupts, &buffers);
    println!(
        "device {place}: present, DMA {}",
        if attacker.moves_own_data() {
            "works"
        } else {
            "blocked"
        }
    );
    let mut attacks = Attacks::new(targets);
    let attempt = attacks.attempt_on_alice(&mut attacker);
    attacks.report_on_alice("", Phase::Before, attempt);

    interrupts.sleep_us(DURING_US.saturating_sub(start.elapsed_us()));
    give_back_all_the_time(machine);
    let mut attempt = attacks.attempt_on_alice(&mut attacker);
    let phase = loop {
        late.iter_mut().for_each(LateDevice::look);
        if attacker.moves_own_data() {
            break Phase::After;
        }
        if start.elapsed_us() >= NEVER_US {
            break Phase::Never;
        }
        attempt = attempt.or(attacks.attempt_on_alice(&mut attacker));
    };
    attacks.report_on_alice("", Phase::During, attempt);
    match phase {
        Phase::Never => println!("device {place}: DMA never worked"),
        _ => {
            println!("device {place}: DMA works after {}", Seconds(start.elapsed_us()));
            attacker.try_interrupt();
        }
    }
    attacks.all(&mut attacker, phase);

    if let Some(late) = &mut late {
        let attempt = match late.wait(interrupts) {
            Some(edu) => attacks.attempt_on_alice(&mut Attacker::new(edu, interrupts, &buffers)),
            None => {
                println!("device {LATE}: never present");
                // All she can try with an absent device is to reach its registers.
                OnAlice::through_registers(probe_read32(late.absent_bar))
            }
        };
        attacks.report_on_alice("-late", phase, attempt);
    }
    attacks.summary();
    Ok(())
}

/// Resets herself if she is to (`reset-ms` since her start), and has not done so: her device has a mark then, since nothing resets
/// it with her.
fn reset_once(machine: &Machine, device: &Edu, start: Instant) {
    let Some(after_ms) = machine.argument("reset-ms") else {
        return;
    };
    let place = device.place();
    if device.is_marked(MARK) {
        println!("device {place}: has the mark of her last life");
        return;
    }
    let after_us = after_ms.saturating_mul(1000);
    machine
        .interrupts
        .sleep_us(after_us.saturating_sub(start.elapsed_us()));
    println!("device {place}: marked, and mallory resets herself");
    device.mark(MARK);
    hypervisor::reset();
}

/// Gives one page after another back if she is to (`give-back`, an offset in her memory), until that is refused: so that the
/// CPU is busy with an invalidation whatever happens to a driver.
fn give_back_all_the_time(machine: &Machine) {
    let Some(offset) = machine.argument("give-back") else {
        return;
    };
    let pages = (machine.memory.start + offset..machine.memory.end)
        .step_by(PAGE)
        .take(GIVEN_BACK);
    for page in pages {
        if let Err(status) = hypervisor::relinquish(page, PAGE as u64) {
            println!("page {page:#x}: RELINQUISH answered {status}");
            return;
        }
        machine.interrupts.sleep_us(GIVE_BACK_US);
    }
}

/// Reads where the registers of an absent device would be, and says what came.
fn read_absent_bar(address: u64) {
    match probe_read32(address) {
        None => println!("cpu read of absent device's BAR: abort"),
        Some(word) => println!("cpu read of absent device's BAR: SUCCEEDED ({word:#x})"),
    }
}

/// The device that may appear.
struct LateDevice {
    pci: Pci,
    start: Instant,
    edu: Option<Edu>,
    /// Where its registers would be while it is absent.
    absent_bar: u64,
}

impl LateDevice {
    fn new(pci: Pci, start: Instant, early: &Edu) -> LateDevice {
        LateDevice {
            pci,
            start,
            edu: None,
            absent_bar: early.base().wrapping_sub(BAR_SIZE),
        }
    }

    /// Looks for the first time. What is absent should have no registers, either.
    fn look_first(&mut self) {
        self.look();
        if self.edu.is_none() {
            println!("device {LATE}: absent");
            read_absent_bar(self.absent_bar);
        }
    }

    /// Looks whether it is there; says so once.
    fn look(&mut self) {
        if self.edu.is_none() {
            self.edu = Edu::open(&self.pci, LATE);
            if self.edu.is_some() {
                println!(
                    "device {LATE}: present after {}",
                    Seconds(self.start.elapsed_us())
                );
            }
        }
    }

    /// The device, if it comes soon.
    fn wait(&mut self, interrupts: &Interrupts) -> Option<Edu> {
        let begin = Instant::now();
        loop {
            self.look();
            if self.edu.is_some() || begin.elapsed_us() >= LATE_US {
                return self.edu;
            }
            interrupts.sleep_us(POLL_US);
        }
    }
}
