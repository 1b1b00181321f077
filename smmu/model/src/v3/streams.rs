//! Stream table entries in memory, in the configuration cache, and on their way between the two (IHI 0070 3.21.3).

use std::collections::BTreeMap;

use mmio::TableMemory;

use super::mixtures::Seen;
use super::registers::cr0;
use super::state::State;
use super::ste::{Entry, Words, is_shut, parse};
use super::table::{Stretch, Table};
use crate::Rule;

/// How configuration in memory is changed.
pub(super) const UPDATE: &str = "IHI 0070 3.21.3.1";
/// An entry that was written since it could be read.
#[derive(Debug)]
pub(super) struct Tracker {
    /// What the configuration cache holds; `None`: what memory holds.
    pub cached: Option<Words>,
    /// The entry at the last point where cache and memory were certainly equal.
    pub settled: Words,
    /// What a fetch since that point may see.
    pub seen: Seen,
    /// For invalidations under way: the entry when they were exposed, and what a fetch since then may see.
    pub next: Vec<(u64, Words, Seen)>,
}

/// A level-1 descriptor that was written since it could be read.
#[derive(Debug)]
pub(super) struct Descriptor {
    pub cached: u64,
    pub next: Vec<(u64, u64)>,
}

/// The configuration cache, and what it is a cache of.
#[derive(Debug)]
pub(super) struct Streams {
    /// Nothing invalidated the cache since reset, or since the table moved.
    pub unknown: bool,
    pub table: Option<Table>,
    /// The entries that can be reached now, or could be by a cached descriptor.
    pub stretches: Vec<Stretch>,
    pub entries: BTreeMap<u32, Tracker>,
    pub descriptors: BTreeMap<u32, Descriptor>,
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
            let Some(word0) = self.memory.device_read(address) else {
                return;
            };
            if is_shut(word0) {
                continue;
            }
            self.check_entry_bypass(stream, word0);
            if let Some(words) = self.words_at(address) {
                self.check_legal(stream, &words);
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
    pub(super) fn entry_in_memory(&self, stream: u32) -> Option<Words> {
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
        self.link(table, index, value);
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

    pub(super) fn check_legal(&self, stream: u32, words: &Words) {
        if let Entry::Illegal(bad) = parse(words, &self.config) {
            let subject = format!("STE of stream {stream:#x}: {}", bad.field);
            self.violation(Rule::IllegalSte, subject, bad.value, "IHI 0070 5.2", bad.detail);
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
        let level1 = self
            .streams
            .table
            .filter(|table| table.split.is_some())
            .map(|table| (table.base, table.level1_bytes()));
        let stretches = self
            .streams
            .stretches
            .iter()
            .map(|stretch| (stretch.base, stretch.bytes()));
        for (base, bytes) in level1.into_iter().chain(stretches) {
            if let Some(word) = self.memory.first_unpublished(base, bytes) {
                left.push(format!("the stream table word at {word:#x} is not published"));
            }
        }
    }
}
