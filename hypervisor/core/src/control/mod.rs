//! The control loop: what happens after the machine is up, in the order in which it happens.
//!
//! [`run`] builds the [`System`] on the boot CPU: SMMUs were shut before it, PCI is quieted, the stream graph and the
//! partition are read, guests are built and started. Then every CPU goes round in [`cpu_loop`]: it runs its vCPU if it
//! has one, and looks at interrupts. The boot CPU also does what is due: loading, sealing, faults, the end.

mod binding;
mod commands;
mod drivers;
mod fabric;
mod failure;
mod functions;
mod given;
mod guests;
mod messages;
mod platform;
mod polling;
mod summary;

pub use summary::Fingerprint;

use crate::arch::{cpu, gic, percpu, timer};
use crate::boot::Machine;
use crate::smmus::{self, Unit};
use crate::vm::{self, Guest};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bundle::Bundle;
use commands::Typing;
use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};
use devicetree::Tree;
use dma::{Attachments, Due, FaultLog, GuestId, MasterId, Polling, Registry, Schedule, SmmuId};
use driver_abi::InterruptLine;
use drivers::Drivers;
use fabric::HostBridge;
use failure::Walkers;
use given::Given;
use partition::Partition;
use shell::Lines;
use spin::{Mutex, Once};
use topology::Graph;

/// Everything that the CPUs share after boot.
#[derive(Debug)]
pub struct System {
    tree: Tree,
    /// Its masters are the first ones of the registry, in the same order.
    graph: Graph,
    bundle: Bundle<'static>,
    units: Vec<Unit>,
    typing: Typing,
    drivers: Drivers,
    bridges: Vec<HostBridge>,
    registry: Mutex<Registry>,
    attachments: Mutex<Attachments>,
    faults: Mutex<FaultLog>,
    /// Interrupts of SMMUs whose drivers had more to do.
    unfinished: Mutex<Vec<(SmmuId, InterruptLine)>>,
    polling: Mutex<Polling>,
    /// In the partition's order; `None` for one that could not be built.
    guests: Vec<Option<&'static Guest>>,
    /// Guests whose end was seen, and their devices taken.
    ended: Mutex<Vec<GuestId>>,
    given: Vec<Given>,
    schedule: Mutex<Schedule>,
    /// Every device is as its guest is to find it, so guests may start.
    ready: AtomicBool,
    /// The guest that has the console at the start.
    console_guest: Option<usize>,
    fingerprint: Fingerprint,
}

static SYSTEM: Once<System> = Once::new();

/// How many interrupts a CPU takes before it looks after its guest and at what is due.
const INTERRUPTS_PER_TURN: usize = 32;

/// Runs the machine to its end. On the boot CPU.
pub fn run(machine: Machine, fingerprint: Fingerprint) -> ! {
    match System::build(machine, fingerprint) {
        Ok(system) => {
            let system = SYSTEM.call_once(|| system);
            system.start();
            percpu::online().for_each(gic::kick);
            cpu_loop()
        }
        Err(error) => {
            log::error!(target: "boot", "{error}");
            summary::end("nothing to run")
        }
    }
}

impl System {
    fn build(machine: Machine, fingerprint: Fingerprint) -> Result<System, String> {
        let Machine {
            tree,
            bundle,
            smmus: units,
            console,
        } = machine;
        let bridges = fabric::discover(&tree);
        let functions: Vec<_> = bridges.iter().flat_map(HostBridge::masters).collect();
        let not_shut: Vec<_> = units.iter().map(Unit::not_shut).collect();
        let mut graph = Graph::build_gated(&tree, &functions, &not_shut);
        for (index, unit) in units.iter().enumerate() {
            if let Ok(report) = &unit.gate {
                let index = topology::SmmuIndex(index);
                graph.limit_stream_bits(&tree, index, report.stream_bits.into());
                if let Some(count) = report.match_registers {
                    graph.know_match_registers(index, count);
                }
            }
        }
        for diagnostic in graph.diagnostics() {
            // It says itself how much it matters.
            log::info!(target: "tree", "{diagnostic}");
        }
        if graph.omitted_diagnostics() > 0 {
            log::warn!(target: "tree", "and {} more defects", graph.omitted_diagnostics());
        }
        let mut lines = Lines::new(|line: &str| log::info!(target: "graph", "{line}"));
        // Lines report no error.
        let _ = write!(lines, "{}", graph.outline());
        lines.finish();
        let bundle = bundle
            .ok_or("there is no bundle: pass it as initrd (`cargo xtask run` does)")
            .map_err(ToString::to_string)
            .and_then(|bytes| Bundle::new(bytes).map_err(|error| error.to_string()))?;
        let blob = bundle.find(partition::MEMBER_NAME).ok_or_else(|| {
            alloc::format!(
                "the bundle has no {}: it says which guests to run",
                partition::MEMBER_NAME
            )
        })?;
        let Partition {
            loading,
            mut guests,
            console: console_guest,
            ..
        } = Partition::parse(blob).map_err(|error| error.to_string())?;

        smmus::claim_interrupts(&units);
        let (registry, given) = given::register(&tree, &units, &graph, &bridges, &guests);
        given::place_memory(&mut guests, &registry, &given);
        let mut system = System {
            bundle,
            typing: Typing::new(console),
            drivers: Drivers::new(&units),
            bridges,
            registry: Mutex::new(registry),
            attachments: Mutex::new(Attachments::new()),
            faults: Mutex::new(FaultLog::new()),
            unfinished: Mutex::new(Vec::new()),
            polling: Mutex::new(Polling::new()),
            guests: Vec::new(),
            ended: Mutex::new(Vec::new()),
            given,
            schedule: Mutex::new(Schedule::new(loading)),
            ready: AtomicBool::new(false),
            console_guest,
            fingerprint,
            units,
            tree,
            graph,
        };
        system.guests = system.build_guests(&guests);
        Ok(system)
    }

    /// Starts what can start, and says what waits for what.
    fn start(&'static self) {
        self.announce_devices();
        self.announce_unheard();
        let loading = {
            let mut schedule = self.schedule.lock();
            schedule.start(timer::now_us());
            schedule.loading()
        };
        if loading.when == partition::When::Boot {
            self.load_components();
        }
        self.show_initial();
        self.announce_waits();
        self.ready.store(true, Ordering::Release);
        self.start_ready_guests();
        self.announce_schedule(&loading);
        self.listen();
        if self.console_guest.is_some() {
            self.give_console(self.console_guest);
        }
    }

    /// Does what is due. On the boot CPU, which looks again whenever its timer or another interrupt wakes it.
    fn service(&'static self) {
        loop {
            let due = self.schedule.lock().due(timer::now_us());
            match due {
                Some(Due::Load) => self.load_components(),
                Some(Due::Seal) => self.seal(),
                None => break,
            }
        }
        self.poll_faults();
        if self.take_load() {
            self.load_components();
        }
        let more = self.finish_interrupts();
        let console_us = self.converse();
        self.release_stopped();
        self.restart_reset();
        if self.everyone_stopped() {
            self.finish();
        }
        let scheduled_us = self.schedule.lock().next_us(timer::now_us());
        let polled_us = self.polling.lock().next_us(timer::now_us());
        let now_us = timer::now_us();
        let restart_us = self
            .guests
            .iter()
            .flatten()
            .filter_map(|guest| guest.restart_us(now_us))
            .min();
        let next_us = [more.then_some(0), console_us, scheduled_us, restart_us, polled_us]
            .into_iter()
            .flatten()
            .min();
        match next_us {
            Some(us) => timer::arm(us.max(1)),
            None => timer::disarm(),
        }
    }

    /// A guest, if it could be built.
    fn guest(&self, guest: GuestId) -> Option<&'static Guest> {
        self.guests.get(guest.0).copied().flatten()
    }

    /// Which master a device of a guest is, and where it sits.
    fn given(&self, id: MasterId) -> Option<&Given> {
        self.given.iter().find(|given| given.master == id)
    }
}

impl vm::Core for System {
    fn peers_running(&self, guest: usize) -> u64 {
        let others = self
            .guests
            .iter()
            .enumerate()
            .filter(|(index, _)| *index != guest);
        others
            .filter(|(_, other)| other.is_some_and(Guest::is_running))
            .count() as u64
    }

    fn set_switches(&self, guest: usize, action: vdev::ecam::Action) {
        self.switch(GuestId(guest), action);
    }

    fn reset_function(&self, guest: usize, action: vdev::ecam::Action) -> bool {
        self.reset_function(GuestId(guest), action)
    }

    fn clean_devices(&self, guest: usize) {
        let mine = self.given.iter().filter(|given| given.guest.0 == guest);
        mine.for_each(|given| {
            // One that cannot be reset says so, and is not shown again.
            let _ = self.clean(given);
        });
    }

    fn input_read(&self) {
        System::input_read(self);
    }

    fn with_walkers(&self, work: &mut dyn FnMut(&mut dyn stage2::Invalidate)) {
        work(&mut Walkers(self));
    }
}

/// What every CPU does from the moment the system is built, for good.
pub fn cpu_loop() -> ! {
    let this = percpu::this();
    // What is due is told by an interrupt of the core's own; those of guests, which come often, tell of nothing.
    let mut is_due = true;
    loop {
        if let Some(system) = SYSTEM.get() {
            if this.index() == 0 && is_due {
                system.service();
            }
            if let Some((guest, vcpu)) = system.vcpu_of(this.index()) {
                guest.run(vcpu, system);
            } else {
                cpu::wait_for_interrupt();
            }
        } else {
            cpu::wait_for_interrupt();
        }
        is_due = take_interrupts();
    }
}

/// Takes the interrupts that are pending for the core on this CPU, so many at a time that one which comes back at once
/// (a device that faults without end, the timer of a guest that another CPU stopped) does not keep the CPU from what
/// would make it cease. Whether any was the core's own.
fn take_interrupts() -> bool {
    let mut any = false;
    for intid in core::iter::from_fn(gic::acknowledge).take(INTERRUPTS_PER_TURN) {
        gic::end(intid);
        if intid == timer::HYPERVISOR_TIMER_INTID {
            timer::disarm();
        }
        if vm::forward(intid) {
            // The guest's own end of interrupt deactivates it.
            continue;
        }
        any = true;
        gic::deactivate(intid);
        if let Some(system) = SYSTEM.get() {
            system.console_interrupt(intid);
            system.smmu_interrupt(intid);
        }
    }
    any
}
