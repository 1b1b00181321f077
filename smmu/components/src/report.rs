//! What a driver has to tell, in the words of the ABI and on the core's console.

use crate::host::Host;
use core::fmt::Display;
use driver_abi::{FaultKind, FaultRecord, LogLevel, access};
use smmu_driver::{Event, EventKind};

/// An event in the words of the ABI.
pub fn record(event: &Event) -> FaultRecord {
    let kind = match event.kind {
        EventKind::Translation => FaultKind::TRANSLATION,
        EventKind::Permission => FaultKind::PERMISSION,
        EventKind::AccessFlag => FaultKind::ACCESS_FLAG,
        EventKind::AddressSize => FaultKind::ADDRESS_SIZE,
        EventKind::NotAttached => FaultKind::NOT_ATTACHED,
        EventKind::UnknownStream => FaultKind::UNKNOWN_STREAM,
        EventKind::WalkAbort => FaultKind::WALK_ABORT,
        EventKind::Lost => FaultKind::OVERFLOW,
        EventKind::Other => FaultKind::OTHER,
    };
    let flags = [
        (event.write, access::WRITE),
        (event.instruction, access::INSTRUCTION),
        (event.address.is_some(), access::ADDRESS_VALID),
    ];
    FaultRecord {
        stream: event.stream,
        kind,
        ipa: event.address.unwrap_or(0),
        access: bits(flags),
        code: event.code,
        count: event.count,
        reserved: 0,
    }
}

/// The bits whose condition holds.
pub fn bits<const N: usize>(flags: [(bool, u32); N]) -> u32 {
    flags.iter().filter(|(has, _)| *has).map(|(_, flag)| flag).sum()
}

/// Prints a warning on the core's console: what a driver says of an error, which a status cannot carry.
pub fn warn(operation: &str, problem: &dyn Display) {
    if let Some(host) = Host::get() {
        host.log(LogLevel::WARN, format_args!("{operation}: {problem}"));
    }
}
