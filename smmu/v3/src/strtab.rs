//! The stream table: which entry belongs to a stream (IHI 0070 3.3.1, 5.1).

use crate::Features;
use crate::bits::Field;
use crate::error::Error;
use crate::ste::STE_BYTES;
use mmio::{Block, OutOfTableMemory, TableMemory};

/// Bits of stream ID that a second-level table resolves: one PCI bus.
pub(crate) const SPLIT: u8 = 8;
/// Entries of a second-level table.
const L2_ENTRIES: u32 = 1 << SPLIT;
/// Bytes of a second-level table.
const L2_BYTES: usize = (L2_ENTRIES as usize) * STE_BYTES;
/// Level-1 descriptor: bits of stream ID below it, plus 1; 0 means that there is no second-level table, and that
/// the SMMU answers C_BAD_STREAMID.
const SPAN: Field = Field::new(4, 0);
/// Level-1 descriptor: the second-level table.
const L2_POINTER: Field = Field::new(51, 6);

/// The stream table. Which second-level tables exist is told by the level-1 descriptors themselves.
#[derive(Debug)]
pub(crate) struct StreamTable {
    block: Block,
    bits: u8,
    two_level: bool,
}

impl StreamTable {
    /// An empty table for the streams up to `max_stream`, as far as the SMMU can tell them apart: all zero, so
    /// every stream is invalid and aborts.
    pub(crate) fn new<M: TableMemory>(
        memory: &mut M,
        features: &Features,
        max_stream: u32,
    ) -> Result<Self, OutOfTableMemory> {
        let wanted = (u32::BITS - max_stream.leading_zeros()).to_le_bytes()[0];
        let bits = wanted.min(features.stream_bits);
        // One second-level table would hold everything: a linear table is smaller and simpler.
        let two_level = features.two_level && bits > SPLIT;
        let size = if two_level {
            8 << (bits - SPLIT)
        } else {
            STE_BYTES << bits
        };
        // Aligned to its size (IHI 0070 6.3.24); the address field has 64-byte steps.
        let block = memory.allocate(size, size.max(64))?;
        Ok(StreamTable {
            block,
            bits,
            two_level,
        })
    }

    /// Where the level-1 table, or the linear table, lies.
    pub(crate) fn address(&self) -> u64 {
        self.block.address
    }

    /// Bits of stream ID that the table covers.
    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    /// Whether it has two levels.
    pub(crate) fn two_level(&self) -> bool {
        self.two_level
    }

    /// The address of the stream's entry; none if its second-level table does not exist.
    pub(crate) fn entry(&self, memory: &impl TableMemory, stream: u32) -> Result<Option<u64>, Error> {
        if u64::from(stream) >> self.bits != 0 {
            return Err(Error::StreamRange {
                stream,
                stream_bits: self.bits,
            });
        }
        if !self.two_level {
            return Ok(Some(self.block.address + offset(stream)));
        }
        Ok(self
            .second_level(memory, stream / L2_ENTRIES)
            .map(|table| table + offset(stream % L2_ENTRIES)))
    }

    /// The address of the stream's entry; its second-level table is made if it does not exist.
    ///
    /// The SMMU may have remembered that it did not exist. It forgets with the CFGI_STE (Leaf = 0) that any use of
    /// the entry begins with.
    pub(crate) fn reserve<M: TableMemory>(&self, memory: &mut M, stream: u32) -> Result<u64, Error> {
        if let Some(address) = self.entry(memory, stream)? {
            return Ok(address);
        }
        let table = memory.allocate(L2_BYTES, L2_BYTES)?;
        let descriptor = self.descriptor(stream / L2_ENTRIES);
        memory.write(
            descriptor,
            L2_POINTER.mask() & table.address | SPAN.put(u64::from(SPLIT) + 1),
        );
        memory.publish(descriptor, 8);
        Ok(table.address + offset(stream % L2_ENTRIES))
    }

    /// Calls `visit(memory, stream, address)` for every entry that exists.
    pub(crate) fn each<M: TableMemory>(&self, memory: &mut M, mut visit: impl FnMut(&mut M, u32, u64)) {
        let (tables, entries) = if self.two_level {
            (self.descriptors(), L2_ENTRIES)
        } else {
            (1, 1 << self.bits)
        };
        for table in 0..tables {
            let base = if self.two_level {
                self.second_level(memory, table)
            } else {
                Some(self.block.address)
            };
            let Some(base) = base else { continue };
            for index in 0..entries {
                visit(memory, table * L2_ENTRIES + index, base + offset(index));
            }
        }
    }

    /// Gives the memory back. The SMMU must not use the table any more.
    pub(crate) fn free<M: TableMemory>(self, memory: &mut M) {
        if self.two_level {
            for index in 0..self.descriptors() {
                if let Some(address) = self.second_level(memory, index) {
                    memory.free(Block {
                        address,
                        size: L2_BYTES,
                    });
                }
            }
        }
        memory.free(self.block);
    }

    /// The number of level-1 descriptors of a two-level table.
    fn descriptors(&self) -> u32 {
        1 << (self.bits - SPLIT)
    }

    /// The address of a level-1 descriptor.
    fn descriptor(&self, index: u32) -> u64 {
        self.block.address + 8 * u64::from(index)
    }

    /// The second-level table behind a level-1 descriptor.
    fn second_level(&self, memory: &impl TableMemory, index: u32) -> Option<u64> {
        let descriptor = memory.read(self.descriptor(index));
        SPAN.is_set(descriptor).then_some(descriptor & L2_POINTER.mask())
    }
}

/// Where an entry lies in its table.
fn offset(index: u32) -> u64 {
    u64::from(index) * STE_BYTES as u64
}
