//! Guests' translations in the CPUs' TLBs (DDI 0487 D8.17).

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::VTTBR_EL2;
use tock_registers::interfaces::{Readable, Writeable};

/// Forgets, on every CPU, all translations of the guest whose `VTTBR_EL2` (VMID and root table) that is. Returns when no
/// CPU uses any of them, nor has an access in flight that did.
pub fn invalidate_guest(vttbr: u64) {
    let current = VTTBR_EL2.get();
    // The instruction takes the VMID from VTTBR_EL2. What is speculated meanwhile walks the guest's own tables.
    VTTBR_EL2.set(vttbr);
    barrier::isb(barrier::SY);
    // Writes to the tables come first.
    barrier::dsb(barrier::ISHST);
    // SAFETY: forgetting translations changes no memory.
    unsafe { core::arch::asm!("tlbi vmalls12e1is", options(nostack, preserves_flags)) };
    barrier::dsb(barrier::ISH);
    VTTBR_EL2.set(current);
    barrier::isb(barrier::SY);
}
