//! When components are loaded, and from when on no more.

use partition::{Loading, When};

/// Something that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Load the components that SMMUs ask for.
    Load,
    /// Accept no component any more.
    Seal,
}

/// The partition's rule, as moments.
#[derive(Debug)]
pub struct Schedule {
    loading: Loading,
    load_at_us: Option<u64>,
    seal_at_us: Option<u64>,
}

impl Schedule {
    /// A rule whose clock does not run yet.
    pub fn new(loading: Loading) -> Schedule {
        Schedule {
            loading,
            load_at_us: None,
            seal_at_us: None,
        }
    }

    /// The rule.
    pub fn loading(&self) -> Loading {
        self.loading
    }

    /// The guests start now.
    pub fn start(&mut self, now_us: u64) {
        let after = |ms: u32| now_us.saturating_add(u64::from(ms) * 1000);
        if let When::Delay { delay_ms } = self.loading.when {
            self.load_at_us = Some(after(delay_ms));
        }
        self.seal_at_us = Some(after(self.loading.seal_ms));
    }

    /// The next thing that is due by now. Each is returned once.
    pub fn due(&mut self, now_us: u64) -> Option<Due> {
        let is_due = |at: &mut Option<u64>| at.take_if(|at| *at <= now_us).is_some();
        if is_due(&mut self.load_at_us) {
            Some(Due::Load)
        } else if is_due(&mut self.seal_at_us) {
            Some(Due::Seal)
        } else {
            None
        }
    }

    /// How long until something is due, in microseconds.
    pub fn next_us(&self, now_us: u64) -> Option<u64> {
        let next = self.load_at_us.into_iter().chain(self.seal_at_us).min()?;
        Some(next.saturating_sub(now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(when: When) -> Schedule {
        Schedule::new(Loading { when, seal_ms: 30 })
    }

    #[test]
    fn nothing_is_due_before_the_guests_start() {
        let mut schedule = schedule(When::Delay { delay_ms: 10 });
        assert_eq!(schedule.due(u64::MAX), None);
        assert_eq!(schedule.next_us(0), None);
    }

    #[test]
    fn loading_comes_before_sealing_and_each_comes_once() {
        let mut schedule = schedule(When::Delay { delay_ms: 10 });
        schedule.start(500);
        assert_eq!(schedule.next_us(500), Some(10_000));
        assert_eq!(schedule.due(10_499), None);
        assert_eq!(schedule.due(10_500), Some(Due::Load));
        assert_eq!(schedule.due(10_500), None);
        assert_eq!(schedule.next_us(10_500), Some(20_000));
        assert_eq!(schedule.due(40_000), Some(Due::Seal));
        assert_eq!(schedule.due(u64::MAX), None);
        assert_eq!(schedule.next_us(40_000), None);
    }

    #[test]
    fn both_are_due_for_who_looks_late() {
        let mut schedule = schedule(When::Delay { delay_ms: 10 });
        schedule.start(0);
        assert_eq!(schedule.due(90_000), Some(Due::Load));
        assert_eq!(schedule.due(90_000), Some(Due::Seal));
    }

    #[test]
    fn never_is_sealed_all_the_same() {
        let mut schedule = schedule(When::Never);
        schedule.start(0);
        assert_eq!(schedule.due(29_999), None);
        assert_eq!(schedule.due(30_000), Some(Due::Seal));
    }
}
