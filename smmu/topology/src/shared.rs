//! Streams that may be emitted by devices about which no more is known: those on a bus that nobody walked, and those
//! whose description cannot be read to its end. Nobody else gets such a stream.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use devicetree::{NodeId, Tree};

use crate::bus::next_match;
use crate::claims::{Subject, at_master};
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::map::Free;
use crate::master::{Coverage, Identity, Master, Refusal, Stream};
use crate::smmu::SmmuIndex;

/// How often streams and emissions are compared one by one in one tree. What is left then counts as shared.
const MOST_COMPARED: usize = 1 << 22;

/// Who may emit a stream, without being known well enough to be its owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Emitter {
    /// A device on the bus with this path.
    OnBus(String),
    /// The device with this path. It is refused.
    Device(String),
    /// A device that the `mmu-masters` of the SMMU with this path means.
    InListOf(String),
    /// Anybody whose streams are not known for certain: there are too many of them to be compared.
    TooMany,
}

impl fmt::Display for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Emitter::OnBus(path) => write!(f, "devices on {path}"),
            Emitter::Device(path) => write!(f, "{path}, whose streams are not known for certain"),
            Emitter::InListOf(path) => write!(f, "a device that mmu-masters of {path} does not make known"),
            Emitter::TooMany => f.write_str("others, which are too many to be compared"),
        }
    }
}

/// Who may emit a stream, before it has a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suspect {
    /// A device on a bus.
    OnBus(NodeId),
    /// A master that is refused.
    Master(Subject),
    /// A device that the `mmu-masters` of an SMMU means.
    InListOf(NodeId),
    /// Anybody: there are more of them than are compared.
    TooMany,
}

impl Suspect {
    fn name(self, tree: &Tree, masters: &[Master]) -> Emitter {
        match self {
            Suspect::OnBus(bus) => Emitter::OnBus(tree.path(bus)),
            Suspect::Master(Subject::Node(node)) => Emitter::Device(tree.path(node)),
            Suspect::Master(Subject::Function(index)) => {
                let is_pci = |master: &&Master| matches!(master.identity, Identity::Pci { .. });
                let function = masters.iter().filter(is_pci).nth(index);
                Emitter::Device(
                    function
                        .map(|found| found.identity.to_string())
                        .unwrap_or_default(),
                )
            }
            Suspect::InListOf(smmu) => Emitter::InListOf(tree.path(smmu)),
            Suspect::TooMany => Emitter::TooMany,
        }
    }
}

/// Stream IDs that follow each other, and who may emit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Emission {
    by: Suspect,
    smmu: SmmuIndex,
    first: u32,
    last: u32,
    mask: u32,
}

impl Emission {
    fn holds(&self, stream: &Stream) -> bool {
        let mask = self.mask | stream.mask;
        self.smmu == stream.smmu && next_match(self.first, stream.id, mask).is_some_and(|id| id <= self.last)
    }

    /// What an SMMU sees of it whose highest stream ID this is: no more bits than it has. One that counts over the end goes
    /// on from 0.
    fn seen(&self, highest: u32) -> [Option<Emission>; 2] {
        let part = |first, last| {
            Some(Emission {
                first,
                last,
                mask: self.mask & highest,
                ..*self
            })
        };
        let (low, high) = (self.first & highest, self.last & highest);
        if self.last.wrapping_sub(self.first) >= highest {
            [part(0, highest), None]
        } else if low <= high {
            [part(low, high), None]
        } else {
            [part(0, high), part(low, highest)]
        }
    }
}

/// All streams of an SMMU: the first ID, how many follow it, and the mask.
pub(crate) const EVERYTHING: (u32, u32, u32) = (0, u32::MAX, 0);

/// How many emissions are kept apart. Where there are more, every stream of the SMMU counts as emitted.
const MOST_EMISSIONS: usize = 8192;

/// All that may be emitted by somebody who is not known well enough.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Emissions {
    all: Vec<Emission>,
    /// The SMMUs of those that are not kept apart.
    crowded: BTreeSet<SmmuIndex>,
}

impl Emissions {
    /// Adds `span + 1` stream IDs from `first` on, in all bits in which the mask is clear, to what somebody may emit.
    pub(crate) fn add(&mut self, by: Suspect, smmu: SmmuIndex, (first, span, mask): (u32, u32, u32)) {
        let emission = Emission {
            by,
            smmu,
            first,
            last: first.wrapping_add(span),
            mask,
        };
        if self.all.last() == Some(&emission) || self.crowded.contains(&smmu) {
            return;
        }
        if self.all.len() < MOST_EMISSIONS {
            self.all.push(emission);
        } else {
            self.crowded.insert(smmu);
        }
    }

    /// All of them, with those that are not kept apart as one for each SMMU.
    fn each(&self) -> impl Iterator<Item = Emission> {
        let everything = |&smmu: &SmmuIndex| Emission {
            by: Suspect::TooMany,
            smmu,
            first: 0,
            last: u32::MAX,
            mask: 0,
        };
        let crowded = self.crowded.iter().map(everything);
        self.all.iter().copied().chain(crowded)
    }

    /// Each bus whose unknown devices may emit what those of an earlier one may, with that one, as far as all bits count.
    pub(crate) fn meeting_buses(&self) -> BTreeMap<NodeId, NodeId> {
        let on_bus = |emission: &Emission| match emission.by {
            Suspect::OnBus(bus) if emission.mask == 0 && emission.first <= emission.last => {
                Some((emission.smmu, emission.first, emission.last, bus))
            }
            _ => None,
        };
        let mut ranges: Vec<_> = self.all.iter().filter_map(on_bus).collect();
        ranges.sort_unstable();
        let mut meeting = BTreeMap::new();
        // The range that reaches furthest of those that begin before.
        let mut furthest: Option<(SmmuIndex, u32, NodeId)> = None;
        for (smmu, first, last, bus) in ranges {
            let before = furthest.filter(|(other, reach, _)| *other == smmu && first <= *reach);
            if let Some((_, _, other)) = before.filter(|(_, _, other)| *other != bus) {
                meeting.entry(bus.max(other)).or_insert(bus.min(other));
            }
            furthest = Some((smmu, last, bus)).max(before);
        }
        meeting
    }

    /// Refuses masters that have one of these streams at an SMMU that has a highest stream ID here. Returns why, for each.
    pub(crate) fn refuse(
        &self,
        tree: &Tree,
        highest: impl Fn(SmmuIndex) -> Option<u32>,
        masters: &mut [Master],
    ) -> Vec<Diagnostic> {
        let seen = |emission: Emission| highest(emission.smmu).map(|highest| emission.seen(highest));
        let mut index = Index::of(self.each().filter_map(seen).flatten().flatten());
        let mut found = Vec::new();
        for (position, master) in masters.iter().enumerate() {
            let here = master
                .streams
                .iter()
                .filter(|stream| highest(stream.smmu).is_some());
            let shared = here.filter_map(|stream| Some((index.first_emitter(stream)?, *stream)));
            if !master.coverage.is_refused()
                && let Some((by, stream)) = shared.min_by_key(|(by, _)| *by)
            {
                found.push((by, position, stream));
            }
        }
        found.sort_unstable();
        let mut reasons = Vec::new();
        for (by, position, stream) in found {
            let emitter = by.name(tree, masters);
            let Some(master) = masters.get_mut(position) else {
                continue;
            };
            let defect = Defect::PerhapsShared {
                master: master.identity.to_string(),
                stream,
                emitter,
            };
            let because = at_master(tree, &master.identity, defect, Effect::Blocked);
            reasons.push(because.clone());
            master.coverage = Coverage::Refused(Refusal {
                because,
                blocked: true,
            });
        }
        reasons
    }
}

/// Emissions, to be searched by stream.
struct Index {
    /// By SMMU and first stream ID of an emission that compares all bits: the last one, and the first to emit them.
    exact: BTreeMap<(SmmuIndex, u32), (u32, Suspect)>,
    /// All of them by SMMU, in the order of the suspects.
    all: BTreeMap<SmmuIndex, Vec<Emission>>,
    /// Those that do not compare all bits.
    masked: BTreeMap<SmmuIndex, Vec<Emission>>,
    /// How many comparisons are left.
    comparable: usize,
}

impl Index {
    fn of(emissions: impl Iterator<Item = Emission>) -> Index {
        let mut sorted: Vec<Emission> = emissions.collect();
        sorted.sort_by_key(|emission| emission.by);
        let mut index = Index {
            exact: BTreeMap::new(),
            all: BTreeMap::new(),
            masked: BTreeMap::new(),
            comparable: MOST_COMPARED,
        };
        let mut free: BTreeMap<SmmuIndex, Free> = BTreeMap::new();
        for emission in sorted {
            index.all.entry(emission.smmu).or_default().push(emission);
            if emission.mask != 0 {
                index.masked.entry(emission.smmu).or_default().push(emission);
                continue;
            }
            let free = free.entry(emission.smmu).or_insert_with(|| Free::up_to(u32::MAX));
            for (first, last) in free.take(emission.first, emission.last) {
                let entry = (last, emission.by);
                index.exact.insert((emission.smmu, first), entry);
            }
        }
        index
    }

    /// The first who may emit a stream.
    fn first_emitter(&mut self, stream: &Stream) -> Option<Suspect> {
        let (exact, others) = if stream.mask == 0 {
            (self.exact_emitter(stream), &self.masked)
        } else {
            (None, &self.all)
        };
        let others = others.get(&stream.smmu).map(Vec::as_slice).unwrap_or_default();
        self.comparable = self.comparable.saturating_sub(others.len());
        let compared = if self.comparable == 0 && !others.is_empty() {
            Some(Suspect::TooMany)
        } else {
            let found = others.iter().find(|emission| emission.holds(stream));
            found.map(|emission| emission.by)
        };
        exact.into_iter().chain(compared).min()
    }

    fn exact_emitter(&self, stream: &Stream) -> Option<Suspect> {
        let mut upwards = self.exact.range((stream.smmu, 0)..=(stream.smmu, stream.id));
        let (_, &(last, by)) = upwards.next_back()?;
        (stream.id <= last).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn function(index: usize) -> Suspect {
        Suspect::Master(Subject::Function(index))
    }

    fn emission(by: Suspect, first: u32, last: u32, mask: u32) -> Emission {
        Emission {
            by,
            smmu: SmmuIndex(0),
            first,
            last,
            mask,
        }
    }

    /// A suspect for each: first and last stream ID, and mask.
    fn index(emissions: &[(u32, u32, u32)]) -> Index {
        let each = emissions.iter().enumerate();
        Index::of(each.map(|(index, &(first, last, mask))| emission(function(index), first, last, mask)))
    }

    #[test]
    fn the_index_finds_what_a_comparison_finds() {
        let mut index = index(&[
            (8, 11, 0),
            (20, 20, 4),
            (10, 14, 0),
            (0, 31, 0),
            (16, 16, 1),
            (40, 47, 0),
            (30, 41, 0),
        ]);
        let all = index.all[&SmmuIndex(0)].clone();
        for id in 0..64 {
            for mask in [0, 1, 3, 0x12] {
                let stream = Stream::new(SmmuIndex(0), id, mask);
                let compared = all.iter().find(|emission| emission.holds(&stream));
                let expected = compared.map(|emission| emission.by);
                assert_eq!(index.first_emitter(&stream), expected, "{id} {mask}");
            }
        }
        let elsewhere = Stream::new(SmmuIndex(1), 8, 0);
        assert_eq!(index.first_emitter(&elsewhere), None);
    }

    #[test]
    fn what_is_not_compared_any_more_counts_as_shared() {
        let mut index = index(&[(8, 11, 1)]);
        index.comparable = 2;
        let stream = Stream::new(SmmuIndex(0), 100, 0);
        assert_eq!(index.first_emitter(&stream), None);
        assert_eq!(index.first_emitter(&stream), Some(Suspect::TooMany));
        let elsewhere = Stream::new(SmmuIndex(1), 100, 0);
        assert_eq!(index.first_emitter(&elsewhere), None);
    }

    #[test]
    fn an_smmu_sees_no_more_bits_than_it_has() {
        let seen = |first: u32, span: u32, mask| {
            let whole = emission(function(0), first, first.wrapping_add(span), mask);
            let parts = whole.seen(0xffff).into_iter().flatten();
            parts
                .map(|part| (part.first, part.last, part.mask))
                .collect::<Vec<_>>()
        };
        assert_eq!(seen(5, 2, 0), [(5, 7, 0)]);
        assert_eq!(seen(0x1_0005, 0, 0x7_0001), [(5, 5, 1)]);
        assert_eq!(seen(0xfffe, 3, 0), [(0, 1, 0), (0xfffe, 0xffff, 0)]);
        assert_eq!(seen(3, 0xffff, 0), [(0, 0xffff, 0)]);
        assert_eq!(seen(u32::MAX, 1, 0), [(0, 0, 0), (0xffff, 0xffff, 0)]);
        let all = emission(function(0), 0, u32::MAX, 0);
        assert_eq!(all.seen(u32::MAX), [Some(all), None]);
    }
}
