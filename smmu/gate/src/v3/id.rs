//! What an SMMUv3 says of itself in its ID registers.

use super::registers::{AIDR, IDR0, IDR1, IDR3, IDR5, Registers};
use mmio::Bus;
use tock_registers::interfaces::Readable;

/// The features of an SMMUv3 that Portcullis decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Major revision of the architecture; 3 for every SMMUv3.
    pub major: u8,
    /// Minor revision: the `x` of SMMUv3.x.
    pub minor: u8,
    /// Stage 2 translation is there.
    pub stage2: bool,
    /// AArch64 translation tables can be walked.
    pub aarch64_tables: bool,
    /// Little-endian tables can be walked.
    pub little_endian: bool,
    /// The 4 KiB granule is there.
    pub granule_4k: bool,
    /// Walks and queue accesses are coherent with the CPUs' caches.
    pub coherent: bool,
    /// Broadcast TLB maintenance is listened to.
    pub broadcast: bool,
    /// EL2 stream worlds, and with them the EL2 TLB commands, are there.
    pub el2: bool,
    /// PCIe address translation services are there: a device can claim that its addresses are translated already.
    pub ats: bool,
    /// The stream table may have two levels.
    pub two_level: bool,
    /// TLB invalidation by range is there.
    pub range_invalidation: bool,
    /// Faulting transactions always stall.
    pub forced_stall: bool,
    /// Table or queue addresses are fixed by the implementation.
    pub preset: bool,
    /// Bits of VMID: 8 or 16.
    pub vmid_bits: u8,
    /// Bits of output address.
    pub output_bits: u8,
    /// Bits of stream ID.
    pub stream_bits: u8,
    /// Largest command queue, as a power of two of entries.
    pub command_bits: u8,
    /// Largest event queue, as a power of two of entries.
    pub event_bits: u8,
}

impl Features {
    /// Reads the ID registers. They never change, so when they are read does not matter.
    pub fn read<B: Bus + ?Sized>(bus: &B) -> Self {
        let registers = Registers(bus);
        let idr0 = registers.idr0().extract();
        let idr1 = registers.idr1().extract();
        let idr5 = registers.idr5().extract();
        let aidr = registers.aidr().extract();
        let endian = idr0.read_as_enum(IDR0::TTENDIAN);
        Features {
            major: 3 + byte(aidr.read(AIDR::MAJOR)),
            minor: byte(aidr.read(AIDR::MINOR)),
            stage2: idr0.is_set(IDR0::S2P),
            aarch64_tables: idr0.read(IDR0::TTF) & 0b10 != 0,
            little_endian: matches!(
                endian,
                Some(IDR0::TTENDIAN::Value::Little | IDR0::TTENDIAN::Value::Mixed)
            ),
            granule_4k: idr5.is_set(IDR5::GRAN4K),
            coherent: idr0.is_set(IDR0::COHACC),
            broadcast: idr0.is_set(IDR0::BTM),
            el2: idr0.is_set(IDR0::HYP),
            ats: idr0.is_set(IDR0::ATS),
            two_level: idr0.matches_all(IDR0::ST_LEVEL::TwoLevel),
            range_invalidation: registers.idr3().is_set(IDR3::RIL),
            forced_stall: idr0.matches_all(IDR0::STALL_MODEL::ForcedStall),
            preset: idr1.is_set(IDR1::QUEUES_PRESET) || idr1.is_set(IDR1::TABLES_PRESET),
            vmid_bits: if idr0.is_set(IDR0::VMID16) { 16 } else { 8 },
            output_bits: output_bits(idr5.read(IDR5::OAS)),
            stream_bits: byte(idr1.read(IDR1::SIDSIZE)),
            command_bits: byte(idr1.read(IDR1::CMDQS)),
            event_bits: byte(idr1.read(IDR1::EVENTQS)),
        }
    }
}

/// The width that a value of IDR5.OAS stands for (IHI 0070 6.3.6).
fn output_bits(oas: u32) -> u8 {
    match oas {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        5 => 48,
        6 => 52,
        _ => 56,
    }
}

/// A register field of at most 8 bits.
fn byte(field: u32) -> u8 {
    field.to_le_bytes()[0]
}
