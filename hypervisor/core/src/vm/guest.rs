//! A guest: its state, its vCPUs, and running one of them.

use super::Core;
use super::frame::{self, Exit, Frame};
use super::interrupts::{self, Board};
use super::memory::Memory;
use super::{control, lists};
use crate::arch::{cpu, gic, percpu};
use crate::console;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use devicetree::GicInterrupt;
use driver_abi::Domain;
use pci::Bdf;
use spin::Mutex;
use stage2::Geometry;
use vdev::ecam::{Action, Ecam};
use vdev::layout::Layout;
use vdev::pl011::Pl011;
use vdev::psci;
use vdev::vgic::{Flushed, ListRegister, Vgic};

/// Where a guest is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Built, not started.
    Waiting,
    /// Started.
    Running,
    /// At its end, for this reason.
    Stopped(String),
}

/// Whether a vCPU runs, as PSCI sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Power {
    Off,
    /// To begin at `entry` with `context` in x0, as soon as its CPU comes round.
    Starting {
        entry: u64,
        context: u64,
    },
    On,
}

/// One vCPU.
#[derive(Debug)]
pub(super) struct Vcpu {
    /// Index of the physical CPU it has to itself.
    pub(super) cpu: usize,
    pub(super) affinity: u64,
    pub(super) power: Mutex<Power>,
    /// Held by its CPU while it serves or runs it.
    registers: Mutex<Registers>,
    /// Private physical interrupts that another vCPU wants deactivated here, by bit.
    deactivate: AtomicU32,
}

#[derive(Debug, Default)]
pub(super) struct Registers {
    pub(super) frame: Frame,
    lists: [ListRegister; lists::MOST],
    flushed: Flushed,
    /// Its CPU is loaded with it.
    loaded: bool,
}

/// The virtual devices that a guest's vCPUs share.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) gic: Vgic,
    pub(super) uart: Pl011,
    pub(super) ecam: Ecam,
}

/// A PCI function of a guest, and the windows of its BARs.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) at: Bdf,
    /// Physical address and size of each, whole pages.
    pub(super) bars: Vec<(u64, u64)>,
}

/// Where a function's BARs stand in stage 2. Its lock is never held while walkers are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    No,
    Yes,
    /// Still mapped; to be unmapped by the guest's first vCPU.
    Leaving,
    /// Being unmapped.
    Unmapping,
    /// Being unmapped, and to be mapped again after that.
    Returning,
}

/// See the module. Guests live for ever.
#[derive(Debug)]
pub struct Guest {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) geometry: Geometry,
    pub(super) vttbr: u64,
    pub(super) domain: Domain,
    pub(super) layout: Layout,
    pub(super) entry: u64,
    pub(super) device_tree: u64,
    pub(super) interrupts: Vec<GicInterrupt>,
    pub(super) vcpus: Vec<Vcpu>,
    pub(super) devices: Mutex<Devices>,
    pub(super) memory: Mutex<Memory>,
    passed: Vec<(Passed, Mutex<Shown>)>,
    state: Mutex<State>,
    /// An access that the syndrome does not describe has been reported.
    pub(super) reported_access: AtomicBool,
}

/// What a guest is made of, by `build.rs`.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) geometry: Geometry,
    pub(super) layout: Layout,
    pub(super) entry: u64,
    pub(super) device_tree: u64,
    pub(super) interrupts: Vec<GicInterrupt>,
    /// Physical CPU and affinity of each.
    pub(super) vcpus: Vec<(usize, u64)>,
    pub(super) devices: Devices,
    pub(super) memory: Memory,
    pub(super) passed: Vec<Passed>,
}

impl Guest {
    pub(super) fn new(parts: Parts) -> Guest {
        let vcpu = |(cpu, affinity)| Vcpu {
            cpu,
            affinity,
            power: Mutex::new(Power::Off),
            registers: Mutex::default(),
            deactivate: AtomicU32::new(0),
        };
        Guest {
            index: parts.index,
            name: parts.name,
            geometry: parts.geometry,
            vttbr: parts.memory.vttbr(),
            domain: parts.memory.domain(),
            layout: parts.layout,
            entry: parts.entry,
            device_tree: parts.device_tree,
            interrupts: parts.interrupts,
            vcpus: parts.vcpus.into_iter().map(vcpu).collect(),
            devices: Mutex::new(parts.devices),
            memory: Mutex::new(parts.memory),
            passed: parts
                .passed
                .into_iter()
                .map(|passed| (passed, Mutex::new(Shown::No)))
                .collect(),
            state: Mutex::new(State::Waiting),
            reported_access: AtomicBool::new(false),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is in its life.
    pub fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Whether it was started and has not stopped.
    pub fn is_running(&self) -> bool {
        *self.state.lock() == State::Running
    }

    /// How many vCPUs it has.
    pub fn vcpus(&self) -> usize {
        self.vcpus.len()
    }

    /// The index of the physical CPU of a vCPU.
    pub fn cpu_of(&self, vcpu: usize) -> Option<usize> {
        self.vcpus.get(vcpu).map(|vcpu| vcpu.cpu)
    }

    /// Its address space, as an SMMU driver is told of it.
    pub fn domain(&self) -> Domain {
        self.domain
    }

    /// Starts its first vCPU. A guest is started once.
    pub fn start(&self) {
        {
            let mut state = self.state.lock();
            if *state != State::Waiting {
                return;
            }
            *state = State::Running;
        }
        for interrupt in &self.interrupts {
            if let Err(error) = gic::enable(interrupt.intid) {
                log::warn!(target: "guest", "{}: interrupt {} will not come: {error}", self.name, interrupt.intid);
            }
        }
        if let Some(first) = self.vcpus.first() {
            *first.power.lock() = Power::Starting {
                entry: self.entry,
                context: self.device_tree,
            };
        }
        self.kick(0);
    }

    /// Ends it, from any CPU. Its vCPUs leave as soon as they are kicked. The first reason counts.
    pub fn stop(&self, reason: &str) {
        {
            let mut state = self.state.lock();
            if matches!(*state, State::Stopped(_)) {
                return;
            }
            *state = State::Stopped(reason.to_string());
        }
        for interrupt in &self.interrupts {
            // One that fires all the same goes to nobody.
            let _ = gic::disable(interrupt.intid).and_then(|()| gic::clear(interrupt.intid));
        }
        let partial = self.devices.lock().uart.take_partial();
        if let Some(line) = partial {
            console::guest_line(&self.name, &line);
        }
        log::info!(target: "guest", "{}: stopped: {reason}", self.name);
        (0..self.vcpus.len()).for_each(|vcpu| self.kick(vcpu));
        // The boot CPU takes its devices away.
        percpu::of(0).into_iter().for_each(gic::kick);
    }

    /// Makes the CPU of a vCPU look around.
    pub(super) fn kick(&self, vcpu: usize) {
        let cpu = self.cpu_of(vcpu).and_then(percpu::of);
        if let Some(cpu) = cpu.filter(|cpu| cpu.index() != percpu::this().index()) {
            gic::kick(cpu);
        }
    }

    /// Has a private interrupt deactivated on another vCPU's CPU.
    pub(super) fn deactivate_on(&self, vcpu: usize, intid: u32) {
        if let Some(vcpu) = self.vcpus.get(vcpu) {
            vcpu.deactivate.fetch_or(1 << (intid % 32), Ordering::Relaxed);
        }
        self.kick(vcpu);
    }

    /// A physical interrupt that was passed through has been acknowledged. Whether the guest takes it.
    pub(super) fn take_interrupt(&self, vcpu: usize, physical: u32) -> bool {
        if !self.is_running() {
            return false;
        }
        let mut devices = self.devices.lock();
        let Some(intid) = devices.gic.virtual_of(physical) else {
            return false;
        };
        devices.gic.raise(
            vcpu,
            intid,
            &mut Board {
                guest: self,
                vcpu: None,
            },
        );
        true
    }

    /// Maps a function's BARs, makes it present in configuration space, and lets it master the bus if the guest says so.
    ///
    /// # Errors
    /// The BARs cannot be mapped; nothing is shown.
    pub fn show_device(&self, at: Bdf, core: &dyn Core) -> Result<(), super::MemoryError> {
        let Some((passed, shown)) = self.passed.iter().find(|(passed, _)| passed.at == at) else {
            return Ok(());
        };
        {
            let mut shown = shown.lock();
            *shown = match *shown {
                Shown::No => {
                    self.map_bars(passed)?;
                    Shown::Yes
                }
                Shown::Yes | Shown::Leaving => Shown::Yes,
                Shown::Unmapping | Shown::Returning => Shown::Returning,
            };
        }
        self.switch_devices(core, |devices| {
            [
                devices.ecam.set_present(at, true),
                devices.ecam.allow_dma(at, true),
            ]
        });
        Ok(())
    }

    /// Takes a function away: no bus mastering, no interrupt, absent from configuration space. Its BARs are unmapped by
    /// the guest's first vCPU, since our caller may be in the middle of an invalidation.
    pub fn hide_device(&self, at: Bdf, core: &dyn Core) {
        self.switch_devices(core, |devices| {
            [
                devices.ecam.allow_dma(at, false),
                devices.ecam.set_present(at, false),
            ]
        });
        if let Some((_, shown)) = self.passed.iter().find(|(passed, _)| passed.at == at) {
            let mut shown = shown.lock();
            *shown = match *shown {
                Shown::Yes => Shown::Leaving,
                Shown::Returning => Shown::Unmapping,
                other => other,
            };
        }
        self.kick(0);
    }

    /// Carries out what a change of the virtual devices asks of physical functions, in the order of the changes: the
    /// devices stay locked.
    pub(super) fn switch_devices<const N: usize>(
        &self,
        core: &dyn Core,
        change: impl FnOnce(&mut Devices) -> [Option<Action>; N],
    ) {
        let mut devices = self.devices.lock();
        for action in change(&mut devices).into_iter().flatten() {
            core.set_switches(self.index, action);
        }
    }

    fn map_bars(&self, passed: &Passed) -> Result<(), super::MemoryError> {
        let mut memory = self.memory.lock();
        passed
            .bars
            .iter()
            .try_for_each(|(address, size)| memory.map_device(*address, *size))
    }

    /// Unmaps the BARs of functions that were hidden.
    fn finish_hiding(&self, core: &dyn Core) {
        for (passed, shown) in &self.passed {
            {
                let mut shown = shown.lock();
                if *shown != Shown::Leaving {
                    continue;
                }
                *shown = Shown::Unmapping;
            }
            for (address, size) in &passed.bars {
                let mut result = Ok(());
                core.with_walkers(&mut |walkers| {
                    result = self.memory.lock().unmap_device(walkers, *address, *size);
                });
                if let Err(error) = result {
                    log::warn!(target: "guest", "{} {}: BAR at {address:#x} stays mapped: {error}", self.name, passed.at);
                }
            }
            let mut shown = shown.lock();
            let returns = *shown == Shown::Returning;
            *shown = Shown::No;
            if returns {
                match self.map_bars(passed) {
                    Ok(()) => *shown = Shown::Yes,
                    Err(error) => {
                        log::warn!(target: "guest", "{} {}: BARs are gone: {error}", self.name, passed.at)
                    }
                }
            }
        }
    }

    /// Runs a vCPU on this CPU, which must be its own. Returns with a physical interrupt pending, or after a rest if the
    /// vCPU has nothing to run.
    pub fn run(&'static self, vcpu: usize, core: &dyn Core) {
        let Some(own) = self
            .vcpus
            .get(vcpu)
            .filter(|own| own.cpu == percpu::this().index())
        else {
            return;
        };
        let mut registers = own.registers.lock();
        loop {
            if vcpu == 0 {
                self.finish_hiding(core);
            }
            if !self.is_running() || !self.prepare(vcpu, own, &mut registers) {
                self.unload(own, &mut registers);
                cpu::wait_for_interrupt();
                return;
            }
            match self.enter(vcpu, own, &mut registers) {
                Exit::Irq => return,
                Exit::Sync => self.serve(vcpu, &mut registers.frame, core),
                Exit::Fiq => self.stop("a fast interrupt came while it ran, which nobody configured"),
                Exit::SError => self.stop_with_report(&registers.frame, "a system error came while it ran"),
            }
        }
    }

    /// Makes a vCPU ready that was turned on. Whether there is something to run.
    fn prepare(&'static self, vcpu: usize, own: &Vcpu, registers: &mut Registers) -> bool {
        let mut power = own.power.lock();
        let (entry, context) = match *power {
            Power::Off => return false,
            Power::On => return true,
            Power::Starting { entry, context } => (entry, context),
        };
        if !registers.loaded {
            control::load(self.vttbr, &self.geometry, own.affinity);
            registers.loaded = true;
        }
        frame::reset_el1();
        lists::reset();
        let mut board = Board {
            guest: self,
            vcpu: Some(vcpu),
        };
        self.devices.lock().gic.reset_vcpu(vcpu, &mut board);
        registers.frame = Frame::starting_at(entry, context);
        if let Err(error) = interrupts::set_here(Some((self, vcpu))) {
            drop(power);
            self.stop(&alloc::format!("CPU {}: no virtual timer: {error}", own.cpu));
            return false;
        }
        *power = Power::On;
        true
    }

    /// Leaves nothing of the guest on this CPU.
    fn unload(&self, own: &Vcpu, registers: &mut Registers) {
        if !registers.loaded {
            return;
        }
        control::stop_timer();
        if let Err(error) = interrupts::set_here(None) {
            log::warn!(target: "guest", "{}: CPU {}: {error}", self.name, own.cpu);
        }
        control::unload();
        registers.loaded = false;
    }

    /// One entry and exit.
    fn enter(&self, vcpu: usize, own: &Vcpu, registers: &mut Registers) -> Exit {
        let count = lists::count().min(lists::MOST);
        let board = &mut Board {
            guest: self,
            vcpu: Some(vcpu),
        };
        let wanted = own.deactivate.swap(0, Ordering::Relaxed);
        (0..32)
            .filter(|bit| wanted >> bit & 1 != 0)
            .for_each(gic::deactivate);
        let Registers {
            frame,
            lists: entries,
            flushed,
            ..
        } = registers;
        let entries = entries.get_mut(..count).unwrap_or_default();
        *flushed = self.devices.lock().gic.flush(vcpu, entries);
        lists::load(entries, flushed);
        let exit = frame.run();
        let ended_without = lists::store(entries, flushed.used);
        self.devices.lock().gic.sync(vcpu, entries, ended_without, board);
        exit
    }

    /// PSCI CPU_ON.
    pub(super) fn turn_on(&self, affinity: u64, entry: u64, context: u64) -> u64 {
        use vdev::psci::ErrorCode;
        let Some(vcpu) = self.vcpus.iter().position(|vcpu| vcpu.affinity == affinity) else {
            return psci::result(Err(ErrorCode::InvalidParameters));
        };
        if !self.memory.lock().is_ram(entry) {
            return psci::result(Err(ErrorCode::InvalidAddress));
        }
        let Some(target) = self.vcpus.get(vcpu) else {
            return psci::NOT_SUPPORTED;
        };
        let mut power = target.power.lock();
        match *power {
            Power::On => return psci::result(Err(ErrorCode::AlreadyOn)),
            Power::Starting { .. } => return psci::result(Err(ErrorCode::OnPending)),
            Power::Off => *power = Power::Starting { entry, context },
        }
        drop(power);
        self.kick(vcpu);
        psci::SUCCESS
    }

    /// PSCI AFFINITY_INFO.
    pub(super) fn affinity_info(&self, affinity: u64) -> u64 {
        match self.vcpus.iter().find(|vcpu| vcpu.affinity == affinity) {
            Some(vcpu) => psci::affinity_info(*vcpu.power.lock() != Power::Off),
            None => psci::result(Err(psci::ErrorCode::InvalidParameters)),
        }
    }
}
