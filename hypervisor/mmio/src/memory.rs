//! Memory that hardware walks by itself: translation tables, stream tables, queues.

/// A physically contiguous, zeroed block of table memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Physical address, as hardware is told it.
    pub address: u64,
    /// Size in bytes.
    pub size: usize,
}

/// There is no block of that size and alignment left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no table memory left for {size} bytes aligned to {align}")]
pub struct OutOfTableMemory {
    /// Bytes asked for.
    pub size: usize,
    /// Alignment asked for, in bytes.
    pub align: usize,
}

/// Memory that both we and hardware read and write, addressed by physical address.
///
/// Words are little-endian 64-bit and single-copy atomic (DDI 0487 B2.2.1). An address that does not lie in an
/// allocated block of this memory reads as zero (an invalid descriptor) and is not written: a stray address
/// inside a table can never become a stray access.
pub trait TableMemory {
    /// Allocates `size` bytes, zeroed and visible to hardware as zero, aligned to `align` (a power of two).
    fn allocate(&mut self, size: usize, align: usize) -> Result<Block, OutOfTableMemory>;
    /// Gives a block back; hardware must not walk it any more.
    fn free(&mut self, block: Block);
    /// Reads the 64-bit word at `address`, 8-byte aligned.
    fn read(&self, address: u64) -> u64;
    /// Writes the 64-bit word at `address`, 8-byte aligned. Hardware sees it after [`publish`](Self::publish) at the latest.
    fn write(&mut self, address: u64, value: u64);
    /// Makes all writes up to here to `[address, address + size)` visible to hardware walkers, in order with every
    /// later write: clean to the point of coherency where a walker is not coherent, then `DSB`.
    fn publish(&mut self, address: u64, size: usize);
    /// Makes what hardware wrote to `[address, address + size)` before now visible to [`read`](Self::read), in order with
    /// every register read before: `DSB`, and where hardware is not coherent, invalidation to the point of coherency.
    ///
    /// By default this is [`publish`](Self::publish), which is right if that cleans *and invalidates* where
    /// hardware is not coherent: memory that only hardware writes has no dirty lines, so nothing is overwritten.
    fn receive(&mut self, address: u64, size: usize) {
        self.publish(address, size);
    }
}

impl<M: TableMemory + ?Sized> TableMemory for &mut M {
    fn allocate(&mut self, size: usize, align: usize) -> Result<Block, OutOfTableMemory> {
        (**self).allocate(size, align)
    }
    fn free(&mut self, block: Block) {
        (**self).free(block);
    }
    fn read(&self, address: u64) -> u64 {
        (**self).read(address)
    }
    fn write(&mut self, address: u64, value: u64) {
        (**self).write(address, value);
    }
    fn publish(&mut self, address: u64, size: usize) {
        (**self).publish(address, size);
    }
    fn receive(&mut self, address: u64, size: usize) {
        (**self).receive(address, size);
    }
}
