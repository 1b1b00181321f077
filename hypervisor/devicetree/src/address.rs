//! Addresses: cell counts, `reg`, and the way through `ranges` up to what the CPU sees (DTSpec 2.3.5 to 2.3.8).

use alloc::vec::Vec;
use core::fmt;

use crate::error::{Problem, ReadError};
use crate::node::Node;
use crate::property::{Cells, Property};

/// The most windows of one bus that are read. It keeps the time linear; the largest real buses have about 60.
const MAX_RANGES: usize = 256;
/// Addresses and sizes of more than 64 bits cannot be read here.
pub(crate) const MAX_CELLS: u32 = 2;

/// A region of an address space. Its end fits 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    address: u64,
    size: u64,
}

impl AddressRange {
    /// The region of `size` bytes at `address`; nothing if it would end behind the address space.
    pub const fn new(address: u64, size: u64) -> Option<AddressRange> {
        match address.checked_add(size) {
            Some(_) => Some(AddressRange { address, size }),
            None => None,
        }
    }

    /// Where it starts.
    pub const fn address(&self) -> u64 {
        self.address
    }

    /// How many bytes it has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The address behind its last byte.
    pub const fn end(&self) -> u64 {
        // The constructor made sure that this does not wrap.
        self.address + self.size
    }

    /// Whether it holds no byte.
    pub const fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether all of `other` lies in it.
    pub const fn holds(&self, other: &AddressRange) -> bool {
        self.address <= other.address && other.end() <= self.end()
    }

    /// Whether the two share a byte.
    pub const fn overlaps(&self, other: &AddressRange) -> bool {
        self.address < other.end() && other.address < self.end() && !self.is_empty() && !other.is_empty()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}+{:#x}", self.address, self.size)
    }
}

/// The cell counts of a bus, for the addresses and sizes of its children.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellCounts {
    pub(crate) address: usize,
    pub(crate) size: usize,
}

impl<'t> Node<'t> {
    /// How many cells an address of its children has.
    ///
    /// # Errors
    /// The property is missing: the specification's default and what Linux inherits differ, so nothing is assumed.
    pub fn address_cells(&self) -> Result<u32, ReadError> {
        self.required("#address-cells")?.u32()
    }

    /// Its `reg` as the CPU sees it, through the `ranges` of every bus above.
    ///
    /// # Errors
    /// `reg` is missing or malformed, or a region does not reach the CPU.
    pub fn regs(&self) -> Result<Vec<AddressRange>, ReadError> {
        let reg = self.required("reg")?;
        let bus = self.parent().unwrap_or(*self);
        self.local_regs()?
            .into_iter()
            .map(|region| translate(&reg, bus, region))
            .collect()
    }

    /// One entry of its `reg` as the CPU sees it; other entries may be wrong.
    ///
    /// # Errors
    /// `reg` is missing or malformed, has no such entry, or the region does not reach the CPU.
    pub fn reg(&self, index: usize) -> Result<AddressRange, ReadError> {
        let reg = self.required("reg")?;
        let regions = self.local_regs()?;
        let missing = || {
            reg.error(Problem::NoEntry {
                entries: regions.len(),
                index,
            })
        };
        let region = regions.get(index).copied().ok_or_else(missing)?;
        translate(&reg, self.parent().unwrap_or(*self), region)
    }

    /// Its `reg` as its own bus counts, not translated.
    pub(crate) fn local_regs(&self) -> Result<Vec<AddressRange>, ReadError> {
        let reg = self.required("reg")?;
        let bus = self.parent().unwrap_or(*self);
        let counts = bus.cell_counts(MAX_CELLS)?;
        let entries = reg.entries(counts.address + counts.size)?;
        entries
            .map(|entry| region(&reg, &entry, 0, counts.address, counts))
            .collect()
    }

    /// The cell counts for its children, with at most `limit` address cells.
    pub(crate) fn cell_counts(&self, limit: u32) -> Result<CellCounts, ReadError> {
        let bounded = |name, limit| {
            let property = self.required(name)?;
            match property.u32()? {
                value if value <= limit => Ok(value as usize),
                value => Err(property.error(Problem::CellCount { value, limit })),
            }
        };
        Ok(CellCounts {
            address: bounded("#address-cells", limit)?,
            size: bounded("#size-cells", MAX_CELLS)?,
        })
    }
}

/// The region in an entry: its address at cell `address`, its size at cell `size`.
pub(crate) fn region(
    property: &Property<'_>,
    entry: &Cells<'_>,
    address: usize,
    size: usize,
    counts: CellCounts,
) -> Result<AddressRange, ReadError> {
    let short = || {
        property.error(Problem::PartialEntry {
            cells: entry.len(),
            entry: size + counts.size,
        })
    };
    let address = entry.number(address, counts.address).ok_or_else(short)?;
    let size = entry.number(size, counts.size).ok_or_else(short)?;
    AddressRange::new(address, size).ok_or_else(|| property.error(Problem::Overflow { address, size }))
}

/// Takes a region of `bus` up to the root. Errors are about `property`, which names the region.
pub(crate) fn translate(
    property: &Property<'_>,
    bus: Node<'_>,
    region: AddressRange,
) -> Result<AddressRange, ReadError> {
    let mut region = region;
    let mut bus = bus;
    // The gate bounds the depth, and with it this loop.
    while let Some(parent) = bus.parent() {
        let Some(ranges) = bus.property("ranges") else {
            return Err(property.error(Problem::NoRanges {
                bus: bus.path(),
                address: region.address,
            }));
        };
        if !ranges.bytes().is_empty() {
            let outside = || {
                property.error(Problem::OutsideRanges {
                    bus: bus.path(),
                    region,
                })
            };
            region = through(&ranges, bus, parent, region)?.ok_or_else(outside)?;
        }
        bus = parent;
    }
    Ok(region)
}

/// Takes a region of `bus` to its parent, through the window that holds all of it.
fn through(
    ranges: &Property<'_>,
    bus: Node<'_>,
    parent: Node<'_>,
    wanted: AddressRange,
) -> Result<Option<AddressRange>, ReadError> {
    let counts = bus.cell_counts(MAX_CELLS)?;
    let above = parent.cell_counts(MAX_CELLS)?;
    for entry in window_entries(ranges, counts, above)? {
        let window = region(ranges, &entry, 0, counts.address + above.address, counts)?;
        if window.holds(&wanted) {
            let base = entry.number(counts.address, above.address).unwrap_or(0);
            let address = base.checked_add(wanted.address - window.address);
            let moved = address.and_then(|address| AddressRange::new(address, wanted.size));
            let overflow = || {
                ranges.error(Problem::Overflow {
                    address: base,
                    size: window.size,
                })
            };
            return moved.map(Some).ok_or_else(overflow);
        }
    }
    Ok(None)
}

/// The entries of a `ranges`: child address, parent address, size.
pub(crate) fn window_entries<'t>(
    ranges: &Property<'t>,
    counts: CellCounts,
    above: CellCounts,
) -> Result<impl Iterator<Item = Cells<'t>> + use<'t>, ReadError> {
    let entry = counts.address + above.address + counts.size;
    let entries = ranges.cells()?.len() / entry.max(1);
    if entries > MAX_RANGES {
        return Err(ranges.error(Problem::TooMany {
            entries,
            limit: MAX_RANGES,
        }));
    }
    ranges.entries(entry)
}
