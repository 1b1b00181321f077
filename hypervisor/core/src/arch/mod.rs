//! What knows that this is an AArch64 CPU at EL2.
//!
//! Outside this folder and `memory.rs` the core is safe Rust.

pub mod bulk;
pub mod cpu;
pub mod gic;
pub mod image;
pub mod mmu;
pub mod percpu;
pub mod psci;
pub mod smp;
pub mod timer;

mod entry;
mod exceptions;

pub use exceptions::Syndrome;

/// A physical address. The core is identity mapped: it is a virtual address of ours as well, where it is mapped.
pub type PhysicalAddress = usize;

/// An address or a size from a register, a device tree or a guest, as one of ours.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the core is 64-bit: no bit is lost"
)]
pub const fn native(value: u64) -> usize {
    const { assert!(size_of::<usize>() == size_of::<u64>()) };
    value as usize
}

/// A range of addresses, as one of ours.
pub const fn native_range(range: &core::ops::Range<u64>) -> core::ops::Range<PhysicalAddress> {
    native(range.start)..native(range.end)
}
