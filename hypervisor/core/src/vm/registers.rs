//! Registers of a guest's platform devices: in its stage 2 while it may have the device, where the machine has them.

use super::Core;
use super::guest::Guest;
use core::ops::Range;
use core::sync::atomic::Ordering;
use devicetree::NodeId;

/// The registers of one platform device.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) node: NodeId,
    pub(super) pages: Range<u64>,
    /// The guest may have it.
    pub(super) shown: bool,
    pub(super) mapped: bool,
}

impl Guest {
    /// Makes the registers of a device the guest's, or takes them away. The guest's first vCPU does it before it goes on,
    /// since our caller may be in the middle of an invalidation.
    pub fn show_registers(&self, node: NodeId, shown: bool) {
        let mut registers = self.registers.lock();
        registers
            .iter_mut()
            .filter(|one| one.node == node)
            .for_each(|one| one.shown = shown);
        drop(registers);
        self.unsettled.store(true, Ordering::Release);
        self.kick(0);
    }

    /// Maps what is shown, and nothing else. Not from within an invalidation.
    pub(super) fn settle_registers(&self, core: &dyn Core) {
        let mut registers = self.registers.lock();
        if registers.iter().any(|one| one.mapped && !one.shown) {
            core.with_walkers(&mut |walkers| {
                let mut memory = self.memory.lock();
                for one in registers.iter_mut().filter(|one| one.mapped && !one.shown) {
                    match memory.unmap_device(walkers, one.pages.start, one.pages.end - one.pages.start) {
                        Ok(()) => one.mapped = false,
                        Err(error) => {
                            log::error!(target: "guest", "{}: registers at {:#x} stay mapped: {error}",
                                self.name(), one.pages.start);
                        }
                    }
                }
            });
        }
        let mut memory = self.memory.lock();
        for one in registers.iter_mut().filter(|one| one.shown && !one.mapped) {
            let (start, size) = (one.pages.start, one.pages.end - one.pages.start);
            match memory.map_device(start, start, size) {
                Ok(()) => one.mapped = true,
                Err(error) => {
                    log::error!(target: "guest", "{}: registers at {start:#x} stay unmapped: {error}", self.name());
                }
            }
        }
    }
}
