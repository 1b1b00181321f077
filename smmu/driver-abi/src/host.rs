//! What the core offers: its services and the structures they take.

use crate::{Instance, Status};

/// Names the component to the core in every service call; generation-checked.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context(pub u64);

/// Table memory, mapped read-write for the component at its physical address.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedMemory {
    /// Physical, and equal virtual, address.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
}

/// How important a log line is.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLevel(pub u32);

impl LogLevel {
    /// Something is wrong.
    pub const ERROR: LogLevel = LogLevel(1);
    /// Something is odd.
    pub const WARN: LogLevel = LogLevel(2);
    /// Worth a line.
    pub const INFO: LogLevel = LogLevel(3);
}

/// What kind of fault an SMMU reported.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultKind(pub u32);

impl FaultKind {
    /// The IPA is not mapped.
    pub const TRANSLATION: FaultKind = FaultKind(1);
    /// The IPA is mapped, without that right.
    pub const PERMISSION: FaultKind = FaultKind(2);
    /// The access flag is clear.
    pub const ACCESS_FLAG: FaultKind = FaultKind(3);
    /// An address is larger than the walker's or the output's width.
    pub const ADDRESS_SIZE: FaultKind = FaultKind(4);
    /// The stream is not attached: it aborts.
    pub const NOT_ATTACHED: FaultKind = FaultKind(5);
    /// The stream ID lies outside the stream table.
    pub const UNKNOWN_STREAM: FaultKind = FaultKind(6);
    /// A table could not be read.
    pub const WALK_ABORT: FaultKind = FaultKind(7);
    /// Events were lost because the queue was full.
    pub const OVERFLOW: FaultKind = FaultKind(8);
    /// Anything else; see [`FaultRecord::code`].
    pub const OTHER: FaultKind = FaultKind(9);

    /// A phrase for messages.
    pub const fn describe(self) -> &'static str {
        match self {
            FaultKind::TRANSLATION => "not mapped",
            FaultKind::PERMISSION => "not permitted",
            FaultKind::ACCESS_FLAG => "access flag clear",
            FaultKind::ADDRESS_SIZE => "address too large",
            FaultKind::NOT_ATTACHED => "stream not attached",
            FaultKind::UNKNOWN_STREAM => "stream unknown to the SMMU",
            FaultKind::WALK_ABORT => "table not readable",
            FaultKind::OVERFLOW => "events lost",
            _ => "other fault",
        }
    }
}

/// Bits of [`FaultRecord::access`].
pub mod access {
    /// The access was a write (otherwise a read).
    pub const WRITE: u32 = 1 << 0;
    /// It was an instruction fetch.
    pub const INSTRUCTION: u32 = 1 << 1;
    /// `ipa` is known.
    pub const ADDRESS_VALID: u32 = 1 << 2;
}

/// One fault, decoded.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultRecord {
    /// The stream ID.
    pub stream: u32,
    /// What happened.
    pub kind: FaultKind,
    /// The address the device used, if `access` says it is known.
    pub ipa: u64,
    /// `access` bits.
    pub access: u32,
    /// The hardware's own code: SMMUv3 event number, SMMUv1/v2 FSR.
    pub code: u32,
    /// How many equal records this one stands for, at least 1.
    pub count: u32,
    /// Zero.
    pub reserved: u32,
}

/// The services of the core. All pointers are set.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct HostServices {
    /// [`crate::ABI_VERSION`] of the core.
    pub abi_version: u32,
    /// Size of this structure in bytes.
    pub size: u32,
    /// To be passed as first argument of every service.
    pub context: Context,
    /// Allocates zeroed table memory, physically contiguous; `align` is a power of two.
    pub allocate:
        unsafe extern "C" fn(context: Context, size: u64, align: u64, out: *mut MappedMemory) -> Status,
    /// Gives table memory back; the address must come from `allocate`.
    pub free: unsafe extern "C" fn(context: Context, address: u64) -> Status,
    /// Makes writes to table memory visible to walkers that are not coherent: clean to the point of coherency.
    pub clean: unsafe extern "C" fn(context: Context, address: u64, size: u64) -> Status,
    /// Maps device registers of the SMMU being probed, as device memory; nothing else can be mapped.
    pub map_mmio: unsafe extern "C" fn(context: Context, address: u64, size: u64, out: *mut u64) -> Status,
    /// Microseconds since the core started.
    pub now_us: unsafe extern "C" fn(context: Context) -> u64,
    /// Prints a line of UTF-8 on the core's console.
    pub log: unsafe extern "C" fn(context: Context, level: LogLevel, text: *const u8, size: u64) -> Status,
    /// Reports a fault.
    pub report_fault:
        unsafe extern "C" fn(context: Context, instance: Instance, fault: *const FaultRecord) -> Status,
    /// Ends the component: it panicked. Does not return.
    pub panic: unsafe extern "C" fn(context: Context, text: *const u8, size: u64) -> !,
}

/// Bytes of a pointer on AArch64, and on the hosts that run the tests.
const POINTER: usize = 8;

const _: () = {
    assert!(size_of::<MappedMemory>() == 16);
    assert!(size_of::<FaultRecord>() == 32);
    assert!(size_of::<HostServices>() == 16 + 8 * POINTER);
};
