//! A guest that asked for a reset starts again, in its own memory, with its own devices.

use super::guest::{Guest, Power, State};
use super::memory::MemoryError;
use alloc::format;
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

    /// Lets its own CPU clear a guest that is [at rest](Self::is_at_rest), however long that takes: who resets himself
    /// without end must not keep the boot CPU. Its devices are hidden, and master the bus no more.
    pub fn let_clear(&self) {
        *self.state.lock() = State::Clearing;
        self.leave();
    }

    /// Makes the guest what it was before its start, if that is due. On the CPU of its first vCPU.
    pub(super) fn clear(&self) {
        if *self.state.lock() != State::Clearing {
            return;
        }
        if let Err(error) = self.renew() {
            return self.stop(&format!("it cannot be started again: {error}"));
        }
        {
            let mut state = self.state.lock();
            // Somebody may have stopped it meanwhile.
            if *state == State::Clearing {
                *state = State::Cleared;
            }
        }
        self.leave();
    }

    fn renew(&self) -> Result<(), MemoryError> {
        self.memory.lock().renew(&self.load)?;
        *self.devices.lock() = self.fresh.clone();
        self.vcpus.iter().for_each(|vcpu| *vcpu.power.lock() = Power::Off);
        Ok(())
    }

    /// Whether it was cleared. It can be started again from then on.
    pub fn take_cleared(&self) -> bool {
        let mut state = self.state.lock();
        let is_cleared = *state == State::Cleared;
        if is_cleared {
            *state = State::Waiting;
        }
        is_cleared
    }
}
