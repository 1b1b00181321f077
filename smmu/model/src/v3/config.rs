//! What an SMMUv3 says of itself: identification registers, and how slow it is.

use crate::bits::{bit, field};
use crate::stage2::physical_bits;

/// How many steps of time the model lets pass before it does what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delays {
    /// From CR0 to CR0ACK.
    pub cr0ack: u32,
    /// From IRQ_CTRL to IRQ_CTRLACK.
    pub irq_ctrlack: u32,
    /// Until GBPA.UPDATE clears.
    pub gbpa: u32,
    /// For each command.
    pub command: u32,
    /// For a CMD_SYNC, once it is at the head of the queue.
    pub sync: u32,
}

/// What happens when an event finds the queue full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overflow {
    /// EVENTQ_PROD.OVFLG toggles (IHI 0070 7.4).
    Flag,
    /// GERROR.EVENTQ_ABT_ERR is raised: what QEMU 10.0 does.
    QueueAbort,
}

/// An SMMUv3 to be modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// IDR0 to IDR5 (IHI 0070 6.3.1 to 6.3.6).
    pub idr: [u32; 6],
    /// IIDR (6.3.7).
    pub iidr: u32,
    /// AIDR (6.3.8).
    pub aidr: u32,
    /// GBPA after reset (6.3.14).
    pub gbpa_reset: u32,
    /// Whether registers whose reset value is UNKNOWN hold noise, rather than zero.
    pub noise: bool,
    /// How slow it is.
    pub delays: Delays,
    /// What a full event queue does.
    pub overflow: Overflow,
}

impl Config {
    /// QEMU 10.0's SMMUv3 on `virt`: both stages, 44 bits, 2-level stream table, range invalidation, no stalls.
    pub const fn qemu10() -> Self {
        Config {
            idr: [0x0d44_101b, 0x0273_0010, 0, 0x1414, 0, 0x74],
            iidr: 0,
            aidr: 1,
            gbpa_reset: 0x1000,
            noise: true,
            delays: Delays {
                cr0ack: 3,
                irq_ctrlack: 2,
                gbpa: 3,
                command: 1,
                sync: 4,
            },
            overflow: Overflow::Flag,
        }
    }

    /// Without a 2-level stream table.
    pub const fn linear_only() -> Self {
        Config::qemu10().with_idr(0, 28, 27, 0)
    }

    /// Without range invalidation.
    pub const fn no_range_invalidation() -> Self {
        Config::qemu10().with_idr(3, 10, 10, 0)
    }

    /// Without stage 2: a driver that needs it must refuse.
    pub const fn stage1_only() -> Self {
        Config::qemu10().with_idr(0, 0, 0, 0)
    }

    /// Without stage 1.
    pub const fn stage2_only() -> Self {
        Config::qemu10().with_idr(0, 1, 1, 0)
    }

    /// 6 bits of stream ID, 36 bits of output address, 8 bits of VMID, queues of 8 commands and 4 events, linear table.
    pub const fn small() -> Self {
        Config::linear_only()
            .with_idr(1, 5, 0, 6)
            .with_idr(5, 2, 0, 1)
            .with_idr(0, 18, 18, 0)
            .with_idr(1, 25, 21, 3)
            .with_idr(1, 20, 16, 2)
    }

    /// Walks and queues are not coherent with CPU caches; pair it with [`Memory::non_coherent`](crate::Memory::non_coherent).
    pub const fn non_coherent() -> Self {
        Config::qemu10().with_idr(0, 4, 4, 0)
    }

    /// Faults may stall or terminate, as the stream table entry says.
    pub const fn stall_optional() -> Self {
        Config::qemu10().with_idr(0, 25, 24, 0)
    }

    /// Faults always stall.
    pub const fn stall_forced() -> Self {
        Config::qemu10().with_idr(0, 25, 24, 2)
    }

    /// The same with bits `high..=low` of `IDR<index>` set to `value`.
    #[must_use]
    pub const fn with_idr(mut self, index: usize, high: u32, low: u32, value: u32) -> Self {
        let mask = (u32::MAX >> (31 - high)) & (u32::MAX << low);
        let [idr0, idr1, idr2, idr3, idr4, idr5] = &mut self.idr;
        let register = match index {
            0 => idr0,
            1 => idr1,
            2 => idr2,
            3 => idr3,
            4 => idr4,
            _ => idr5,
        };
        *register = *register & !mask | value << low & mask;
        self
    }

    const fn idr0(&self) -> u64 {
        self.idr[0] as u64
    }
    const fn idr1(&self) -> u64 {
        self.idr[1] as u64
    }
    const fn idr3(&self) -> u64 {
        self.idr[3] as u64
    }
    const fn idr5(&self) -> u64 {
        self.idr[5] as u64
    }

    /// IDR0.S2P.
    pub(super) const fn stage2(&self) -> bool {
        bit(self.idr0(), 0)
    }
    /// IDR0.S1P.
    pub(super) const fn stage1(&self) -> bool {
        bit(self.idr0(), 1)
    }
    /// IDR0.HTTU.
    pub(super) const fn hardware_update(&self) -> u64 {
        field(self.idr0(), 7, 6)
    }
    /// IDR0.HYP.
    pub(super) const fn hyp(&self) -> bool {
        bit(self.idr0(), 9)
    }
    /// IDR0.ATS.
    pub(super) const fn ats(&self) -> bool {
        bit(self.idr0(), 10)
    }
    /// IDR0.MSI.
    pub(super) const fn msi(&self) -> bool {
        bit(self.idr0(), 13)
    }
    /// IDR0.PRI.
    pub(super) const fn pri(&self) -> bool {
        bit(self.idr0(), 16)
    }
    /// IDR0.VMW.
    pub(super) const fn vmid_wildcards(&self) -> bool {
        bit(self.idr0(), 17)
    }
    /// IDR0.VMID16.
    pub(super) const fn vmid16(&self) -> bool {
        bit(self.idr0(), 18)
    }
    /// IDR0.STALL_MODEL: 0 both, 1 terminate only, 2 stall only.
    pub(super) const fn stall_model(&self) -> u64 {
        field(self.idr0(), 25, 24)
    }
    /// IDR0.ST_LEVEL allows a 2-level stream table.
    pub(super) const fn two_level(&self) -> bool {
        field(self.idr0(), 28, 27) == 1
    }
    /// IDR1.SIDSIZE.
    pub(super) const fn stream_bits(&self) -> u64 {
        field(self.idr1(), 5, 0)
    }
    /// IDR1.EVENTQS.
    pub(super) const fn event_queue_bits(&self) -> u64 {
        field(self.idr1(), 20, 16)
    }
    /// IDR1.CMDQS.
    pub(super) const fn command_queue_bits(&self) -> u64 {
        field(self.idr1(), 25, 21)
    }
    /// IDR1.ATTR_PERMS_OVR.
    pub(super) const fn permission_override(&self) -> bool {
        bit(self.idr1(), 26)
    }
    /// IDR1.ATTR_TYPES_OVR.
    pub(super) const fn type_override(&self) -> bool {
        bit(self.idr1(), 27)
    }
    /// IDR3.FWB.
    pub(super) const fn force_write_back(&self) -> bool {
        bit(self.idr3(), 8)
    }
    /// IDR3.RIL.
    pub(super) const fn range_invalidation(&self) -> bool {
        bit(self.idr3(), 10)
    }
    /// IDR3.BBML.
    pub(super) const fn break_before_make_level(&self) -> u64 {
        field(self.idr3(), 12, 11)
    }
    /// Output address bits, from IDR5.OAS.
    pub(super) const fn output_bits(&self) -> u32 {
        physical_bits(field(self.idr5(), 2, 0))
    }
    /// Whether the granule of `2^shift` bytes is offered in IDR5.
    pub(super) const fn granule(&self, shift: u32) -> bool {
        match shift {
            12 => bit(self.idr5(), 4),
            14 => bit(self.idr5(), 5),
            16 => bit(self.idr5(), 6),
            _ => false,
        }
    }
}
