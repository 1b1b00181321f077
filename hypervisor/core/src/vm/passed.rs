//! PCI functions that a guest was given: shown and hidden.

use super::Core;
use super::guest::{Devices, Guest};
use super::memory::MemoryError;
use alloc::vec::Vec;
use pci::Bdf;
use spin::Mutex;
use vdev::ecam::Action;

/// A PCI function of a guest.
#[derive(Debug)]
pub(super) struct Passed {
    /// Where the guest finds it.
    at: Bdf,
    /// Physical address and size of each BAR, whole pages.
    bars: Vec<(u64, u64)>,
    /// Never held while stage 2 is changed: walkers that fail make the core hide devices.
    shown: Mutex<Shown>,
}

/// Whether a function's BARs are to be mapped, and whether they are.
#[derive(Debug)]
struct Shown {
    wanted: bool,
    mapped: Mapped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mapped {
    No,
    Yes,
    /// Somebody is changing it, and will look at `wanted` again.
    Changing,
}

impl Passed {
    pub(super) fn new(at: Bdf, bars: Vec<(u64, u64)>) -> Passed {
        Passed {
            at,
            bars,
            shown: Mutex::new(Shown {
                wanted: false,
                mapped: Mapped::No,
            }),
        }
    }

    /// Says what is wanted.
    fn want(&self, wanted: bool) {
        self.shown.lock().wanted = wanted;
    }

    /// What is to be done, if anything, and by us: `true` to map, `false` to unmap.
    fn begin_change(&self, may_unmap: bool) -> Option<bool> {
        let mut shown = self.shown.lock();
        let map = match (shown.mapped, shown.wanted) {
            (Mapped::No, true) => true,
            (Mapped::Yes, false) if may_unmap => false,
            _ => return None,
        };
        shown.mapped = Mapped::Changing;
        Some(map)
    }

    fn end_change(&self, mapped: bool) {
        self.shown.lock().mapped = if mapped { Mapped::Yes } else { Mapped::No };
    }
}

impl Guest {
    fn passed_at(&self, at: Bdf) -> Option<&Passed> {
        self.passed.iter().find(|passed| passed.at == at)
    }

    /// Maps a function's BARs, makes it present in configuration space, and lets it master the bus if the guest says so.
    ///
    /// # Errors
    /// The BARs cannot be mapped; nothing is shown.
    pub fn show_device(&self, at: Bdf, core: &dyn Core) -> Result<(), MemoryError> {
        let Some(passed) = self.passed_at(at) else {
            return Ok(());
        };
        passed.want(true);
        while passed.begin_change(false).is_some() {
            let mapped = self.map_bars(passed);
            if mapped.is_err() {
                passed.want(false);
            }
            passed.end_change(mapped.is_ok());
            mapped?;
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
        if let Some(passed) = self.passed_at(at) {
            passed.want(false);
            self.kick(0);
        }
    }

    /// Carries out what a change of the virtual devices asks of physical functions, in the order of the changes: the
    /// devices stay locked but for a reset, while the function that is reset does not answer.
    pub(super) fn switch_devices<const N: usize>(
        &self,
        core: &dyn Core,
        change: impl FnOnce(&mut Devices) -> [Option<Action>; N],
    ) {
        let actions = {
            let mut devices = self.devices.lock();
            let actions = change(&mut devices);
            for action in actions.into_iter().flatten() {
                core.set_switches(self.index, action);
            }
            actions
        };
        for action in actions.into_iter().flatten().filter(|action| action.reset) {
            if core.reset_function(self.index, action) {
                let mut devices = self.devices.lock();
                if let Some(action) = devices.ecam.finish_reset(action.at) {
                    core.set_switches(self.index, action);
                }
            }
        }
    }

    /// Unmaps the BARs of functions that were hidden, and maps those again that came back meanwhile.
    pub(super) fn finish_hiding(&self, core: &dyn Core) {
        for passed in &self.passed {
            while let Some(map) = passed.begin_change(true) {
                let result = if map {
                    self.map_bars(passed)
                } else {
                    self.unmap_bars(passed, core)
                };
                if let Err(error) = &result {
                    let what = if map { "stay unmapped" } else { "stay mapped" };
                    log::warn!(target: "guest", "{} {}: BARs {what}: {error}", self.name(), passed.at);
                    // Trying again would fail again.
                    passed.want(!map);
                }
                passed.end_change(map == result.is_ok());
            }
        }
    }

    fn map_bars(&self, passed: &Passed) -> Result<(), MemoryError> {
        let mut memory = self.memory.lock();
        passed
            .bars
            .iter()
            .try_for_each(|(address, size)| memory.map_device(*address, *size))
    }

    fn unmap_bars(&self, passed: &Passed, core: &dyn Core) -> Result<(), MemoryError> {
        let mut result = Ok(());
        core.with_walkers(&mut |walkers| {
            let mut memory = self.memory.lock();
            let mut bars = passed.bars.iter();
            result = bars.try_for_each(|(address, size)| memory.unmap_device(walkers, *address, *size));
        });
        result
    }
}
