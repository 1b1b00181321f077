//! The interrupts that a vCPU has to deliver: a set of interrupt numbers below 1024.

/// A bit for each interrupt number.
#[derive(Debug, Clone, Default)]
pub(super) struct Queue {
    words: [u64; 16],
}

impl Queue {
    pub(super) fn insert(&mut self, intid: u32) {
        if let Some((word, bit)) = self.word_mut(intid) {
            *word |= bit;
        }
    }

    pub(super) fn remove(&mut self, intid: u32) {
        if let Some((word, bit)) = self.word_mut(intid) {
            *word &= !bit;
        }
    }

    /// All members, by rising number.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        (0u32..).zip(self.words).flat_map(|(index, word)| {
            let without_lowest = |word: &u64| Some(word & word.wrapping_sub(1)).filter(|word| *word != 0);
            core::iter::successors(Some(word).filter(|word| *word != 0), without_lowest)
                .map(move |word| index * 64 + word.trailing_zeros())
        })
    }

    fn word_mut(&mut self, intid: u32) -> Option<(&mut u64, u64)> {
        let word = self.words.get_mut(usize::try_from(intid / 64).ok()?)?;
        Some((word, 1 << (intid % 64)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_back_in_order() {
        let mut queue = Queue::default();
        for intid in [1019, 0, 63, 64, 27, 5000] {
            queue.insert(intid);
        }
        queue.remove(27);
        assert_eq!(queue.iter().collect::<Vec<_>>(), [0, 63, 64, 1019]);
    }
}
