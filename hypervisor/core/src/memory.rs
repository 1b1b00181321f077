//! Memory: the core's heap, the frame pool, and the RAM that guests are made of.
//!
//! Three stocks that never mix:
//! - the *heap*: a fixed part of the image for `alloc`, there from the first line of Rust on;
//! - the *frame pool*: one piece of RAM, mapped page by page, for tables, components and per-guest state ([`Frames`]);
//! - *guest RAM*: everything else, not mapped by the core, handed out as ranges of physical addresses.
#![expect(unsafe_code, reason = "this file turns free memory into owned memory")]

mod frames;
mod heap;
mod ram;
mod tables;

pub use frames::{FrameError, Frames, allocate_frames, create_pool, is_pool, pool_usage};
pub use heap::{heap_usage, init_heap};
pub use ram::{Ram, RamError, allocate_guest, is_guest, is_ram, ram_usage, take_guest};
pub use tables::FrameTables;
