//! What an SMMUv1 or v2 says of itself in its ID registers.

use super::frames::{Frames, Register};
use super::registers::{IDR0, IDR1, IDR2, IDR7, PIDR};
use mmio::Bus;
use tock_registers::interfaces::Readable;

/// Stream mapping register groups that the architecture has (IHI 0062 9.1), and that a driver uses at most.
pub const MOST_GROUPS: u16 = 128;
/// Stream mapping register groups that there is room for: SMMU_S2CRn goes on from 0xc00 to the identification registers
/// at 0xfd0. Some hardware has more groups than the architecture, which match streams like the others: the gate shuts
/// them all.
pub const ROOM_FOR_GROUPS: u16 = (0xfd0 - 0xc00) / 4;
/// What AArch32 tables in the long format reach.
const AARCH32_BITS: u8 = 40;

/// There is no SMMU that the gate can shut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifyError {
    /// There is none behind the register frame.
    #[error(
        "it does not identify itself as an SMMUv1 or v2: IDR0 reads {idr0:#010x}, IDR1 {idr1:#010x}, IDR2 {idr2:#010x}; perhaps there is none, or it has no clock or power"
    )]
    NoDevice {
        /// SMMU_IDR0 as read.
        idr0: u32,
        /// SMMU_IDR1 as read.
        idr1: u32,
        /// SMMU_IDR2 as read.
        idr2: u32,
    },
    /// The frame ends before its context banks do.
    #[error("its frame has {size:#x} bytes and needs {needed:#x}")]
    FrameTooSmall {
        /// Bytes of the frame.
        size: usize,
        /// Bytes up to the end of the last context bank.
        needed: usize,
    },
    /// It says that it has more groups than there are registers for: those that cannot be reached stay as they are.
    #[error("it has {groups} stream mapping groups, and only {room} can be shut")]
    TooManyGroups {
        /// How many it says.
        groups: u32,
        /// How many there can be.
        room: u16,
    },
    /// Two frames that are to be programmed as one are not alike.
    #[error(
        "its two frames differ: one has {groups} stream mapping groups and {banks} context banks, the other {other_groups} and {other_banks}"
    )]
    FramesDiffer {
        /// Groups of the first.
        groups: u16,
        /// Banks of the first.
        banks: u16,
        /// Groups of the second.
        other_groups: u16,
        /// Banks of the second.
        other_banks: u16,
    },
}

/// The features of an SMMUv1 or v2 that Portcullis decides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Stage 2 translation is there.
    pub stage2: bool,
    /// It has something that SMMUv1 lacks, and with that SMMU_CBA2Rn.
    pub version_2: bool,
    /// AArch64 translation tables with the 4 KiB granule can be walked.
    pub aarch64_tables: bool,
    /// AArch32 tables in the long format can be walked. At stage 2 they are as AArch64 ones, for 40 bits.
    pub aarch32_tables: bool,
    /// Walks are coherent with the CPUs' caches.
    pub coherent: bool,
    /// Streams are matched; otherwise their ID is an index.
    pub stream_match: bool,
    /// Stream IDs may have 16 bits.
    pub extended_ids: bool,
    /// Bits of stream ID, without [`extended_ids`](Self::extended_ids).
    pub stream_bits: u8,
    /// Stream mapping register groups: pairs of SMR and S2CR, or S2CR alone where streams are not matched. There may be
    /// more than [`MOST_GROUPS`].
    pub groups: u16,
    /// Context banks.
    pub banks: u16,
    /// Context fault interrupts; in an SMMUv2, 1 can mean one for each bank.
    pub interrupts: u8,
    /// Bits of VMID: 8 or 16.
    pub vmid_bits: u8,
    /// Bits of input (IPA) address.
    pub input_bits: u8,
    /// Bits of output address.
    pub output_bits: u8,
    /// Bytes of a page of registers: 4 KiB or 64 KiB.
    pub page_bytes: usize,
    /// Pages of registers before the first context bank.
    pub global_pages: usize,
    /// It is an Arm MMU-500, which has switches of its own.
    pub mmu_500: bool,
    /// Major revision of the implementation: the `x` of rxpy.
    pub major: u8,
    /// Minor revision of the implementation: the `y` of rxpy.
    pub minor: u8,
}

impl Features {
    /// Reads the ID registers of a frame. Firmware may have reduced some numbers for us, and does not while we run.
    pub(super) fn read<B: Bus>(frame: &B) -> Result<Self, IdentifyError> {
        let frames = Frames::one(frame);
        let idr0 = Register::<_, u32, IDR0::Register>::at(&frames, 0x20).extract();
        let idr1 = Register::<_, u32, IDR1::Register>::at(&frames, 0x24).extract();
        let idr2 = Register::<_, u32, IDR2::Register>::at(&frames, 0x28).extract();
        let idr7 = Register::<_, u32, IDR7::Register>::at(&frames, 0x3c).extract();
        let (any, empty) = (idr0.get() | idr1.get() | idr2.get(), u32::MAX);
        // An SMMU has a stage at least. A frame that nobody answers for reads all ones, or all zeros.
        let stages = idr0.any_matching_bits_set(IDR0::S1TS::SET + IDR0::S2TS::SET);
        if any == empty || !stages {
            return Err(IdentifyError::NoDevice {
                idr0: idr0.get(),
                idr1: idr1.get(),
                idr2: idr2.get(),
            });
        }
        let stream_match = idr0.is_set(IDR0::SMS);
        let stream_bits = byte(idr0.read(IDR0::NUMSIDB));
        let groups = if stream_match {
            idr0.read(IDR0::NUMSMRG)
        } else {
            1 << stream_bits
        };
        let too_many = IdentifyError::TooManyGroups {
            groups,
            room: ROOM_FOR_GROUPS,
        };
        let groups = u16::try_from(groups)
            .ok()
            .filter(|&groups| groups <= ROOM_FOR_GROUPS);
        let newer = IDR2::PTFSV8_4K::SET + IDR2::PTFSV8_16K::SET + IDR2::PTFSV8_64K::SET + IDR2::VMID16S::SET;
        Ok(Features {
            version_2: idr2.any_matching_bits_set(newer),
            stage2: idr0.is_set(IDR0::S2TS),
            aarch64_tables: idr2.is_set(IDR2::PTFSV8_4K),
            aarch32_tables: !idr0.is_set(IDR0::NO_AARCH32),
            coherent: idr0.is_set(IDR0::CTTW),
            stream_match,
            extended_ids: stream_match && idr0.is_set(IDR0::EXIDS),
            stream_bits,
            groups: groups.ok_or(too_many)?,
            banks: byte(idr1.read(IDR1::NUMCB)).into(),
            interrupts: byte(idr0.read(IDR0::NUMIRPT)),
            vmid_bits: if idr2.is_set(IDR2::VMID16S) { 16 } else { 8 },
            input_bits: address_bits(idr2.read(IDR2::IAS)),
            output_bits: address_bits(idr2.read(IDR2::OAS)),
            page_bytes: if idr1.matches_all(IDR1::PAGESIZE::Large) {
                64 << 10
            } else {
                4 << 10
            },
            global_pages: 2 << idr1.read(IDR1::NUMPAGENDXB),
            mmu_500: is_mmu_500(&frames),
            major: byte(idr7.read(IDR7::MAJOR)),
            minor: byte(idr7.read(IDR7::MINOR)),
        })
    }

    /// Bits of input and output address that walks of the best tables it knows reach: those in AArch64's format, or else those
    /// in AArch32's long one.
    pub fn table_bits(&self) -> (u8, u8) {
        let most = if self.aarch64_tables {
            self.output_bits.max(self.input_bits)
        } else {
            AARCH32_BITS
        };
        (self.input_bits.min(most), self.output_bits.min(most))
    }

    /// Bits of stream ID that its driver has it tell apart.
    pub fn compared_bits(&self) -> u8 {
        if self.extended_ids { 16 } else { self.stream_bits }
    }

    /// Bytes that the frame must have: up to the end of the last bank (IHI 0062 8.1.2).
    pub fn frame_bytes(&self) -> usize {
        (self.global_pages + usize::from(self.banks)) * self.page_bytes
    }
}

/// Whether it is part 0x481 of designer Arm (JEP106 0x3b), which is the MMU-500.
fn is_mmu_500<B: Bus>(frames: &Frames<B>) -> bool {
    let bytes = [0xfe0, 0xfe4, 0xfe8]
        .map(|offset| byte(Register::<_, u32, PIDR::Register>::at(frames, offset).read(PIDR::BYTE)));
    matches!(bytes, [0x81, 0xb4, designer] if designer & 0xf == 0xb)
}

/// The width that a value of IDR2.IAS or IDR2.OAS stands for.
fn address_bits(code: u32) -> u8 {
    match code {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    }
}

/// A register field of at most 8 bits.
fn byte(field: u32) -> u8 {
    field.to_le_bytes()[0]
}
