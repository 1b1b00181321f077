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
