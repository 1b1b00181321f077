//! Changing what is mapped: unmapping, and changing attributes.
//!
//! Three passes. The first counts the tables that splitting blocks needs and refuses what is not mapped. The second
//! breaks: every entry to be changed becomes invalid. After the caller's invalidation the third makes the new entries.

use crate::descriptor::{self, Attributes, Descriptor, Leaf};
use crate::error::Error;
use crate::supply::Supply;
use crate::table::{ENTRY_SIZE, Slot, TABLE_SIZE, Table};
use core::ops::Range;
use mmio::{Block, TableMemory};

/// What a range of mapped pages is to become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Unmap,
    Protect(Attributes),
}

/// A change of a range.
pub(crate) struct Request {
    pub(crate) range: Range<u64>,
    pub(crate) change: Change,
}

/// What the breaking pass did, to be completed or undone after the invalidation.
#[derive(Default)]
pub(crate) struct Broken {
    /// The IPAs whose entries were written, as one range.
    pub(crate) touched: Option<Range<u64>>,
    /// Tables that were taken out of the tree.
    pub(crate) removed: Supply,
    /// Blocks to be replaced by tables: a range has two ends, and each lies in one block at most.
    splits: [Option<Split>; 2],
}

/// A block's entry, and the table that is to replace the block.
#[derive(Clone, Copy)]
struct Split {
    slot: Slot,
    table: u64,
}

impl Broken {
    fn touch(&mut self, slot: &Slot) {
        let range = self.touched.get_or_insert(slot.ipa..slot.end());
        *range = range.start.min(slot.ipa)..range.end.max(slot.end());
    }

    fn split(&mut self, slot: Slot, table: u64) {
        if let Some(free) = self.splits.iter_mut().find(|split| split.is_none()) {
            *free = Some(Split { slot, table });
        }
    }
}

impl Request {
    /// Whether `leaf` is already as it is to be.
    fn keeps(&self, leaf: &Leaf) -> bool {
        self.change == Change::Protect(leaf.attributes)
    }

    /// How many tables splitting the block at `slot` needs.
    fn tables_for(&self, slot: &Slot) -> u64 {
        if slot.within(&self.range) {
            return 0;
        }
        1 + slot
            .planned_table()
            .slots(&self.range)
            .map(|below| self.tables_for(&below))
            .sum::<u64>()
    }

    /// How many tables the change needs in `table`.
    pub(crate) fn plan(&self, memory: &impl TableMemory, table: &Table) -> Result<u64, Error> {
        let mut tables = 0;
        for slot in table.slots(&self.range) {
            tables += match slot.read(memory) {
                Descriptor::Leaf(leaf) if self.keeps(&leaf) => 0,
                Descriptor::Leaf(_) => self.tables_for(&slot),
                Descriptor::Table(address) => self.plan(memory, &slot.table(address))?,
                Descriptor::Empty | Descriptor::Broken(_) => {
                    return Err(Error::NotMapped {
                        ipa: slot.ipa.max(self.range.start),
                    });
                }
            };
        }
        Ok(tables)
    }

    /// Makes every entry that changes invalid, and publishes that. Replacements of blocks are built aside.
    pub(crate) fn break_entries(
        &self,
        memory: &mut impl TableMemory,
        table: &Table,
        supply: &mut Supply,
        broken: &mut Broken,
    ) {
        for slot in table.slots(&self.range) {
            match slot.read(memory) {
                Descriptor::Leaf(leaf) if self.keeps(&leaf) => {}
                Descriptor::Leaf(leaf) if slot.within(&self.range) => {
                    let left = match self.change {
                        Change::Unmap => 0,
                        Change::Protect(_) => descriptor::broken(leaf, slot.level),
                    };
                    slot.write(memory, left);
                    broken.touch(&slot);
                }
                Descriptor::Leaf(leaf) => {
                    if let Some(table) = self.build_split(memory, &slot, leaf, supply) {
                        broken.split(slot, table);
                    }
                    slot.write(memory, descriptor::broken(leaf, slot.level));
                    broken.touch(&slot);
                }
                Descriptor::Table(address) => {
                    let below = slot.table(address);
                    self.break_entries(memory, &below, supply, broken);
                    if self.change == Change::Unmap && below.is_empty(memory) {
                        slot.write(memory, 0);
                        broken.touch(&slot);
                        broken.removed.push(memory, address);
                    }
                }
                Descriptor::Empty | Descriptor::Broken(_) => {}
            }
        }
        table.publish(memory, &self.range);
    }

    /// Builds the table that replaces the block `leaf` at `slot`, changed inside the range and the same outside.
    fn build_split(
        &self,
        memory: &mut impl TableMemory,
        slot: &Slot,
        leaf: Leaf,
        supply: &mut Supply,
    ) -> Option<u64> {
        let address = supply.take(memory)?;
        let table = slot.table(address);
        for below in table.all() {
            let same = Leaf {
                pa: leaf.pa + (below.ipa - slot.ipa),
                ..leaf
            };
            let entry = if below.outside(&self.range) {
                same.encode(below.level)
            } else if below.within(&self.range) {
                match self.change {
                    Change::Unmap => 0,
                    Change::Protect(attributes) => Leaf { attributes, ..same }.encode(below.level),
                }
            } else {
                self.build_split(memory, &below, same, supply)
                    .map_or(0, descriptor::table)
            };
            below.write(memory, entry);
        }
        table.publish(memory, &(slot.ipa..slot.end()));
        Some(address)
    }

    /// Writes the new entries where [`break_entries`](Self::break_entries) left broken ones. Every walker has
    /// forgotten the old ones.
    pub(crate) fn make_entries(&self, memory: &mut impl TableMemory, table: &Table, broken: &Broken) {
        if let Change::Protect(attributes) = self.change {
            self.make_leaves(memory, table, attributes);
        }
        for split in broken.splits.iter().flatten() {
            split.slot.write(memory, descriptor::table(split.table));
            memory.publish(split.slot.address, ENTRY_SIZE);
        }
    }

    fn make_leaves(&self, memory: &mut impl TableMemory, table: &Table, attributes: Attributes) {
        for slot in table.slots(&self.range) {
            match slot.read(memory) {
                Descriptor::Broken(leaf) if slot.within(&self.range) => {
                    slot.write(memory, Leaf { attributes, ..leaf }.encode(slot.level));
                }
                Descriptor::Table(address) => self.make_leaves(memory, &slot.table(address), attributes),
                _ => {}
            }
        }
        table.publish(memory, &self.range);
    }

    /// Gives up after a failed invalidation: what is broken becomes empty for good, and the replacements
    /// that no walker has seen go back to `memory`.
    pub(crate) fn abandon(&self, memory: &mut impl TableMemory, table: &Table, broken: &Broken) {
        for split in broken.splits.iter().flatten() {
            free_tree(memory, &split.slot.table(split.table));
        }
        if let Some(touched) = &broken.touched {
            clear_broken(memory, table, touched);
        }
    }
}

fn clear_broken(memory: &mut impl TableMemory, table: &Table, range: &Range<u64>) {
    for slot in table.slots(range) {
        match slot.read(memory) {
            Descriptor::Broken(_) => slot.write(memory, 0),
            Descriptor::Table(address) => clear_broken(memory, &slot.table(address), range),
            _ => {}
        }
    }
    table.publish(memory, range);
}

/// Frees `table` and all below it; no walker may follow them any more.
pub(crate) fn free_tree(memory: &mut impl TableMemory, table: &Table) {
    free_below(memory, table);
    memory.free(Block {
        address: table.address,
        size: TABLE_SIZE,
    });
}

/// Frees all tables below `table`.
pub(crate) fn free_below(memory: &mut impl TableMemory, table: &Table) {
    for slot in table.all() {
        if let Descriptor::Table(address) = slot.read(memory) {
            free_tree(memory, &slot.table(address));
        }
    }
}
