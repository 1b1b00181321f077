//! A guest that asked for a reset starts again, in its own memory, with its own devices.

use super::Core;
use super::guest::{Guest, Power, State};
use super::memory::MemoryError;
use alloc::format;
use core::sync::atomic::Ordering;

/// From one start of a guest to the next: one that resets itself at once would fill the console with lines about it.
const SHORTEST_LIFE_US: u64 = 1_000_000;

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

    /// Lets its own CPU clear a guest that is [at rest](Self::is_at_rest), and reset its devices before, however long that
    /// takes: who resets himself without end must not keep the boot CPU. Its devices are hidden, and master the bus no
    /// more.
    pub fn let_clear(&self) {
        {
            let mut state = self.state.lock();
            if *state != State::Resetting {
                return;
            }
            *state = State::Clearing;
        }
        self.leave();
    }

    /// Makes the guest what it was before its start, if that is due. On the CPU of its first vCPU.
    pub(super) fn clear(&self, core: &dyn Core) {
        if *self.state.lock() != State::Clearing {
            return;
        }
        // What they have in flight ends before the memory is what the guest's next life finds.
        core.clean_devices(self.index);
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
        self.load.change_seed();
        self.memory.lock().renew(&self.load)?;
        *self.devices.lock() = self.fresh.clone();
        self.vcpus.iter().for_each(|vcpu| *vcpu.power.lock() = Power::Off);
        Ok(())
    }

    /// How long until a guest that was cleared may start again, in microseconds; nothing if there is none to start.
    pub fn restart_us(&self, now_us: u64) -> Option<u64> {
        let is_cleared = *self.state.lock() == State::Cleared;
        let due_us = self
            .started_us
            .load(Ordering::Relaxed)
            .saturating_add(SHORTEST_LIFE_US);
        is_cleared.then(|| due_us.saturating_sub(now_us))
    }

    /// Whether it was cleared, and has waited long enough. It can be started again from then on.
    pub fn take_cleared(&self, now_us: u64) -> bool {
        if self.restart_us(now_us) != Some(0) {
            return false;
        }
        let mut state = self.state.lock();
        let is_cleared = *state == State::Cleared;
        if is_cleared {
            *state = State::Waiting;
        }
        is_cleared
    }
}
