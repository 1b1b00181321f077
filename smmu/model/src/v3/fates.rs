//! What may happen to a stream, and that it is never bypass.

use std::collections::BTreeSet;

use super::registers::{cr0, gbpa};
use super::state::State;
use super::ste::{Entry, Words, is_bypass, parse};
use super::streams::Found;
use crate::Rule;
use crate::stage2::Tree;

/// What may happen to a transaction of a stream, over every order in which writes may become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Fates {
    /// It may be aborted.
    pub abort: bool,
    /// It may go through untranslated.
    pub bypass: bool,
    /// It may be translated.
    pub translate: bool,
}

impl State {
    /// The entries that stand in memory or cache for a stream, as far as they are known to differ.
    fn possible_entries(&self, stream: u32) -> Vec<Words> {
        let Some(tracker) = self.streams.entries.get(&stream) else {
            return Vec::new();
        };
        let mut entries: Vec<Words> = tracker.cached.into_iter().collect();
        entries.extend(tracker.seen.mixtures().unwrap_or_default());
        entries
    }

    /// The trees that cached or live entries point to.
    pub(super) fn live_trees(&self) -> BTreeSet<Tree> {
        let streams = self.streams.entries.keys();
        let entries = streams.flat_map(|&stream| {
            let found = match self.find(stream) {
                Found::Entry(words) => Some(words),
                _ => None,
            };
            found.into_iter().chain(self.possible_entries(stream))
        });
        entries
            .filter_map(|words| match parse(&words, &self.config) {
                Entry::Stage2(stage2) => Some(stage2.tree),
                _ => None,
            })
            .collect()
    }

    pub(super) fn fates(&self, stream: u32) -> Fates {
        let mut fates = Fates::default();
        if !(self.translating() && self.registers.cr0 & cr0::SMMUEN != 0) {
            let pending = self.registers.gbpa & gbpa::UPDATE != 0;
            let values = [
                Some(self.registers.gbpa_effective),
                pending.then_some(self.registers.gbpa),
            ];
            for value in values.into_iter().flatten() {
                fates.abort |= value & gbpa::ABORT != 0;
                fates.bypass |= value & gbpa::ABORT == 0;
            }
        }
        if self.may_be_enabled(cr0::SMMUEN) {
            let mut entries = self.possible_entries(stream);
            match self.find(stream) {
                Found::Entry(words) => entries.push(words),
                _ => fates.abort = true,
            }
            for words in entries {
                match parse(&words, &self.config) {
                    Entry::Invalid | Entry::Abort | Entry::Illegal(_) => fates.abort = true,
                    Entry::Bypass => fates.bypass = true,
                    Entry::Stage2(_) => fates.translate = true,
                }
            }
        }
        fates
    }

    /// Whether anything may be in bypass while nobody allowed it: the global way.
    pub(super) fn check_bypass(&self) {
        if self.bypass_forbidden && self.config.ats() && self.may_be_enabled(cr0::SMMUEN) {
            let checked = self.registers.cr0 & self.registers.cr0ack & cr0::ATSCHK != 0;
            if !checked {
                let detail = "ATS Translated transactions pass unchecked while ATSCHK is clear";
                self.violation(
                    Rule::Bypass,
                    "CR0",
                    self.registers.cr0,
                    "IHI 0070 6.3.9.2",
                    detail,
                );
            }
        }
        if !self.bypass_forbidden || self.translating() && self.registers.cr0 & cr0::SMMUEN != 0 {
            return;
        }
        let pending = self.registers.gbpa & gbpa::UPDATE != 0;
        let open = |value: u32| value & gbpa::ABORT == 0;
        if open(self.registers.gbpa_effective) || pending && open(self.registers.gbpa) {
            let detail = "every stream is in bypass while translation is disabled";
            self.violation(Rule::Bypass, "GBPA", self.registers.gbpa, "IHI 0070 3.11", detail);
        }
    }

    /// Whether an entry may be in bypass while nobody allowed it.
    pub(super) fn check_entry_bypass(&self, stream: u32, word0: u64) {
        if self.bypass_forbidden && is_bypass(word0) {
            let subject = format!("STE of stream {stream:#x}");
            self.violation(
                Rule::Bypass,
                subject,
                word0,
                "IHI 0070 5.2",
                "the stream is in bypass",
            );
        }
    }
}
