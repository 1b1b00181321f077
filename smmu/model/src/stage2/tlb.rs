//! Cached translations and table descriptors, tagged by VMID (IHI 0070 3.17).

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::tree::{Attributes, Tree};

/// What an invalidation by IPA covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpaRange {
    pub vmid: u16,
    pub start: u64,
    /// `None`: the entries that contain `start`, whatever their size.
    pub range: Option<Range>,
    /// Entries of the last level only, not cached table descriptors.
    pub leaf: bool,
}

/// A range of a range invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub bytes: u64,
    /// log2 of the granule that TG names.
    pub granule: u32,
    /// The only level of entries that need to be found; `None`: any.
    pub level: Option<u32>,
}

/// A cached last-level descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub start: u64,
    pub bytes: u64,
    pub level: u32,
    pub granule: u32,
    pub output: u64,
    pub readable: bool,
    pub writable: bool,
    pub attributes: Attributes,
}

/// A cached table descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Branch {
    pub start: u64,
    pub bytes: u64,
    /// The level of the table it points to.
    pub level: u32,
    pub granule: u32,
    pub table: u64,
}

/// A cached thing with its tag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tagged<T> {
    pub vmid: u16,
    /// Under which tree it was found. Hardware does not know; it is kept to find a VMID used twice.
    pub tree: Tree,
    pub born: u64,
    pub item: T,
}

/// The TLB and the walk cache. Nothing leaves them but by invalidation.
#[derive(Debug)]
pub(crate) struct Tlb {
    /// Nothing invalidated it since reset.
    pub unknown: bool,
    leaves: Vec<Tagged<Leaf>>,
    branches: Vec<Tagged<Branch>>,
    /// Every table that was ever walked for a VMID.
    walked: BTreeSet<(u16, u64, u64)>,
}

impl Default for Tlb {
    fn default() -> Self {
        Tlb {
            unknown: true,
            leaves: Vec::new(),
            branches: Vec::new(),
            walked: BTreeSet::new(),
        }
    }
}

fn overlaps(start: u64, bytes: u64, other: u64, other_bytes: u64) -> bool {
    start < other.saturating_add(other_bytes) && other < start.saturating_add(bytes)
}

impl Tlb {
    pub(crate) fn leaf(&self, vmid: u16, address: u64) -> Option<Leaf> {
        let hits = |leaf: &&Tagged<Leaf>| {
            leaf.vmid == vmid && overlaps(leaf.item.start, leaf.item.bytes, address, 1)
        };
        self.leaves.iter().find(hits).map(|leaf| leaf.item)
    }

    /// The deepest cached table descriptor on the way to `address`.
    pub(crate) fn branch(&self, vmid: u16, address: u64) -> Option<Branch> {
        let on_the_way = self.branches.iter().filter(|branch| {
            branch.vmid == vmid && overlaps(branch.item.start, branch.item.bytes, address, 1)
        });
        on_the_way
            .map(|branch| branch.item)
            .max_by_key(|branch| branch.level)
    }

    /// Cached translations of `vmid` that overlap a new one.
    pub(crate) fn conflicts(&self, vmid: u16, new: &Leaf) -> Vec<Leaf> {
        let conflicting = self.leaves.iter().filter(|leaf| {
            leaf.vmid == vmid && overlaps(leaf.item.start, leaf.item.bytes, new.start, new.bytes)
        });
        conflicting.map(|leaf| leaf.item).collect()
    }

    /// Whether something is cached for `vmid` from another tree.
    pub(crate) fn foreign(&self, vmid: u16, tree: &Tree) -> bool {
        self.leaves
            .iter()
            .any(|leaf| leaf.vmid == vmid && leaf.tree != *tree)
            || self
                .branches
                .iter()
                .any(|branch| branch.vmid == vmid && branch.tree != *tree)
    }

    pub(crate) fn insert_leaf(&mut self, leaf: Tagged<Leaf>) {
        self.leaves.push(leaf);
    }

    pub(crate) fn insert_branch(&mut self, branch: Tagged<Branch>) {
        if !self
            .branches
            .iter()
            .any(|old| old.vmid == branch.vmid && old.item == branch.item)
        {
            self.branches.push(branch);
        }
    }

    /// Lets the oldest entries go, as hardware may at any time, until there are at most `most` of each kind.
    pub(crate) fn limit(&mut self, most: usize) {
        self.leaves.drain(..self.leaves.len().saturating_sub(most));
        self.branches.drain(..self.branches.len().saturating_sub(most));
        while self.walked.len() > most {
            self.walked.pop_first();
        }
    }

    pub(crate) fn remember_table(&mut self, vmid: u16, base: u64, bytes: u64) {
        self.walked.insert((vmid, base, bytes));
    }

    /// The tables that were walked for a VMID, or for all.
    pub(crate) fn tables(&self, vmid: Option<u16>) -> impl Iterator<Item = (u64, u64)> {
        let of = self
            .walked
            .iter()
            .filter(move |(owner, ..)| vmid.is_none_or(|vmid| vmid == *owner));
        of.map(|&(_, base, bytes)| (base, bytes))
    }

    /// The tables that cached descriptors point to.
    pub(crate) fn cached_tables(&self) -> impl Iterator<Item = (u64, u64)> {
        self.branches
            .iter()
            .map(|branch| (branch.item.table, 1 << branch.item.granule))
    }

    pub(crate) fn leaves(&self) -> &[Tagged<Leaf>] {
        &self.leaves
    }

    pub(crate) fn branches(&self) -> &[Tagged<Branch>] {
        &self.branches
    }

    pub(crate) fn invalidate_all(&mut self, exposed: u64) {
        self.unknown = false;
        self.leaves.retain(|leaf| leaf.born > exposed);
        self.branches.retain(|branch| branch.born > exposed);
    }

    pub(crate) fn invalidate_vmid(&mut self, vmid: u16, exposed: u64) {
        self.leaves
            .retain(|leaf| leaf.vmid != vmid || leaf.born > exposed);
        self.branches
            .retain(|branch| branch.vmid != vmid || branch.born > exposed);
    }

    /// Invalidates by IPA; returns the entries that its hints wrongly spared.
    pub(crate) fn invalidate_range(&mut self, range: &IpaRange, exposed: u64) -> Vec<(u64, String)> {
        let mut spared = Vec::new();
        let bytes = range.range.map_or(1, |range| range.bytes);
        let granule = range.range.map(|range| range.granule);
        let level = range.range.and_then(|range| range.level);
        self.leaves.retain(|leaf| {
            let item = &leaf.item;
            if leaf.vmid != range.vmid
                || leaf.born > exposed
                || !overlaps(item.start, item.bytes, range.start, bytes)
            {
                return true;
            }
            let hinted_away = granule.is_some_and(|granule| granule != item.granule)
                || level.is_some_and(|level| level != item.level);
            if hinted_away {
                let detail = format!(
                    "the entry of level {} at {:#x} is in the range, but not what TG and TTL name",
                    item.level, item.start
                );
                spared.push((range.start, detail));
            }
            hinted_away
        });
        self.branches.retain(|branch| {
            let item = &branch.item;
            range.leaf
                || branch.vmid != range.vmid
                || branch.born > exposed
                || granule.is_some_and(|granule| granule != item.granule)
                || !overlaps(item.start, item.bytes, range.start, bytes)
        });
        spared
    }
}
