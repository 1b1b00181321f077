//! SMMUs that cannot interrupt the core: said for every device whose fault policy depends on it, and their drivers asked.

use super::System;
use crate::arch::{percpu, timer};
use dma::{Polling, SmmuId};
use partition::OnFault;

impl System {
    /// Lets an SMMU that has a driver now report faults: by interrupt, or else its driver is asked for them.
    pub fn hear(&self, smmu: SmmuId) {
        let Some(unit) = self.units.get(smmu.0) else {
            return;
        };
        let enabled = unit.enable_interrupts(percpu::this());
        if let Err(error) = &enabled {
            log::warn!(target: "smmu", "{}: its interrupts cannot be turned on: {error}", unit.path);
            self.warn_of_late_policies(smmu);
        }
        if enabled.is_err() || !unit.interrupts_for_faults() {
            log::warn!(target: "smmu", "{}: cannot interrupt for faults: it is asked for them every {} ms",
                unit.path, Polling::PERIOD_US / 1000);
            self.polling.lock().add(smmu, timer::now_us());
        }
    }

    /// Asks for faults where no interrupt tells of them. No more often than [`Polling`] lets it.
    pub fn poll_faults(&self) {
        let due = self.polling.lock().due(timer::now_us());
        for smmu in due {
            let lines = self.units.get(smmu.0).map_or(&[][..], |unit| unit.all_lines());
            for line in lines {
                self.serve_interrupt(smmu, *line);
            }
        }
    }

    /// Says at boot which devices have a fault policy that nothing but asking carries out.
    pub fn announce_unheard(&self) {
        for (index, unit) in self.units.iter().enumerate() {
            if !unit.interrupts_for_faults() {
                self.warn_of_late_policies(SmmuId(index));
            }
        }
    }

    fn warn_of_late_policies(&self, smmu: SmmuId) {
        let Some(unit) = self.units.get(smmu.0) else {
            return;
        };
        let registry = self.registry.lock();
        for given in &self.given {
            let policy = registry.on_fault(given.master);
            if let Some(master) = registry.master(given.master)
                && policy != OnFault::Log
                && master.is_behind(smmu)
            {
                log::warn!(target: "device",
                    "{}: on_fault = \"{}\" IS CARRIED OUT LATE: {} has no interrupt for faults that can be used, and is asked every {} ms",
                    master.name, policy.word(), unit.path, Polling::PERIOD_US / 1000);
            }
        }
    }
}
