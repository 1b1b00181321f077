//! Table memory out of the frame pool, for what CPUs and SMMUs walk.

use super::frames::{Frames, allocate_frames};
use crate::arch::cpu;
use alloc::vec::Vec;
use core::ptr;
use mmio::{Block, OutOfTableMemory, TableMemory};

/// Table memory that knows each block it has given out.
#[derive(Debug, Default)]
pub struct FrameTables {
    /// Sorted by address.
    blocks: Vec<Frames>,
}

impl FrameTables {
    /// No table yet.
    pub const fn new() -> Self {
        FrameTables { blocks: Vec::new() }
    }

    /// The pointer for a word at `address`, if it lies in one of our blocks.
    fn word(&self, address: u64) -> Option<*mut u64> {
        let address = usize::try_from(address)
            .ok()
            .filter(|address| address.is_multiple_of(align_of::<u64>()))?;
        let after = self.blocks.partition_point(|block| block.start() <= address);
        let block = self.blocks.get(after.checked_sub(1)?)?;
        block
            .range()
            .contains(&address)
            .then(|| ptr::with_exposed_provenance_mut(address))
    }
}

impl TableMemory for FrameTables {
    fn allocate(&mut self, size: usize, align: usize) -> Result<Block, OutOfTableMemory> {
        let none_left = OutOfTableMemory { size, align };
        self.blocks.try_reserve(1).map_err(|_| none_left)?;
        let frames = allocate_frames(size, align).map_err(|_| none_left)?;
        let block = Block {
            address: frames.start() as u64,
            size: frames.size(),
        };
        cpu::clean_invalidate_to_coherency(frames.range());
        let place = self
            .blocks
            .partition_point(|other| other.start() < frames.start());
        self.blocks.insert(place, frames);
        Ok(block)
    }

    fn free(&mut self, block: Block) {
        self.blocks
            .retain(|frames| frames.start() as u64 != block.address);
    }

    fn read(&self, address: u64) -> u64 {
        // SAFETY: `word` checked that the aligned word lies in a block of ours, which stays mapped.
        self.word(address)
            .map_or(0, |word| unsafe { word.read_volatile() })
    }

    fn write(&mut self, address: u64, value: u64) {
        if let Some(word) = self.word(address) {
            // SAFETY: as in `read`; hardware may read it meanwhile, hence volatile.
            unsafe { word.write_volatile(value) };
        }
    }

    fn publish(&mut self, address: u64, size: usize) {
        // A walker that is coherent needs the barrier only, one that is not needs the lines in memory.
        if let Ok(start) = usize::try_from(address) {
            let ours = self.blocks.iter().any(|block| block.range().contains(&start));
            if ours {
                cpu::clean_invalidate_to_coherency(start..start.saturating_add(size));
            }
        }
    }
}
