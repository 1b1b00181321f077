//! Granule protection tables (DDI 0487 D9.2): everything may be accessed by everybody, but for the pages of the emulated
//! devices, which nobody may access.

use core::ops::Range;

use super::system::{barrier, write};

/// Bits of a physical address: 1 TiB (GPCCR_EL3.PPS).
const ADDRESS_BITS: u32 = 40;
const PPS: u64 = 0b010;
/// An entry of level 0 is about 1 GiB, one of level 1 about sixteen granules of 4 KiB.
const LEVEL0_SHIFT: u32 = 30;
const GRANULE_SHIFT: u32 = 12;
const LEVEL0_ENTRIES: usize = 1 << (ADDRESS_BITS - LEVEL0_SHIFT);
const LEVEL1_ENTRIES: usize = 1 << (LEVEL0_SHIFT - GRANULE_SHIFT - 4);
/// Granule protection information: any access. None is zero.
const ANY: u64 = 0xf;
/// Descriptors of level 0: one with the information in bits 7:4, or with the address of a table.
const BLOCK: u64 = 0b0001 | ANY << 4;
const TABLE: u64 = 0b0011;
/// GPCCR_EL3: check; tables are walked through caches, inner shareable; granules of 4 KiB.
const GPCCR: u64 = 1 << 16 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | PPS;

#[repr(C, align(0x20000))]
struct Tables {
    level1: [u64; LEVEL1_ENTRIES],
    level0: [u64; LEVEL0_ENTRIES],
}

#[unsafe(link_section = ".bss..tables")]
static mut TABLES: Tables = Tables {
    level1: [0; LEVEL1_ENTRIES],
    level0: [0; LEVEL0_ENTRIES],
};

/// Makes the tables. All of `pages` lies in the first GiB. On the first CPU, before any other has checks on.
pub(super) fn protect(pages: &[Range<u64>]) {
    let tables = &raw mut TABLES;
    // SAFETY: only the first CPU comes here, once, and hardware only reads them.
    let tables = unsafe { &mut *tables };
    tables.level1.fill(u64::MAX);
    tables.level0.fill(BLOCK);
    for granule in pages
        .iter()
        .flat_map(|range| range.start >> GRANULE_SHIFT..range.end >> GRANULE_SHIFT)
    {
        if let Some(entry) = tables.level1.get_mut((granule >> 4) as usize) {
            *entry &= !(ANY << (4 * (granule & 0xf)));
        }
    }
    let level1 = (&raw const tables.level1).addr() as u64;
    if let Some(first) = tables.level0.first_mut() {
        *first = level1 | TABLE;
    }
    barrier();
}

/// Switches the checks on for this CPU.
pub(super) fn enable() {
    // SAFETY: only its address is taken.
    let level0 = unsafe { &raw const TABLES.level0 }.addr() as u64;
    // GPTBR_EL3 and GPCCR_EL3.
    write!("s3_6_c2_c1_4", level0 >> GRANULE_SHIFT);
    write!("s3_6_c2_c1_6", GPCCR);
    barrier();
    // TLBI PAALL, which the assembler does not know.
    // SAFETY: it only makes hardware look again.
    unsafe { core::arch::asm!(".inst 0xd50e879f", options(nostack, preserves_flags)) };
    barrier();
}
