//! Assembles `entry.S` and tells it where the Rust side is.

use super::percpu::{PER_CPU, STACKS, SecondaryStart, Stack};

core::arch::global_asm!(
    include_str!("entry.S"),
    rust_main = sym crate::rust_main,
    secondary_main = sym crate::secondary_main,
    per_cpu = sym PER_CPU,
    stacks = sym STACKS,
    stack_stride = const size_of::<Stack>(),
    start_root = const core::mem::offset_of!(SecondaryStart, root),
    start_per_cpu = const core::mem::offset_of!(SecondaryStart, per_cpu),
);

unsafe extern "C" {
    /// Where PSCI sends a CPU, in `entry.S`.
    static secondary_entry: u8;
}

/// The physical address that PSCI CPU_ON is to be given.
pub(super) fn secondary_address() -> usize {
    (&raw const secondary_entry).addr()
}
