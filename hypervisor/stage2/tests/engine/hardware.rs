//! A strict machine: table memory, a walker that may cache whatever it could ever have seen, and a log.
//!
//! The walker is the worst one DDI 0487 D8.16 allows. A valid descriptor can be seen and cached from the moment it is
//! written; an invalid one is seen only once it is published; what is cached goes only by invalidation. Every rule is
//! checked at the write, publish, invalidation or free that breaks it.
use mmio::{Block, OutOfTableMemory, TableMemory};
use stage2::{AddressSpace, Geometry, Invalidate, InvalidateError, Walker, WalkerLimits};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// One thing that happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Allocate { address: u64 },
    Free { address: u64 },
    Write { address: u64, was: u64, value: u64 },
    Publish { address: u64, size: usize },
    Invalidate { vmid: u16, ipa: u64, size: u64 },
}

/// A 64-bit word as we see it, and as hardware last was made to see it.
#[derive(Clone, Copy, Default)]
struct Word {
    ours: u64,
    published: u64,
}

/// A descriptor a walker may hold, at the level of the key.
type Cached = BTreeMap<(u64, u8), u64>;

#[derive(Default)]
pub(crate) struct Machine {
    pub(crate) log: Vec<Event>,
    /// Allocations that still succeed.
    pub(crate) allocations_left: Option<usize>,
    /// The next invalidation fails.
    pub(crate) fail_invalidation: bool,
    words: HashMap<u64, Word>,
    blocks: BTreeMap<u64, usize>,
    next: u64,
    /// The tree that is walked: root address, start level, IPA end, VMID.
    tree: Option<(u64, u8, u64, u16)>,
    cached: Cached,
    /// Tables that the walker may reach: level and first IPA.
    reached: HashMap<u64, (u8, u64)>,
}

/// The machine as the engine gets it: as memory and as caches.
#[derive(Clone, Default)]
pub(crate) struct Handle(Rc<RefCell<Machine>>);

pub(crate) fn span(level: u8) -> u64 {
    1 << (39 - 9 * u32::from(level))
}

fn is_valid(raw: u64) -> bool {
    raw & 1 == 1
}

fn is_table(raw: u64, level: u8) -> bool {
    is_valid(raw) && level < 3 && raw & 2 != 0
}

fn address_of(raw: u64) -> u64 {
    raw & 0x0000_ffff_ffff_f000
}

impl Machine {
    /// The table an entry lies in: its level and the IPA of the entry; `None` if no walker reaches it.
    fn place(&self, entry: u64) -> Option<(u8, u64)> {
        // A concatenated root is several tables side by side.
        if let Some((root, level, end, _)) = self.tree
            && entry >= root
            && (entry - root) / 8 < end / span(level)
        {
            return Some((level, (entry - root) / 8 * span(level)));
        }
        let (level, base) = *self.reached.get(&(entry & !0xfff))?;
        Some((level, base + (entry & 0xfff) / 8 * span(level)))
    }

    /// The walker sees `raw` at `(level, ipa)` and may cache it, and all that it leads to.
    fn see(&mut self, level: u8, ipa: u64, raw: u64) {
        if !is_valid(raw) {
            return;
        }
        if let Some(&held) = self.cached.get(&(ipa, level)) {
            assert_eq!(held, raw, "no break before make: level {level}, IPA {ipa:#x}");
        }
        if is_table(raw, level) {
            let table = address_of(raw);
            assert!(
                self.blocks.contains_key(&table),
                "table {table:#x} is not table memory"
            );
            self.cached.insert((ipa, level), raw);
            if self.reached.insert(table, (level + 1, ipa)).is_none() {
                for number in 0..512 {
                    let word = self.word(table + number * 8);
                    assert_eq!(
                        word.ours, word.published,
                        "table {table:#x} linked before it is published"
                    );
                    self.see(level + 1, ipa + number * span(level + 1), word.ours);
                }
            }
            return;
        }
        let end = ipa + span(level);
        for upper in 0..level {
            if let Some(&held) = self.cached.get(&(ipa & !(span(upper) - 1), upper)) {
                assert!(
                    is_table(held, upper),
                    "IPA {ipa:#x}: page or block while a larger one is cached"
                );
            }
        }
        for (&(at, lower), &held) in self.cached.range((ipa, level + 1)..(end, 0)) {
            assert!(
                is_table(held, lower),
                "IPA {at:#x}: block while a smaller one is cached"
            );
        }
        self.cached.insert((ipa, level), raw);
    }

    fn word(&self, address: u64) -> Word {
        self.words.get(&address).copied().unwrap_or_default()
    }

    fn block_of(&self, address: u64) -> Option<u64> {
        let (&start, &size) = self.blocks.range(..=address).next_back()?;
        (address < start + size as u64).then_some(start)
    }

    fn invalidate(&mut self, vmid: u16, ipa: u64, size: u64) -> Result<(), InvalidateError> {
        self.log.push(Event::Invalidate { vmid, ipa, size });
        if self.fail_invalidation {
            self.fail_invalidation = false;
            return Err(InvalidateError {
                walker: Walker::Smmu(0),
                status: 3,
            });
        }
        if let Some((.., own)) = self.tree {
            assert_eq!(vmid, own, "invalidation of a foreign VMID");
        }
        self.cached
            .retain(|&(at, level), _| at < ipa || at + span(level) > ipa + size);
        // What the tables say now, or what a walker still holds, may be seen again.
        self.reached.clear();
        let held: Vec<_> = self.cached.iter().map(|(&key, &raw)| (key, raw)).collect();
        for ((at, level), raw) in held {
            self.see(level, at, raw);
        }
        if let Some((root, level, end, _)) = self.tree {
            for number in 0..end / span(level) {
                let published = self.word(root + number * 8).published;
                self.see(level, number * span(level), published);
            }
        }
        Ok(())
    }

    /// Everything that is cached must be what the tree says now: no walker uses anything else.
    fn assert_current(&self, space: &AddressSpace, memory: &Handle) {
        for (&(ipa, level), &raw) in &self.cached {
            if !is_table(raw, level) {
                let (pa, _) = space
                    .translate(memory, ipa)
                    .unwrap_or_else(|| panic!("IPA {ipa:#x} is still cached"));
                assert_eq!(
                    pa,
                    address_of(raw),
                    "IPA {ipa:#x} is cached with another output address"
                );
            }
        }
        for (&address, word) in &self.words {
            if let Some((level, ipa)) = self.place(address) {
                assert_eq!(word.ours & 1, word.published & 1, "{address:#x} not published");
                if let Some(&held) = self.cached.get(&(ipa, level)) {
                    assert_eq!(held, word.ours, "level {level}, IPA {ipa:#x} is stale in a cache");
                }
            }
        }
    }
}

impl Handle {
    pub(crate) fn tree(&self, space: &AddressSpace) {
        let geometry = space.geometry();
        self.0.borrow_mut().tree = Some((
            space.root(),
            geometry.start_level(),
            geometry.ipa_end(),
            space.vmid(),
        ));
    }

    /// How many blocks of table memory are in use.
    pub(crate) fn blocks(&self) -> usize {
        self.0.borrow().blocks.len()
    }

    pub(crate) fn check(&self, space: &AddressSpace) {
        // The machine is read while the engine walks it: no mutable borrow is alive.
        self.0.borrow().assert_current(space, self);
    }

    /// Takes the log so far.
    pub(crate) fn take_log(&self) -> Vec<Event> {
        std::mem::take(&mut self.0.borrow_mut().log)
    }

    pub(crate) fn allow(&self, allocations: Option<usize>) {
        self.0.borrow_mut().allocations_left = allocations;
    }

    pub(crate) fn fail_next_invalidation(&self) {
        self.0.borrow_mut().fail_invalidation = true;
    }

    /// Nothing walks the tree any more; what is cached stays until it is invalidated.
    pub(crate) fn detach(&self) {
        self.0.borrow_mut().tree = None;
    }
}

impl TableMemory for Handle {
    fn allocate(&mut self, size: usize, align: usize) -> Result<Block, OutOfTableMemory> {
        assert!(align.is_power_of_two());
        let mut machine = self.0.borrow_mut();
        if let Some(left) = &mut machine.allocations_left {
            *left = left.checked_sub(1).ok_or(OutOfTableMemory { size, align })?;
        }
        // Never reuse an address: what is cached of a freed table would hide behind a new one.
        let address = machine.next.max(0x8000_0000).next_multiple_of(align as u64);
        machine.next = address + size as u64;
        machine.blocks.insert(address, size);
        machine.log.push(Event::Allocate { address });
        Ok(Block { address, size })
    }

    fn free(&mut self, block: Block) {
        let mut machine = self.0.borrow_mut();
        assert_eq!(
            machine.blocks.remove(&block.address),
            Some(block.size),
            "free of {block:x?}"
        );
        for (&(ipa, level), &raw) in &machine.cached {
            let leads_to = is_table(raw, level) && address_of(raw) == block.address;
            assert!(
                !leads_to,
                "table {:#x} freed while IPA {ipa:#x} is cached",
                block.address
            );
        }
        machine.reached.remove(&block.address);
        let end = block.address + block.size as u64;
        machine
            .words
            .retain(|&address, _| address < block.address || address >= end);
        machine.log.push(Event::Free {
            address: block.address,
        });
    }

    fn read(&self, address: u64) -> u64 {
        assert_eq!(address % 8, 0, "misaligned read at {address:#x}");
        let machine = self.0.borrow();
        assert!(machine.block_of(address).is_some(), "stray read at {address:#x}");
        machine.word(address).ours
    }

    fn write(&mut self, address: u64, value: u64) {
        assert_eq!(address % 8, 0, "misaligned write at {address:#x}");
        let mut machine = self.0.borrow_mut();
        assert!(machine.block_of(address).is_some(), "stray write at {address:#x}");
        let was = machine.word(address).ours;
        machine.log.push(Event::Write { address, was, value });
        assert!(
            !is_valid(was) || !is_valid(value) || was == value,
            "{address:#x}: {was:#x} became {value:#x}"
        );
        machine.words.entry(address).or_default().ours = value;
        if let Some((level, ipa)) = machine.place(address) {
            machine.see(level, ipa, value);
        }
    }

    fn publish(&mut self, address: u64, size: usize) {
        let mut machine = self.0.borrow_mut();
        machine.log.push(Event::Publish { address, size });
        for at in (address..address + size as u64).step_by(8) {
            assert!(machine.block_of(at).is_some(), "stray publish at {at:#x}");
            let word = machine.words.entry(at).or_default();
            word.published = word.ours;
        }
    }
}

impl Invalidate for Handle {
    fn invalidate(&mut self, vmid: u16, ipa: u64, size: u64) -> Result<(), InvalidateError> {
        self.0.borrow_mut().invalidate(vmid, ipa, size)
    }
}

/// A geometry of `ipa_bits`, and the widest output there is.
pub(crate) fn geometry(ipa_bits: u8) -> Geometry {
    let smmu = WalkerLimits {
        name: "/smmu",
        input_bits: ipa_bits,
        output_bits: 48,
        granule_4k: true,
    };
    Geometry::choose(&[smmu]).unwrap()
}

/// A machine, as memory and as caches, and an empty space of `bits` in it.
pub(crate) fn machine(bits: u8) -> (Handle, Handle, AddressSpace) {
    let mut handle = Handle::default();
    let space = AddressSpace::new(&mut handle, geometry(bits), 7).unwrap();
    handle.tree(&space);
    handle.take_log();
    (handle.clone(), handle, space)
}
