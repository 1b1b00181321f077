//! Pages of the guest's RAM that devices read and write.

use mmio::{Bus, Region};

/// Bytes that a device and the program both see; no Rust object lies in them.
#[derive(Debug)]
pub struct Page {
    region: Region,
    size: usize,
}

impl Page {
    /// # Safety
    /// As for [`Region::new`].
    pub(crate) unsafe fn new(address: usize, size: usize) -> Page {
        // SAFETY: the caller's promise. With the MMU off all memory is device memory.
        let region = unsafe { Region::new(address, size) };
        Page { region, size }
    }

    /// Where it lies.
    pub fn address(&self) -> u64 {
        self.region.base() as u64
    }

    /// How many 64-bit words it has.
    pub fn words(&self) -> usize {
        self.size / 8
    }

    /// Writes `value(n)` into each word `n`.
    pub fn fill(&self, value: impl Fn(usize) -> u64) {
        (0..self.words()).for_each(|word| self.region.write64(word * 8, value(word)));
        aarch64_cpu::asm::barrier::dsb(aarch64_cpu::asm::barrier::SY);
    }

    /// Word `word`.
    pub fn read(&self, word: usize) -> u64 {
        self.region.read64(word * 8)
    }

    /// The lower half of word 0.
    pub fn read32(&self) -> u32 {
        self.region.read32(0)
    }

    /// The first of the first `words` words that is not `value(n)`.
    pub fn differs(&self, words: usize, value: impl Fn(usize) -> u64) -> Option<usize> {
        (0..words.min(self.words())).find(|&word| self.read(word) != value(word))
    }
}

/// The words that alice's secret pages are filled with: `ALICE-SECRET-001`, again and again.
pub fn secret(word: usize) -> u64 {
    const SECRET: [u64; 2] = [u64::from_le_bytes(*b"ALICE-SE"), u64::from_le_bytes(*b"CRET-001")];
    let [first, second] = SECRET;
    if word.is_multiple_of(2) { first } else { second }
}

/// A word that stands nowhere by accident; another one for every `seed` and place.
pub fn pattern(seed: u64, word: usize) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    // The place counts from 1: neither half may be zero, which is what a blocked read brings.
    (seed << 32 | (word as u64 + 1) | 1 << 63).wrapping_mul(ODD)
}
