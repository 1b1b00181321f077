//! SMMUv1 and v2: what the gate and the driver both need of their registers, and how they are shut.

mod frames;
mod id;
pub mod registers;
mod shut;
mod smmu;

pub use frames::{Frames, Register};
pub use id::{Features, IdentifyError, MOST_GROUPS, ROOM_FOR_GROUPS};
pub use shut::{GateError, Opening, TIMEOUT_US, V2Report, closed, opening, shut_v2};
pub use smmu::Smmu;
