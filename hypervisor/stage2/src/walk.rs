//! Software walks: what hardware would find.

use crate::descriptor::{Attributes, Descriptor};
use crate::table::{Table, span};
use mmio::TableMemory;

/// A block or page of an address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// First IPA of the block or page.
    pub ipa: u64,
    /// First PA.
    pub pa: u64,
    /// 4 KiB, 2 MiB or 1 GiB, in bytes.
    pub size: u64,
    /// What may be done with it.
    pub attributes: Attributes,
}

/// What stands at an IPA.
pub(crate) enum Found {
    Mapping(Mapping),
    /// Nothing up to this IPA.
    Nothing {
        end: u64,
    },
}

/// Looks `ipa` up, from `root` down.
pub(crate) fn find(memory: &impl TableMemory, root: &Table, ipa: u64) -> Option<Found> {
    let mut slot = root.slot(ipa)?;
    while let Descriptor::Table(address) = slot.read(memory) {
        slot = slot.table(address).slot(ipa)?;
    }
    Some(match slot.read(memory) {
        Descriptor::Leaf(leaf) => Found::Mapping(Mapping {
            ipa: slot.ipa,
            pa: leaf.pa,
            size: span(slot.level),
            attributes: leaf.attributes,
        }),
        _ => Found::Nothing { end: slot.end() },
    })
}

/// The blocks and pages of an address space, by rising IPA; see [`AddressSpace::mappings`](crate::AddressSpace::mappings).
#[derive(Debug)]
pub struct Mappings<'m, M> {
    pub(crate) memory: &'m M,
    pub(crate) root: Table,
    pub(crate) next: u64,
}

impl<M: TableMemory> Iterator for Mappings<'_, M> {
    type Item = Mapping;

    fn next(&mut self) -> Option<Mapping> {
        loop {
            match find(self.memory, &self.root, self.next)? {
                Found::Mapping(mapping) => {
                    self.next = mapping.ipa + mapping.size;
                    return Some(mapping);
                }
                Found::Nothing { end } => self.next = end,
            }
        }
    }
}
