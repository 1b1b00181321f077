//! SMMUv3: what the gate and the driver both need of its registers, and how it is shut.

mod id;
pub mod registers;
mod shut;

pub use id::Features;
pub use shut::{GateError, TIMEOUT_US, V3Report, is_shut, shut_v3};
