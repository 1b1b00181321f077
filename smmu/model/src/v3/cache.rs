//! The configuration cache under CMD_CFGI_* (IHI 0070 3.21.3, 4.3).

use super::mixtures::Seen;
use super::registers::cr0;
use super::state::State;
use super::streams::UPDATE;
use super::table::{STE_BYTES, Table};
use crate::Rule;

impl State {
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
            if value == current {
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
}
