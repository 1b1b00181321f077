//! Platform devices: which nodes of the tree can be given to a guest, and what of the machine goes with them.

use super::fabric::HostBridge;
use crate::arch::{gic, mmu};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::{AddressRange, DmaWindow, GicInterrupt, Node, NodeId, ReadError, Tree};
use pci::Window;
use stage2::PAGE_SIZE;

/// A platform device that can be given to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformDevice {
    /// Its node.
    pub node: NodeId,
    /// The pages that its registers lie in, in the order of the tree; none twice.
    pub pages: Vec<Range<u64>>,
    /// Its interrupts.
    pub interrupts: Vec<GicInterrupt>,
}

/// Why a node cannot be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("the status of {0} disables it")]
    Disabled(String),
    #[error(transparent)]
    Tree(#[from] ReadError),
    #[error("it has no registers")]
    NoRegisters,
    #[error("its registers at {0} lie in memory, or beside those of a device that the core itself uses")]
    Ours(AddressRange),
    #[error("its registers at {0} lie where PCI functions have theirs")]
    Pci(AddressRange),
    #[error(
        "its registers at {registers} lie in one page with those of {other}, and a page goes to one guest: give it both"
    )]
    SharedPage { registers: AddressRange, other: String },
    #[error("its interrupt {0} is one that each CPU has for itself")]
    PrivateInterrupt(u32),
}

impl PlatformDevice {
    /// Looks at a node for a guest that is to have `all` of these nodes.
    pub fn inspect(
        tree: &Tree,
        bridges: &[HostBridge],
        node: NodeId,
        all: &[NodeId],
    ) -> Result<PlatformDevice, Unfit> {
        let node = tree.node(node);
        if let Some(by) = node.disabled_by() {
            return Err(Unfit::Disabled(by.path()));
        }
        let mut registers = node.regs()?;
        registers.retain(|range| !range.is_empty());
        if registers.is_empty() {
            return Err(Unfit::NoRegisters);
        }
        let mut pages: Vec<Range<u64>> = Vec::new();
        for range in registers {
            let page = pages_of(&range).ok_or(Unfit::Ours(range))?;
            if mmu::is_ours(page.start, page.end - page.start) {
                return Err(Unfit::Ours(range));
            }
            let mut windows = bridges.iter().flat_map(HostBridge::windows);
            if windows.any(|window| overlaps(&page, &of_window(window))) {
                return Err(Unfit::Pci(range));
            }
            if let Some(other) = neighbour(tree, node, &page, all) {
                let (registers, other) = (range, other.path());
                return Err(Unfit::SharedPage { registers, other });
            }
            add(&mut pages, page);
        }
        Ok(PlatformDevice {
            node: node.id(),
            pages,
            interrupts: interrupts(&node)?,
        })
    }

    /// Says what goes with the device, and what of it does not.
    pub fn announce(&self, tree: &Tree, guest: &partition::Guest) {
        let node = tree.node(self.node);
        let windows = node.dma_windows().unwrap_or_else(|error| {
            log::warn!(target: "device", "{node}: where it finds memory is not known: {error}");
            Vec::new()
        });
        let pages: Vec<String> = self
            .pages
            .iter()
            .map(|pages| format!("{:#x}", pages.start))
            .collect();
        let sees: Vec<String> = windows.iter().map(describe).collect();
        log::info!(target: "device", "{node}: registers at {}, {} interrupts; its DMA sees {}",
            pages.join(", "), self.interrupts.len(), if sees.is_empty() { "no memory".to_string() } else { sees.join(", ") });
        let reached = |region: &&partition::MemoryRegion| {
            let mut windows = windows.iter();
            windows.any(|window| window.to_bus(region.ipa, region.size).is_some())
        };
        for region in guest.memory.iter().filter(|region| !reached(region)) {
            log::warn!(target: "device", "{node}: its DMA does not reach all of {}'s memory of {:#x} bytes at {:#x}: place that where it does",
                guest.name, region.size, region.ipa);
        }
        let left_out: Vec<&str> = vdev::left_out(&node).collect();
        if !left_out.is_empty() {
            log::info!(target: "device", "{node}: {} names nodes that {} does not have, and is left out for it", left_out.join(", "), guest.name);
        }
    }
}

/// What a device sees through a window.
fn describe(window: &DmaWindow) -> String {
    let DmaWindow { bus, cpu, size } = *window;
    match (bus == cpu, size == u64::MAX) {
        (true, true) => "all memory".to_string(),
        (true, false) => format!("{cpu:#x}+{size:#x}"),
        (false, _) => format!("{cpu:#x}+{size:#x} as {bus:#x}"),
    }
}

/// The whole pages around a range.
fn pages_of(range: &AddressRange) -> Option<Range<u64>> {
    Some(range.address() & !(PAGE_SIZE - 1)..range.end().checked_next_multiple_of(PAGE_SIZE)?)
}

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

fn of_window(window: &Window) -> Range<u64> {
    window.cpu..window.cpu.saturating_add(window.size)
}

/// Adds pages to a list that has none twice.
fn add(pages: &mut Vec<Range<u64>>, new: Range<u64>) {
    let mut next = new.start;
    while next < new.end {
        let page = next..next + PAGE_SIZE;
        next = page.end;
        if pages.iter().any(|known| overlaps(known, &page)) {
            continue;
        }
        match pages.last_mut().filter(|last| last.end == page.start) {
            Some(last) => last.end = page.end,
            None => pages.push(page),
        }
    }
}

/// Another node, whether enabled or not, that has registers in these pages, and that the same guest does not get with it: one
/// that is not of `all`, or that the core uses. What is below a device is a part of it.
fn neighbour<'t>(tree: &'t Tree, node: Node<'t>, page: &Range<u64>, all: &[NodeId]) -> Option<Node<'t>> {
    let is_wanted = |other: &Node<'_>| other.ancestors().any(|above| all.contains(&above.id()));
    let is_there =
        |range: &AddressRange| !range.is_empty() && overlaps(page, &(range.address()..range.end()));
    let is_in_the_way = |other: &Node<'_>| {
        let registers = other.regs().unwrap_or_default();
        let is_ours = |range: &AddressRange| mmu::is_ours(range.address(), range.size());
        registers.iter().any(is_there) && !(is_wanted(other) && !registers.iter().any(is_ours))
    };
    let mut others = tree.nodes().filter(|other| *other != node && other.has("reg"));
    others.find(is_in_the_way)
}

/// Its interrupts; none, and a line that says so, if they go to another controller than the GIC.
fn interrupts(node: &Node<'_>) -> Result<Vec<GicInterrupt>, Unfit> {
    let interrupts = node.gic_interrupts().unwrap_or_else(|error| {
        log::warn!(target: "device", "{node}: its interrupts do not come to a guest: {error}");
        Vec::new()
    });
    match interrupts
        .iter()
        .find(|interrupt| !gic::is_shared(interrupt.intid))
    {
        Some(private) => Err(Unfit::PrivateInterrupt(private.intid)),
        None => Ok(interrupts),
    }
}
