//! Turns a component's file into pages, in steps that cannot be skipped.
//!
//! `bytes` → [`verify`] → [`VerifiedImage`] → [`LoadPlan::new`] → [`LoadPlan`] → [`LoadPlan::fill`]. Each type exists
//! only if the step before succeeded: nothing of an unsigned file is parsed, nothing of a file that breaks a
//! rule is mapped. All of it is pure; the core gives memory and sets its protection.
//!
//! A component is an ELF64 file (System V gABI; "ELF for the Arm 64-bit Architecture", AAELF64) of type `ET_DYN`
//! without imports; `linker/component.ld` makes such files.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod dynamic;
mod error;
mod manifest;
mod plan;
mod relocation;
mod segment;
mod signature;
#[cfg(test)]
mod tests;

pub use error::{ElfError, LoadError};
pub use manifest::{CompatibleList, ComponentManifest, MAX_TABLE_MEMORY, ManifestError};
pub use plan::{LoadPlan, MAX_SPAN};
pub use segment::{MAX_SEGMENTS, PAGE, Protection, Segment};
pub use signature::{
    MESSAGE_SIZE, SIGNATURE_DOMAIN, SIGNATURE_SIZE, SignatureError, TrustedKey, VerifiedImage,
    signed_message, verify,
};
