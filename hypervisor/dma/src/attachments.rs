//! Which streams are attached, with which others, and for which masters.

use crate::{MasterId, SmmuId};
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::fmt;
use driver_abi::Stream;

/// Streams of one SMMU.
pub type AtSmmu = (SmmuId, Vec<Stream>);

/// Sorts streams by SMMU, each once.
pub(crate) fn by_smmu(streams: &[(SmmuId, Stream)]) -> Vec<AtSmmu> {
    let sorted: BTreeSet<_> = streams.iter().copied().collect();
    let mut all: Vec<AtSmmu> = Vec::new();
    for (smmu, stream) in sorted {
        match all.last_mut() {
            Some((last, streams)) if *last == smmu => streams.push(stream),
            _ => all.push((smmu, alloc::vec![stream])),
        }
    }
    all
}

/// A stream was made to abort for a fault, and nobody attaches it again before its master is taken from its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut(pub Stream);

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "stream {:#x} aborts since a device that shares it faulted",
            self.0.id
        )
    }
}

/// Streams that one call attached. They leave together: a driver may have let them share a stream match.
#[derive(Debug)]
struct Set {
    smmu: SmmuId,
    /// Each with the masters that use it.
    streams: Vec<(Stream, BTreeSet<MasterId>)>,
}

impl Set {
    fn users(&mut self, smmu: SmmuId, stream: Stream) -> Option<&mut BTreeSet<MasterId>> {
        let mut streams = self.streams.iter_mut().filter(|_| self.smmu == smmu);
        streams.find(|(own, _)| *own == stream).map(|(_, users)| users)
    }

    fn holds(&self, smmu: SmmuId, stream: Stream) -> bool {
        self.smmu == smmu && self.streams.iter().any(|(own, _)| *own == stream)
    }

    fn is_unused(&self) -> bool {
        self.streams.iter().all(|(_, users)| users.is_empty())
    }
}

/// All attached streams. Each is in one set at most, so that no stream is attached twice.
#[derive(Debug, Default)]
pub struct Attachments {
    sets: Vec<Set>,
    /// What must not be attached, each with a master that faulted and has not been taken from its guest since.
    cut: BTreeSet<(SmmuId, Stream, MasterId)>,
}

impl Attachments {
    /// Nothing is attached.
    pub const fn new() -> Self {
        Attachments {
            sets: Vec::new(),
            cut: BTreeSet::new(),
        }
    }

    /// How many streams are attached.
    pub fn total(&self) -> usize {
        self.sets.iter().map(|set| set.streams.len()).sum()
    }

    /// Notes one more master for those of its streams that another master of its group has attached, and returns the
    /// others: they are to be attached, and [`add`](Self::add)ed. Nothing is noted if one of them may not be attached.
    pub fn claim(&mut self, who: MasterId, smmu: SmmuId, streams: &[Stream]) -> Result<Vec<Stream>, Cut> {
        if let Some(stream) = streams.iter().find(|stream| self.is_cut(smmu, **stream)) {
            return Err(Cut(*stream));
        }
        let mut missing = Vec::new();
        for stream in streams {
            match self.users(smmu, *stream) {
                Some(users) => drop(users.insert(who)),
                None => missing.push(*stream),
            }
        }
        Ok(missing)
    }

    /// One call has attached these streams, for one master.
    pub fn add(&mut self, who: MasterId, smmu: SmmuId, streams: &[Stream]) {
        let streams = streams
            .iter()
            .map(|stream| (*stream, BTreeSet::from([who])))
            .collect();
        self.sets.push(Set { smmu, streams });
    }

    /// A master does not use these streams any more. Returns the sets that nobody uses any more, which are to be detached:
    /// each in one call. Streams that are not attached are no matter, and those that were cut for it may be attached again,
    /// unless another master faulted as well.
    pub fn release(&mut self, who: MasterId, streams: &[AtSmmu]) -> Vec<AtSmmu> {
        for (smmu, stream) in each(streams) {
            self.cut.remove(&(smmu, stream, who));
            if let Some(users) = self.users(smmu, stream) {
                users.remove(&who);
            }
        }
        self.take(Set::is_unused)
    }

    /// A master faulted. Returns the sets that hold one of its streams, whoever uses them, which are to be detached: each
    /// in one call.
    pub fn cut(&mut self, who: MasterId, streams: &[AtSmmu]) -> Vec<AtSmmu> {
        self.cut
            .extend(each(streams).map(|(smmu, stream)| (smmu, stream, who)));
        self.take(|set| each(streams).any(|(smmu, stream)| set.holds(smmu, stream)))
    }

    /// An SMMU has no driver any more: nothing is attached there.
    pub fn forget(&mut self, smmu: SmmuId) {
        self.sets.retain(|set| set.smmu != smmu);
    }

    /// How many streams are attached at an SMMU.
    pub fn count(&self, smmu: SmmuId) -> usize {
        let sets = self.sets.iter().filter(|set| set.smmu == smmu);
        sets.map(|set| set.streams.len()).sum()
    }

    fn is_cut(&self, smmu: SmmuId, stream: Stream) -> bool {
        let mut cut = self.cut.iter();
        cut.any(|(at, cut, _)| (*at, *cut) == (smmu, stream))
    }

    fn users(&mut self, smmu: SmmuId, stream: Stream) -> Option<&mut BTreeSet<MasterId>> {
        self.sets.iter_mut().find_map(|set| set.users(smmu, stream))
    }

    fn take(&mut self, which: impl Fn(&Set) -> bool) -> Vec<AtSmmu> {
        let taken = self.sets.extract_if(.., |set| which(set));
        taken
            .map(|set| {
                (
                    set.smmu,
                    set.streams.into_iter().map(|(stream, _)| stream).collect(),
                )
            })
            .collect()
    }
}

pub(crate) fn each(streams: &[AtSmmu]) -> impl Iterator<Item = (SmmuId, Stream)> {
    streams.iter().flat_map(|(smmu, streams)| {
        let smmu = *smmu;
        streams.iter().map(move |stream| (smmu, *stream))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use alloc::vec;
    use proptest::prelude::*;

    const SMMU: SmmuId = SmmuId(0);
    const OTHER: SmmuId = SmmuId(1);

    fn streams(ids: impl IntoIterator<Item = u32>) -> Vec<Stream> {
        ids.into_iter().map(|id| Stream { id, mask: 0 }).collect()
    }

    fn at(smmu: SmmuId, ids: impl IntoIterator<Item = u32>) -> Vec<AtSmmu> {
        vec![(smmu, streams(ids))]
    }

    const ONE: MasterId = MasterId(1);
    const TWO: MasterId = MasterId(2);

    #[test]
    fn a_stream_of_two_masters_is_attached_once_and_leaves_with_the_last() {
        let mut attachments = Attachments::new();
        assert_eq!(
            attachments.claim(ONE, SMMU, &streams([4, 5])),
            Ok(streams([4, 5]))
        );
        attachments.add(ONE, SMMU, &streams([4, 5]));
        assert_eq!(attachments.claim(TWO, SMMU, &streams([5, 6])), Ok(streams([6])));
        attachments.add(TWO, SMMU, &streams([6]));
        // 4 stays with 5, since the driver may have packed them.
        assert_eq!(attachments.release(ONE, &at(SMMU, [4, 5])), []);
        // Who has left cannot leave for somebody else.
        assert_eq!(attachments.release(ONE, &at(SMMU, [4, 5, 6])), []);
        let mut left = attachments.release(TWO, &at(SMMU, [5, 6]));
        left.sort();
        assert_eq!(left, [(SMMU, streams([4, 5])), (SMMU, streams([6]))]);
        assert_eq!(attachments.release(TWO, &at(SMMU, [4, 5, 6])), []);
        assert_eq!(attachments.total(), 0);
    }

    #[test]
    fn smmus_have_nothing_in_common() {
        let mut attachments = Attachments::new();
        attachments.add(ONE, SMMU, &streams([1]));
        assert_eq!(attachments.claim(ONE, OTHER, &streams([1])), Ok(streams([1])));
        assert_eq!((attachments.count(SMMU), attachments.count(OTHER)), (1, 0));
        attachments.add(ONE, OTHER, &streams([1]));
        attachments.forget(SMMU);
        assert_eq!(attachments.claim(ONE, SMMU, &streams([1])), Ok(streams([1])));
        assert_eq!(attachments.release(ONE, &at(OTHER, [1])), at(OTHER, [1]));
    }

    #[test]
    fn what_faulted_is_cut_for_all_and_stays_cut() {
        let mut attachments = Attachments::new();
        attachments.add(ONE, SMMU, &streams([1, 2]));
        attachments.add(TWO, SMMU, &streams([3]));
        assert_eq!(attachments.claim(TWO, SMMU, &streams([2])), Ok(vec![]));
        assert_eq!(attachments.cut(ONE, &at(SMMU, [2, 9])), at(SMMU, [1, 2]));
        let refused = attachments.claim(TWO, SMMU, &streams([3, 2]));
        assert_eq!(refused, Err(Cut(Stream { id: 2, mask: 0 })));
        assert_eq!(
            refused.unwrap_err().to_string(),
            "stream 0x2 aborts since a device that shares it faulted"
        );
        assert_eq!(attachments.release(TWO, &at(SMMU, [3])), at(SMMU, [3]));
        // Its guest stopped.
        assert_eq!(attachments.release(ONE, &at(SMMU, [2])), []);
        assert_eq!(attachments.claim(TWO, SMMU, &streams([2])), Ok(streams([2])));
    }

    /// Two masters share a stream at one SMMU. One faults; the other, which is behind a second SMMU as well, loses that, is
    /// taken off both, and comes back.
    #[test]
    fn only_who_faulted_lifts_a_cut_by_leaving() {
        let mut attachments = Attachments::new();
        let both = [at(SMMU, [1]), at(OTHER, [7])].concat();
        attachments.add(ONE, SMMU, &streams([1]));
        assert_eq!(attachments.claim(TWO, SMMU, &streams([1])), Ok(vec![]));
        attachments.add(TWO, OTHER, &streams([7]));
        assert_eq!(attachments.cut(ONE, &at(SMMU, [1])), at(SMMU, [1]));
        attachments.forget(OTHER);
        assert_eq!(attachments.release(TWO, &both), []);
        assert!(attachments.claim(TWO, SMMU, &streams([1])).is_err());
        // If it faults too, both have to leave.
        attachments.cut(TWO, &at(SMMU, [1]));
        attachments.release(ONE, &at(SMMU, [1]));
        assert!(attachments.claim(ONE, SMMU, &streams([1])).is_err());
        attachments.release(TWO, &both);
        assert_eq!(attachments.claim(ONE, SMMU, &streams([1])), Ok(streams([1])));
    }

    proptest! {
        /// Masters come and go in any order. What the hardware is told never attaches a stream twice, detaches what was
        /// attached by one call in one call, and leaves what some master uses attached.
        #[test]
        fn hardware_is_told_each_stream_once(
            masters in prop::collection::vec(prop::collection::btree_set(0..8_u32, 1..4), 4),
            steps in prop::collection::vec(0..4_usize, 0..32),
        ) {
            let mut attachments = Attachments::new();
            // By stream: which call attached it.
            let mut hardware = BTreeMap::new();
            let mut live = [false; 4];
            for (call, who) in steps.into_iter().enumerate() {
                let wanted = streams(masters[who].iter().copied());
                if live[who] {
                    for (_, gone) in attachments.release(MasterId(who), &[(SMMU, wanted)]) {
                        let by = hardware[&gone[0]];
                        let together: Vec<_> = hardware.iter().filter(|(_, call)| **call == by).collect();
                        prop_assert_eq!(together.len(), gone.len());
                        for stream in &gone {
                            prop_assert_eq!(hardware.remove(stream), Some(by));
                        }
                    }
                } else {
                    let missing = attachments.claim(MasterId(who), SMMU, &wanted).unwrap();
                    for stream in &missing {
                        prop_assert_eq!(hardware.insert(*stream, call), None);
                    }
                    if !missing.is_empty() {
                        attachments.add(MasterId(who), SMMU, &missing);
                    }
                }
                live[who] = !live[who];
                for (streams, _) in masters.iter().zip(live).filter(|(_, live)| *live) {
                    let attached = |id: &u32| hardware.contains_key(&Stream { id: *id, mask: 0 });
                    prop_assert!(streams.iter().all(attached));
                }
                if live == [false; 4] {
                    prop_assert!(hardware.is_empty());
                }
            }
        }
    }
}
