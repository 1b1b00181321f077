//! Assembles `entry.S` and tells it where the Rust side is.

use super::percpu::{MAX_CPUS, PER_CPU, STACKS, STARTS, SecondaryStart, Stack};
use core::mem::offset_of;

core::arch::global_asm!(
    include_str!("entry.S"),
    rust_main = sym crate::rust_main,
    secondary_main = sym crate::secondary_main,
    per_cpu = sym PER_CPU,
    stacks = sym STACKS,
    stack_stride = const size_of::<Stack>(),
    starts = sym STARTS,
    start_count = const MAX_CPUS,
    start_size = const size_of::<SecondaryStart>(),
    start_affinity = const offset_of!(SecondaryStart, affinity),
    start_root = const offset_of!(SecondaryStart, root),
    start_per_cpu = const offset_of!(SecondaryStart, per_cpu),
);

unsafe extern "C" {
    /// Where PSCI or a spin table sends a CPU, in `entry.S`.
    static secondary_entry: u8;
}

/// The physical address at which a CPU is to start.
pub(super) fn secondary_address() -> usize {
    (&raw const secondary_entry).addr()
}
