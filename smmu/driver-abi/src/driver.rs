//! What a driver offers: its operations and the structures they take.

use crate::{HostServices, Status};

/// The component's entry point.
pub type Entry = unsafe extern "C" fn(host: *const HostServices, ops: *mut DriverOps) -> Status;

/// A driver instance, one for each SMMU: index in the low half, generation in the high half.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instance(pub u64);

/// What the core knows of an SMMU from the device tree.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SmmuInfo {
    /// Physical address of the register frame.
    pub base: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Physical address of a second frame to be programmed as one SMMU with the first; 0 if there is none.
    pub second_base: u64,
    /// The highest stream ID that any master in the tree emits; the driver must cover it.
    pub max_stream: u32,
    /// 1 if the SMMU's table walks are coherent (`dma-coherent`), else 0: `publish` then cleans caches.
    pub coherent: u32,
    /// Quirks from the tree: the `QUIRK_` bits of [`features`].
    pub quirks: u32,
    /// Zero.
    pub reserved: u32,
}

/// What a successful probe found.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeReport {
    /// The handle for every later call.
    pub instance: Instance,
    /// What the SMMU can do and the driver uses: `FEATURE_` bits of [`features`].
    pub features: u32,
    /// Bits of stream ID it tells apart.
    pub stream_bits: u32,
    /// Output address bits.
    pub output_bits: u32,
    /// Bits of VMID.
    pub vmid_bits: u32,
    /// SMMUv1/v2: stream mapping groups, each of which matches one stream or more. 0 where there is no such thing.
    pub groups: u32,
    /// SMMUv1/v2: context banks that the driver uses, one for each address space. 0 where there is no such thing.
    pub banks: u32,
}

impl ProbeReport {
    /// Nothing found yet: what the core passes to `probe`.
    pub const EMPTY: ProbeReport = ProbeReport {
        instance: Instance(0),
        features: 0,
        stream_bits: 0,
        output_bits: 0,
        vmid_bits: 0,
        groups: 0,
        banks: 0,
    };
}

/// Bits of [`ProbeReport::features`] and [`SmmuInfo::quirks`].
pub mod features {
    /// SMMUv3: the stream table has two levels.
    pub const FEATURE_TWO_LEVEL: u32 = 1 << 0;
    /// SMMUv3: TLB invalidation by range.
    pub const FEATURE_RANGE_INVALIDATION: u32 = 1 << 1;
    /// Table walks are coherent with the CPUs' caches.
    pub const FEATURE_COHERENT: u32 = 1 << 2;
    /// SMMUv1/v2: stream matching (otherwise stream indexing).
    pub const FEATURE_STREAM_MATCH: u32 = 1 << 3;

    /// SMMUv1/v2: `calxeda,smmu-secure-config-access`: use the non-secure aliases.
    pub const QUIRK_SECURE_CONFIG_ACCESS: u32 = 1 << 0;
    /// SMMUv2: `marvell,ap806-smmu-500`: registers of 64 bits are accessed in halves.
    pub const QUIRK_HALVES: u32 = 1 << 1;
}

/// A stream as an SMMU sees it.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The stream ID.
    pub id: u32,
    /// Bits of the ID that are not compared (SMMUv1/v2 stream matching); 0 for an exact ID.
    pub mask: u32,
}

/// A stage-2 address space, as table walkers are told it (DDI 0487 D8.2, IHI 0070 5.2).
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Domain {
    /// Physical address of the (possibly concatenated) root table.
    pub root: u64,
    /// The VMID that tags its TLB entries, the same on CPU and SMMU.
    pub vmid: u16,
    /// Input (IPA) bits.
    pub ipa_bits: u8,
    /// Output (PA) bits.
    pub pa_bits: u8,
    /// Level of the root table: 0, 1 or 2. The granule is 4 KiB.
    pub start_level: u8,
    /// Zero.
    pub reserved: [u8; 3],
}

/// A range of IPAs of one VMID.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IpaRange {
    /// First byte, 4 KiB aligned.
    pub ipa: u64,
    /// Size in bytes, a multiple of 4 KiB; 0 means everything of the VMID.
    pub size: u64,
    /// Whose address space.
    pub vmid: u16,
    /// Zero.
    pub reserved: [u8; 6],
}

/// Which of an SMMU's interrupts fired.
#[repr(transparent)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptLine(pub u32);

impl InterruptLine {
    /// SMMUv3 event queue.
    pub const EVENT_QUEUE: InterruptLine = InterruptLine(0);
    /// SMMUv3 global error.
    pub const GLOBAL_ERROR: InterruptLine = InterruptLine(1);
    /// Any of the above on one wire.
    pub const COMBINED: InterruptLine = InterruptLine(2);
    /// SMMUv1/v2 global fault.
    pub const GLOBAL_FAULT: InterruptLine = InterruptLine(3);
    /// SMMUv1/v2 context fault.
    pub const CONTEXT_FAULT: InterruptLine = InterruptLine(4);
}

/// The most streams that one call attaches or detaches: as many as an SMMUv2 has stream mapping groups at most.
pub const MAX_STREAMS: usize = 128;

/// The operations of a driver. The component fills in all of them.
///
/// After `probe` the SMMU translates, with every stream aborting; no operation ever leaves a stream in bypass.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct DriverOps {
    /// [`crate::ABI_VERSION`] of the component.
    pub abi_version: u32,
    /// Size of this structure in bytes.
    pub size: u32,
    /// Takes over the SMMU: allocates its structures, aborts every stream, enables translation.
    pub probe: Option<unsafe extern "C" fn(info: *const SmmuInfo, report: *mut ProbeReport) -> Status>,
    /// Makes streams translate through a domain: all of them, or after an error none. They must be detached.
    ///
    /// There are `count` streams, from 1 to [`MAX_STREAMS`]. A driver may let those of one call share what the hardware
    /// has few of, and expects them back in one call. [`Status::NO_ROOM`] if the hardware cannot hold them.
    pub attach: Option<
        unsafe extern "C" fn(
            instance: Instance,
            streams: *const Stream,
            count: u32,
            domain: *const Domain,
        ) -> Status,
    >,
    /// Makes streams abort; returns once no transaction uses the old translation. The streams of one `attach` are
    /// detached together.
    pub detach:
        Option<unsafe extern "C" fn(instance: Instance, streams: *const Stream, count: u32) -> Status>,
    /// Forgets cached translations of a range; returns once no transaction uses them.
    pub invalidate: Option<unsafe extern "C" fn(instance: Instance, range: *const IpaRange) -> Status>,
    /// Handles an interrupt: reports faults to the host and clears the cause. [`Status::AGAIN`] if it stopped early,
    /// so that a storm of faults does not hold the CPU; the SMMU may not interrupt again for the rest.
    pub interrupt: Option<unsafe extern "C" fn(instance: Instance, line: InterruptLine) -> Status>,
    /// Aborts every stream and waits until nothing is in flight.
    pub quiesce: Option<unsafe extern "C" fn(instance: Instance) -> Status>,
    /// Disables translation with the gate shut, and gives memory and MMIO back. The handle is stale afterwards.
    pub release: Option<unsafe extern "C" fn(instance: Instance) -> Status>,
}

impl DriverOps {
    /// Nothing offered yet: what the core passes to the entry point.
    pub const EMPTY: DriverOps = DriverOps {
        abi_version: 0,
        size: 0,
        probe: None,
        attach: None,
        detach: None,
        invalidate: None,
        interrupt: None,
        quiesce: None,
        release: None,
    };
}

/// Bytes of a pointer on AArch64, and on the hosts that run the tests.
const POINTER: usize = 8;

const _: () = {
    assert!(size_of::<SmmuInfo>() == 40);
    assert!(size_of::<ProbeReport>() == 32);
    assert!(size_of::<Stream>() == 8);
    assert!(size_of::<Domain>() == 16);
    assert!(size_of::<IpaRange>() == 24);
    assert!(size_of::<DriverOps>() == 8 + 7 * POINTER);
};
