//! Drivers that fail, and their end: what is behind an SMMU whose driver is gone waits again, and nothing of it stays open.

use super::System;
use super::drivers::DriverError;
use crate::arch::{gic, timer};
use crate::smmus::Unit;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use dma::{SmmuId, silence};
use driver_abi::IpaRange;
use stage2::{Invalidate, InvalidateError, Walker};

impl System {
    /// A driver failed: its SMMU is shut by the gate, whatever state it was left in, and its masters wait again.
    pub fn driver_down(&self, smmu: SmmuId, error: &DriverError) {
        let Some(unit) = self.units.get(smmu.0) else {
            return;
        };
        let shut = self.drivers.give_up(smmu, unit);
        self.attachments.lock().forget(smmu);
        self.polling.lock().remove(smmu);
        let lines: Vec<_> = self.units.iter().map(Unit::lines).collect();
        for (line, error) in silence(smmu, &lines, |other| self.drivers.is_live(other), gic::disable) {
            log::warn!(target: "smmu", "{}: its interrupt {line} cannot be turned off: {error}", unit.path);
        }
        match &shut {
            Ok(()) => log::error!(target: "smmu", "{}: driver given up: {error}; gate shut again", unit.path),
            Err(why) => log::error!(target: "smmu",
                "{}: driver given up: {error}; THE GATE CANNOT BE SHUT: {why}; bus mastering is turned off", unit.path),
        }
        let changes = {
            let mut registry = self.registry.lock();
            match &shut {
                Ok(()) => registry.driver_failed(smmu, &error.to_string(), timer::now_us()),
                Err(why) => registry.opened(smmu, &format!("{error}, and {why}"), timer::now_us()),
            }
        };
        dma::lost(self, &changes);
        // A component that died drives none of its SMMUs any more.
        if let Some(other) = self.drivers.dead() {
            self.driver_down(other, error);
        }
    }

    /// Lets all drivers go at the end of a run. The gates are shut behind them.
    pub fn release_drivers(&self) {
        for (index, unit) in self.units.iter().enumerate() {
            let Some((shut, released)) = self.drivers.release(SmmuId(index), unit) else {
                continue;
            };
            if let Err(error) = released {
                log::warn!(target: "smmu", "{}: {error}", unit.path);
            }
            match shut {
                Ok(()) => log::info!(target: "smmu", "{}: driver released, gate shut", unit.path),
                Err(why) => {
                    log::error!(target: "smmu", "{}: driver released, THE GATE CANNOT BE SHUT: {why}", unit.path);
                    let changes =
                        self.registry
                            .lock()
                            .opened(SmmuId(index), &why.to_string(), timer::now_us());
                    dma::lost(self, &changes);
                }
            }
        }
    }
}

/// All who cache stage-2 translations: the CPUs, and every SMMU that has a driver.
#[derive(Debug)]
pub struct Walkers<'s>(pub &'s System);

impl Invalidate for Walkers<'_> {
    fn invalidate(&mut self, vmid: u16, ipa: u64, size: u64) -> Result<(), InvalidateError> {
        crate::vm::invalidate_cpus(vmid, ipa, size);
        if cfg!(feature = "sabotage-skip-smmu-invalidation") {
            log::warn!(target: "smmu", "SABOTAGE: this test build does not invalidate the SMMU's translations");
            return Ok(());
        }
        for (index, unit) in self.0.units.iter().enumerate() {
            let range = IpaRange {
                ipa,
                size,
                vmid,
                reserved: [0; 6],
            };
            if let Some(Err(error)) = self.0.drivers.invalidate(SmmuId(index), &range) {
                self.0.driver_down(SmmuId(index), &error);
            }
            if self.0.drivers.confirm(SmmuId(index), unit, vmid).is_err() {
                return Err(InvalidateError {
                    walker: Walker::Smmu(u16::try_from(index).unwrap_or(u16::MAX)),
                    status: u32::MAX,
                });
            }
        }
        Ok(())
    }
}
