//! Making CPUs forget stage-2 translations (DDI 0487 D8.17).
#![expect(unsafe_code, reason = "TLB maintenance instructions")]

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::VTTBR_EL2;
use alloc::vec::Vec;
use spin::Mutex;
use tock_registers::interfaces::{Readable, Writeable};

/// `VTTBR_EL2` by VMID: TLB maintenance by IPA acts on the VMID that is current.
static SPACES: Mutex<Vec<(u16, u64)>> = Mutex::new(Vec::new());

/// Beyond so many pages, forgetting everything of the VMID is cheaper.
const MOST_PAGES: u64 = 512;
const PAGE: u64 = 4096;

/// Remembers which tables a VMID stands for. Before the first entry into the guest.
pub fn register(vmid: u16, vttbr: u64) {
    SPACES.lock().push((vmid, vttbr));
}

/// Makes every CPU forget what it cached of `[ipa, ipa + size)` under `vmid`, stage-1 results combined with it included.
/// When it returns, no CPU uses any of it, nor has an access in flight that did.
pub fn invalidate_cpus(vmid: u16, ipa: u64, size: u64) {
    // What was written to the tables is to be seen by walks from here on.
    barrier::dsb(barrier::ISHST);
    let space = SPACES
        .lock()
        .iter()
        .find(|(known, _)| *known == vmid)
        .map(|(_, vttbr)| *vttbr);
    match space {
        Some(vttbr) => {
            // The core itself does not translate through it, so that EL2 may stand in another guest's space for a moment.
            let before = VTTBR_EL2.get();
            VTTBR_EL2.set(vttbr);
            barrier::isb(barrier::SY);
            invalidate_current(ipa, size);
            VTTBR_EL2.set(before);
            barrier::isb(barrier::SY);
        }
        None => {
            // SAFETY: forgetting cached translations of EL1 changes no content.
            unsafe { core::arch::asm!("tlbi alle1is", "dsb ish", options(nostack, preserves_flags)) };
        }
    }
    barrier::isb(barrier::SY);
}

fn invalidate_current(ipa: u64, size: u64) {
    if size / PAGE > MOST_PAGES {
        // SAFETY: as above.
        unsafe { core::arch::asm!("tlbi vmalls12e1is", "dsb ish", options(nostack, preserves_flags)) };
        return;
    }
    for page in 0..size.div_ceil(PAGE) {
        let address = ipa.wrapping_add(page * PAGE) >> 12;
        // SAFETY: as above.
        unsafe { core::arch::asm!("tlbi ipas2e1is, {}", in(reg) address, options(nostack, preserves_flags)) };
    }
    // Only then the entries that combine both stages.
    // SAFETY: as above.
    unsafe {
        core::arch::asm!(
            "dsb ish",
            "tlbi vmalle1is",
            "dsb ish",
            options(nostack, preserves_flags)
        )
    };
}
