//! The two seams between Portcullis and hardware: registers and walked memory.
//!
//! Everything above this crate (the stage-2 engine, the SMMU drivers, the gate) touches hardware only
//! through [`Bus`] (device registers), [`TableMemory`] (memory that a CPU or SMMU walks by itself) and
//! [`Clock`] (bounded waits). On the target the three are implemented with volatile accesses; on the host by
//! strict models. Nothing else is mocked.
//!
//! `unsafe` stands in `region.rs` only, where an address becomes a [`Region`] and reads of a device are ordered.
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod bus;
mod clock;
mod memory;
mod region;

pub use bus::{Bus, ByteBus, Reg};
pub use clock::{Clock, Timeout, wait_until};
pub use memory::{Block, OutOfTableMemory, TableMemory};
pub use region::Region;
