//! What can go wrong, with the values.

use crate::streams::Stream;
use mmio::Timeout;
use smmu_driver::DomainError;
use smmu_gate::v2::{GateError, Opening};

/// A failed operation of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The SMMU is not shut, so it is not ours to take.
    #[error("the gate is not shut: {0}")]
    GateOpen(Opening),
    /// The SMMU could not be shut behind the driver.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The SMMU lacks something that the driver needs.
    #[error("the SMMU lacks {0:?}")]
    Unsupported(Missing),
    /// A register did not take a value.
    #[error("{register} reads {read:#x} instead of {wanted:#x}")]
    Register {
        /// Its name.
        register: &'static str,
        /// The value written, in the bits that count.
        wanted: u64,
        /// The value read in them.
        read: u64,
    },
    /// Invalidation did not end: translations that were withdrawn may still be used.
    #[error("invalidation does not end: {0}")]
    Sync(#[from] Timeout),
    /// The SMMU cannot match these streams.
    #[error("{stream} does not fit the SMMU's stream ID bits {id_bits:#x} and mask bits {mask_bits:#x}")]
    StreamRange {
        /// The streams.
        stream: Stream,
        /// Bits of stream ID that it compares.
        id_bits: u16,
        /// Bits of mask that it has.
        mask_bits: u16,
    },
    /// Some of these streams translate already.
    #[error("{stream} is attached already, or a part of it")]
    Attached {
        /// The streams.
        stream: Stream,
    },
    /// Two matches of one device have some streams in common, and each has some that the other has not.
    #[error("{first} and {second} overlap, and neither holds the other")]
    Overlap {
        /// One of them.
        first: Stream,
        /// The other.
        second: Stream,
    },
    /// Streams that were attached together, and share a group, are to be detached one without the other.
    #[error("{stream} was attached together with others, and can only be detached with them")]
    PartOfGroup {
        /// The streams.
        stream: Stream,
    },
    /// There are not enough stream mapping groups.
    #[error("stream mapping groups needed: {demand}, of {capacity} free: {free}")]
    Groups {
        /// How many are needed.
        demand: usize,
        /// How many are free.
        free: usize,
        /// How many there are.
        capacity: usize,
    },
    /// There is no context bank for another address space.
    #[error("context banks needed, one for each address space: {demand}, and there are {capacity}")]
    Banks {
        /// How many are needed.
        demand: usize,
        /// How many there are.
        capacity: usize,
    },
    /// The domain cannot be walked by this SMMU.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// Another attached stream uses the same VMID for another address space.
    #[error("VMID {vmid} already tags another address space, of context bank {bank}")]
    VmidTaken {
        /// The VMID.
        vmid: u16,
        /// The bank that uses it.
        bank: u16,
    },
    /// A range is not made of 4 KiB pages, or goes beyond what any domain translates.
    #[error("range {ipa:#x} + {size:#x} is not made of 4 KiB pages that a domain can have")]
    Range {
        /// First byte.
        ipa: u64,
        /// Size in bytes.
        size: u64,
    },
}

/// What an SMMU may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Stage 2 translation.
    Stage2,
    /// AArch64 tables with a 4 KiB granule, or AArch32 tables in the long format.
    TableFormat,
    /// Stream mapping groups that are left to non-secure software.
    Groups,
    /// Context banks that are left to non-secure software.
    Banks,
}
