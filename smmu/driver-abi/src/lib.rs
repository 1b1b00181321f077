//! The whole contract between the core and a late-loaded SMMU driver, and nothing else.
//!
//! A driver component is an ELF file that the core verifies, maps and calls through these `repr(C)` types.
//! Rust's own ABI never crosses the boundary: only C calls, plain integers and pointers to the structures below.
//!
//! # How the two talk
//! 1. The core reads the component's [`Manifest`] from the file, before anything is mapped.
//! 2. It calls the entry point, `extern "C" fn(*const HostServices, *mut DriverOps) -> Status` ([`Entry`]). The
//!    component remembers the services and fills in its operations.
//! 3. For each SMMU whose `compatible` the manifest names, it calls [`DriverOps::probe`], and then the other
//!    operations with the [`Instance`] handle that `probe` gave.
//!
//! # Rules
//! - One call at a time enters a component, on whichever CPU; the core holds a lock around it.
//! - A call runs on a stack of the component's own ([`STACK_SIZE`]) and has [`CALL_LIMIT_US`] to come back, and as much
//!   once more in case that the whole machine was held up. One that panics, faults, or stays away is cut off, and the
//!   component is never called again: the core shuts the gates of all its SMMUs.
//! - Pointers in a call are valid during that call only, and for the structure they name, or for as many as the count
//!   beside them says.
//! - Handles are generation-checked on both sides: a stale one is [`Status::STALE_HANDLE`], not a crash.
//!
//! Any change to a type here changes [`ABI_VERSION`]; sizes and offsets are checked at compile time below.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod driver;
mod host;
mod manifest;

pub use driver::{
    Domain, DriverOps, Entry, Instance, InterruptLine, IpaRange, MAX_STREAMS, ProbeReport, SmmuInfo, Stream,
    features,
};
pub use host::{Context, FaultKind, FaultRecord, HostServices, LogLevel, MappedMemory, access};
pub use manifest::{
    MANIFEST_NAME, MANIFEST_NAME_SIZE, MANIFEST_SECTION, MANIFEST_SIZE, MANIFEST_TYPE, Manifest,
    ManifestNote, packed,
};

/// The version of everything in this crate. Core and component must agree exactly.
pub const ABI_VERSION: u32 = 2;

/// The name of the ELF entry symbol, for the linker script and for messages.
pub const ENTRY_SYMBOL: &str = "component_entry";

/// The stack that a component call runs on, in bytes, with an unmapped page below it.
pub const STACK_SIZE: usize = 32 * 1024;

/// How long one call may take, in microseconds, before the core cuts it off.
pub const CALL_LIMIT_US: u64 = 250_000;

/// How a call across the boundary ended. Zero is success; unknown values are failures.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u32);

impl Status {
    /// Done.
    pub const OK: Status = Status(0);
    /// An argument is out of range or not understood.
    pub const INVALID: Status = Status(1);
    /// The host has no memory of that size and alignment left.
    pub const NO_MEMORY: Status = Status(2);
    /// The hardware did not answer in time.
    pub const TIMEOUT: Status = Status(3);
    /// The hardware lacks something the driver needs.
    pub const UNSUPPORTED: Status = Status(4);
    /// The handle's generation is not the current one.
    pub const STALE_HANDLE: Status = Status(5);
    /// The hardware reported an error.
    pub const DEVICE_ERROR: Status = Status(6);
    /// The thing is already there, or owned by someone else.
    pub const BUSY: Status = Status(7);
    /// The stream ID lies outside what the SMMU can tell apart.
    pub const STREAM_RANGE: Status = Status(8);
    /// Done so far, and there is more to do: an interrupt was not the last, call again soon.
    pub const AGAIN: Status = Status(9);
    /// The hardware has no stream match, context bank or VMID left. What it was asked for is not done.
    pub const NO_ROOM: Status = Status(10);

    /// Whether the call succeeded.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Whether a driver that answers this has refused, and left the SMMU as it was. After any other failure, those that nobody
    /// knows included, nobody knows what the SMMU does.
    pub const fn is_refusal(self) -> bool {
        matches!(
            self,
            Status::INVALID
                | Status::NO_MEMORY
                | Status::UNSUPPORTED
                | Status::STALE_HANDLE
                | Status::BUSY
                | Status::STREAM_RANGE
                | Status::NO_ROOM
        )
    }

    /// A phrase for messages.
    pub const fn describe(self) -> &'static str {
        match self {
            Status::OK => "ok",
            Status::INVALID => "invalid argument",
            Status::NO_MEMORY => "out of table memory",
            Status::TIMEOUT => "the hardware did not answer in time",
            Status::UNSUPPORTED => "the hardware lacks a needed feature",
            Status::STALE_HANDLE => "stale handle",
            Status::DEVICE_ERROR => "the hardware reported an error",
            Status::BUSY => "already in use",
            Status::STREAM_RANGE => "stream ID out of range",
            Status::AGAIN => "there is more to do",
            Status::NO_ROOM => "no stream match, context bank or VMID is left",
            _ => "unknown status",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status;

    #[test]
    fn what_nobody_knows_is_no_refusal() {
        let refusals = (0..=1000).map(Status).filter(|status| status.is_refusal());
        let numbers: Vec<u32> = refusals.map(|status| status.0).collect();
        assert_eq!(numbers, [1, 2, 4, 5, 7, 8, 10]);
        for failure in [
            Status::TIMEOUT,
            Status::DEVICE_ERROR,
            Status::AGAIN,
            Status(u32::MAX),
        ] {
            assert!(!failure.is_refusal());
        }
    }
}
