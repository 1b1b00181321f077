//! What can go wrong, with the values.

use mmio::OutOfTableMemory;
use smmu_driver::DomainError;

/// A failed operation of the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The SMMU is not shut, so it is not ours to take, or to switch off.
    #[error("the gate is not shut: CR0 {cr0:#x}, GBPA {gbpa:#010x}")]
    GateOpen {
        /// SMMU_CR0 as read.
        cr0: u32,
        /// SMMU_GBPA as read.
        gbpa: u32,
    },
    /// The SMMU lacks something that the driver needs.
    #[error("the SMMU lacks {0:?}")]
    Unsupported(Missing),
    /// There is no table memory left.
    #[error(transparent)]
    NoMemory(#[from] OutOfTableMemory),
    /// A register did not take a value in time.
    #[error("{register:?} reads {read:#x} instead of {wanted:#x} after {waited_us} us")]
    Register {
        /// Which one.
        register: Register,
        /// The value waited for.
        wanted: u32,
        /// The value read last.
        read: u32,
        /// How long was waited, in microseconds.
        waited_us: u64,
    },
    /// The SMMU refused a command. Later commands were consumed.
    #[error(transparent)]
    Command(#[from] CommandFault),
    /// Commands were not consumed in time.
    #[error("commands up to {wanted:#x} not consumed after {waited_us} us, stands at {consumed:#x}")]
    CommandTimeout {
        /// The producer index waited for.
        wanted: u32,
        /// The consumer index read last.
        consumed: u32,
        /// How long was waited, in microseconds.
        waited_us: u64,
    },
    /// The stream ID lies outside the stream table.
    #[error("stream {stream:#x} does not fit {stream_bits} bits of stream ID")]
    StreamRange {
        /// The stream ID.
        stream: u32,
        /// Bits that the stream table covers.
        stream_bits: u8,
    },
    /// The stream translates already.
    #[error("stream {stream:#x} is attached already")]
    Attached {
        /// The stream ID.
        stream: u32,
    },
    /// The domain cannot be walked by this SMMU.
    #[error(transparent)]
    Domain(#[from] DomainError),
    /// Another attached stream uses the same VMID for another address space.
    #[error("VMID {vmid} already tags another address space, of stream {stream:#x}")]
    VmidTaken {
        /// The VMID.
        vmid: u16,
        /// A stream that uses it.
        stream: u32,
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
    /// AArch64 tables, little-endian, with a 4 KiB granule.
    TableFormat,
    /// Terminating a faulting transaction: it stalls them all, and there is nobody to resume them.
    Termination,
    /// Table and queue addresses that software can set.
    BaseAddresses,
}

/// A register that was waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Register {
    /// SMMU_CR0ACK.
    Cr0Ack,
    /// SMMU_IRQ_CTRLACK.
    IrqCtrlAck,
    /// SMMU_CMDQ_CONS.
    CommandConsumer,
    /// SMMU_EVENTQ_PROD.
    EventProducer,
}

/// A command that the SMMU refused (IHI 0070 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the SMMU refused command {opcode:#04x} at index {index} with error code {code}")]
pub struct CommandFault {
    /// SMMU_CMDQ_CONS.ERR: 1 illegal, 2 could not be read.
    pub code: u8,
    /// The first byte of the command.
    pub opcode: u8,
    /// Its index in the queue.
    pub index: u32,
}
