//! The board's SMMUs: shut before anything else may run, and remembered for the driver that comes later.

mod gate;

use crate::arch::{gic, mmu, percpu::PerCpu};
use crate::vm;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devicetree::{AddressRange, GicInterrupt, Tree};
use driver_abi::{InterruptLine, SmmuInfo, features};
use gate::{Gate, Report};
use smmu_gate::Found;
use stage2::WalkerLimits;
use topology::{Line, Smmu, find_smmus};

/// An SMMU of the board.
#[derive(Debug)]
pub struct Unit {
    /// Its device path.
    pub path: String,
    /// Its `compatible` strings.
    pub compatible: Vec<String>,
    /// Its interrupts, with what they mean to a driver.
    pub interrupts: Vec<(GicInterrupt, InterruptLine)>,
    /// What the gate found, or why there is no using it.
    pub gate: Result<Report, String>,
    /// Why it counts as open, if the tree does not disable it and it was not measured shut at boot.
    pub open: Option<String>,
    /// Several are instances that are programmed as one.
    frames: Vec<AddressRange>,
    coherent: bool,
    /// The `QUIRK_` bits of [`driver_abi::features`].
    quirks: u32,
    registers: Option<Gate>,
}

/// Shuts every SMMU of the tree, and prints a line for each. On the boot CPU, before any other CPU, bus master or
/// guest runs.
pub fn shut_all(tree: &Tree) -> Vec<Unit> {
    let units: Vec<Unit> = find_smmus(tree).iter().map(Unit::shut).collect();
    for unit in &units {
        unit.announce();
    }
    units
}

/// Takes the interrupts of all SMMUs: nobody may be given them. Two SMMUs may share one; each is asked then.
pub fn claim_interrupts(units: &[Unit]) {
    for (index, unit) in units.iter().enumerate() {
        // One wire may carry several of its interrupts, as on an SMMUv1 those of all context banks.
        let intids: BTreeSet<u32> = unit.intids().collect();
        for intid in intids {
            if !vm::claim_interrupt(intid) {
                let mut earlier = units.iter().take(index);
                let other = earlier.find(|other| other.intids().any(|other| other == intid));
                let other = other.map_or("another device", |other| &other.path);
                log::warn!(target: "smmu", "{}: shares interrupt {intid} with {other}", unit.path);
            }
        }
    }
}

impl Unit {
    fn intids(&self) -> impl Iterator<Item = u32> {
        self.interrupts.iter().map(|(interrupt, _)| interrupt.intid)
    }

    fn shut(smmu: &Smmu) -> Unit {
        let mut unit = Unit {
            path: smmu.path.clone(),
            compatible: smmu.compatible.clone(),
            interrupts: smmu
                .interrupts
                .iter()
                // A CPU's own interrupts are the core's timers and the like, whatever the tree says.
                .filter(|found| gic::is_shared(found.interrupt.intid))
                .filter_map(|found| Some((found.interrupt, line(found.line)?)))
                .collect(),
            gate: Err(String::new()),
            open: None,
            frames: smmu.frames.clone(),
            coherent: smmu.coherent,
            quirks: quirks(smmu),
            registers: None,
        };
        unit.gate = unit.first_shut(smmu);
        unit
    }

    fn first_shut(&mut self, smmu: &Smmu) -> Result<Report, String> {
        if let Some(by) = &smmu.disabled_by {
            return Err(format!("it is disabled by the status of {by}, and left alone"));
        }
        let (gate, report) = close(smmu).inspect_err(|why| self.open = Some(why.clone()))?;
        let lacks = gate.lacks();
        self.registers = Some(gate);
        match smmu.unusable.as_deref().or(lacks) {
            Some(why) => Err(format!("{why}; it is shut and stays shut")),
            None => Ok(report),
        }
    }

    /// Why it is not shut, if it is not.
    pub fn not_shut(&self) -> Option<&str> {
        let why = self.gate.as_ref().err()?;
        self.registers.is_none().then_some(why)
    }

    /// Shuts the SMMU again, after its driver failed, and measures that. Whatever the driver left there, nothing gets through
    /// after it.
    pub fn shut_again(&self) -> Result<(), String> {
        let registers = self.registers.as_ref().ok_or("it was never shut")?;
        shut_measured(registers).map(|_| ())
    }

    /// What its table walker can do, for the geometry of stage 2; nothing if the SMMU cannot be used.
    pub fn walker_limits(&self) -> Option<WalkerLimits<'_>> {
        let report = self.gate.as_ref().ok()?;
        Some(WalkerLimits {
            name: &self.path,
            input_bits: report.input_bits,
            output_bits: report.output_bits,
            granule_4k: true,
        })
    }

    /// What a driver is told of it; `max_stream` is the highest stream ID that any master emits here.
    pub fn info(&self, max_stream: u32) -> SmmuInfo {
        SmmuInfo {
            base: self.frames.first().map_or(0, AddressRange::address),
            size: self.frames.first().map_or(0, AddressRange::size),
            second_base: self.frames.get(1).map_or(0, AddressRange::address),
            max_stream,
            coherent: self.coherent.into(),
            quirks: self.quirks,
            reserved: 0,
        }
    }

    /// Lets its interrupts come to `cpu`. Only once a driver is there to handle them.
    pub fn enable_interrupts(&self, cpu: &PerCpu) -> Result<(), gic::GicError> {
        for (interrupt, _) in &self.interrupts {
            gic::set_trigger(interrupt.intid, interrupt.trigger)?;
            gic::route(interrupt.intid, cpu)?;
            gic::enable(interrupt.intid)?;
        }
        Ok(())
    }

    /// Whether it can interrupt when a device faults: many trees describe no such interrupt, or one that cannot be used.
    pub fn interrupts_for_faults(&self) -> bool {
        let tells = [
            InterruptLine::EVENT_QUEUE,
            InterruptLine::COMBINED,
            InterruptLine::CONTEXT_FAULT,
        ];
        self.interrupts.iter().any(|(_, line)| tells.contains(line))
    }

    /// What a driver is to believe that fired, if it is to look at everything.
    pub fn all_lines(&self) -> &'static [InterruptLine] {
        match &self.registers {
            None => &[],
            Some(Gate::V2(_)) => &[InterruptLine::GLOBAL_FAULT, InterruptLine::CONTEXT_FAULT],
            Some(Gate::V3(_)) => &[InterruptLine::COMBINED],
        }
    }

    /// The lines that it interrupts by.
    pub fn lines(&self) -> Vec<u32> {
        self.interrupts
            .iter()
            .map(|(interrupt, _)| interrupt.intid)
            .collect()
    }

    fn announce(&self) {
        match &self.gate {
            Ok(report) => {
                log::info!(target: "smmu",
                "{}: {}, stage 2, {}-bit addresses, {}-bit stream IDs, no driver: gate shut (firmware left it {})",
                self.path, report.version, report.output_bits, report.stream_bits,
                match report.found {
                    Found::Open => "open",
                    Found::Shut => "shut",
                    Found::Translating => "translating",
                });
            }
            Err(why) if self.open.is_some() => log::error!(target: "smmu",
                "{}: GATE NOT SHUT: {why}; what is behind it is given to nobody", self.path),
            Err(why) => log::error!(target: "smmu", "{}: unusable: {why}", self.path),
        }
    }
}

/// Finds out what an SMMU is, and shuts it.
fn close(smmu: &Smmu) -> Result<(Gate, Report), String> {
    if smmu.frames.is_empty() {
        return Err("its register frames cannot be read".to_string());
    }
    if let Some(other) = smmu.other_kind {
        return Err(format!(
            "it says that it is {} and {}, and no gate fits both",
            smmu.kind.name, other.name
        ));
    }
    let map = |index: usize| {
        let frame = smmu.frames.get(index).ok_or("there is no such register frame")?;
        mmu::map_device(frame.address(), frame.size()).map_err(|error| error.to_string())
    };
    let gate = Gate::find(smmu, map)?;
    let report = shut_measured(&gate)?;
    Ok((gate, report))
}

/// Shuts an SMMU, and believes its registers alone.
fn shut_measured(gate: &Gate) -> Result<Report, String> {
    let report = gate.shut()?;
    gate.opening().map_or(Ok(report), Err)
}

/// What a line means to a driver; those that no driver of ours listens to are left off.
fn line(line: Line) -> Option<InterruptLine> {
    match line {
        Line::EventQueue => Some(InterruptLine::EVENT_QUEUE),
        Line::GlobalError => Some(InterruptLine::GLOBAL_ERROR),
        Line::Combined => Some(InterruptLine::COMBINED),
        Line::Global(_) => Some(InterruptLine::GLOBAL_FAULT),
        Line::Context(_) => Some(InterruptLine::CONTEXT_FAULT),
        Line::PageRequests | Line::CommandSync => None,
    }
}

/// What a driver has to do otherwise than the architecture says, as `QUIRK_` bits.
fn quirks(smmu: &Smmu) -> u32 {
    let found = [
        (smmu.secure_config_access, features::QUIRK_SECURE_CONFIG_ACCESS),
        (smmu.halves, features::QUIRK_HALVES),
    ];
    found.iter().filter(|(has, _)| *has).map(|(_, quirk)| quirk).sum()
}
