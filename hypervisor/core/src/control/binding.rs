//! Deferred binding: a driver arrives, its SMMU goes live, the masters behind it follow; or they are told why not.
//!
//! The registry decides, this file does. The registry's lock is never held while a component or a guest is called.

use super::System;
use super::drivers::{self, Candidate, NotLoaded};
use crate::arch::timer;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use dma::{
    AttachPlan, Attachments, Change, Core, Fault, FaultAction, GuestId, Hardware, MasterId, Registry, SmmuId,
    State,
};
use driver_abi::{FaultKind, FaultRecord, InterruptLine, Stream, access};

/// How often one interrupt lets a driver come back for more before other work gets its turn.
const ROUNDS: usize = 8;

impl System {
    /// Loads what the bundle has for those SMMUs that have no driver yet, and binds what was waiting for it.
    pub fn load_components(&self) {
        if self.registry.lock().is_sealed() {
            log::error!(target: "component", "loading is sealed: nothing is loaded any more");
            return;
        }
        let candidates = drivers::candidates(&self.bundle);
        let wanted = self.wanted();
        if candidates.is_empty() && !wanted.is_empty() {
            log::error!(target: "component", "the bundle has no component; what waits for a driver stays blocked");
        }
        for candidate in candidates {
            self.load(&candidate);
        }
        for smmu in self.driverless() {
            if let Some(unit) = self.units.get(smmu.0) {
                log::warn!(target: "smmu", "{}: still no driver; what is behind it stays blocked", unit.path);
            }
        }
    }

    fn load(&self, candidate: &Candidate<'_>) {
        let started_us = timer::now_us();
        let wanted = self.wanted();
        if wanted.is_empty() {
            log::info!(target: "component", "{}: not needed: no SMMU waits for a driver", candidate.name);
            return;
        }
        match candidate.load(&wanted) {
            Ok(component) => {
                drivers::announce(&component, candidate.name, started_us);
                let component = Arc::new(component);
                for smmu in self.driverless() {
                    let drives = |name: &String| component.manifest().drives(name);
                    if self
                        .units
                        .get(smmu.0)
                        .is_some_and(|unit| unit.compatible.iter().any(drives))
                    {
                        self.probe(smmu, candidate.name, &component);
                    }
                }
            }
            Err(NotLoaded::NotNeeded(why)) => {
                log::info!(target: "component", "{}: not needed: {why}", candidate.name)
            }
            Err(NotLoaded::Refused(why)) => log::error!(target: "component",
                "{}: refused: {why}; what waits for a driver stays blocked", candidate.name),
        }
    }

    /// SMMUs that are shut and have no driver.
    fn driverless(&self) -> Vec<SmmuId> {
        let ids = (0..self.units.len()).map(SmmuId);
        let usable = |smmu: &SmmuId| self.units.get(smmu.0).is_some_and(|unit| unit.gate.is_ok());
        ids.filter(|smmu| usable(smmu) && self.drivers.is_free(*smmu))
            .collect()
    }

    /// The `compatible` strings of those SMMUs.
    fn wanted(&self) -> Vec<&str> {
        let units = self
            .driverless()
            .into_iter()
            .filter_map(|smmu| self.units.get(smmu.0));
        units
            .flat_map(|unit| unit.compatible.iter().map(String::as_str))
            .collect()
    }

    fn probe(&self, smmu: SmmuId, name: &str, component: &Arc<crate::component::LoadedComponent>) {
        let Some(unit) = self.units.get(smmu.0) else {
            return;
        };
        let described = self.graph.smmu(topology::SmmuIndex(smmu.0));
        let max_stream = described.and_then(|smmu| smmu.max_stream).unwrap_or(0);
        match self.drivers.probe(smmu, unit, max_stream, component) {
            None => {}
            Some(Ok(features)) => {
                log::info!(target: "smmu", "{}: live: {features}", unit.path);
                self.hear(smmu);
                let changes = {
                    let mut registry = self.registry.lock();
                    // Who gives a driver up tells the registry afterwards: what it hears here must not come later.
                    if !self.drivers.is_live(smmu) {
                        return;
                    }
                    registry.driver_live(smmu, name, timer::now_us())
                };
                self.report(&changes);
                for change in changes {
                    dma::bind(self, change.master);
                }
            }
            Some(Err(error)) => self.driver_down(smmu, &error),
        }
    }

    /// Takes a master from its guest, and cleans it. For a guest that stopped.
    pub fn release(&self, id: MasterId) {
        dma::release(self, id);
        if let Some(given) = self.given(id) {
            // What it cannot be rid of now it is not rid of before another guest would get it either: nobody does.
            let _ = self.clean(given);
        }
    }

    /// No component is accepted any more.
    pub fn seal(&self) {
        let changes = self.registry.lock().seal(timer::now_us());
        let mine = changes
            .iter()
            .filter(|change| self.given(change.master).is_some())
            .count();
        match mine {
            0 => log::info!(target: "component", "loading is sealed"),
            _ => log::warn!(target: "component", "loading is sealed; {mine} devices never got a driver"),
        }
        self.report(&changes);
        for change in changes {
            self.hide(change.master);
        }
    }

    /// Handles an interrupt, if it is one of an SMMU.
    pub fn smmu_interrupt(&self, intid: u32) {
        for (index, unit) in self.units.iter().enumerate() {
            for (interrupt, line) in &unit.interrupts {
                if interrupt.intid == intid {
                    self.serve_interrupt(SmmuId(index), *line);
                }
            }
        }
    }

    pub(super) fn serve_interrupt(&self, smmu: SmmuId, line: InterruptLine) {
        for _ in 0..ROUNDS {
            match self.drivers.interrupt(smmu, line) {
                Some(Ok((faults, more))) => {
                    for fault in &faults {
                        self.fault(smmu, fault);
                    }
                    if !more {
                        return;
                    }
                }
                Some(Err(error)) => return self.driver_down(smmu, &error),
                None => return,
            }
        }
        // A device that faults faster than we can count does not get all of this CPU: the rest waits for the next turn.
        let mut unfinished = self.unfinished.lock();
        if !unfinished.contains(&(smmu, line)) {
            unfinished.push((smmu, line));
        }
    }

    /// Goes on with interrupts that had more to do. Whether there were any.
    pub fn finish_interrupts(&self) -> bool {
        let unfinished = core::mem::take(&mut *self.unfinished.lock());
        for (smmu, line) in &unfinished {
            self.serve_interrupt(*smmu, *line);
        }
        !unfinished.is_empty()
    }

    fn fault(&self, smmu: SmmuId, record: &FaultRecord) {
        let now_us = timer::now_us();
        let registry = self.registry.lock();
        // Lost events name no stream: they are nobody's fault, least of all that of the owner of stream 0.
        let is_named = record.kind != FaultKind::OVERFLOW;
        let master = if is_named {
            registry.owner_of(smmu, record.stream)
        } else {
            None
        };
        let owner = master.and_then(|id| registry.master(id));
        let assignment = owner.and_then(|master| master.assignment);
        let path = self.units.get(smmu.0).map_or("?", |unit| unit.path.as_str());
        let who = match (assignment, owner) {
            _ if !is_named => path.to_string(),
            (Some(given), Some(master)) => format!("{} {}", registry.guest_name(given.guest), master.name),
            (None, Some(master)) => format!("nobody's {}", master.name),
            _ => "unknown device".to_string(),
        };
        let stream = match self.units.len() {
            _ if !is_named => String::new(),
            1 => format!(", stream {:#x}", record.stream),
            _ => format!(", stream {:#x} at {path}", record.stream),
        };
        // All streams of a live device are attached: the event is older than that.
        let is_live = owner.is_some_and(|master| matches!(master.state(), State::Live(_)));
        let was_early = is_live && record.kind == FaultKind::NOT_ATTACHED;
        let policy = master.map_or(partition::OnFault::Log, |id| registry.on_fault(id));
        drop(registry);
        let fault = Fault {
            master,
            guest: assignment.map(|given| given.guest),
            kind: record.kind,
            ipa: (record.access & access::ADDRESS_VALID != 0).then_some(record.ipa),
            write: record.access & access::WRITE != 0,
            count: record.count,
        };
        let (line, action) = self.faults.lock().record(&fault, policy, now_us);
        let what = describe(&fault);
        if let Some(line) = line {
            let unsaid = if line.unsaid > 0 {
                format!("; {} earlier events without a line", line.unsaid)
            } else {
                String::new()
            };
            let early = if was_early {
                "; from before the device was live"
            } else {
                ""
            };
            log::warn!(target: "fault", "{who}{stream}: {what} (events: {}{unsaid}{early})", line.events);
        }
        match action {
            FaultAction::None => {}
            FaultAction::Quarantine(id) => dma::quarantine(self, id, &what),
            FaultAction::StopGuest(guest) => self.stop_guest(guest, &format!("its device faulted: {what}")),
        }
    }
}

impl Hardware for System {
    fn attachments<R>(&self, work: impl FnOnce(&mut Attachments) -> R) -> R {
        work(&mut self.attachments.lock())
    }

    fn attach(&self, plan: &AttachPlan, smmu: SmmuId, streams: &[Stream]) -> Result<(), String> {
        let guest = self.guest(plan.guest).ok_or("its guest could not be built")?;
        match self.drivers.attach(smmu, streams, &guest.domain()) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => {
                if error.is_fatal() {
                    self.driver_down(smmu, &error);
                }
                Err(error.to_string())
            }
            None => Err("its SMMU lost its driver".to_string()),
        }
    }

    /// A driver that cannot do that is given up, and its gate shut.
    fn block(&self, smmu: SmmuId, streams: &[Stream]) {
        if let Some(Err(error)) = self.drivers.detach(smmu, streams) {
            self.driver_down(smmu, &error);
        }
    }
}

impl Core for System {
    fn registry<R>(&self, work: impl FnOnce(&mut Registry) -> R) -> R {
        work(&mut self.registry.lock())
    }

    fn now_us(&self) -> u64 {
        timer::now_us()
    }

    /// Only those of devices that somebody was given.
    fn report(&self, changes: &[Change]) {
        let registry = self.registry.lock();
        for change in changes {
            let Some(master) = registry
                .master(change.master)
                .filter(|master| master.assignment.is_some())
            else {
                continue;
            };
            let state = match change.to {
                State::Live(guest) | State::Faulted(guest) => {
                    format!("{}({})", change.to.word(), registry.guest_name(guest))
                }
                state => state.word().to_string(),
            };
            let waited_us = master.waited_us();
            log::info!(target: "device", "{}: {} → {state} after {}.{:03} s: {}", master.name,
                change.from.word(), waited_us / 1_000_000, waited_us / 1000 % 1000, change.reason);
        }
    }

    fn has_stopped(&self, guest: GuestId) -> bool {
        System::has_stopped(self, guest)
    }

    fn show(&self, id: MasterId) {
        System::show(self, id);
    }

    fn hide(&self, id: MasterId) {
        System::hide(self, id);
    }
}

fn describe(fault: &Fault) -> String {
    let access = if fault.write { "write" } else { "read" };
    match (fault.kind, fault.ipa) {
        (FaultKind::OVERFLOW, _) => "faults came faster than they could be recorded".to_string(),
        (kind, Some(ipa)) => format!("{access} at IPA {ipa:#x}: {}", kind.describe()),
        (kind, None) => kind.describe().to_string(),
    }
}
