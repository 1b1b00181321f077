//! PCI host bridges: the windows through which the CPU reaches the bus (IEEE 1275 PCI binding 2.2.1.1).

use alloc::vec::Vec;

use crate::address::{AddressRange, region, translate, window_entries};
use crate::error::{Problem, ReadError};
use crate::node::Node;

/// A PCI address space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PciSpace {
    /// Configuration space.
    Config,
    /// I/O ports.
    Io,
    /// Memory below 4 GiB on the bus.
    Memory32,
    /// Memory anywhere on the bus.
    Memory64,
}

/// A window of a host bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciWindow {
    /// The space that it shows.
    pub space: PciSpace,
    /// Whether the CPU may prefetch from it.
    pub prefetchable: bool,
    /// Its first address on the PCI bus.
    pub bus_address: u64,
    /// Where the CPU sees it.
    pub cpu: AddressRange,
}

impl Node<'_> {
    /// The windows of a PCI host bridge, from its `ranges`.
    ///
    /// # Errors
    /// `ranges` is missing or malformed, or a window does not reach the CPU.
    pub fn pci_windows(&self) -> Result<Vec<PciWindow>, ReadError> {
        let ranges = self.required("ranges")?;
        let parent = self.parent().ok_or_else(|| ranges.error(Problem::Missing))?;
        let counts = self.cell_counts(3)?;
        if counts.address != 3 {
            let value = u64::try_from(counts.address).unwrap_or(u64::MAX);
            let problem = Problem::OutOfRange {
                value,
                meaning: "not the 3 address cells of a PCI bus",
            };
            return Err(self.error("#address-cells", problem));
        }
        let above = parent.cell_counts(2)?;
        let mut windows = Vec::new();
        for entry in window_entries(&ranges, counts, above)? {
            let short = || {
                ranges.error(Problem::PartialEntry {
                    cells: entry.len(),
                    entry: 3,
                })
            };
            let flags = entry.get(0).ok_or_else(short)?;
            let bus_address = entry.number(1, 2).ok_or_else(short)?;
            let at_parent = crate::address::CellCounts {
                address: above.address,
                size: counts.size,
            };
            let cpu = region(&ranges, &entry, 3, 3 + above.address, at_parent)?;
            let cpu = translate(&ranges, parent, cpu)?;
            let space = match flags >> 24 & 3 {
                0 => PciSpace::Config,
                1 => PciSpace::Io,
                2 => PciSpace::Memory32,
                _ => PciSpace::Memory64,
            };
            windows.push(PciWindow {
                space,
                prefetchable: flags & 1 << 30 != 0,
                bus_address,
                cpu,
            });
        }
        Ok(windows)
    }

    /// The first and last bus number behind a PCI host bridge; all of them without `bus-range`.
    ///
    /// # Errors
    /// `bus-range` is malformed.
    pub fn pci_bus_range(&self) -> Result<(u8, u8), ReadError> {
        let Some(property) = self.property("bus-range") else {
            return Ok((0, u8::MAX));
        };
        let cells = property.cells()?;
        let bus = |index| cells.get(index).and_then(|bus| u8::try_from(bus).ok());
        match (cells.len(), bus(0), bus(1)) {
            (2, Some(first), Some(last)) if first <= last => Ok((first, last)),
            _ => {
                let value = cells.number(0, 2).unwrap_or(0);
                Err(property.error(Problem::OutOfRange {
                    value,
                    meaning: "no first and last bus number",
                }))
            }
        }
    }
}
