//! Mapping: filling entries that are empty.
//!
//! Two passes over the range with one rule. The first counts the tables that are needed and refuses
//! what is mapped; the second, which cannot fail, fills in. An empty entry may become valid at once: absence is
//! never cached (DDI 0487 D8.16). A new table is filled and published before the entry that leads to it is written.

use crate::descriptor::{self, Attributes, Descriptor, Leaf};
use crate::error::Error;
use crate::supply::Supply;
use crate::table::{LAST_LEVEL, Slot, Table, span};
use core::ops::Range;
use mmio::TableMemory;

/// What is to be mapped.
pub(crate) struct Request {
    pub(crate) range: Range<u64>,
    /// The PA of the start of the range.
    pub(crate) pa: u64,
    pub(crate) attributes: Attributes,
}

impl Request {
    /// The block or page that an empty `slot` gets, unless it needs a table: it must be covered and aligned,
    /// and level 0 has no blocks.
    fn leaf(&self, slot: &Slot) -> Option<Leaf> {
        if slot.level == 0 || !slot.within(&self.range) {
            return None;
        }
        let pa = self.pa + (slot.ipa - self.range.start);
        pa.is_multiple_of(span(slot.level)).then_some(Leaf {
            pa,
            attributes: self.attributes,
        })
    }

    /// How many tables an empty `slot` needs.
    fn tables_for(&self, slot: &Slot) -> u64 {
        if self.leaf(slot).is_some() || slot.level == LAST_LEVEL {
            return 0;
        }
        1 + slot
            .planned_table()
            .slots(&self.range)
            .map(|below| self.tables_for(&below))
            .sum::<u64>()
    }

    /// How many tables the request needs in `table`.
    pub(crate) fn plan(&self, memory: &impl TableMemory, table: &Table) -> Result<u64, Error> {
        let mut tables = 0;
        for slot in table.slots(&self.range) {
            tables += match slot.read(memory) {
                Descriptor::Empty => self.tables_for(&slot),
                Descriptor::Table(address) => self.plan(memory, &slot.table(address))?,
                Descriptor::Leaf(_) | Descriptor::Broken(_) => {
                    return Err(Error::AlreadyMapped {
                        ipa: slot.ipa.max(self.range.start),
                    });
                }
            };
        }
        Ok(tables)
    }

    /// Fills in what [`plan`](Self::plan) allowed, with tables from `supply`.
    pub(crate) fn fill(&self, memory: &mut impl TableMemory, table: &Table, supply: &mut Supply) {
        for slot in table.slots(&self.range) {
            if let Descriptor::Table(address) = slot.read(memory) {
                self.fill(memory, &slot.table(address), supply);
            } else if let Some(leaf) = self.leaf(&slot) {
                slot.write(memory, leaf.encode(slot.level));
            } else if let Some(address) = supply.take(memory) {
                self.fill(memory, &slot.table(address), supply);
                slot.write(memory, descriptor::table(address));
            }
        }
        table.publish(memory, &self.range);
    }
}
