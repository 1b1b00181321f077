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
        Schedule { loading, load_at_us: None, seal_at_us: None }
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
