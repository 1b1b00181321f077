//! What knows that this is an AArch64 CPU at EL2.
//!
//! Outside this folder and `memory.rs` the core is safe Rust.

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

/// A physical address. The core is identity mapped: it is a virtual address of ours as well, where it is mapped.
pub type PhysicalAddress = usize;
