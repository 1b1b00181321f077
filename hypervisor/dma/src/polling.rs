//! SMMUs that cannot interrupt: when their drivers are asked for faults.

use crate::SmmuId;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The SMMUs, and when each is asked next.
#[derive(Debug, Default)]
pub struct Polling {
    next_us: BTreeMap<SmmuId, u64>,
}

impl Polling {
    /// Between two looks at one SMMU, in microseconds. A device that faults without end costs no more than so many looks.
    pub const PERIOD_US: u64 = 10_000;

    /// No SMMU is asked.
    pub const fn new() -> Self {
        Polling {
            next_us: BTreeMap::new(),
        }
    }

    /// An SMMU has a driver, and cannot interrupt.
    pub fn add(&mut self, smmu: SmmuId, now_us: u64) {
        self.next_us.insert(smmu, now_us.saturating_add(Self::PERIOD_US));
    }

    /// An SMMU has no driver any more.
    pub fn remove(&mut self, smmu: SmmuId) {
        self.next_us.remove(&smmu);
    }

    /// Those that are to be asked now; each not again before a period has passed.
    pub fn due(&mut self, now_us: u64) -> Vec<SmmuId> {
        let due = self.next_us.iter_mut().filter(|(_, next_us)| **next_us <= now_us);
        due.map(|(smmu, next_us)| {
            *next_us = now_us.saturating_add(Self::PERIOD_US);
            *smmu
        })
        .collect()
    }

    /// How long until one is due, in microseconds.
    pub fn next_us(&self, now_us: u64) -> Option<u64> {
        let next_us = self.next_us.values().min()?;
        Some(next_us.saturating_sub(now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_asked_once_in_a_period_while_it_has_a_driver() {
        let mut polling = Polling::new();
        assert_eq!((polling.due(u64::MAX), polling.next_us(0)), (vec![], None));
        polling.add(SmmuId(1), 1_000);
        polling.add(SmmuId(0), 4_000);
        assert_eq!(polling.next_us(2_000), Some(9_000));
        assert_eq!(polling.due(10_999), []);
        assert_eq!(polling.due(11_000), [SmmuId(1)]);
        assert_eq!(polling.due(11_000), []);
        assert_eq!(polling.next_us(11_000), Some(3_000));
        // Who looks late asks once, not once for each period that it missed.
        assert_eq!(polling.due(90_000), [SmmuId(0), SmmuId(1)]);
        assert_eq!(polling.due(99_999), []);
        polling.remove(SmmuId(0));
        assert_eq!(polling.due(100_000), [SmmuId(1)]);
        polling.remove(SmmuId(1));
        assert_eq!(polling.next_us(100_000), None);
    }
}
