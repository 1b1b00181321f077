//! Streams that may be emitted by devices about which no more is known: those on a bus that nobody walked, and those
//! whose description cannot be read to its end. Nobody else gets such a stream.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use devicetree::NodeId;

use crate::bus::next_match;
use crate::claims::{Builder, Subject, at_master};
use crate::diagnostic::{Defect, Effect};
use crate::map::Free;
use crate::master::{Coverage, Master, Refusal, Stream};
use crate::smmu::{Smmu, SmmuIndex};

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
}

impl fmt::Display for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Emitter::OnBus(path) => write!(f, "devices on {path}"),
            Emitter::Device(path) => write!(f, "{path}, whose streams are not known for certain"),
            Emitter::InListOf(path) => write!(f, "a device that mmu-masters of {path} does not make known"),
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
}

impl Suspect {
    fn name(self, builder: &Builder<'_>) -> Emitter {
        match self {
            Suspect::OnBus(bus) => Emitter::OnBus(builder.tree.path(bus)),
            Suspect::Master(subject) => Emitter::Device(builder.identity(subject).to_string()),
            Suspect::InListOf(smmu) => Emitter::InListOf(builder.tree.path(smmu)),
        }
    }
}

/// Stream IDs that follow each other, and who may emit them.
#[derive(Debug, Clone, Copy)]
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
}

/// All that may be emitted by somebody who is not known well enough.
#[derive(Debug, Default)]
pub(crate) struct Emissions(Vec<Emission>);

impl Emissions {
    /// Adds `span + 1` stream IDs from `first` on to what somebody may emit. An SMMU sees no more bits of an ID than it has.
    pub(crate) fn add(
        &mut self,
        by: Suspect,
        (index, smmu): (SmmuIndex, &Smmu),
        (first, span, mask): (u32, u32, u32),
    ) {
        let highest = smmu.kind.highest();
        let (low, high) = (first & highest, first.wrapping_add(span) & highest);
        let mut push = |first, last| {
            self.0.push(Emission {
                by,
                smmu: index,
                first,
                last,
                mask: mask & highest,
            });
        };
        if span >= highest {
            push(0, highest);
        } else if low <= high {
            push(low, high);
        } else {
            push(0, high);
            push(low, highest);
        }
    }

    /// Refuses masters that have one of these streams.
    pub(crate) fn refuse(self, builder: &mut Builder<'_>, masters: &mut [Master]) {
        let mut index = Index::of(self.0);
        let mut found = Vec::new();
        for (position, master) in masters.iter().enumerate() {
            let streams = || master.streams.iter().copied();
            let shared = streams().filter_map(|stream| Some((index.first_emitter(&stream)?, stream)));
            if !master.coverage.is_refused()
                && let Some((by, stream)) = shared.min_by_key(|(by, _)| *by)
            {
                found.push((by, position, stream));
            }
        }
        found.sort_unstable();
        for (by, master, stream) in found {
            let Some(master) = masters.get_mut(master) else {
                continue;
            };
            let defect = Defect::PerhapsShared {
                master: master.identity.to_string(),
                stream,
                emitter: by.name(builder),
            };
            let because = at_master(builder.tree, &master.identity, defect, Effect::Blocked);
            master.coverage = Coverage::Refused(Refusal {
                because: builder.report(because),
                blocked: true,
            });
        }
    }
}

/// Emissions, to be searched by stream.
struct Index {
    /// By SMMU and first stream ID of an emission that compares all bits: the last one, and the first to emit them.
    exact: BTreeMap<(SmmuIndex, u32), (u32, Suspect)>,
    /// All of them, in the order of the emitters.
    all: Vec<Emission>,
    /// Those that do not compare all bits.
    masked: Vec<Emission>,
    /// How many comparisons are left.
    comparable: usize,
}

impl Index {
    fn of(mut all: Vec<Emission>) -> Index {
        all.sort_by_key(|emission| emission.by);
        let masked = all
            .iter()
            .copied()
            .filter(|emission| emission.mask != 0)
            .collect();
        let mut exact = BTreeMap::new();
        let mut free: BTreeMap<SmmuIndex, Free> = BTreeMap::new();
        for emission in all.iter().filter(|emission| emission.mask == 0) {
            let free = free.entry(emission.smmu).or_insert_with(|| Free::up_to(u32::MAX));
            for (first, last) in free.take(emission.first, emission.last) {
                exact.insert((emission.smmu, first), (last, emission.by));
            }
        }
        Index {
            exact,
            all,
            masked,
            comparable: MOST_COMPARED,
        }
    }

    /// The first who may emit a stream.
    fn first_emitter(&mut self, stream: &Stream) -> Option<Suspect> {
        let (exact, others) = if stream.mask == 0 {
            (self.exact_emitter(stream), &self.masked)
        } else {
            (None, &self.all)
        };
        self.comparable = self.comparable.saturating_sub(others.len());
        let compared = others
            .iter()
            .find(|emission| self.comparable == 0 || emission.holds(stream));
        exact
            .into_iter()
            .chain(compared.map(|emission| emission.by))
            .min()
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
    use crate::kinds::KINDS;
    use devicetree::NodeId;
    use std::string::String;

    fn smmu(kind: usize) -> Smmu {
        Smmu {
            node: NodeId::ROOT,
            path: String::new(),
            compatible: Vec::new(),
            kind: &KINDS[kind],
            frames: Vec::new(),
            overlaps: None,
            coherent: false,
            interrupts: Vec::new(),
            messages: Vec::new(),
            match_mask: 0,
            disabled_by: None,
            max_stream: None,
        }
    }

    const fn function(index: usize) -> Suspect {
        Suspect::Master(Subject::Function(index))
    }

    /// A suspect for each: first and last stream ID, and mask.
    fn index(emissions: &[(u32, u32, u32)]) -> Index {
        let mut all = Emissions::default();
        for (index, &(first, last, mask)) in emissions.iter().enumerate() {
            let range = (first, last - first, mask);
            all.add(function(index), (SmmuIndex(0), &smmu(0)), range);
        }
        Index::of(all.0)
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
        for id in 0..64 {
            for mask in [0, 1, 3, 0x12] {
                let stream = Stream::new(SmmuIndex(0), id, mask);
                let compared = index.all.iter().find(|emission| emission.holds(&stream));
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
        assert_eq!(index.first_emitter(&stream), Some(function(0)));
    }

    #[test]
    fn an_smmu_sees_no_more_bits_than_it_has() {
        let seen = |first, span, mask| {
            let mut all = Emissions::default();
            all.add(function(0), (SmmuIndex(0), &smmu(1)), (first, span, mask));
            let parts = all.0.iter().map(|part| (part.first, part.last, part.mask));
            parts.collect::<Vec<_>>()
        };
        assert_eq!(seen(5, 2, 0), [(5, 7, 0)]);
        assert_eq!(seen(0x1_0005, 0, 0x7_0001), [(5, 5, 1)]);
        assert_eq!(seen(0xfffe, 3, 0), [(0, 1, 0), (0xfffe, 0xffff, 0)]);
        assert_eq!(seen(3, 0xffff, 0), [(0, 0xffff, 0)]);
        assert_eq!(seen(u32::MAX, 1, 0), [(0, 0, 0), (0xffff, 0xffff, 0)]);
    }
}
