//! A guest: what it consists of, and where it is in its life.

use super::interrupts::Board;
use super::load::Load;
use super::memory::Memory;
use super::passed::Bar;
use super::run::Registers;
use crate::arch::{gic, percpu, timer};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use devicetree::GicInterrupt;
use driver_abi::Domain;
use pci::Window;
use spin::Mutex;
use stage2::Geometry;
use vdev::ecam::Ecam;
use vdev::its::Its;
use vdev::layout::Layout;
use vdev::line::LineBuffer;
use vdev::pl011::Pl011;
use vdev::psci;
use vdev::vgic::Vgic;

/// Where a guest is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Built, not started.
    Waiting,
    /// Started.
    Running,
    /// It asked for a reset: its vCPUs stop, and the boot CPU will take its devices.
    Resetting,
    /// Nothing of it runs or writes: its own CPU makes it what it was before its start.
    Clearing,
    /// That is done, and the boot CPU will start it again.
    Cleared,
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
    /// Its CPU is loaded with it.
    pub(super) loaded: AtomicBool,
    /// Held by its CPU while it serves or runs it.
    pub(super) registers: Mutex<Registers>,
    /// Private physical interrupts that another vCPU wants deactivated here, by bit.
    pub(super) deactivate: AtomicU32,
}

/// The virtual devices that a guest's vCPUs share.
#[derive(Debug, Clone)]
pub(super) struct Devices {
    pub(super) gic: Vgic,
    pub(super) uart: Pl011,
    /// What it wrote, until a line is complete.
    pub(super) output: LineBuffer,
    pub(super) ecam: Ecam,
    /// The interrupt of its hot-plug slots, if it has any.
    pub(super) slot_interrupt: Option<u32>,
    /// For messages of its functions, if any can send some.
    pub(super) its: Option<Its>,
}

/// See the module. Guests live for ever.
#[derive(Debug)]
pub struct Guest {
    pub(super) index: usize,
    name: String,
    pub(super) geometry: Geometry,
    pub(super) vttbr: u64,
    domain: Domain,
    pub(super) layout: Layout,
    entry: u64,
    device_tree: u64,
    pub(super) load: Load,
    pub(super) interrupts: Vec<GicInterrupt>,
    pub(super) vcpus: Vec<Vcpu>,
    pub(super) devices: Mutex<Devices>,
    /// The devices as a start finds them.
    pub(super) fresh: Devices,
    pub(super) memory: Mutex<Memory>,
    /// The host bridge's windows.
    pub(super) windows: Vec<Window>,
    /// Held while BARs move.
    pub(super) bars: Mutex<Vec<Bar>>,
    /// Those of its platform devices.
    pub(super) registers: Vec<super::registers::Registers>,
    /// What is mapped of devices may not be what the guest is to have.
    pub(super) unsettled: AtomicBool,
    pub(super) state: Mutex<State>,
    /// When it was started last.
    pub(super) started_us: AtomicU64,
    /// An access that the syndrome does not describe has been reported.
    pub(super) reported_access: AtomicBool,
    /// A BAR that cannot be where it is wanted has been reported.
    pub(super) reported_bar: AtomicBool,
    /// A page that it wanted to give back and that was not taken has been reported.
    pub(super) reported_refusal: AtomicBool,
}

/// What a guest is made of, by `build.rs`.
pub(super) struct Parts {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) geometry: Geometry,
    pub(super) layout: Layout,
    pub(super) entry: u64,
    pub(super) device_tree: u64,
    pub(super) load: Load,
    pub(super) interrupts: Vec<GicInterrupt>,
    /// Physical CPU and affinity of each.
    pub(super) vcpus: Vec<(usize, u64)>,
    pub(super) devices: Devices,
    pub(super) memory: Memory,
    pub(super) windows: Vec<Window>,
    pub(super) bars: Vec<Bar>,
    pub(super) registers: Vec<super::registers::Registers>,
}

impl Guest {
    pub(super) fn new(parts: Parts) -> Guest {
        let vcpu = |(cpu, affinity)| Vcpu {
            cpu,
            affinity,
            power: Mutex::new(Power::Off),
            loaded: AtomicBool::new(false),
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
            load: parts.load,
            interrupts: parts.interrupts,
            vcpus: parts.vcpus.into_iter().map(vcpu).collect(),
            fresh: parts.devices.clone(),
            devices: Mutex::new(parts.devices),
            memory: Mutex::new(parts.memory),
            windows: parts.windows,
            bars: Mutex::new(parts.bars),
            registers: parts.registers,
            unsettled: AtomicBool::new(false),
            state: Mutex::new(State::Waiting),
            started_us: AtomicU64::new(0),
            reported_access: AtomicBool::new(false),
            reported_bar: AtomicBool::new(false),
            reported_refusal: AtomicBool::new(false),
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
        self.started_us.store(timer::now_us(), Ordering::Relaxed);
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
        self.quiet();
        log::info!(target: "guest", "{}: stopped: {reason}", self.name);
        self.leave();
    }

    /// No interrupt comes any more, and what it wrote is printed.
    pub(super) fn quiet(&self) {
        for interrupt in &self.interrupts {
            // One that fires all the same goes to nobody.
            let _ = gic::disable(interrupt.intid).and_then(|()| gic::clear(interrupt.intid));
        }
        self.end_line();
    }

    /// Makes all its vCPUs look around, and leave if it does not run any more, and then the boot CPU, which takes its
    /// devices away.
    pub(super) fn leave(&self) {
        (0..self.vcpus.len()).for_each(|vcpu| self.kick(vcpu));
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
