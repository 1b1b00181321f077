//! A driver in raw words, so that the tests share no encoding with the model.

use mmio::{Block, Bus, Clock as _, TableMemory};

pub(crate) use crate::stage2::testing::{RO, RW, Tree};
use crate::v3::{Config, DmaOutcome, Event, Smmu};
use crate::{Clock, Memory};

pub(crate) const CR0: usize = 0x20;
pub(crate) const CR0ACK: usize = 0x24;
pub(crate) const CR1: usize = 0x28;
pub(crate) const CR2: usize = 0x2c;
pub(crate) const GBPA: usize = 0x44;
pub(crate) const IRQ_CTRL: usize = 0x50;
pub(crate) const GERROR: usize = 0x60;
pub(crate) const GERRORN: usize = 0x64;
pub(crate) const STRTAB_BASE: usize = 0x80;
pub(crate) const STRTAB_BASE_CFG: usize = 0x88;
pub(crate) const CMDQ_BASE: usize = 0x90;
pub(crate) const CMDQ_PROD: usize = 0x98;
pub(crate) const CMDQ_CONS: usize = 0x9c;
pub(crate) const EVENTQ_BASE: usize = 0xa0;
pub(crate) const EVENTQ_PROD: usize = 0x1_00a8;
pub(crate) const EVENTQ_CONS: usize = 0x1_00ac;

pub(crate) const CFGI_ALL: [u64; 2] = [0x04, 31];
pub(crate) const TLBI_ALL: [u64; 2] = [0x30, 0];
pub(crate) const SYNC: [u64; 2] = [0x46, 0];

pub(crate) fn cfgi_ste(stream: u32, leaf: bool) -> [u64; 2] {
    [0x03 | u64::from(stream) << 32, leaf.into()]
}
pub(crate) fn tlbi_vmid(vmid: u16) -> [u64; 2] {
    [0x28 | u64::from(vmid) << 32, 0]
}
pub(crate) fn tlbi_ipa(vmid: u16, ipa: u64) -> [u64; 2] {
    [0x2a | u64::from(vmid) << 32, ipa]
}
/// `NUM`, `SCALE`, `TTL`, 4 KiB granule.
pub(crate) fn tlbi_range(vmid: u16, ipa: u64, num: u64, scale: u64, ttl: u64) -> [u64; 2] {
    [
        0x2a | u64::from(vmid) << 32 | num << 12 | scale << 20,
        ipa | ttl << 8 | 1 << 10,
    ]
}

pub(crate) const STREAM: u32 = 0x10;
pub(crate) const VMID: u16 = 7;
pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const BLOCK: u64 = 0x20_0000;

/// A valid stage-2 entry: 39 bits of input, root at level 1, 4 KiB granule, 44 bits of output, S2R.
pub(crate) fn stage2_entry(root: u64, vmid: u16) -> [u64; 8] {
    let word2 =
        u64::from(vmid) | 25 << 32 | 1 << 38 | 1 << 40 | 1 << 42 | 3 << 44 | 4 << 48 | 1 << 51 | 1 << 58;
    [0b110 << 1 | 1, 1 << 44, word2, root, 0, 0, 0, 0]
}
pub(crate) const INVALID: [u64; 8] = [0; 8];
pub(crate) const ABORT: [u64; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
pub(crate) const BYPASS: [u64; 8] = [0b100 << 1 | 1, 1 << 44, 0, 0, 0, 0, 0, 0];

pub(crate) struct Rig {
    pub memory: Memory,
    pub clock: Clock,
    pub smmu: Smmu,
    pub command_queue: Block,
    pub command_bits: u32,
    pub event_queue: Block,
    /// Level 1, or the linear table.
    pub table: Block,
    /// Level 2 for streams 0 to 255, if the table has two levels.
    pub level2: Option<Block>,
}

impl Rig {
    /// An enabled SMMU with nothing attached, every entry invalid.
    pub(crate) fn new(config: Config) -> Rig {
        let rig = Rig::disabled(config);
        rig.shut();
        rig.enable_queues();
        for command in [CFGI_ALL, TLBI_ALL] {
            rig.command(command);
        }
        rig.sync();
        rig.set_cr0(0xd);
        rig.smmu.forbid_bypass();
        rig.smmu.violations().assert_none();
        rig
    }

    /// Memory is laid out and registers are programmed; nothing is enabled.
    pub(crate) fn disabled(config: Config) -> Rig {
        let coherent = config.idr[0] & 1 << 4 != 0;
        let mut memory = if coherent {
            Memory::coherent()
        } else {
            Memory::non_coherent()
        };
        let clock = Clock::new();
        let smmu = Smmu::new(config, &memory, &clock);
        let idr1 = config.idr[1];
        let (command_bits, event_bits) = ((idr1 >> 21 & 0x1f).min(6), (idr1 >> 16 & 0x1f).min(4));
        let command_queue = memory.allocate(16 << command_bits, 16 << command_bits).unwrap();
        let event_queue = memory.allocate(32 << event_bits, 32 << event_bits).unwrap();
        let two_level = config.idr[0] >> 27 & 3 == 1;
        let bits = (idr1 & 0x3f).min(10);
        let (table, level2, cfg) = if two_level {
            let table = memory.allocate(8 << (bits - 8), 64).unwrap();
            let level2 = memory.allocate(64 << 8, 64 << 8).unwrap();
            memory.write(table.address, level2.address | 9);
            memory.publish(table.address, 8);
            (table, Some(level2), 1 << 16 | 8 << 6 | bits)
        } else {
            (memory.allocate(64 << bits, 64 << bits).unwrap(), None, bits)
        };
        let rig = Rig {
            memory,
            clock,
            smmu,
            command_queue,
            command_bits,
            event_queue,
            table,
            level2,
        };
        rig.write(CR1, 0xd75);
        rig.write(CR2, 2);
        rig.write(STRTAB_BASE_CFG, cfg);
        rig.smmu.write64(STRTAB_BASE, rig.table.address);
        rig.smmu
            .write64(CMDQ_BASE, rig.command_queue.address | u64::from(command_bits));
        rig.smmu
            .write64(EVENTQ_BASE, rig.event_queue.address | u64::from(event_bits));
        for index in [CMDQ_PROD, CMDQ_CONS, EVENTQ_PROD, EVENTQ_CONS] {
            rig.write(index, 0);
        }
        rig
    }

    pub(crate) fn shut(&self) {
        self.write(GBPA, self.read(GBPA) | 1 << 31 | 1 << 20);
        while self.read(GBPA) >> 31 != 0 {
            self.clock.now_us();
        }
    }

    pub(crate) fn enable_queues(&self) {
        self.set_cr0(8);
        self.set_cr0(0xc);
        self.write(IRQ_CTRL, 5);
        self.clock.advance(10);
    }

    pub(crate) fn set_cr0(&self, value: u32) {
        self.write(CR0, value);
        for _ in 0..100 {
            self.clock.now_us();
        }
        assert_eq!(self.read(CR0ACK), value);
    }

    pub(crate) fn read(&self, offset: usize) -> u32 {
        self.smmu.read32(offset)
    }

    pub(crate) fn write(&self, offset: usize, value: u32) {
        self.smmu.write32(offset, value);
    }

    /// Writes a word and publishes it.
    pub(crate) fn store(&self, address: u64, value: u64) {
        let mut memory = self.memory.clone();
        memory.write(address, value);
        memory.publish(address, 8);
    }

    /// Puts a command in the queue and shows it to the SMMU.
    pub(crate) fn command(&self, words: [u64; 2]) {
        let prod = self.read(CMDQ_PROD);
        let slot = self.command_queue.address + u64::from(prod & ((1 << self.command_bits) - 1)) * 16;
        self.store(slot, words[0]);
        self.store(slot + 8, words[1]);
        self.write(CMDQ_PROD, (prod + 1) & ((2 << self.command_bits) - 1));
    }

    /// Adds a CMD_SYNC and waits until it is consumed.
    pub(crate) fn sync(&self) {
        self.command(SYNC);
        self.drain();
    }

    pub(crate) fn drain(&self) {
        let left = |rig: &Rig| rig.read(CMDQ_CONS) & 0xf_ffff != rig.read(CMDQ_PROD);
        for _ in 0..1000 {
            if !left(self) {
                return;
            }
            self.clock.now_us();
        }
        panic!("the queue does not move");
    }

    pub(crate) fn commands(&self, words: &[[u64; 2]]) {
        for words in words {
            self.command(*words);
        }
        self.sync();
    }

    /// The address of a stream's entry.
    pub(crate) fn entry(&self, stream: u32) -> u64 {
        self.level2.unwrap_or(self.table).address + u64::from(stream) * 64
    }

    /// Replaces an entry as the manual wants it: shut it, change the rest, open it, each step synchronised.
    pub(crate) fn replace_entry(&self, stream: u32, words: [u64; 8]) {
        let entry = self.entry(stream);
        self.store(entry, 0);
        self.commands(&[cfgi_ste(stream, true)]);
        self.store_body(stream, &words);
        self.commands(&[cfgi_ste(stream, true)]);
        self.store(entry, words[0]);
        self.commands(&[cfgi_ste(stream, true)]);
    }

    /// Writes all words of an entry but the first.
    pub(crate) fn store_body(&self, stream: u32, words: &[u64; 8]) {
        for (word, offset) in words.iter().zip((0..).step_by(8)).skip(1) {
            self.store(self.entry(stream) + offset, *word);
        }
    }

    /// Writes an entry without any care: for tests that expect no violation from it, or just that.
    pub(crate) fn overwrite_entry(&self, stream: u32, words: [u64; 8]) {
        for (word, offset) in words.iter().zip((0..).step_by(8)) {
            self.store(self.entry(stream) + offset, *word);
        }
    }

    pub(crate) fn tree(&self) -> Tree {
        let root = self.memory.clone().allocate(0x1000, 0x1000).unwrap();
        Tree {
            memory: self.memory.clone(),
            root: root.address,
            bits: 39,
            level: 1,
        }
    }

    /// Attaches `STREAM` to a new tree that maps nothing.
    pub(crate) fn attached(&self) -> Tree {
        let tree = self.tree();
        self.replace_entry(STREAM, stage2_entry(tree.root, VMID));
        tree
    }

    pub(crate) fn dma(&self, ipa: u64, write: bool) -> DmaOutcome {
        self.smmu.dma(STREAM, ipa, write)
    }

    /// A read that must be translated.
    #[track_caller]
    pub(crate) fn reaches(&self, ipa: u64) -> u64 {
        let outcome = self.dma(ipa, false);
        outcome
            .translated()
            .unwrap_or_else(|| panic!("{ipa:#x}: {outcome:x?}"))
    }

    /// An access that must be blocked with an event of `kind`.
    #[track_caller]
    pub(crate) fn blocked(&self, ipa: u64, write: bool, kind: u8) {
        let outcome = self.dma(ipa, write);
        assert!(outcome.is_aborted(), "{outcome:x?}");
        assert_eq!(outcome.event_kind(), Some(kind), "{outcome:x?}");
    }

    #[track_caller]
    pub(crate) fn faults(&self, ipa: u64) {
        self.blocked(ipa, false, Event::F_TRANSLATION);
    }

    #[track_caller]
    pub(crate) fn settled(&self) {
        assert_eq!(self.smmu.unsettled(), Vec::<String>::new());
    }
}
