//! Registers of a guest's platform devices: in its stage 2 while it may have the device, where the machine has them.

use super::Core;
use super::guest::Guest;
use alloc::format;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use devicetree::NodeId;

/// The registers of one platform device. No lock: they are unmapped by an invalidation, in which a driver may die, and then
/// whoever gives it up hides devices in the middle of it.
#[derive(Debug)]
pub(super) struct Registers {
    pub(super) node: NodeId,
    pub(super) pages: Range<u64>,
    /// The guest may have it.
    pub(super) shown: AtomicBool,
    /// Only the CPU of the guest's first vCPU looks at it.
    pub(super) mapped: AtomicBool,
}

impl Registers {
    /// Whether they are mapped, or else not, while they should be the other way round.
    fn is_to_change(&self, mapped: bool) -> bool {
        let shown = self.shown.load(Ordering::Acquire);
        self.mapped.load(Ordering::Relaxed) == mapped && shown != mapped
    }

    fn size(&self) -> u64 {
        self.pages.end - self.pages.start
    }
}

impl Guest {
    /// Makes the registers of a device the guest's, or takes them away. The guest's first vCPU does it before it goes on,
    /// since our caller may be in the middle of an invalidation. Whether that is a change.
    pub fn show_registers(&self, node: NodeId, shown: bool) -> bool {
        let mut is_change = false;
        for one in self.registers.iter().filter(|one| one.node == node) {
            is_change |= one.shown.swap(shown, Ordering::AcqRel) != shown;
        }
        self.unsettled.store(true, Ordering::Release);
        self.kick(0);
        is_change
    }

    /// Maps what is shown, and nothing else; a guest from which registers cannot be taken is stopped. It could go on with the
    /// device, and unlike a PCI function nobody keeps that off its bus. Not from within an invalidation.
    pub(super) fn settle_registers(&self, core: &dyn Core) {
        let to_change = |mapped| self.registers.iter().filter(move |one| one.is_to_change(mapped));
        if to_change(true).next().is_some() {
            let mut failed = None;
            core.with_walkers(&mut |walkers| {
                let mut memory = self.memory.lock();
                for one in to_change(true) {
                    let start = one.pages.start;
                    match memory.unmap_device(walkers, start, one.size()) {
                        Ok(()) => one.mapped.store(false, Ordering::Relaxed),
                        Err(error) => failed = Some((start, error)),
                    }
                }
            });
            if let Some((start, error)) = failed {
                self.stop(&format!(
                    "the registers of a device at {start:#x} cannot be taken from it: {error}"
                ));
            }
        }
        let mut memory = self.memory.lock();
        for one in to_change(false) {
            let start = one.pages.start;
            match memory.map_device(start, start, one.size()) {
                Ok(()) => one.mapped.store(true, Ordering::Relaxed),
                Err(error) => {
                    log::error!(target: "guest", "{}: registers at {start:#x} stay unmapped: {error}", self.name());
                }
            }
        }
    }
}
