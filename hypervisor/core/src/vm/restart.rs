//! A guest that asked for a reset starts again, in its own memory, with its own devices.

use super::guest::{Guest, Power, State};
use super::memory::MemoryError;
use core::sync::atomic::Ordering;

impl Guest {
    /// The guest asked for a reset, on any CPU: its vCPUs stop. The boot CPU does the rest.
    pub(super) fn reset(&self) {
        {
            let mut state = self.state.lock();
            if *state != State::Running {
                return;
            }
            *state = State::Resetting;
        }
        self.quiet();
        log::info!(target: "guest", "{}: resets itself", self.name());
        self.leave();
    }

    /// Whether it was reset and none of its CPUs has anything of it any more.
    pub fn is_at_rest(&self) -> bool {
        *self.state.lock() == State::Resetting
            && self.vcpus.iter().all(|vcpu| !vcpu.loaded.load(Ordering::Acquire))
    }

    /// Makes a guest that is [at rest](Self::is_at_rest) what it was before its start. Its devices are hidden, and master
    /// the bus no more.
    ///
    /// # Errors
    /// It cannot be started again.
    pub fn renew(&self) -> Result<(), MemoryError> {
        self.memory.lock().renew(&self.load)?;
        *self.devices.lock() = self.fresh.clone();
        self.vcpus.iter().for_each(|vcpu| *vcpu.power.lock() = Power::Off);
        *self.state.lock() = State::Waiting;
        Ok(())
    }
}
