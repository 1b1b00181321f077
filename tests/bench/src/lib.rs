//! A board that QEMU does not have: an SMMUv1 or v2, a PCI host bridge with three functions, and a device that is none, which do DMA through it.
//!
//! This part is the hardware, as pure state machines: [`Board`] answers loads and stores, does DMA when it is due, and
//! says which interrupt lines are asserted. The program beside it is firmware at EL3 that makes every
//! access to these addresses trap, decodes it ([`decode`](decode())), and lets the board answer.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod board;
mod decode;
mod edu;
mod iommu;
mod kind;
mod lines;
pub mod map;
mod memory;
mod pci;
mod smmu;
mod two;

pub use board::Board;
pub use decode::{Extension, Instruction, decode};
pub use edu::{Edu, Transfer};
pub use iommu::{Iommu, NoIommu};
pub use kind::{KINDS, Kind};
pub use lines::{Gic, Lines};
pub use memory::Memory;
pub use pci::{Function, HostBridge};
pub use smmu::Smmu;
pub use two::Two;
