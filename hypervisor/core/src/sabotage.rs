//! Faults on purpose: test builds show that they are reported and end the run. A normal core has none of it.

use crate::arch::percpu;

/// Fails an assertion.
#[cfg(feature = "sabotage-panic")]
pub fn provoke() {
    log::warn!(target: "core", "sabotage: an assertion fails now");
    assert_eq!(percpu::online().count(), 0, "sabotage");
}

/// Overflows this CPU's stack.
#[cfg(all(feature = "sabotage-overflow-stack", not(feature = "sabotage-panic")))]
pub fn provoke() {
    log::warn!(target: "core", "sabotage: the stack of CPU {} overflows now", percpu::this().index());
    log::warn!(target: "core", "sabotage: {} calls deep", deepen(1));
}

/// Calls itself until the stack is full.
#[cfg(all(feature = "sabotage-overflow-stack", not(feature = "sabotage-panic")))]
fn deepen(depth: usize) -> usize {
    let frame = core::hint::black_box([depth; 64]);
    match depth {
        usize::MAX => 0,
        _ => deepen(depth + 1).saturating_add(frame.len()),
    }
}
