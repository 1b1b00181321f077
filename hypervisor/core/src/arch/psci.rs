//! Calls to the firmware's Power State Coordination Interface (DEN0022).
//!
//! An SMC without firmware to answer it hangs the CPU for good (a Raspberry Pi has none): no call is made unless the
//! tree said `method = "smc"`.

use super::cpu;
use core::sync::atomic::{AtomicBool, Ordering};
use smccc::{Smc, psci};

static AVAILABLE: AtomicBool = AtomicBool::new(false);

/// PSCI could not start a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PsciError {
    /// The tree has no `/psci` node with `method = "smc"`.
    #[error("the device tree has no psci node with method \"smc\"")]
    NotAvailable,
    /// Firmware refused.
    #[error("firmware refused: {0}")]
    Refused(psci::Error),
}

/// Says that the tree promises PSCI by SMC.
pub fn set_available() {
    AVAILABLE.store(true, Ordering::Relaxed);
}

/// Starts the CPU with that affinity at the physical address `entry` with `context` in x0.
pub fn cpu_on(affinity: u64, entry: usize, context: usize) -> Result<(), PsciError> {
    if !AVAILABLE.load(Ordering::Relaxed) {
        return Err(PsciError::NotAvailable);
    }
    psci::cpu_on::<Smc>(affinity, entry as u64, context as u64).map_err(PsciError::Refused)
}

/// Powers the machine off; where that is not possible, this CPU rests for good.
pub fn power_off() -> ! {
    if AVAILABLE.load(Ordering::Relaxed) {
        // It does not return unless firmware refuses, and then there is nothing else to try.
        let _ = psci::system_off::<Smc>();
    }
    cpu::park()
}
