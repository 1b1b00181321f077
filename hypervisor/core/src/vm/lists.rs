//! The list registers of this CPU, and the switch of its virtual interface, whichever the GIC has.

mod gich;
mod ich;

use crate::arch::gic;
use vdev::vgic::{Flushed, ListRegister};

/// The most that are used of what a CPU has.
pub const MOST: usize = 16;

// `ICH_HCR_EL2` (IHI 0069 12.4.7) and `GICH_HCR` (IHI 0048 5.3.2) alike.
const EN: u32 = 1 << 0;
const UIE: u32 = 1 << 1;
const LRENPIE: u32 = 1 << 2;
const EOI_COUNT_SHIFT: u32 = 27;

/// How many list registers of this CPU are used.
pub fn count() -> usize {
    let all = match gic::virtual_interface() {
        Some(interface) => gich::count(&interface.control),
        None => ich::count(),
    };
    all.min(MOST)
}

/// The virtual interface as a guest finds it: nothing enabled, nothing active.
pub fn reset() {
    match gic::virtual_interface() {
        Some(interface) => gich::reset(&interface.control),
        None => ich::reset(),
    }
}

/// Loads list registers and turns the virtual interface on. Right before a guest is entered.
pub fn load(entries: &[ListRegister], flushed: &Flushed) {
    let underflow = if flushed.pending_left { UIE } else { 0 };
    let no_entry = if flushed.active_left { LRENPIE } else { 0 };
    let control = EN | underflow | no_entry;
    match gic::virtual_interface() {
        Some(interface) => gich::load(&interface.control, entries, control),
        None => ich::load(entries, control),
    }
}

/// Takes the first `used` list registers back and turns the virtual interface off. Returns how many interrupts the guest
/// ended that had no list register.
pub fn store(entries: &mut [ListRegister], used: usize) -> u32 {
    let (filled, empty) = entries.split_at_mut(used.min(entries.len()));
    empty.fill(ListRegister::EMPTY);
    let control = match gic::virtual_interface() {
        Some(interface) => gich::store(&interface.control, filled),
        None => ich::store(filled),
    };
    // 5 bits.
    control >> EOI_COUNT_SHIFT
}
