//! Who may do DMA: the states of masters, the one function that decides each transition, and the reasons.
//!
//! This crate decides and remembers; it touches no hardware. The core asks it before it opens anything, does
//! what it was told through the SMMU driver, and reports back. Every transition returns [`Change`]s that carry
//! their reason, and [`Registry::why`] tells the whole chain for one device.
//!
//! Nothing here ever opens by default: a master is born *pending*, *refused* or *uncovered*, and only
//! [`Registry::attached`] makes it *live*.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

extern crate alloc;

mod assign;
mod attach;
mod attachments;
mod bind;
#[cfg(test)]
#[path = "../../../tests/dts/blob.rs"]
mod blob;
mod faults;
mod groups;
mod lines;
mod narrow;
mod platform;
mod polling;
mod reason;
mod registry;
mod schedule;
mod seat;
#[cfg(test)]
#[path = "../../../tests/dts/source.rs"]
mod source;
mod state;
#[cfg(test)]
mod tests;

pub use assign::{Given, Machine};
pub use attach::{Hardware, attach, cut, detach};
pub use attachments::{AtSmmu, Attachments, Cut};
pub use bind::{Core, bind, lost, quarantine, release};
pub use faults::{Fault, FaultAction, FaultLine, FaultLog};
pub use groups::Group;
pub use lines::silence;
pub use narrow::narrow;
pub use platform::{PlatformDevice, Unfit};
pub use polling::Polling;
pub use reason::Reason;
pub use registry::{AttachPlan, Change, Coverage, Master, MasterSpec, NotNow, Registry, Smmu, Verdict, Why};
pub use schedule::{Due, Schedule};
pub use seat::{Open, Seat};
pub use state::{Assignment, GuestId, MasterId, SmmuId, State};
