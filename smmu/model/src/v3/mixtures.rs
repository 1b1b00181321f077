//! What a fetch that is not atomic may see of an entry that changes (IHI 0070 3.21.3).
//!
//! Hardware reads 64 bits at a time, in any order, at any time. So until a CMD_CFGI_STE and a CMD_SYNC ended all
//! older fetches, each word may be seen with any value that it had since.

use std::collections::BTreeMap;

use super::state::State;
use super::ste::{Words, is_shut, used};
use super::streams::UPDATE;
use crate::Rule;

/// More mixtures of words than this are too many unsynchronised changes to one entry.
const MIXTURE_LIMIT: usize = 4096;

/// The values that each word of an entry had since some moment.
#[derive(Debug, Clone)]
pub(super) struct Seen([Vec<u64>; 8]);

impl Seen {
    pub(super) fn only(words: &Words) -> Self {
        Seen(words.map(|word| vec![word]))
    }

    pub(super) fn add(&mut self, word: usize, value: u64) {
        if let Some(values) = self.0.get_mut(word)
            && !values.contains(&value)
        {
            values.push(value);
        }
    }

    /// Every entry that a word-by-word fetch may have put together; `None`: too many.
    pub(super) fn mixtures(&self) -> Option<Vec<Words>> {
        let count = self
            .0
            .iter()
            .try_fold(1usize, |count, values| count.checked_mul(values.len()))?;
        if count > MIXTURE_LIMIT {
            return None;
        }
        let mut mixtures = vec![[0; 8]];
        for (word, values) in self.0.iter().enumerate() {
            mixtures = mixtures
                .iter()
                .flat_map(|partial| {
                    values.iter().map(move |&value| {
                        let mut words: Words = *partial;
                        if let Some(slot) = words.get_mut(word) {
                            *slot = value;
                        }
                        words
                    })
                })
                .collect();
        }
        Some(mixtures)
    }
}

impl State {
    /// Every mixture of words that may be fetched has to be shut, the settled entry, or one single new entry;
    /// that one has to be `end` if the change ends here.
    pub(super) fn check_mixtures(&self, stream: u32, end: Option<&Words>) {
        let Some(tracker) = self.streams.entries.get(&stream) else {
            return;
        };
        let subject = format!("STE of stream {stream:#x}");
        let Some(mixtures) = tracker.seen.mixtures() else {
            let detail = "so many words changed between two CMD_SYNCs that hardware may see anything";
            self.violation(Rule::HalfWritten, subject, 0u32, UPDATE, detail);
            return;
        };
        let settled = used(&tracker.settled);
        let mut visible = BTreeMap::new();
        for words in mixtures.iter().filter(|words| !is_shut(words[0])) {
            if used(words) != settled {
                visible.entry(used(words)).or_insert(*words);
            }
        }
        let end_differs = |end: &Words| visible.keys().any(|words| *words != used(end));
        if visible.len() > 1 || end.is_some_and(end_differs) {
            let listed: Vec<String> = visible.values().map(self::shown).collect();
            let detail = format!(
                "without CMD_CFGI_STE and CMD_SYNC between the writes hardware may see any of these, settled was {}: {}",
                self::shown(&tracker.settled),
                listed.join("; ")
            );
            self.violation(Rule::HalfWritten, subject, visible.len() as u64, UPDATE, detail);
        }
    }
}

fn shown(words: &Words) -> String {
    let [word0, word1, word2, word3, ..] = words;
    format!("[{word0:#x}, {word1:#x}, {word2:#x}, {word3:#x}]")
}
