//! The time, and the secure timer that wakes the firmware.

use super::system::{barrier, read, write};

fn ticks_per_us() -> u64 {
    (read!("cntfrq_el0") / 1_000_000).max(1)
}

/// Microseconds since the machine's start.
pub(super) fn now_us() -> u64 {
    barrier();
    read!("cntpct_el0") / ticks_per_us()
}

/// Nanoseconds since the machine's start.
pub(super) fn now_ns() -> u64 {
    barrier();
    read!("cntpct_el0").saturating_mul(1_000) / ticks_per_us()
}

/// Lets this CPU's secure timer fire then, or not at all (DDI 0487, CNTPS_CVAL_EL1).
pub(super) fn wake_at(us: Option<u64>) {
    if let Some(us) = us {
        write!("cntps_cval_el1", us.saturating_mul(ticks_per_us()));
    }
    write!("cntps_ctl_el1", u64::from(us.is_some()));
    barrier();
}
