//! Time: the virtual counter.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTVCT_EL0};
use core::fmt;
use tock_registers::interfaces::Readable;

const MICROSECONDS: u64 = 1_000_000;

/// A moment, in ticks of the virtual counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instant {
    ticks: u64,
}

impl Instant {
    /// Now.
    pub fn now() -> Instant {
        barrier::isb(barrier::SY);
        Instant {
            ticks: CNTVCT_EL0.get(),
        }
    }

    /// A later moment.
    pub fn after_us(self, us: u64) -> Instant {
        Instant {
            ticks: self.ticks + us * CNTFRQ_EL0.get() / MICROSECONDS,
        }
    }

    /// Microseconds since this moment.
    pub fn elapsed_us(self) -> u64 {
        let ticks = Instant::now().ticks.saturating_sub(self.ticks);
        // A frequency of zero would be the hypervisor's mistake; nothing is worth dividing by it.
        (ticks * MICROSECONDS).checked_div(CNTFRQ_EL0.get()).unwrap_or(0)
    }

    /// The value for the timer's comparator.
    pub(crate) fn ticks(self) -> u64 {
        self.ticks
    }
}

/// Microseconds, shown as seconds with one digit: `2.0 s`.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}.{} s",
            self.0 / MICROSECONDS,
            self.0 % MICROSECONDS / 100_000
        )
    }
}
