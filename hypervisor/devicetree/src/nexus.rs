//! Interrupt nexuses: nodes whose `interrupt-map` passes interrupts on (DTSpec 2.4.3).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::error::{Problem, ReadError};
use crate::interrupts::{Interrupt, bounded, interrupt_cells, target, unit_cells};
use crate::node::{Node, NodeId};
use crate::property::{Cells, Property};

/// How many maps an interrupt goes through before they are called a loop.
const MAX_HOPS: usize = 16;
/// How many entries are read from maps or looked up in them, for all interrupts that are asked for together. It
/// bounds the time and the memory that a tree can cost: a blob of 2 MiB has room for a quarter of a million entries.
/// Real trees have some hundreds.
const MAX_ENTRIES: usize = 1 << 15;

/// The `interrupt-map`s of a tree that were read so far. Each is read once, however many interrupts go through it:
/// who asks many nodes for their interrupts keeps one of these.
#[derive(Debug, Default)]
pub struct InterruptMaps<'t> {
    known: BTreeMap<NodeId, Map<'t>>,
    entries: Count,
}

/// Entries that were read or looked up.
#[derive(Debug, Default)]
struct Count(usize);

impl Count {
    /// Counts one more. Errors are about `property`, which asks for it.
    fn add(&mut self, property: &Property<'_>) -> Result<(), ReadError> {
        if self.0 >= MAX_ENTRIES {
            return Err(property.error(Problem::MapsTooLarge { limit: MAX_ENTRIES }));
        }
        self.0 += 1;
        Ok(())
    }
}

/// An `interrupt-map`, ready to be searched.
#[derive(Debug)]
struct Map<'t> {
    property: Property<'t>,
    /// How many cells of unit address and specifier select an entry.
    key_cells: usize,
    mask: Vec<u32>,
    /// The cells at which entries begin, by their masked keys. Of equal ones, the first counts. No more is kept:
    /// a hypervisor's heap is small.
    entries: BTreeMap<Vec<u32>, usize>,
    /// What stopped the reading, for interrupts that no entry before it takes.
    defect: Option<ReadError>,
}

/// An entry.
#[derive(Debug, Clone, Copy)]
struct Entry<'t> {
    key: Cells<'t>,
    parent: Node<'t>,
    unit: Cells<'t>,
    specifier: Cells<'t>,
    /// The cell behind it.
    end: usize,
}

impl<'t> InterruptMaps<'t> {
    /// Takes an interrupt from a nexus to the controller. `key` is unit address and specifier as the nexus counts
    /// them; errors are about `property`, which names the interrupt.
    pub(crate) fn follow(
        &mut self,
        property: &Property<'t>,
        nexus: Node<'t>,
        key: Vec<u32>,
    ) -> Result<Interrupt<'t>, ReadError> {
        let (mut nexus, mut key) = (nexus, key);
        for _ in 0..MAX_HOPS {
            self.entries.add(property)?;
            let unmapped = || property.error(Problem::Unmapped { nexus: nexus.path() });
            let Some(entry) = self.map(property, nexus)?.find(key)? else {
                return Err(unmapped());
            };
            if entry.parent.has("interrupt-controller") {
                return Ok(Interrupt {
                    controller: entry.parent,
                    cells: entry.specifier,
                });
            }
            nexus = entry.parent;
            key = entry.unit.iter().chain(entry.specifier.iter()).collect();
        }
        Err(property.error(Problem::InterruptLoop { limit: MAX_HOPS }))
    }

    fn map(&mut self, property: &Property<'t>, nexus: Node<'t>) -> Result<&Map<'t>, ReadError> {
        use alloc::collections::btree_map::Entry;
        match self.known.entry(nexus.id()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => match nexus.property("interrupt-map") {
                Some(map) => Ok(place.insert(Map::read(&map, nexus, &mut self.entries)?)),
                None => Err(property.error(Problem::NotController { node: nexus.path() })),
            },
        }
    }
}

impl<'t> Map<'t> {
    fn read(property: &Property<'t>, nexus: Node<'t>, entries: &mut Count) -> Result<Self, ReadError> {
        let key_cells = unit_cells(&nexus)? + interrupt_cells(&nexus)?;
        // A mask that is too short masks nothing in the cells it lacks.
        let mask = nexus.cells("interrupt-map-mask")?.unwrap_or_default();
        let mask = mask
            .iter()
            .chain(core::iter::repeat(u32::MAX))
            .take(key_cells)
            .collect();
        let mut map = Map {
            property: *property,
            key_cells,
            mask,
            entries: BTreeMap::new(),
            defect: None,
        };
        map.defect = map.read_entries(entries).err();
        Ok(map)
    }

    fn read_entries(&mut self, entries: &mut Count) -> Result<(), ReadError> {
        let cells = self.property.cells()?;
        let mut at = 0;
        let mut count = 0;
        while at < cells.len() {
            count += 1;
            bounded(&self.property, count)?;
            entries.add(&self.property)?;
            let entry = self.entry(at)?;
            let key = self.masked(entry.key.iter());
            self.entries.entry(key).or_insert(at);
            at = entry.end;
        }
        Ok(())
    }

    /// The entry that begins at a cell.
    fn entry(&self, at: usize) -> Result<Entry<'t>, ReadError> {
        let property = &self.property;
        let cells = property.cells()?;
        let entry = self.key_cells + 1;
        let short = || {
            property.error(Problem::PartialEntry {
                cells: cells.len() - at,
                entry,
            })
        };
        let key = cells.part(at, self.key_cells).ok_or_else(short)?;
        let parent = target(property, cells.get(at + self.key_cells).ok_or_else(short)?)?;
        let (unit_cells, specifier_cells) = (unit_cells(&parent)?, interrupt_cells(&parent)?);
        let specifier_at = at + entry + unit_cells;
        Ok(Entry {
            key,
            parent,
            unit: cells.part(at + entry, unit_cells).ok_or_else(short)?,
            specifier: cells.part(specifier_at, specifier_cells).ok_or_else(short)?,
            end: specifier_at + specifier_cells,
        })
    }

    fn masked(&self, key: impl Iterator<Item = u32>) -> Vec<u32> {
        key.zip(&self.mask).map(|(cell, mask)| cell & mask).collect()
    }

    /// The entry that takes an interrupt. A key of another length than the nexus has matches nothing.
    fn find(&self, key: Vec<u32>) -> Result<Option<Entry<'t>>, ReadError> {
        if key.len() != self.key_cells {
            return Ok(None);
        }
        match (self.entries.get(&self.masked(key.into_iter())), &self.defect) {
            (Some(at), _) => self.entry(*at).map(Some),
            (None, Some(defect)) => Err(defect.clone()),
            (None, None) => Ok(None),
        }
    }
}
