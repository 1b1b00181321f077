//! Tables outside the tree: reserved ones that are not in it yet, removed ones that may still be cached.

use crate::descriptor;
use crate::table::TABLE_SIZE;
use mmio::{Block, OutOfTableMemory, TableMemory};

/// A list of tables that are not linked into the tree.
///
/// It is kept in the tables' own first words, as invalid descriptors, so it needs no other memory and a walker
/// that still follows a removed table finds nothing there.
#[derive(Debug, Default)]
pub(crate) struct Supply {
    head: Option<u64>,
}

impl Supply {
    /// Takes `count` tables from `memory`, or none.
    pub(crate) fn reserve(memory: &mut impl TableMemory, count: u64) -> Result<Supply, OutOfTableMemory> {
        let mut supply = Supply::default();
        for _ in 0..count {
            match memory.allocate(TABLE_SIZE, TABLE_SIZE) {
                Ok(block) => supply.push(memory, block.address),
                Err(error) => {
                    supply.release(memory);
                    return Err(error);
                }
            }
        }
        Ok(supply)
    }

    /// Adds an empty table.
    pub(crate) fn push(&mut self, memory: &mut impl TableMemory, address: u64) {
        memory.write(address, self.head.map_or(0, descriptor::link));
        self.head = Some(address);
    }

    /// Takes a table out, all zero. A walker may still see the link in its first word, which is as invalid as zero.
    pub(crate) fn take(&mut self, memory: &mut impl TableMemory) -> Option<u64> {
        let address = self.head?;
        self.head = descriptor::linked(memory.read(address));
        memory.write(address, 0);
        Some(address)
    }

    /// Moves all tables of `other` here.
    pub(crate) fn absorb(&mut self, memory: &mut impl TableMemory, mut other: Supply) {
        while let Some(address) = other.take(memory) {
            self.push(memory, address);
        }
    }

    /// Gives all tables back to `memory`; no walker may follow them any more.
    pub(crate) fn release(&mut self, memory: &mut impl TableMemory) {
        while let Some(address) = self.take(memory) {
            memory.free(Block {
                address,
                size: TABLE_SIZE,
            });
        }
    }
}
