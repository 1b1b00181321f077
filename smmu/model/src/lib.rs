//! Strict register-level models of Arm SMMUs, for tests of the drivers and of the gate.
//!
//! A model is written from the manual alone (SMMUv3: IHI 0070G; SMMUv2: IHI 0062; tables: DDI 0487) and shares no
//! code with the drivers it tests: it parses registers, stream table entries, commands and translation tables from
//! raw words. It is stricter than hardware. Whatever the manual forbids, calls UNPREDICTABLE, or leaves without a guarantee
//! is written down as a [`Violation`], and the test fails.
//!
//! What follows is about SMMUv3; see [`v2`] for SMMUv1 and SMMUv2, whose model a bare-metal program can run too,
//! without the feature `std`.
//!
//! # How to use it
//! ```
//! use mmio::{Bus, Clock as _, TableMemory as _};
//! use smmu_model::{Clock, Memory, v3::{Config, DmaOutcome, Smmu}};
//!
//! let memory = Memory::coherent(); // implements `mmio::TableMemory`
//! let clock = Clock::new(); // implements `mmio::Clock`; each `now_us()` lets the hardware do one step
//! let smmu = Smmu::new(Config::qemu10(), &memory, &clock); // implements `mmio::Bus`
//!
//! // All three are cheap handles on shared state: give clones to the driver, keep the originals.
//! let bus = smmu.clone();
//! bus.write32(0x44, 1 << 31 | 1 << 20); // GBPA: UPDATE, ABORT
//! while bus.read32(0x44) >> 31 != 0 {
//!     clock.now_us();
//! }
//!
//! assert_eq!(smmu.dma(0x10, 0x4000_0000, true), DmaOutcome::Aborted { event: None });
//! smmu.violations().assert_none(); // dropping the last handle checks this as well
//! ```
//!
//! # What the handles offer beside the seams
//! - [`v3::Smmu::dma`] is a device's access: stream table, stage-2 walk, caches, event.
//! - [`v3::Smmu::take_irq`] tells whether an interrupt line fired.
//! - [`v3::Smmu::fates`] tells what might happen to a stream at this moment, over every order in which
//!   unpublished or unsynchronised writes may become visible; [`v3::Smmu::forbid_bypass`] asserts after every
//!   write and every tick that nothing is in bypass.
//! - [`v3::Smmu::unsettled`] lists what a driver left behind: unconsumed commands, stale caches, stale TLB entries.
//! - [`v3::Smmu::inject`] makes hardware stuck or faulty.
//! - [`Memory`] can refuse allocations, and tells blocks that were not given back.
//!
//! # What is strict
//! - Registers that reset to UNKNOWN hold noise. Guards, acknowledgements, reserved bits, alignment, sizes are checked.
//! - Writes to memory may become visible in any order until `publish`; on a memory that is not coherent they
//!   do not become visible before it. What hardware wrote may be read after `receive` only.
//! - Configuration is cached from the moment it can be read, valid or not, until a `CMD_CFGI_*` *and* a later
//!   `CMD_SYNC` completed. A stream table entry is read word by word: between two such points each word may be
//!   seen with any value it had, and every such mixture must be the old entry, the new one, or abort.
//! - Invalidations take effect when the `CMD_SYNC` after them completes, not before.
//! - Table memory is never reused, so that hardware that still points to a freed block is found.
#![cfg_attr(not(feature = "std"), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod bits;
#[cfg(feature = "std")]
mod clock;
#[cfg(feature = "std")]
mod memory;
mod stage2;
pub mod v2;
#[cfg(feature = "std")]
pub mod v3;
mod violations;

#[cfg(feature = "std")]
pub use clock::{Clock, Ticker};
#[cfg(feature = "std")]
pub use memory::{Memory, Watcher};
pub use violations::{Rule, Violation, Violations};
