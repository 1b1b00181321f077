//! Tables and their entries, with the IPAs they stand for.

use crate::descriptor::Descriptor;
use core::ops::Range;
use mmio::TableMemory;

/// The level of pages.
pub(crate) const LAST_LEVEL: u8 = 3;
/// Bytes of a table.
pub(crate) const TABLE_SIZE: usize = 4096;
/// Bytes of an entry.
pub(crate) const ENTRY_SIZE: usize = size_of::<u64>();

/// IPA bytes that one entry at `level` stands for: 512 GiB, 1 GiB, 2 MiB, 4 KiB.
pub(crate) fn span(level: u8) -> u64 {
    1 << (12 + 9 * (LAST_LEVEL - level))
}

/// A table (or concatenated root tables) and the IPAs it resolves.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Physical address.
    pub(crate) address: u64,
    level: u8,
    range: Range<u64>,
}

impl Table {
    /// The root of a space: it resolves `[0, ipa_end)`.
    pub(crate) fn root(address: u64, level: u8, ipa_end: u64) -> Table {
        Table {
            address,
            level,
            range: 0..ipa_end,
        }
    }

    /// The entry for `ipa`, if the table resolves it.
    pub(crate) fn slot(&self, ipa: u64) -> Option<Slot> {
        let offset = ipa.checked_sub(self.range.start)?;
        let number = offset / span(self.level);
        (ipa < self.range.end).then(|| Slot {
            address: self.address + number * ENTRY_SIZE as u64,
            level: self.level,
            ipa: self.range.start + number * span(self.level),
        })
    }

    /// The entries that `range` touches, in order.
    pub(crate) fn slots(&self, range: &Range<u64>) -> impl Iterator<Item = Slot> + use<> {
        let table = self.clone();
        let end = range.end.min(self.range.end);
        let mut ipa = range.start.max(self.range.start);
        core::iter::from_fn(move || {
            let slot = if ipa < end { table.slot(ipa) } else { None }?;
            ipa = slot.end();
            Some(slot)
        })
    }

    /// All entries.
    pub(crate) fn all(&self) -> impl Iterator<Item = Slot> + use<> {
        self.slots(&self.range)
    }

    /// Whether every entry is empty.
    pub(crate) fn is_empty(&self, memory: &impl TableMemory) -> bool {
        self.all().all(|slot| slot.read(memory) == Descriptor::Empty)
    }

    /// Publishes the entries that `range` touches.
    pub(crate) fn publish(&self, memory: &mut impl TableMemory, range: &Range<u64>) {
        if let Some(first) = self.slots(range).next() {
            memory.publish(first.address, self.slots(range).count() * ENTRY_SIZE);
        }
    }
}

/// An entry of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot {
    /// Physical address of the entry.
    pub(crate) address: u64,
    /// Level of its table.
    pub(crate) level: u8,
    /// The first IPA it stands for.
    pub(crate) ipa: u64,
}

impl Slot {
    /// One past the last IPA it stands for.
    pub(crate) fn end(&self) -> u64 {
        self.ipa + span(self.level)
    }

    /// Whether all it stands for lies in `range`.
    pub(crate) fn within(&self, range: &Range<u64>) -> bool {
        range.start <= self.ipa && self.end() <= range.end
    }

    /// Whether nothing it stands for lies in `range`.
    pub(crate) fn outside(&self, range: &Range<u64>) -> bool {
        self.end() <= range.start || range.end <= self.ipa
    }

    pub(crate) fn read(&self, memory: &impl TableMemory) -> Descriptor {
        Descriptor::decode(memory.read(self.address), self.level)
    }

    pub(crate) fn write(&self, memory: &mut impl TableMemory, descriptor: u64) {
        memory.write(self.address, descriptor);
    }

    /// The table at `address`, seen as the one this entry leads to.
    pub(crate) fn table(&self, address: u64) -> Table {
        Table {
            address,
            level: self.level + 1,
            range: self.ipa..self.end(),
        }
    }

    /// The table that this entry would lead to, for counting; it has no memory and must not be read.
    pub(crate) fn planned_table(&self) -> Table {
        self.table(0)
    }
}
