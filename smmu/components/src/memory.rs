//! Table memory from the core.
#![expect(
    unsafe_code,
    reason = "volatile access to table memory is what this file is for"
)]

use crate::host::Host;
use arrayvec::ArrayVec;
use mmio::{Block, OutOfTableMemory, TableMemory};

/// The most blocks that one driver instance has at a time. An SMMUv3 takes one for each 256 streams that are used.
pub const MAX_BLOCKS: usize = 72;

/// The table memory of one driver instance.
///
/// It is not given back when it is dropped: an SMMU that could not be stopped may still read it. A driver frees its blocks in
/// `release`; the core takes what is left when it has shut the SMMU itself.
#[derive(Debug)]
pub struct HostMemory {
    host: &'static Host,
    blocks: ArrayVec<Block, MAX_BLOCKS>,
    /// Whether the SMMU reads our caches.
    coherent: bool,
}

impl HostMemory {
    /// No memory yet. `coherent` says that the SMMU reads our caches.
    pub(crate) fn new(host: &'static Host, coherent: bool) -> Self {
        HostMemory {
            host,
            blocks: ArrayVec::new(),
            coherent,
        }
    }

    /// The word at `address`, if it lies in one of our blocks.
    fn word(&self, address: u64) -> Option<*mut u64> {
        let inside = |block: &&Block| {
            address
                .checked_sub(block.address)
                .is_some_and(|skip| skip < block.size as u64)
        };
        self.blocks
            .iter()
            .find(inside)
            .filter(|_| address.is_multiple_of(8))?;
        usize::try_from(address)
            .ok()
            .map(core::ptr::with_exposed_provenance_mut)
    }
}

impl TableMemory for HostMemory {
    fn allocate(&mut self, size: usize, align: usize) -> Result<Block, OutOfTableMemory> {
        let none = OutOfTableMemory { size, align };
        if self.blocks.is_full() {
            return Err(none);
        }
        // Whole words, so that a block never ends inside one.
        let bytes = size.checked_next_multiple_of(8).ok_or(none)? as u64;
        let memory = self.host.allocate(bytes, align as u64).map_err(|_| none)?;
        let block = Block {
            address: memory.address,
            size,
        };
        self.blocks.push(block);
        self.publish(block.address, size);
        Ok(block)
    }

    fn free(&mut self, block: Block) {
        if let Some(index) = self.blocks.iter().position(|own| own.address == block.address) {
            self.blocks.swap_remove(index);
            // The core knows the block: it was allocated above. A refusal would leave it accounted to us, no more.
            let _ = self.host.free(block.address);
        }
    }

    fn read(&self, address: u64) -> u64 {
        // SAFETY: `word` checked that the core has given us this memory, and alignment. Only we and the SMMU access it.
        self.word(address)
            .map_or(0, |word| u64::from_le(unsafe { word.read_volatile() }))
    }

    fn write(&mut self, address: u64, value: u64) {
        if let Some(word) = self.word(address) {
            // SAFETY: as in `read`; no reference into the memory exists.
            unsafe { word.write_volatile(value.to_le()) }
        }
    }

    fn publish(&mut self, address: u64, size: usize) {
        if self.coherent {
            barrier();
        } else {
            // The core knows every block and refuses other ranges, for which there is nothing to do.
            let _ = self.host.clean(address, size as u64);
        }
    }
}

/// Waits until our writes are done, for every observer in the system (DDI 0487 B2.3.12).
fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: a barrier changes nothing.
    unsafe {
        core::arch::asm!("dsb sy", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "aarch64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}
