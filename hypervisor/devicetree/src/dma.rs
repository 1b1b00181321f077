//! Where the devices of a bus find memory: the way through the `dma-ranges` of every bus above (DTSpec 2.3.9).

use alloc::vec;
use alloc::vec::Vec;

use crate::address::{CellCounts, MAX_CELLS, region, window_entries};
use crate::error::{Problem, ReadError};
use crate::node::Node;
use crate::property::Property;

/// The most windows that a device sees; with it the time is bounded. Real buses have a few.
const MAX_WINDOWS: usize = 256;

/// A piece of memory that a device can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DmaWindow {
    /// The address that the device has to give.
    pub bus: u64,
    /// What the CPU calls it.
    pub cpu: u64,
    /// Size in bytes.
    pub size: u64,
}

impl DmaWindow {
    /// All memory, at the addresses that the CPU has.
    const ALL: DmaWindow = DmaWindow {
        bus: 0,
        cpu: 0,
        size: u64::MAX,
    };

    /// What the device calls all of `[cpu, cpu + size)`, if it reaches it.
    pub fn to_bus(&self, cpu: u64, size: u64) -> Option<u64> {
        let offset = cpu.checked_sub(self.cpu)?;
        let end = offset.checked_add(size)?;
        (end <= self.size).then(|| self.bus.wrapping_add(offset))
    }

    /// This window one bus further up, through one of that bus's windows.
    fn through(&self, above: &DmaWindow) -> Option<DmaWindow> {
        let start = self.cpu.max(above.bus);
        let end = self
            .cpu
            .saturating_add(self.size)
            .min(above.bus.saturating_add(above.size));
        Some(DmaWindow {
            bus: self.bus.checked_add(start - self.cpu)?,
            cpu: above.cpu.checked_add(start - above.bus)?,
            size: end.checked_sub(start).filter(|size| *size > 0)?,
        })
    }
}

impl<'t> Node<'t> {
    /// What the node's DMA reaches. A bus without `dma-ranges`, or with an empty one, passes addresses on as they are, as
    /// Linux has it too.
    ///
    /// # Errors
    /// One is malformed, or has too many entries.
    pub fn dma_windows(&self) -> Result<Vec<DmaWindow>, ReadError> {
        let mut windows = vec![DmaWindow::ALL];
        let mut bus = self.parent();
        // The gate bounds the depth, and with it this loop.
        while let Some((node, above)) = bus.and_then(|node| Some((node, node.parent()?))) {
            if let Some(ranges) = node.property("dma-ranges").filter(|p| !p.bytes().is_empty()) {
                let own = entries(&ranges, node, above)?;
                let pairs = windows
                    .iter()
                    .flat_map(|window| own.iter().map(move |own| (window, own)));
                windows = pairs.filter_map(|(window, own)| window.through(own)).collect();
                if windows.len() > MAX_WINDOWS {
                    return Err(ranges.error(Problem::TooMany {
                        entries: windows.len(),
                        limit: MAX_WINDOWS,
                    }));
                }
            }
            bus = Some(above);
        }
        Ok(windows)
    }
}

/// The windows of one bus.
fn entries(ranges: &Property<'_>, bus: Node<'_>, above: Node<'_>) -> Result<Vec<DmaWindow>, ReadError> {
    let counts = bus.cell_counts(MAX_CELLS)?;
    let parent = above.cell_counts(MAX_CELLS)?;
    let CellCounts { address, .. } = counts;
    let window = |entry| {
        let child = region(ranges, &entry, 0, address + parent.address, counts)?;
        Ok(DmaWindow {
            bus: child.address(),
            // The entry has its cells.
            cpu: entry.number(address, parent.address).unwrap_or(0),
            size: child.size(),
        })
    };
    window_entries(ranges, counts, parent)?.map(window).collect()
}
