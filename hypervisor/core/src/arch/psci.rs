//! Calls to the firmware's Power State Coordination Interface (DEN0022).
//!
//! An SMC without firmware to answer it hangs the CPU for good (a Raspberry Pi has none): no call is made unless the
//! tree said `method = "smc"`.

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

/// Starts the CPU with that affinity at the physical address `entry`.
pub fn cpu_on(affinity: u64, entry: usize) -> Result<(), PsciError> {
    if !AVAILABLE.load(Ordering::Relaxed) {
        return Err(PsciError::NotAvailable);
    }
    psci::cpu_on::<Smc>(affinity, entry as u64, 0).map_err(PsciError::Refused)
}

/// Powers the machine off, if there is firmware that does.
pub fn system_off() {
    if AVAILABLE.load(Ordering::Relaxed) {
        // It does not return unless firmware refuses.
        let _ = psci::system_off::<Smc>();
    }
}
