//! The end of a run: what happened to whom, and whether the core is still what it was.

use super::System;
use crate::arch::image;
use crate::{memory, power};
use core::fmt;
use xxhash_rust::xxh3::xxh3_128;

/// XXH3 of the core's code and constants. They are never written after boot, neither by the core nor, if isolation
/// holds, by a device. It shows that a write got through; it is no proof against somebody who can choose what to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Of the image as it is now.
    pub fn take() -> Fingerprint {
        Fingerprint(xxh3_128(image::constant_bytes()))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Ends the run.
pub fn end(why: &str) -> ! {
    log::info!(target: "run", "end: {why}");
    power::off()
}

impl System {
    /// Sums the run up, and ends it.
    pub fn finish(&self) -> ! {
        let attached = self.attachments.lock().total();
        if attached > 0 {
            log::error!(target: "run", "{attached} streams ARE STILL ATTACHED, though all guests stopped");
        }
        self.release_drivers();
        self.conclude();
        let registry = self.registry.lock();
        let faults = self.faults.lock();
        for given in &self.given {
            let Some(why) = registry.why(given.master) else {
                continue;
            };
            let name = registry
                .master(given.master)
                .map_or("?", |master| master.name.as_str());
            log::info!(target: "why", "{name}: {why}; {} fault events", faults.total(Some(given.master)));
        }
        let verdict = registry.verdict();
        for smmu in &verdict.open {
            log::error!(target: "run", "{smmu}");
        }
        for (guest, devices) in &verdict.exposed {
            log::warn!(target: "run", "{guest} COULD READ AND WRITE EVERYTHING, all guests' memory and the hypervisor's: nothing isolated {}",
                devices.join(", "));
        }
        match verdict.exposed.iter().map(|(_, devices)| devices.len()).sum() {
            0 if verdict.open.is_empty() && self.given.is_empty() => {
                log::info!(target: "run", "no guest was given a device");
            }
            0 if verdict.open.is_empty() => {
                log::info!(target: "run", "every device of a guest was isolated or blocked")
            }
            0 => {}
            1 => log::warn!(target: "run", "1 device was NOT ISOLATED"),
            count => log::warn!(target: "run", "{count} devices were NOT ISOLATED"),
        }
        let ((heap, heap_size), (pool, pool_size)) = (memory::heap_usage(), memory::pool_usage());
        log::info!(target: "memory", "the core uses {} of {} KiB heap, {} of {} KiB frames",
            heap >> 10, heap_size >> 10, pool >> 10, pool_size >> 10);
        let now = Fingerprint::take();
        if now == self.fingerprint {
            log::info!(target: "run", "core code and constants unchanged (xxh3 {now})");
        } else {
            log::error!(target: "run", "CORE CODE OR CONSTANTS CHANGED: xxh3 {} at boot, {now} now", self.fingerprint);
        }
        end("all guests stopped")
    }
}
