//! Streams that masters share with buses whose devices nobody can tell apart.

use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;

use devicetree::Tree;

use crate::bus::{Bus, next_match};
use crate::claims::at_master;
use crate::diagnostic::{Defect, Diagnostics, Effect};
use crate::map::Free;
use crate::master::{Coverage, Master, Refusal, Stream};
use crate::smmu::SmmuIndex;

/// How often streams and windows are compared one by one in one tree. What is left then counts as shared.
const MOST_COMPARED: usize = 1 << 22;

/// Refuses masters whose streams devices on a bus may emit, if nobody can say which device on that bus does.
pub(crate) fn refuse(tree: &Tree, buses: &[Bus], masters: &mut [Master], diagnostics: &mut Diagnostics) {
    let mut emitters = Emitters::of(buses);
    let mut found = Vec::new();
    for (index, master) in masters.iter().enumerate() {
        let streams = || master.streams.iter().copied();
        let shared = streams().filter_map(|stream| Some((emitters.first_bus(&stream)?, stream)));
        if !master.coverage.is_refused()
            && let Some((bus, stream)) = shared.min_by_key(|(bus, _)| *bus)
        {
            found.push((bus, index, stream));
        }
    }
    found.sort_unstable();
    for (bus, master, stream) in found {
        let (Some(bus), Some(master)) = (buses.get(bus), masters.get_mut(master)) else {
            continue;
        };
        let defect = Defect::SharedWithBus {
            master: master.identity.to_string(),
            stream,
            bus: bus.path.clone(),
        };
        let because = at_master(tree, &master.identity, defect, Effect::Blocked);
        diagnostics.push(because.clone());
        master.coverage = Coverage::Refused(Refusal {
            because,
            blocked: true,
        });
    }
}

/// A window of such a bus, as the SMMU sees it.
#[derive(Debug, Clone, Copy)]
struct Emitted {
    /// The position of the bus.
    bus: usize,
    smmu: SmmuIndex,
    first: u32,
    last: u32,
    mask: u32,
}

impl Emitted {
    fn holds(&self, stream: &Stream) -> bool {
        let mask = self.mask | stream.mask;
        self.smmu == stream.smmu && next_match(self.first, stream.id, mask).is_some_and(|id| id <= self.last)
    }
}

/// Which stream IDs come from which of the buses that are not PCI.
struct Emitters {
    /// By SMMU and first stream ID of a window that compares all bits: the last one, and the first bus that emits them.
    exact: BTreeMap<(SmmuIndex, u32), (u32, usize)>,
    /// All windows, in the order of the buses.
    all: Vec<Emitted>,
    /// Those that do not compare all bits.
    masked: Vec<Emitted>,
    /// How many comparisons are left.
    comparable: usize,
}

impl Emitters {
    fn of(buses: &[Bus]) -> Emitters {
        let mut all = Vec::new();
        for (index, bus) in buses.iter().enumerate().filter(|(_, bus)| !bus.is_pci) {
            for window in bus.streams.iter().flatten().flat_map(|map| &map.windows) {
                let Ok(target) = &window.target else { continue };
                all.push(Emitted {
                    bus: index,
                    smmu: target.smmu,
                    first: window.output,
                    last: window.output.wrapping_add(window.last - window.first),
                    mask: target.mask,
                });
            }
        }
        let masked = all.iter().copied().filter(|window| window.mask != 0).collect();
        let mut exact = BTreeMap::new();
        let mut free: BTreeMap<SmmuIndex, Free> = BTreeMap::new();
        for window in all.iter().filter(|window| window.mask == 0) {
            let free = free.entry(window.smmu).or_insert_with(|| Free::up_to(u32::MAX));
            for (first, last) in free.take(window.first, window.last) {
                exact.insert((window.smmu, first), (last, window.bus));
            }
        }
        Emitters {
            exact,
            all,
            masked,
            comparable: MOST_COMPARED,
        }
    }

    /// The first bus with a device that may emit a stream.
    fn first_bus(&mut self, stream: &Stream) -> Option<usize> {
        let (exact, others) = if stream.mask == 0 {
            (self.exact_bus(stream), &self.masked)
        } else {
            (None, &self.all)
        };
        self.comparable = self.comparable.saturating_sub(others.len());
        let compared = others
            .iter()
            .find(|window| self.comparable == 0 || window.holds(stream));
        exact.into_iter().chain(compared.map(|window| window.bus)).min()
    }

    fn exact_bus(&self, stream: &Stream) -> Option<usize> {
        let mut upwards = self.exact.range((stream.smmu, 0)..=(stream.smmu, stream.id));
        let (_, &(last, bus)) = upwards.next_back()?;
        (stream.id <= last).then_some(bus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::StreamTarget;
    use crate::map::{Map, Window};
    use devicetree::NodeId;
    use std::string::String;
    use std::vec;

    /// A bus with a window of stream IDs from `first` to `last`.
    fn bus(first: u32, last: u32, mask: u32) -> Bus {
        let target = StreamTarget {
            smmu: SmmuIndex(0),
            mask,
        };
        let window = Window {
            first: 0,
            last: last - first,
            output: first,
            target: Ok(target),
        };
        Bus {
            node: NodeId::ROOT,
            path: String::new(),
            is_pci: false,
            enabled: true,
            coherent: false,
            streams: Some(Ok(Map {
                mask: u32::MAX,
                windows: vec![window],
            })),
            legacy: Vec::new(),
            messages: None,
            msi_parents: Vec::new(),
        }
    }

    #[test]
    fn the_index_finds_what_a_comparison_finds() {
        let windows = [
            (8, 11, 0),
            (20, 20, 4),
            (10, 14, 0),
            (0, 31, 0),
            (16, 16, 1),
            (40, 47, 0),
            (30, 41, 0),
        ];
        let buses = windows.map(|(first, last, mask)| bus(first, last, mask));
        let mut emitters = Emitters::of(&buses);
        for id in 0..64 {
            for mask in [0, 1, 3, 0x12] {
                let stream = Stream::new(SmmuIndex(0), id, mask);
                let compared = emitters.all.iter().find(|window| window.holds(&stream));
                let expected = compared.map(|window| window.bus);
                assert_eq!(emitters.first_bus(&stream), expected, "{id} {mask}");
            }
        }
        let elsewhere = Stream::new(SmmuIndex(1), 8, 0);
        assert_eq!(emitters.first_bus(&elsewhere), None);
    }

    #[test]
    fn what_is_not_compared_any_more_counts_as_shared() {
        let mut emitters = Emitters::of(&[bus(8, 11, 1)]);
        emitters.comparable = 2;
        let stream = Stream::new(SmmuIndex(0), 100, 0);
        assert_eq!(emitters.first_bus(&stream), None);
        assert_eq!(emitters.first_bus(&stream), Some(0));
    }
}
