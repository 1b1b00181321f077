//! The interrupts that a vCPU has to deliver: a set of interrupt numbers, from a first one on.

use alloc::vec;
use alloc::vec::Vec;

/// A bit for each interrupt number.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    first: u32,
    words: Vec<u64>,
    /// The number of members: most of the time there are none.
    members: usize,
}

impl Queue {
    /// An empty set for `count` numbers from `first` on.
    pub(super) fn new(first: u32, count: u32) -> Self {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or(0);
        Queue {
            first,
            words: vec![0; words],
            members: 0,
        }
    }

    pub(super) fn insert(&mut self, intid: u32) {
        if let Some((word, bit)) = self.word_mut(intid)
            && *word & bit == 0
        {
            *word |= bit;
            self.members += 1;
        }
    }

    pub(super) fn remove(&mut self, intid: u32) {
        if let Some((word, bit)) = self.word_mut(intid)
            && *word & bit != 0
        {
            *word &= !bit;
            self.members = self.members.saturating_sub(1);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// All members, by rising number.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let first = self.first;
        let words = if self.is_empty() {
            &[]
        } else {
            self.words.as_slice()
        };
        (0u32..).zip(words).flat_map(move |(index, word)| {
            let without_lowest = |word: &u64| Some(word & word.wrapping_sub(1)).filter(|word| *word != 0);
            core::iter::successors(Some(*word).filter(|word| *word != 0), without_lowest)
                .map(move |word| first + index * 64 + word.trailing_zeros())
        })
    }

    fn word_mut(&mut self, intid: u32) -> Option<(&mut u64, u64)> {
        let place = intid.checked_sub(self.first)?;
        let word = self.words.get_mut(usize::try_from(place / 64).ok()?)?;
        Some((word, 1 << (place % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_in_order() {
        let mut queue = Queue::new(0, 1020);
        for intid in [1019, 0, 63, 64, 27, 27, 5000] {
            queue.insert(intid);
        }
        queue.remove(27);
        queue.remove(28);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [0, 63, 64, 1019]);
        for intid in [0, 63, 64, 1019] {
            assert!(!queue.is_empty());
            queue.remove(intid);
        }
        assert!(queue.is_empty());
    }

    #[test]
    fn members_count_from_the_first_number() {
        let mut queue = Queue::new(8192, 64);
        for intid in [8192, 8255, 8256, 8191, 0] {
            queue.insert(intid);
        }
        assert_eq!(queue.iter().collect::<Vec<_>>(), [8192, 8255]);
    }
}
