//! List registers: what the virtual CPU interface is given to deliver (IHI 0069 12.4.8, `ICH_LR<n>_EL2`).

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

    /// The virtual interrupt.
    pub fn intid(self) -> u32 {
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
}
