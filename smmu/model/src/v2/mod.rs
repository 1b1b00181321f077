//! A strict model of an SMMUv1 or SMMUv2 (IHI 0062), non-secure side, stage 2.
//!
//! Register names are those of IHI 0062, and a violation names the register whose description it breaks. Offsets and
//! fields were compared with two public register references of MMU-500 integrations; what is peculiar to the MMU-500 is
//! DDI 0517.
//!
//! [`Device`] is the model itself, without sharing, for a program on bare metal; [`Smmu`] puts it among simulated
//! memory and time, for host tests.
//!
//! # How to use it
//! On a host, as a driver's registers:
//! ```
//! use mmio::{Bus, Clock as _};
//! use smmu_model::v2::{FaultKind, Params, Smmu};
//! use smmu_model::{Clock, Memory};
//!
//! let (memory, clock) = (Memory::coherent(), Clock::new());
//! let smmu = Smmu::new(Params::mmu500(), &memory, &clock);
//! for index in 0..48 {
//!     smmu.write32(0x800 + 4 * index, 0); // SMR: not valid
//!     smmu.write32(0xc00 + 4 * index, 2 << 16); // S2CR: fault
//! }
//! smmu.write32(0, 1 << 10 | 1 << 2 | 1 << 1); // sCR0: USFCFG, GFIE, GFRE, and CLIENTPD clear
//! smmu.forbid_bypass();
//!
//! let blocked = smmu.dma(0x10, 0x4000_0000, true).unwrap_err();
//! assert_eq!(blocked.kind, FaultKind::UnidentifiedStream);
//! assert!(smmu.global_interrupt());
//! smmu.violations().assert_none(); // dropping the last handle checks this as well
//! ```
//! On bare metal, behind registers that trap:
//! ```
//! use smmu_model::Violation;
//! use smmu_model::v2::{Device, Host, Params};
//!
//! #[derive(Clone)]
//! struct Machine;
//! impl Host for Machine {
//!     fn read(&self, address: u64) -> Option<u64> {
//!         (address < 0x1_0000_0000).then_some(0) // a volatile read of memory
//!     }
//!     fn violation(&self, violation: Violation) {
//!         println!("{violation}");
//!     }
//! }
//!
//! let mut device = Device::new(Params::mmu500(), Machine);
//! device.write32(0, 0x70, 0); // sTLBGSYNC, through the first frame
//! while device.read32(0, 0x74) != 0 {
//!     device.tick();
//! }
//! assert!(device.dma(0x10, 0x4000_0000, false).is_ok()); // CLIENTPD is set after reset
//! ```
//!
//! # What is strict
//! - TLB entries and walk cache entries stay until an invalidation that covers them *and* a later synchronisation that
//!   covers the invalidation is done: SMMU_TLBI* by SMMU_sTLBGSYNC, SMMU_CBn_TLBIIPAS2* by that or by the bank's own.
//! - When transactions can first reach a context bank, all its registers must have been written and fit each other, the
//!   TLB must be known, its VMID must not be in use for another tree, its root table must be allocated and published.
//! - A context bank goes off only when an invalidation and a synchronisation have covered the last transaction that got
//!   to it: until then that may be in flight.
//! - SMMU_CBn_TTBR0 and TCR do not change under transactions, SMMU_CBARn and CBA2Rn not while SCTLR.M is set.
//! - The syndrome of a fault is noise as soon as the fault is cleared.
//! - SMMU_sCR0.EXIDENABLE and VMID16EN do not change while a stream mapping is valid, before or after.
//! - No two valid stream mappings may match one stream ID, from the first moment on.

mod access;
mod bank;
mod banks;
mod checks;
mod device;
mod faults;
mod format;
mod global;
#[cfg(feature = "std")]
mod handle;
mod host;
mod instance;
mod live;
mod params;
mod registers;
mod route;
mod streams;
mod sync;
#[cfg(test)]
#[cfg(feature = "std")]
mod tests;
mod transaction;

pub use crate::stage2::Attributes;
pub use device::{Defect, Device};
#[cfg(feature = "std")]
pub use handle::{Frame, Smmu};
pub use host::Host;
pub use params::{Params, Version};
pub use route::{Blocked, Bypass, FaultKind, How, Outcome, Passed, Route};
