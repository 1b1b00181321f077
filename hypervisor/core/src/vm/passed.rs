//! PCI functions that a guest was given: shown, hidden, switched, and their BARs where the guest puts them.

use super::Core;
use super::guest::{Devices, Guest};
use super::interrupts::Board;
use super::memory::Memory;
use core::sync::atomic::Ordering;
use pci::{Bdf, Space};
use vdev::ecam::{Action, Decoded};

/// A memory BAR of a guest's function.
#[derive(Debug)]
pub(super) struct Bar {
    /// Where the guest finds the function.
    pub(super) at: Bdf,
    /// Number of its (first) register.
    pub(super) index: u8,
    /// Physical address and size, whole pages.
    pub(super) physical: u64,
    pub(super) size: u64,
    /// The guest physical address where it is mapped.
    pub(super) mapped: Option<u64>,
}

impl Guest {
    /// Makes a function present in configuration space, and lets it master the bus if the guest says so.
    pub fn show_device(&self, at: Bdf, core: &dyn Core) {
        self.switch_devices(core, |devices| {
            [
                devices.ecam.set_present(at, true),
                devices.ecam.allow_dma(at, true),
            ]
        });
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
        self.unsettled.store(true, Ordering::Release);
        self.kick(0);
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
            self.settle_slots(&mut devices);
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

    /// Brings the interrupt line of the hot-plug slots up to date.
    fn settle_slots(&self, devices: &mut Devices) {
        if let Some(intid) = devices.slot_interrupt {
            let board = &mut Board {
                guest: self,
                vcpu: None,
            };
            let level = devices.ecam.slot_interrupt();
            devices.gic.set_line(0, intid, level, board);
        }
    }

    /// Unmaps the BARs of functions that were hidden, and maps or unmaps registers of platform devices. For the first vCPU,
    /// before it goes on.
    pub(super) fn settle(&self, core: &dyn Core) {
        if self.unsettled.load(Ordering::Relaxed) && self.unsettled.swap(false, Ordering::Acquire) {
            self.settle_bars(core);
            self.settle_registers(core);
        }
    }

    /// Maps BARs where the guest has put them, and nowhere else. Not from within an invalidation, nor with the devices
    /// locked.
    pub(super) fn settle_bars(&self, core: &dyn Core) {
        let mut bars = self.bars.lock();
        let Some(decoded) = self.devices.lock().ecam.take_decoded() else {
            return;
        };
        let wanted = |bar: &Bar, memory: &Memory| {
            let is_that = |decoded: &&Decoded| decoded.at == bar.at && decoded.index == bar.index;
            let address = decoded.iter().find(is_that)?.address;
            self.place(address, bar.size, memory)
        };
        // What goes makes room for what comes.
        let leaves = |bar: &Bar, memory: &Memory| bar.mapped.is_some() && bar.mapped != wanted(bar, memory);
        let any = {
            let memory = self.memory.lock();
            bars.iter().any(|bar| leaves(bar, &memory))
        };
        if any {
            core.with_walkers(&mut |walkers| {
                let mut memory = self.memory.lock();
                for bar in bars.iter_mut() {
                    let Some(ipa) = bar.mapped.filter(|_| leaves(bar, &memory)) else {
                        continue;
                    };
                    match memory.unmap_device(walkers, ipa, bar.size) {
                        Ok(()) => bar.mapped = None,
                        Err(error) => self.report_bar(bar, "stays mapped", &error),
                    }
                }
            });
        }
        let mut memory = self.memory.lock();
        for bar in bars.iter_mut().filter(|bar| bar.mapped.is_none()) {
            let Some(ipa) = wanted(bar, &memory) else {
                continue;
            };
            match memory.map_device(ipa, bar.physical, bar.size) {
                Ok(()) => bar.mapped = Some(ipa),
                // Where another BAR is, for one.
                Err(error) => self.report_bar(bar, "stays unmapped", &error),
            }
        }
    }

    /// Where a BAR at a PCI address is to be mapped: inside a window of the host bridge, on pages, and neither on the
    /// guest's RAM nor on its virtual devices.
    fn place(&self, address: u64, size: u64, memory: &Memory) -> Option<u64> {
        let mut windows = self.windows.iter().filter(|window| window.space != Space::Io);
        let ipa = windows.find_map(|window| window.to_cpu(address, size))?;
        let free = self.layout.overlapping(ipa, size).is_none() && !memory.is_on_ram(ipa, size);
        (ipa.is_multiple_of(stage2::PAGE_SIZE) && free).then_some(ipa)
    }

    /// Once: a guest does not get to fill the console with lines that are not its own.
    fn report_bar(&self, bar: &Bar, what: &str, error: &dyn core::fmt::Display) {
        if !self.reported_bar.swap(true, Ordering::Relaxed) {
            log::warn!(target: "guest", "{} {}: BAR {} {what}: {error}", self.name(), bar.at, bar.index);
        }
    }
}

/// The BARs of one function.
pub(super) fn bars(at: Bdf, bars: &[super::PhysicalBar]) -> impl Iterator<Item = Bar> {
    bars.iter().map(move |bar| Bar {
        at,
        index: bar.index,
        physical: bar.address,
        size: bar.size.max(stage2::PAGE_SIZE),
        mapped: None,
    })
}
