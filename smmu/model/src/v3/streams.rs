//! Stream table entries in memory, in the configuration cache, and on their way between the two (IHI 0070 3.21.3).

use std::collections::{BTreeMap, BTreeSet};

use mmio::TableMemory;

use super::registers::{cr0, gbpa};
use super::state::State;
use super::ste::{Entry, Words, is_bypass, is_shut, parse, used};
use super::table::{STE_BYTES, Stretch, Table, is_linked};
use crate::Rule;

const UPDATE: &str = "IHI 0070 3.21.3.1";
/// More mixtures of words than this are too many unsynchronised changes to one entry.
const MIXTURE_LIMIT: usize = 4096;

/// The values that each word of an entry had since some moment.
#[derive(Debug, Clone)]
struct Seen([Vec<u64>; 8]);

impl Seen {
    fn only(words: &Words) -> Self {
        Seen(words.map(|word| vec![word]))
    }

    fn add(&mut self, word: usize, value: u64) {
        if let Some(values) = self.0.get_mut(word)
            && !values.contains(&value)
        {
            values.push(value);
        }
    }

    /// Every entry that a word-by-word fetch may have put together; `None`: too many.
    fn mixtures(&self) -> Option<Vec<Words>> {
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

/// An entry that was written since it could be read.
#[derive(Debug)]
pub(super) struct Tracker {
    /// What the configuration cache holds; `None`: what memory holds.
    cached: Option<Words>,
    /// The entry at the last point where cache and memory were certainly equal.
    settled: Words,
    /// What a fetch since that point may see.
    seen: Seen,
    /// For invalidations under way: the entry when they were exposed, and what a fetch since then may see.
    next: Vec<(u64, Words, Seen)>,
}

/// A level-1 descriptor that was written since it could be read.
#[derive(Debug)]
struct Descriptor {
    cached: u64,
    next: Vec<(u64, u64)>,
}

/// The configuration cache, and what it is a cache of.
#[derive(Debug)]
pub(super) struct Streams {
    /// Nothing invalidated the cache since reset, or since the table moved.
    pub unknown: bool,
    table: Option<Table>,
    /// The entries that can be reached now, or could be by a cached descriptor.
    stretches: Vec<Stretch>,
    entries: BTreeMap<u32, Tracker>,
    descriptors: BTreeMap<u32, Descriptor>,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            unknown: true,
            table: None,
            stretches: Vec::new(),
            entries: BTreeMap::new(),
            descriptors: BTreeMap::new(),
        }
    }
}

impl Streams {
    /// STRTAB_BASE or STRTAB_BASE_CFG was written: everything cached belongs to another table.
    pub(super) fn table_moved(&mut self) {
        self.unknown |= self.table.take().is_some();
        self.stretches.clear();
    }

    /// Commands stopped at an error: what was announced and not consumed is read again (7.1). Only the
    /// announcements made at the moments `kept` remain.
    pub(super) fn retract(&mut self, kept: &[u64]) {
        for tracker in self.entries.values_mut() {
            tracker.next.retain(|(moment, ..)| kept.contains(moment));
        }
        for descriptor in self.descriptors.values_mut() {
            descriptor.next.retain(|(moment, _)| kept.contains(moment));
        }
    }
}

/// How a stream's configuration was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// The entry.
    Entry(Words),
    /// There is none: C_BAD_STREAMID.
    NoEntry,
    /// What could not be read: F_STE_FETCH.
    FetchAbort(u64),
}

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
    /// SMMUEN is being set: from now on the table is read, at any time and in any order.
    pub(super) fn open_stream_table(&mut self) {
        let (stream_bits, two_level) = (self.config.stream_bits(), self.config.two_level());
        let (base, cfg) = (self.registers.strtab_base, self.registers.strtab_base_cfg);
        let (table, complaints) = Table::from_registers(base, cfg, stream_bits, two_level);
        for (subject, value, detail) in complaints {
            let rule = if subject.ends_with("ADDR") {
                Rule::Misaligned
            } else {
                Rule::TooLarge
            };
            self.violation(rule, subject, value, "IHI 0070 6.3.23, 6.3.24", detail);
        }
        if table.base >> self.config.output_bits() != 0 {
            self.violation(
                Rule::TooLarge,
                "STRTAB_BASE.ADDR",
                table.base,
                "IHI 0070 6.3.23",
                "beyond IDR5.OAS",
            );
        }
        if !self.memory.is_allocated(table.base, table.level1_bytes()) {
            let detail = format!(
                "its {} bytes do not lie in an allocated block",
                table.level1_bytes()
            );
            self.violation(
                Rule::NotAllocated,
                "STRTAB_BASE.ADDR",
                table.base,
                "IHI 0070 6.3.23",
                detail,
            );
        }
        if self.streams.unknown {
            let detail =
                "enabled without CMD_CFGI_ALL and CMD_SYNC before: the configuration cache is UNKNOWN";
            self.violation(Rule::Unknown, "CR0.SMMUEN", 1u32, "IHI 0070 3.11", detail);
        }
        if self.tlb.unknown {
            let detail = "enabled without CMD_TLBI_NSNH_ALL and CMD_SYNC before: the TLB is UNKNOWN";
            self.violation(Rule::Unknown, "CR0.SMMUEN", 1u32, "IHI 0070 3.11", detail);
        }
        if let Some(word) = self.memory.first_unpublished(table.base, table.level1_bytes()) {
            let detail = "the stream table was not published before SMMUEN was set";
            self.violation(Rule::Unpublished, "stream table", word, UPDATE, detail);
        }
        self.streams.table = Some(table);
        self.streams.stretches.clear();
        self.streams.stretches.extend(table.linear());
        for index in 0..table.descriptors() {
            let descriptor = self
                .memory
                .device_read(table.base + u64::from(index) * 8)
                .unwrap_or(0);
            self.link(table, index, descriptor);
        }
        if let Some(stretch) = table.linear() {
            self.inspect(stretch);
        }
        let streams: Vec<u32> = self.streams.entries.keys().copied().collect();
        for stream in streams {
            let words = self.entry_in_memory(stream);
            if let (Some(words), Some(tracker)) = (words, self.streams.entries.get_mut(&stream)) {
                tracker.settled = words;
                tracker.seen = Seen::only(&words);
                tracker.next.clear();
            }
        }
    }

    /// A level-1 descriptor leads to entries from now on.
    fn link(&mut self, table: Table, index: u32, descriptor: u64) {
        let (stretch, complaints) = table.follow(index, descriptor);
        for (subject, value, detail) in complaints {
            self.violation(
                Rule::IllegalL1,
                format!("{subject} of descriptor {index}"),
                value,
                "IHI 0070 5.1",
                detail,
            );
        }
        let Some(stretch) = stretch else { return };
        if self.streams.stretches.contains(&stretch) {
            return;
        }
        if !self.memory.is_allocated(stretch.base, stretch.bytes()) {
            let detail = format!("its {} bytes do not lie in an allocated block", stretch.bytes());
            self.violation(
                Rule::NotAllocated,
                "L1STD.L2Ptr",
                stretch.base,
                "IHI 0070 5.1",
                detail,
            );
        }
        if let Some(word) = self.memory.first_unpublished(stretch.base, stretch.bytes()) {
            let detail = "a level-2 table was linked before its content was published";
            self.violation(Rule::Unpublished, "level-2 table", word, UPDATE, detail);
        }
        self.streams.stretches.push(stretch);
        self.inspect(stretch);
    }

    /// Looks at entries that can be read from now on.
    fn inspect(&mut self, stretch: Stretch) {
        for (stream, address) in (stretch.first..)
            .zip((stretch.base..).step_by(64))
            .take(stretch.count as usize)
        {
            let Some(words) = self.words_at(address) else {
                return;
            };
            if !is_shut(words[0]) {
                self.check_legal(stream, &words);
                self.check_entry_bypass(stream, words[0]);
            }
        }
    }

    /// The words of an entry, as hardware reads them.
    fn words_at(&self, address: u64) -> Option<Words> {
        let mut words = [0; 8];
        for (word, offset) in words.iter_mut().zip((0u64..).step_by(8)) {
            *word = self.memory.device_read(address + offset)?;
        }
        Some(words)
    }

    /// The entry of a stream that memory leads to now.
    fn entry_in_memory(&self, stream: u32) -> Option<Words> {
        let stretch = self
            .streams
            .stretches
            .iter()
            .rev()
            .find(|stretch| stretch.entry(stream).is_some())?;
        self.words_at(stretch.entry(stream)?)
    }

    /// What a transaction of a stream finds, with the caches as they are.
    pub(super) fn find(&self, stream: u32) -> Found {
        let Some(table) = self.streams.table.filter(|table| table.covers(stream)) else {
            return Found::NoEntry;
        };
        if let Some(words) = self
            .streams
            .entries
            .get(&stream)
            .and_then(|tracker| tracker.cached)
        {
            return Found::Entry(words);
        }
        let stretch = match table.descriptor_of(stream) {
            None => table.linear(),
            Some((index, address)) => {
                let cached = self
                    .streams
                    .descriptors
                    .get(&index)
                    .map(|descriptor| descriptor.cached);
                let Some(descriptor) = cached.or_else(|| self.memory.device_read(address)) else {
                    return Found::FetchAbort(address);
                };
                table.follow(index, descriptor).0
            }
        };
        let Some(address) = stretch.and_then(|stretch| stretch.entry(stream)) else {
            return Found::NoEntry;
        };
        self.words_at(address)
            .map_or(Found::FetchAbort(address), Found::Entry)
    }

    /// The CPU wrote a word; `before` is what hardware saw there.
    pub(super) fn memory_written(&mut self, address: u64, before: u64) {
        self.command_memory_written(address);
        let Some(table) = self.streams.table else { return };
        let value = self.memory.read(address);
        if let Some(index) = table.descriptor_at(address) {
            self.descriptor_written(table, index, before, value);
        }
        let at = |stretch: &Stretch| {
            stretch
                .stream_at(address)
                .zip(stretch.stream_at(address).and_then(|s| stretch.entry(s)))
        };
        let touched: Vec<(u32, u64)> = self.streams.stretches.iter().filter_map(at).collect();
        for (stream, entry) in touched {
            let word = usize::try_from((address - entry) / 8).unwrap_or(0);
            self.entry_written(stream, entry, word, before, value);
        }
    }

    fn descriptor_written(&mut self, table: Table, index: u32, before: u64, value: u64) {
        if before == value {
            return;
        }
        let (old, _) = table.follow(index, before);
        let (new, _) = table.follow(index, value);
        // Entries of the old table stay cached, whatever the descriptor says.
        if let Some(old) = old.filter(|old| new != Some(*old)) {
            for (stream, address) in (old.first..)
                .zip((old.base..).step_by(64))
                .take(old.count as usize)
            {
                if let Some(words) = self.words_at(address) {
                    self.track(stream, words);
                }
            }
        }
        self.streams.descriptors.entry(index).or_insert(Descriptor {
            cached: before,
            next: Vec::new(),
        });
        if is_linked(value) || new.is_some() {
            self.link(table, index, value);
        }
    }

    /// Begins to track an entry, with `words` in the cache.
    fn track(&mut self, stream: u32, words: Words) -> &mut Tracker {
        let tracker = self.streams.entries.entry(stream).or_insert_with(|| Tracker {
            cached: None,
            settled: words,
            seen: Seen::only(&words),
            next: Vec::new(),
        });
        tracker.cached.get_or_insert(words);
        tracker
    }

    fn entry_written(&mut self, stream: u32, entry: u64, word: usize, before: u64, value: u64) {
        let Some(mut old) = self.words_at(entry) else {
            return;
        };
        if let Some(slot) = old.get_mut(word) {
            *slot = before;
        }
        let enabled = self.may_be_enabled(cr0::SMMUEN);
        let tracker = self.track(stream, old);
        if !enabled {
            let mut words = old;
            if let Some(slot) = words.get_mut(word) {
                *slot = value;
            }
            tracker.settled = words;
            tracker.seen = Seen::only(&words);
            return;
        }
        tracker.seen.add(word, value);
        for (_, _, seen) in &mut tracker.next {
            seen.add(word, value);
        }
        if word == 0 {
            self.check_entry_bypass(stream, value);
        }
        self.check_mixtures(stream, None);
    }

    /// Every mixture of words that may be fetched has to be shut, the settled entry, or one single new entry;
    /// that one has to be `end` if the change ends here.
    fn check_mixtures(&self, stream: u32, end: Option<&Words>) {
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

    fn check_legal(&self, stream: u32, words: &Words) {
        if let Entry::Illegal(bad) = parse(words, &self.config) {
            let subject = format!("STE of stream {stream:#x}: {}", bad.field);
            self.violation(Rule::IllegalSte, subject, bad.value, "IHI 0070 5.2", bad.detail);
        }
    }

    /// An invalidation of the configuration of `first..=last` was exposed at this moment.
    pub(super) fn announce_configuration(&mut self, first: u32, last: u32, leaf: bool) {
        let moment = self.moment;
        let streams: Vec<u32> = self
            .streams
            .entries
            .range(first..=last)
            .map(|(&stream, _)| stream)
            .collect();
        for stream in streams {
            let Some(words) = self.entry_in_memory(stream) else {
                continue;
            };
            self.check_published(stream);
            if self.may_be_enabled(cr0::SMMUEN) {
                self.check_mixtures(stream, Some(&words));
                self.check_legal(stream, &words);
            }
            if let Some(tracker) = self.streams.entries.get_mut(&stream) {
                tracker.next.push((moment, words, Seen::only(&words)));
            }
        }
        let Some(table) = self.streams.table.filter(|_| !leaf) else {
            return;
        };
        for index in self.descriptors_of(table, first, last) {
            let address = table.base + u64::from(index) * 8;
            if self.memory.first_unpublished(address, 8).is_some() {
                let detail = "invalidated before the descriptor was published";
                self.violation(
                    Rule::Unpublished,
                    format!("level-1 descriptor {index}"),
                    address,
                    UPDATE,
                    detail,
                );
            }
            let value = self.memory.device_read(address).unwrap_or(0);
            if let Some(descriptor) = self.streams.descriptors.get_mut(&index) {
                descriptor.next.push((moment, value));
            }
        }
    }

    fn check_published(&self, stream: u32) {
        let entries = self
            .streams
            .stretches
            .iter()
            .filter_map(|stretch| stretch.entry(stream));
        for address in entries {
            if self.memory.first_unpublished(address, STE_BYTES).is_some() {
                let detail = "invalidated before the entry was published";
                self.violation(
                    Rule::Unpublished,
                    format!("STE of stream {stream:#x}"),
                    address,
                    UPDATE,
                    detail,
                );
            }
        }
    }

    /// The tracked descriptors of a range of streams.
    fn descriptors_of(&self, table: Table, first: u32, last: u32) -> Vec<u32> {
        let Some(split) = table.split else {
            return Vec::new();
        };
        self.streams
            .descriptors
            .range(first >> split..=last >> split)
            .map(|(&index, _)| index)
            .collect()
    }

    /// The invalidation that was exposed at `exposed` is done: what is cached was read since then.
    pub(super) fn invalidate_configuration(&mut self, first: u32, last: u32, leaf: bool, exposed: u64) {
        if (first, last) == (0, u32::MAX) {
            self.streams.unknown = false;
        }
        let streams: Vec<u32> = self
            .streams
            .entries
            .range(first..=last)
            .map(|(&stream, _)| stream)
            .collect();
        for stream in streams {
            let current = self.entry_in_memory(stream);
            let Some(tracker) = self.streams.entries.get_mut(&stream) else {
                continue;
            };
            let Some(index) = tracker.next.iter().position(|&(moment, ..)| moment == exposed) else {
                // The entry is in memory no more; nothing can be read again.
                if current.is_none() {
                    self.streams.entries.remove(&stream);
                }
                continue;
            };
            let (_, words, seen) = tracker.next.remove(index);
            tracker.cached = Some(words).filter(|words| Some(*words) != current);
            tracker.settled = words;
            tracker.seen = seen;
        }
        let Some(table) = self.streams.table.filter(|_| !leaf) else {
            return;
        };
        for index in self.descriptors_of(table, first, last) {
            let current = self
                .memory
                .device_read(table.base + u64::from(index) * 8)
                .unwrap_or(0);
            let Some(descriptor) = self.streams.descriptors.get_mut(&index) else {
                continue;
            };
            let Some(at) = descriptor.next.iter().position(|&(moment, _)| moment == exposed) else {
                continue;
            };
            let (_, value) = descriptor.next.remove(at);
            descriptor.cached = value;
            if value == current && descriptor.next.is_empty() {
                self.streams.descriptors.remove(&index);
                let (kept, _) = table.follow(index, current);
                let first = index << table.split.unwrap_or(0);
                self.streams
                    .stretches
                    .retain(|stretch| stretch.first != first || kept == Some(*stretch));
            }
        }
    }

    /// A block is given back: nothing that hardware may read can be in it.
    pub(super) fn stream_memory_freed(&self, overlaps: impl Fn(u64, u64) -> bool) {
        if !self.may_be_enabled(cr0::SMMUEN) {
            return;
        }
        let level1 = self.streams.table.map(|table| (table.base, table.level1_bytes()));
        let stretches = self
            .streams
            .stretches
            .iter()
            .map(|stretch| (stretch.base, stretch.bytes()));
        for (base, bytes) in level1
            .into_iter()
            .chain(stretches)
            .filter(|&(base, bytes)| overlaps(base, bytes))
        {
            let detail = format!("given back while its {bytes} bytes may still be read");
            self.violation(Rule::NotAllocated, "stream table", base, UPDATE, detail);
        }
    }

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
    pub(super) fn live_trees(&self) -> BTreeSet<super::ste::Tree> {
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
    fn check_entry_bypass(&self, stream: u32, word0: u64) {
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

    pub(super) fn unsettled_streams(&self, left: &mut Vec<String>) {
        for (stream, tracker) in &self.streams.entries {
            if tracker.cached.is_some() && self.entry_in_memory(*stream) != tracker.cached {
                left.push(format!(
                    "the cached STE of stream {stream:#x} is not what memory holds"
                ));
            }
        }
        for index in self.streams.descriptors.keys() {
            left.push(format!(
                "the cached level-1 descriptor {index} is not what memory holds"
            ));
        }
        for stretch in &self.streams.stretches {
            if let Some(word) = self.memory.first_unpublished(stretch.base, stretch.bytes()) {
                left.push(format!("the stream table word at {word:#x} is not published"));
            }
        }
    }
}

fn shown(words: &Words) -> String {
    let [word0, word1, word2, word3, ..] = words;
    format!("[{word0:#x}, {word1:#x}, {word2:#x}, {word3:#x}]")
}
