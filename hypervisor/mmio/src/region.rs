//! A mapped window of device registers: the one place where an address becomes an access.
#![expect(
    unsafe_code,
    reason = "access to a device window, and its order, are what this file is for"
)]

use crate::{Bus, ByteBus};

/// A mapped window of device registers.
///
/// No reference into the window is ever made: devices change memory under the compiler's feet, so every access
/// is one volatile load or store of exactly the width asked for.
#[derive(Debug)]
pub struct Region {
    base: usize,
    size: usize,
}

impl Region {
    /// A window of `size` bytes at virtual address `base`.
    ///
    /// # Safety
    /// - `[base, base + size)` is mapped as device memory for as long as the `Region` lives;
    /// - `base` is 8-byte aligned;
    /// - no Rust object lies in it.
    pub const unsafe fn new(base: usize, size: usize) -> Self {
        Region { base, size }
    }

    /// The virtual address of the window.
    pub fn base(&self) -> usize {
        self.base
    }

    /// The size of the window in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The address of a naturally aligned access of `T` at `offset`, if it lies inside the window.
    fn address<T>(&self, offset: usize) -> Option<*mut T> {
        let end = offset.checked_add(size_of::<T>())?;
        (end <= self.size && offset.is_multiple_of(align_of::<T>())).then(|| (self.base + offset) as *mut T)
    }

    fn read<T>(&self, offset: usize) -> Option<T> {
        let address = self.address::<T>(offset)?;
        // SAFETY: `address` checked bounds and alignment; `new`'s contract says the window is mapped, and no
        // Rust object lies in it.
        Some(unsafe { address.read_volatile() })
    }

    fn write<T>(&self, offset: usize, value: T) {
        if let Some(address) = self.address::<T>(offset) {
            // SAFETY: as in `read`.
            unsafe { address.write_volatile(value) }
        }
    }
}

/// Keeps what is read from now on from being read before what was read of a device until now.
///
/// Without it a CPU may read memory before the status that says that the memory is ready: that the read is in a branch
/// which depends on the status orders writes only, not reads (DDI 0487 B2.3). Devices are outer shareable.
pub(crate) fn order_reads() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier changes nothing.
    unsafe {
        core::arch::asm!("dmb oshld", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "aarch64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
}

impl Bus for Region {
    fn read32(&self, offset: usize) -> u32 {
        self.read(offset).unwrap_or(u32::MAX)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.write(offset, value);
    }
    fn read64(&self, offset: usize) -> u64 {
        self.read(offset).unwrap_or(u64::MAX)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.write(offset, value);
    }
}

impl ByteBus for Region {
    fn read8(&self, offset: usize) -> u8 {
        self.read(offset).unwrap_or(u8::MAX)
    }
    fn write8(&self, offset: usize, value: u8) {
        self.write(offset, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_stay_inside_the_window() {
        let mut words = [0x1122_3344_5566_7788_u64, 0, 0xdead];
        // SAFETY: the first two words of a live array stand in for a device; the array is not used meanwhile.
        let region = unsafe { Region::new(words.as_mut_ptr() as usize, 16) };
        assert_eq!(region.read32(4), 0x1122_3344);
        region.write64(8, 7);
        assert_eq!(region.read64(8), 7);
        region.write64(16, 9);
        region.write32(2, 9);
        region.write8(16, 9);
        region.write8(9, 1);
        assert_eq!((region.read8(8), region.read8(9)), (7, 1));
        assert_eq!(region.read8(16), u8::MAX);
        assert_eq!(region.read64(16), u64::MAX);
        assert_eq!(region.read32(usize::MAX - 1), u32::MAX);
        assert_eq!(words, [0x1122_3344_5566_7788, 0x107, 0xdead]);
    }
}
