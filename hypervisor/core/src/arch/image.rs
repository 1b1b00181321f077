//! Where the image lies, as `linker/core.ld` laid it out and the boot loader placed it.

use super::PhysicalAddress;
use core::ops::Range;

unsafe extern "C" {
    static image_start: u8;
    static rodata_start: u8;
    static data_start: u8;
    static data_end: u8;
    static image_end: u8;
}

/// The code.
pub fn text() -> Range<PhysicalAddress> {
    (&raw const image_start).addr()..(&raw const rodata_start).addr()
}

/// Constants, and pointers that were relocated at entry.
pub fn rodata() -> Range<PhysicalAddress> {
    (&raw const rodata_start).addr()..(&raw const data_start).addr()
}

/// Variables, and the stacks with their guard pages.
pub fn data() -> Range<PhysicalAddress> {
    (&raw const data_start).addr()..(&raw const image_end).addr()
}

/// All of it, with bss.
pub fn whole() -> Range<PhysicalAddress> {
    text().start..data().end
}

/// The code and constants, as they are now.
pub fn constant_bytes() -> &'static [u8] {
    let range = text().start..rodata().end;
    // SAFETY: the image is mapped for reading there for good, and nothing of ours writes it after `entry.S`.
    unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(range.start), range.len()) }
}

/// Bytes that the boot loader read: without bss.
pub fn file_size() -> usize {
    (&raw const data_end).addr() - text().start
}
