//! Buses: nodes whose devices are no nodes of the tree, and are known by the requester IDs that they emit.

mod contradiction;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use devicetree::NodeId;

use crate::bindings::{iommu_map, msi};
use crate::claims::Builder;
use crate::map::Map;
use crate::master::{PciFunction, Refusal};
use crate::messages::{MsiIndex, MsiRoute};
use crate::shared::Suspect;
use crate::smmu::SmmuIndex;

pub(crate) use contradiction::refuse as refuse_contradictions;

/// Where a window of an `iommu-map` leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamTarget {
    /// The SMMU.
    pub smmu: SmmuIndex,
    /// Bits of the stream ID that are not compared.
    pub mask: u32,
}

/// A bus whose devices have requester IDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bus {
    /// Its node.
    pub node: NodeId,
    /// Its path.
    pub path: String,
    /// Whether it is a PCI host bridge. On another bus only its own driver knows who has which requester ID, so
    /// that none of its devices can be a master here.
    pub is_pci: bool,
    /// Whether its node is enabled.
    pub enabled: bool,
    /// Whether DMA of its devices snoops the CPU's caches.
    pub coherent: bool,
    /// `iommu-map`, if it has one, or why all devices on the bus are refused.
    pub streams: Option<Result<Map<StreamTarget>, Refusal>>,
    /// The SMMUs whose `mmu-masters` lists it: there the stream ID of a function is its requester ID.
    pub legacy: Vec<SmmuIndex>,
    /// `msi-map`, if it has one that can be read.
    pub messages: Option<Map<MsiIndex>>,
    /// `msi-parent`: the controllers that take messages of its devices where it has no map.
    pub msi_parents: Vec<MsiRoute>,
}

impl Bus {
    /// The SMMUs that it names, in any binding.
    pub fn smmus(&self) -> impl Iterator<Item = SmmuIndex> {
        let windows = self.streams.iter().flatten().flat_map(|map| &map.windows);
        let mapped = windows.filter_map(|window| window.target.as_ref().ok());
        mapped
            .map(|target| target.smmu)
            .chain(self.legacy.iter().copied())
    }

    /// Records what its devices may emit, if nobody found out which of them there are.
    fn suspect(&self, builder: &mut Builder<'_>, numbers: &BusNumbers) {
        if builder.is_walked(self.node) {
            return;
        }
        let by = Suspect::OnBus(self.node);
        for map in self.streams.iter().flatten() {
            iommu_map::suspect_doubted(builder, by, map);
        }
        for window in self.streams.iter().flatten().flat_map(|map| &map.windows) {
            if let Some(target) = window.target.as_ref().ok().or(window.perhaps.as_ref()) {
                let range = (window.output, window.last - window.first, target.mask);
                builder.suspect(by, target.smmu, [range]);
            }
        }
        for &smmu in &self.legacy {
            let ranges = numbers.possible(smmu, bus_range(builder, self.node));
            builder.suspect(by, smmu, ranges);
        }
    }

    /// The MSI controllers that it names.
    pub fn msi_controllers(&self) -> impl Iterator<Item = MsiIndex> {
        let windows = self.messages.iter().flat_map(|map| &map.windows);
        let mapped = windows.filter_map(|window| window.target.as_ref().ok().copied());
        mapped.chain(self.msi_parents.iter().map(|parent| parent.controller))
    }

    /// Where messages of a function on it go.
    pub(crate) fn messages_of(&self, function: &PciFunction) -> Vec<MsiRoute> {
        let requesters = function.all_requester_ids();
        match &self.messages {
            Some(map) => {
                let found = requesters.into_iter().filter_map(|id| map.lookup(id.into()));
                let routes = found.filter_map(|(window, id)| {
                    Some(MsiRoute {
                        controller: *window.target.as_ref().ok()?,
                        device_id: Some(id),
                    })
                });
                routes.collect()
            }
            // Without a map the requester ID is the device ID (`pci-msi.txt`).
            None => {
                let parents = self.msi_parents.iter();
                let routes = parents.flat_map(|parent| {
                    requesters.iter().map(|id| MsiRoute {
                        controller: parent.controller,
                        device_id: Some((*id).into()),
                    })
                });
                routes.collect()
            }
        }
    }
}

/// Records what devices may emit on buses on which nobody looked for any.
pub(crate) fn suspect_unwalked(buses: &[Bus], builder: &mut Builder<'_>) {
    let mut numbers = BusNumbers::default();
    for bus in buses {
        for &smmu in &bus.legacy {
            let (first, last) = bus_range(builder, bus.node);
            let claimed = numbers.0.entry(smmu).or_insert([false; 256]);
            claimed
                .iter_mut()
                .take(usize::from(last) + 1)
                .skip(first.into())
                .for_each(|claimed| *claimed = true);
        }
    }
    for bus in buses {
        bus.suspect(builder, &numbers);
    }
}

/// Bus numbers that host bridges claim, by the SMMU that lists them.
#[derive(Default)]
struct BusNumbers(BTreeMap<SmmuIndex, [bool; 256]>);

impl BusNumbers {
    /// The requester IDs that a host bridge with this `bus-range` may emit at an SMMU, as ranges: those of all buses, save
    /// those that only others claim. A host bridge that nobody programs has the numbers that firmware gave it.
    fn possible(&self, smmu: SmmuIndex, (first, last): (u8, u8)) -> Vec<(u32, u32, u32)> {
        /// So many ranges are worth it.
        const MOST: usize = 8;
        let claimed = self.0.get(&smmu).copied().unwrap_or([false; 256]);
        let mut ranges: Vec<(u32, u32, u32)> = Vec::new();
        for (number, claimed) in (0..=u8::MAX).zip(claimed) {
            if claimed && !(first..=last).contains(&number) {
                continue;
            }
            let start = u32::from(number) << 8;
            match ranges.last_mut() {
                Some((begin, span, _)) if *begin + *span + 1 == start => *span += 0x100,
                _ => ranges.push((start, 0xff, 0)),
            }
        }
        if ranges.len() > MOST {
            Vec::from([(0, iommu_map::HIGHEST_PCI, 0)])
        } else {
            ranges
        }
    }
}

/// The first and the last bus of a host bridge; all if it says nothing that can be read.
fn bus_range(builder: &Builder<'_>, host: NodeId) -> (u8, u8) {
    builder.tree.node(host).pci_bus_range().unwrap_or((0, u8::MAX))
}

/// Reads all buses.
pub(crate) fn read(builder: &mut Builder<'_>) -> Vec<Bus> {
    let tree = builder.tree;
    let mut buses = Vec::new();
    for node in tree.nodes() {
        let is_pci = builder.is_pci_host(node);
        if !node.has("iommu-map") && (!is_pci || builder.is_bridge_below(node)) {
            continue;
        }
        let highest = if is_pci { iommu_map::HIGHEST_PCI } else { u32::MAX };
        let legacy = builder.legacy_hosts.get(&node.id());
        let legacy = legacy.iter().flat_map(|smmus| smmus.iter().copied()).collect();
        buses.push(Bus {
            node: node.id(),
            path: node.path(),
            is_pci,
            enabled: node.is_enabled(),
            coherent: node.is_dma_coherent(),
            streams: iommu_map::read(builder, node, is_pci),
            legacy,
            messages: msi::read_map(builder, node, highest),
            msi_parents: msi::read_parents(builder, node.id()),
        });
    }
    buses
}

/// The smallest number from `from` on that is `id` in all bits but those of `mask`.
pub(crate) fn next_match(from: u32, id: u32, mask: u32) -> Option<u32> {
    let id = id & !mask;
    if (from ^ id) & !mask == 0 {
        return Some(from);
    }
    // The answer agrees with `from` above some bit, has a one there where `from` has a zero, and is lowest below.
    (0..32)
        .filter(|bit| from >> bit & 1 == 0)
        .map(|bit| {
            let below = (1 << bit) - 1;
            from & !below | 1 << bit | id & below
        })
        .find(|candidate| (candidate ^ id) & !mask == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_match_is_the_smallest() {
        for mask in 0..16u32 {
            for id in 0..16u32 {
                for from in 0..20u32 {
                    let expected = (from..16).find(|number| (number ^ id) & !mask & 15 == 0);
                    assert_eq!(next_match(from, id, mask), expected, "{from} {id} {mask}");
                }
            }
        }
        assert_eq!(next_match(u32::MAX, 0, u32::MAX), Some(u32::MAX));
        assert_eq!(next_match(1, 0, 0), None);
    }
}
