//! Device registers, accessed by instructions that a hypervisor can emulate.

use core::arch::asm;

/// Registers of a device from an address on.
///
/// Each access is one plain load or store: a compiler may turn a volatile access into an instruction with
/// writeback, for which an abort carries no syndrome (DDI 0487, `ESR_EL2.ISS.ISV`), and an emulator gives up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Registers {
    base: u64,
}

impl Registers {
    /// # Safety
    /// From `base` on, as far as offsets are used, there is a device (or nothing), and no memory of this program.
    pub(crate) const unsafe fn new(base: u64) -> Registers {
        Registers { base }
    }

    pub(crate) fn base(self) -> u64 {
        self.base
    }

    pub(crate) fn read32(self, offset: u64) -> u32 {
        let value;
        // SAFETY: `new`'s contract: a device answers, no memory is touched.
        unsafe { asm!("ldr {0:w}, [{1}]", out(reg) value, in(reg) self.base + offset, options(nostack)) };
        value
    }

    pub(crate) fn write32(self, offset: u64, value: u32) {
        // SAFETY: as in `read32`; a device that is told to write memory is told where by its driver.
        unsafe { asm!("str {0:w}, [{1}]", in(reg) value, in(reg) self.base + offset, options(nostack)) };
    }

    pub(crate) fn write64(self, offset: u64, value: u64) {
        // SAFETY: as in `write32`.
        unsafe { asm!("str {0}, [{1}]", in(reg) value, in(reg) self.base + offset, options(nostack)) };
    }

    pub(crate) fn write8(self, offset: u64, value: u8) {
        // SAFETY: as in `write32`.
        unsafe { asm!("strb {0:w}, [{1}]", in(reg) value, in(reg) self.base + offset, options(nostack)) };
    }
}
