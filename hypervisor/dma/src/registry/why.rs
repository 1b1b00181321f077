//! The story of one master, told.

use super::{Master, Registry};
use crate::State;
use core::fmt;

/// The chain of reasons of one master; `Display` writes it as one line.
#[derive(Debug)]
pub struct Why<'r> {
    pub(super) registry: &'r Registry,
    pub(super) master: &'r Master,
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.master.history.iter().enumerate() {
            if index > 0 {
                write!(f, " → ")?;
            }
            write!(f, "{}", step.state.word())?;
            if let State::Live(guest) | State::Faulted(guest) = step.state {
                write!(f, "({})", self.registry.guest_name(guest))?;
            }
            let at_us = step.at_us;
            write!(
                f,
                " at {}.{:06} s ({})",
                at_us / 1_000_000,
                at_us % 1_000_000,
                step.reason
            )?;
        }
        Ok(())
    }
}
