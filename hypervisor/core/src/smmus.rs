//! The board's SMMUs: shut before anything else may run, and remembered for the driver that comes later.

use crate::arch::{gic, mmu, percpu::PerCpu, timer::Now};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use devicetree::{AddressRange, GicInterrupt, Tree};
use driver_abi::{InterruptLine, SmmuInfo};
use mmio::Region;
use smmu_gate::v3::is_shut;
use smmu_gate::{Found, V3Report, shut_v3};
use stage2::WalkerLimits;
use topology::{Line, Smmu, find_smmus};

/// The `compatible` of the SMMUs that the gate can shut.
const SMMU_V3: &str = "SMMUv3";

/// An SMMU of the board.
#[derive(Debug)]
pub struct Unit {
    /// Its device path.
    pub path: String,
    /// Its `compatible` strings.
    pub compatible: Vec<String>,
    /// Its interrupts, with what they mean to a driver.
    pub interrupts: Vec<(GicInterrupt, InterruptLine)>,
    /// What the gate found, or why there is no shutting it.
    pub gate: Result<V3Report, String>,
    /// Several are instances that are programmed as one.
    frames: Vec<AddressRange>,
    coherent: bool,
    registers: Option<Region>,
    /// It could not be shut behind its driver.
    open: AtomicBool,
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

impl Unit {
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
            frames: smmu.frames.clone(),
            coherent: smmu.coherent,
            registers: None,
            open: AtomicBool::new(false),
        };
        unit.gate = unit.first_shut(smmu);
        unit
    }

    fn first_shut(&mut self, smmu: &Smmu) -> Result<V3Report, String> {
        if let Some(by) = &smmu.disabled_by {
            return Err(format!("it is disabled by the status of {by}, and left alone"));
        }
        if smmu.kind.name != SMMU_V3 {
            return Err(format!("the core has no gate for {}", smmu.kind.name));
        }
        let [frame] = self.frames.as_slice() else {
            return Err(format!(
                "it has {} register frames that can be read, an SMMUv3 has one",
                self.frames.len()
            ));
        };
        let registers = mmu::map_device(frame.address(), frame.size()).map_err(|error| error.to_string())?;
        let report = gate(&registers)?;
        self.registers = Some(registers);
        if let Some(why) = &smmu.unusable {
            return Err(format!("{why}; it is shut and stays shut"));
        }
        if !(report.features.stage2 && report.features.aarch64_tables && report.features.little_endian) {
            return Err(
                "it cannot translate stage 2 with AArch64 tables; it is shut and stays shut".to_string(),
            );
        }
        Ok(report)
    }

    /// Why it is not shut, if it is not.
    pub fn not_shut(&self) -> Option<&str> {
        let why = self.gate.as_ref().err()?;
        self.registers.is_none().then_some(why)
    }

    /// Shuts the SMMU again, after its driver failed. Whatever the driver left there, nothing gets through after it.
    pub fn shut_again(&self) -> Result<(), String> {
        let registers = self.registers.as_ref().ok_or("it was never shut")?;
        let shut = shut_v3(registers, &Now);
        self.open.store(shut.is_err(), Ordering::Relaxed);
        shut.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Whether [`shut_again`](Self::shut_again) failed: it may translate as a driver left it, and cache what it likes.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// What its table walker can do, for the geometry of stage 2; nothing if the SMMU cannot be used.
    pub fn walker_limits(&self) -> Option<WalkerLimits<'_>> {
        let features = self.gate.as_ref().ok()?.features;
        Some(WalkerLimits::smmu(
            &self.path,
            features.output_bits,
            features.granule_4k,
        ))
    }

    /// What a driver is told of it; `max_stream` is the highest stream ID that any master emits here.
    pub fn info(&self, max_stream: u32) -> SmmuInfo {
        SmmuInfo {
            base: self.frames.first().map_or(0, AddressRange::address),
            size: self.frames.first().map_or(0, AddressRange::size),
            second_base: self.frames.get(1).map_or(0, AddressRange::address),
            max_stream,
            coherent: self.coherent.into(),
            quirks: 0,
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

    /// Keeps its interrupts away again.
    pub fn disable_interrupts(&self) -> Result<(), gic::GicError> {
        self.interrupts
            .iter()
            .try_for_each(|(interrupt, _)| gic::disable(interrupt.intid))
    }

    fn announce(&self) {
        match &self.gate {
            Ok(report) => {
                let features = &report.features;
                log::info!(target: "smmu",
                "{}: SMMUv{}.{}, stage 2, {}-bit addresses, {}-bit stream IDs, no driver: {} (firmware left it {})",
                self.path, features.major, features.minor, features.output_bits, features.stream_bits,
                if self.registers.as_ref().is_some_and(is_shut) { "gate shut" } else { "GATE NOT SHUT" },
                match report.found {
                    Found::Open => "open",
                    Found::Shut => "shut",
                    Found::Translating => "translating",
                });
            }
            Err(why) => log::error!(target: "smmu", "{}: unusable: {why}", self.path),
        }
    }
}

#[cfg(not(feature = "sabotage-skip-gate"))]
fn gate(registers: &Region) -> Result<V3Report, String> {
    shut_v3(registers, &Now).map_err(|error| error.to_string())
}

/// What a core without a gate does: it looks, and leaves the SMMU as firmware did. For the test which shows that the
/// gate is what blocks.
#[cfg(feature = "sabotage-skip-gate")]
fn gate(registers: &Region) -> Result<V3Report, String> {
    log::warn!(target: "smmu", "SABOTAGE: this test build skips the gate; devices can reach all memory");
    Ok(V3Report {
        features: smmu_gate::Features::read(registers),
        found: Found::Open,
    })
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
