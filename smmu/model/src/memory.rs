//! Sparse physical memory with two views: what the CPU wrote, and what hardware walkers see.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::{Rc, Weak};

use mmio::{Block, OutOfTableMemory, TableMemory};

use crate::bits::aligned;
use crate::{Rule, Violations};

/// Hardware that looks at table memory.
pub trait Watcher {
    /// The word at `address` was written; `before` is what hardware saw there until now.
    fn written(self: Rc<Self>, address: u64, before: u64);
    /// A block is being given back.
    fn freed(self: Rc<Self>, block: Block);
}

struct Data {
    coherent: bool,
    /// What hardware sees; absent words are zero.
    words: HashMap<u64, u64>,
    /// What the CPU wrote and did not publish.
    unpublished: BTreeMap<u64, u64>,
    /// What hardware wrote over, and the CPU did not receive.
    unreceived: BTreeMap<u64, u64>,
    blocks: BTreeMap<u64, usize>,
    next: u64,
    pool: Range<u64>,
    /// Bytes that may be allocated at once.
    budget: usize,
    allocations_left: Option<usize>,
}

impl Data {
    /// The word that hardware reads.
    fn device_word(&self, address: u64) -> u64 {
        let pending = self.unpublished.get(&address).filter(|_| self.coherent);
        *pending.or_else(|| self.words.get(&address)).unwrap_or(&0)
    }

    fn block_of(&self, address: u64) -> Option<Block> {
        let (&start, &size) = self.blocks.range(..=address).next_back()?;
        (address - start < size as u64).then_some(Block { address: start, size })
    }

    /// What cache maintenance by address reaches: whole lines, but no more than asked for where there is nothing to clean.
    fn covered(&self, address: u64, size: usize) -> Range<u64> {
        let end = address.saturating_add(size as u64);
        if self.coherent {
            address..end
        } else {
            address & !(CACHE_LINE - 1)..end.next_multiple_of(CACHE_LINE)
        }
    }

    fn allocated_bytes(&self) -> usize {
        self.blocks.values().sum()
    }
}

struct Inner {
    data: RefCell<Data>,
    watchers: RefCell<Vec<Weak<dyn Watcher>>>,
    log: Violations,
}

/// Simulated table memory. A handle: clones share the memory.
///
/// Blocks are aligned exactly as asked for and no better, and addresses are never used twice.
#[derive(Clone)]
pub struct Memory(Rc<Inner>);

/// Above 4 GiB, so that an address that lost its high half is found.
const DEFAULT_POOL: Range<u64> = 0x8_8000_0000..0x9_8000_0000;
const CACHE_LINE: u64 = 64;

impl Memory {
    /// A memory that hardware reads through the CPU's caches: a write may be seen at once. Ordering still needs `publish`.
    pub fn coherent() -> Self {
        Memory::with_pool(DEFAULT_POOL, true)
    }

    /// A memory that hardware reads behind the CPU's caches: a write is seen after `publish` of its cache line, not before.
    pub fn non_coherent() -> Self {
        Memory::with_pool(DEFAULT_POOL, false)
    }

    /// A memory whose blocks come from `pool`.
    pub fn with_pool(pool: Range<u64>, coherent: bool) -> Self {
        let data = Data {
            coherent,
            words: HashMap::new(),
            unpublished: BTreeMap::new(),
            unreceived: BTreeMap::new(),
            blocks: BTreeMap::new(),
            next: pool.start,
            pool,
            budget: usize::MAX,
            allocations_left: None,
        };
        let watchers = RefCell::new(Vec::new());
        Memory(Rc::new(Inner {
            data: RefCell::new(data),
            watchers,
            log: Violations::default(),
        }))
    }

    /// The violations of everything on this memory.
    pub fn violations(&self) -> &Violations {
        &self.0.log
    }

    /// Bytes that may be allocated at once from now on.
    pub fn set_budget(&self, bytes: usize) {
        self.0.data.borrow_mut().budget = bytes;
    }

    /// Lets `count` more allocations succeed and refuses all later ones; `None` lifts that.
    pub fn fail_after(&self, count: Option<usize>) {
        self.0.data.borrow_mut().allocations_left = count;
    }

    /// The blocks that were not given back.
    pub fn allocated(&self) -> Vec<Block> {
        let data = self.0.data.borrow();
        data.blocks
            .iter()
            .map(|(&address, &size)| Block { address, size })
            .collect()
    }

    /// Whether hardware reads it through the CPU's caches.
    pub fn is_coherent(&self) -> bool {
        self.0.data.borrow().coherent
    }

    pub(crate) fn attach(&self, watcher: Weak<dyn Watcher>) {
        self.0.watchers.borrow_mut().push(watcher);
    }

    /// Whether all of `[address, address + size)` lies in one allocated block.
    pub(crate) fn is_allocated(&self, address: u64, size: u64) -> bool {
        let block = self.0.data.borrow().block_of(address);
        block.is_some_and(|block| size <= block.size as u64 - (address - block.address))
    }

    /// The first word in `[address, address + size)` that was written and not published.
    pub(crate) fn first_unpublished(&self, address: u64, size: u64) -> Option<u64> {
        let end = address.saturating_add(size);
        self.0
            .data
            .borrow()
            .unpublished
            .range(address..end)
            .next()
            .map(|(&word, _)| word)
    }

    /// The same among translation table descriptors. Between two invalid ones walkers see no difference, whatever their
    /// other bits are (DDI 0487 D8.3).
    pub(crate) fn first_unpublished_descriptor(&self, address: u64, size: u64) -> Option<u64> {
        let end = address.saturating_add(size);
        let data = self.0.data.borrow();
        let published = |word: &u64| data.words.get(word).copied().unwrap_or(0);
        let differs = |&(word, value): &(&u64, &u64)| (value | published(word)) & 1 != 0;
        let mut written = data.unpublished.range(address..end);
        written.find(differs).map(|(&word, _)| word)
    }

    /// Reads as hardware does; `None` is a bus error: there is no memory.
    pub(crate) fn device_read(&self, address: u64) -> Option<u64> {
        let data = self.0.data.borrow();
        if !data.pool.contains(&address) {
            return None;
        }
        if data.block_of(address).is_none() {
            self.0.log.record(
                Rule::NotAllocated,
                "memory read by hardware",
                address,
                "mmio::TableMemory::free",
                "no allocated block is there",
            );
        }
        Some(data.device_word(address & !7))
    }

    /// What hardware would read, for questions of the model itself; `None` where no block is allocated.
    pub(crate) fn peek(&self, address: u64) -> Option<u64> {
        let data = self.0.data.borrow();
        data.block_of(address).map(|_| data.device_word(address & !7))
    }

    /// Writes as hardware does; false is a bus error.
    pub(crate) fn device_write(&self, address: u64, value: u64) -> bool {
        let mut data = self.0.data.borrow_mut();
        if !data.pool.contains(&address) {
            return false;
        }
        if data.block_of(address).is_none() {
            self.0.log.record(
                Rule::NotAllocated,
                "memory written by hardware",
                address,
                "mmio::TableMemory::free",
                "no allocated block is there",
            );
        }
        if data.unpublished.remove(&address).is_some() {
            self.0.log.record(
                Rule::Unpublished,
                "memory written by hardware",
                address,
                "mmio::TableMemory::publish",
                "the CPU has an unpublished write there, which may overwrite hardware's",
            );
        }
        let old = data.words.insert(address, value).unwrap_or(0);
        data.unreceived.entry(address).or_insert(old);
        true
    }

    fn stray(&self, address: u64, what: &str) {
        self.0.log.record(
            Rule::NotAllocated,
            format!("memory {what} by the CPU"),
            address,
            "mmio::TableMemory",
            "not an aligned word of an allocated block",
        );
    }

    fn watchers(&self) -> Vec<Rc<dyn Watcher>> {
        self.0
            .watchers
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl std::fmt::Debug for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let data = self.0.data.borrow();
        write!(
            f,
            "Memory({} blocks, {} unpublished words)",
            data.blocks.len(),
            data.unpublished.len()
        )
    }
}

impl TableMemory for Memory {
    fn allocate(&mut self, size: usize, align: usize) -> Result<Block, OutOfTableMemory> {
        let refused = OutOfTableMemory { size, align };
        let mut data = self.0.data.borrow_mut();
        if size == 0 || !align.is_power_of_two() || data.allocated_bytes().saturating_add(size) > data.budget
        {
            return Err(refused);
        }
        if let Some(left) = &mut data.allocations_left {
            *left = left.checked_sub(1).ok_or(refused)?;
        }
        // An odd multiple of the alignment is aligned to nothing more.
        let align = (align as u64).max(8);
        let multiple = data.next.div_ceil(align) | 1;
        let address = multiple.checked_mul(align).ok_or(refused)?;
        let end = address
            .checked_add((size as u64).next_multiple_of(8))
            .ok_or(refused)?;
        if end > data.pool.end {
            return Err(refused);
        }
        data.next = end;
        data.blocks.insert(address, size);
        Ok(Block { address, size })
    }

    fn free(&mut self, block: Block) {
        for watcher in self.watchers() {
            watcher.freed(block);
        }
        let mut data = self.0.data.borrow_mut();
        if data.blocks.get(&block.address) != Some(&block.size) {
            drop(data);
            self.stray(block.address, "freed");
            return;
        }
        data.blocks.remove(&block.address);
        let end = block.address + block.size as u64;
        let outside = |address: &u64, _: &mut u64| *address < block.address || *address >= end;
        data.unpublished.retain(outside);
        data.unreceived.retain(outside);
    }

    fn read(&self, address: u64) -> u64 {
        let data = self.0.data.borrow();
        if !aligned(address, 8) || data.block_of(address).is_none() {
            drop(data);
            self.stray(address, "read");
            return 0;
        }
        let word = *data
            .unpublished
            .get(&address)
            .or_else(|| data.words.get(&address))
            .unwrap_or(&0);
        let Some(&stale) = data.unreceived.get(&address) else {
            return word;
        };
        self.0.log.record(
            Rule::Unreceived,
            "memory read by the CPU",
            address,
            "mmio::TableMemory::receive",
            "hardware wrote it, and it was not received",
        );
        if data.coherent { word } else { stale }
    }

    fn write(&mut self, address: u64, value: u64) {
        let mut data = self.0.data.borrow_mut();
        if !aligned(address, 8) || data.block_of(address).is_none() {
            drop(data);
            self.stray(address, "written");
            return;
        }
        let before = data.device_word(address);
        data.unpublished.insert(address, value);
        drop(data);
        for watcher in self.watchers() {
            watcher.written(address, before);
        }
    }

    fn publish(&mut self, address: u64, size: usize) {
        let mut data = self.0.data.borrow_mut();
        let range = data.covered(address, size);
        let published: Vec<(u64, u64)> = data
            .unpublished
            .range(range)
            .map(|(&at, &word)| (at, word))
            .collect();
        for (at, word) in published {
            data.unpublished.remove(&at);
            data.words.insert(at, word);
        }
    }

    fn receive(&mut self, address: u64, size: usize) {
        self.publish(address, size);
        let mut data = self.0.data.borrow_mut();
        let range = data.covered(address, size);
        data.unreceived.retain(|at, _| !range.contains(at));
    }
}

#[cfg(test)]
mod tests;
