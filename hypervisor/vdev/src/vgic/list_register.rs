//! List registers: what the virtual CPU interface is given to deliver. They are kept in the form of a GICv3 (IHI 0069
//! 12.4.8, `ICH_LR<n>_EL2`); that of a GICv2 (IHI 0048 5.3.8, `GICH_LR<n>`) has the same fields in 32 bits.

use super::LPI_FIRST;

/// One list register, in its raw form.
///
/// Holding one says nothing about its origin: on the way back from hardware any bits may be set, and the accessors
/// only ever look at them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct ListRegister(pub u64);

const PENDING: u64 = 1 << 62;
const ACTIVE: u64 = 1 << 63;
const HARDWARE: u64 = 1 << 61;
const GROUP_1: u64 = 1 << 60;
const PRIORITY_SHIFT: u32 = 48;
const PHYSICAL_SHIFT: u32 = 32;
/// In a register that is not linked to hardware: raise a maintenance interrupt when the guest ends the interrupt.
const EOI_MAINTENANCE: u64 = 1 << 41;

/// Below LPIs a number has 10 bits. An SGI of a GICv2 carries the vCPU that sent it above them, for the guest to
/// see in `GICC_IAR` (IHI 0069 12.4.8, `vINTID`).
const SOURCE_SHIFT: u32 = 10;
const NUMBER: u32 = 0x3ff;

/// `GICH_LR<n>`.
mod v2 {
    pub(super) const PENDING: u32 = 1 << 28;
    pub(super) const ACTIVE: u32 = 1 << 29;
    pub(super) const HARDWARE: u32 = 1 << 31;
    /// 5 bits of priority.
    pub(super) const PRIORITY_SHIFT: u32 = 23;
    /// 10 bits: the physical interrupt; or, not linked to hardware, the source of an SGI and a notice of the end.
    pub(super) const PHYSICAL_SHIFT: u32 = 10;
    pub(super) const EOI_MAINTENANCE: u32 = 1 << 19;
    pub(super) const SOURCE: u32 = 0x7;
}

impl ListRegister {
    /// Nothing to deliver.
    pub const EMPTY: ListRegister = ListRegister(0);

    /// A group 1 interrupt.
    pub(crate) fn new(intid: u32, priority: u8, pending: bool, active: bool) -> Self {
        let state = if pending { PENDING } else { 0 } | if active { ACTIVE } else { 0 };
        ListRegister(state | GROUP_1 | u64::from(priority) << PRIORITY_SHIFT | u64::from(intid))
    }

    /// Linked to the physical interrupt `physical` (10 bits): the guest's end of interrupt deactivates it.
    pub(crate) fn linked_to(self, physical: u32) -> Self {
        ListRegister(self.0 | HARDWARE | u64::from(physical & 0x3ff) << PHYSICAL_SHIFT)
    }

    /// With a maintenance interrupt at its end.
    pub(crate) fn with_end_notice(self) -> Self {
        ListRegister(self.0 | EOI_MAINTENANCE)
    }

    /// An SGI that vCPU `source` sent, one of the first eight.
    pub(crate) fn sent_by(self, source: u8) -> Self {
        ListRegister(self.0 | u64::from(source & 0x7) << SOURCE_SHIFT)
    }

    /// The virtual interrupt.
    pub fn intid(self) -> u32 {
        let number = self.number();
        if number < LPI_FIRST {
            number & NUMBER
        } else {
            number
        }
    }

    /// The number with the source of an SGI.
    fn number(self) -> u32 {
        u32::try_from(self.0 & 0xffff_ffff).unwrap_or(0)
    }

    /// Whether it waits to be acknowledged.
    pub fn is_pending(self) -> bool {
        self.0 & PENDING != 0
    }

    /// Whether the guest is handling it.
    pub fn is_active(self) -> bool {
        self.0 & ACTIVE != 0
    }

    /// The physical interrupt that it is linked to.
    pub fn physical(self) -> Option<u32> {
        (self.0 & HARDWARE != 0).then(|| u32::try_from(self.0 >> PHYSICAL_SHIFT & 0x3ff).unwrap_or(0))
    }
    /// `GICH_LR<n>`. The group is 0: the only one that software on a GICv2 without security states need know.
    pub fn to_v2(self) -> u32 {
        let [.., priority, _] = self.0.to_le_bytes();
        let state =
            if self.is_pending() { v2::PENDING } else { 0 } | if self.is_active() { v2::ACTIVE } else { 0 };
        let number = self.number();
        let link = match self.physical() {
            Some(physical) => v2::HARDWARE | physical << v2::PHYSICAL_SHIFT,
            None => {
                let notice = if self.0 & EOI_MAINTENANCE == 0 {
                    0
                } else {
                    v2::EOI_MAINTENANCE
                };
                notice | (number >> SOURCE_SHIFT & v2::SOURCE) << v2::PHYSICAL_SHIFT
            }
        };
        state | link | u32::from(priority >> 3) << v2::PRIORITY_SHIFT | number & NUMBER
    }

    /// From `GICH_LR<n>`, whatever is in it.
    pub fn from_v2(value: u32) -> Self {
        let [priority, ..] = (value >> v2::PRIORITY_SHIFT & 0x1f).to_le_bytes();
        let number = value & NUMBER;
        let entry = ListRegister::new(
            number,
            priority << 3,
            value & v2::PENDING != 0,
            value & v2::ACTIVE != 0,
        );
        let high = value >> v2::PHYSICAL_SHIFT & NUMBER;
        if value & v2::HARDWARE != 0 {
            return entry.linked_to(high);
        }
        let [source, ..] = (high & v2::SOURCE).to_le_bytes();
        let entry = entry.sent_by(source);
        if value & v2::EOI_MAINTENANCE == 0 {
            entry
        } else {
            entry.with_end_notice()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_a_gicv2_has_the_same_fields() {
        let device = ListRegister::new(36, 0xa0, true, false).linked_to(52);
        assert_eq!(device.to_v2(), 1 << 31 | 1 << 28 | 0x14 << 23 | 52 << 10 | 36);
        let sgi = ListRegister::new(3, 0xf8, false, true)
            .sent_by(5)
            .with_end_notice();
        assert_eq!(sgi.to_v2(), 1 << 29 | 0x1f << 23 | 1 << 19 | 5 << 10 | 3);
        let line = ListRegister::new(33, 0, true, true).with_end_notice();
        for entry in [device, sgi, line] {
            assert_eq!(ListRegister::from_v2(entry.to_v2()), entry);
        }
        assert_eq!((sgi.intid(), sgi.physical()), (3, None));
        assert_eq!(ListRegister::new(8195, 0, true, false).intid(), 8195, "an LPI");
    }
}
