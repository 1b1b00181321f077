//! A strict ITS, a strict redistributor, and the memory that they read.

use mmio::{Block, Bus, Clock, OutOfTableMemory, TableMemory};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

/// A clock that runs.
#[derive(Default)]
pub(super) struct Ticks(Cell<u64>);

impl Clock for Ticks {
    fn now_us(&self) -> u64 {
        self.0.set(self.0.get() + 10);
        self.0.get()
    }
}

/// Memory of which hardware sees what was published.
#[derive(Clone, Default)]
pub(super) struct Memory(Rc<RefCell<Words>>);

#[derive(Default)]
struct Words {
    blocks: Vec<Block>,
    written: BTreeMap<u64, u64>,
    seen: BTreeMap<u64, u64>,
    next: u64,
}

impl Memory {
    /// What hardware reads.
    pub(super) fn seen(&self, address: u64) -> u64 {
        assert!(self.block_of(address).is_some(), "hardware reads {address:#x}");
        self.0.borrow().seen.get(&address).copied().unwrap_or(0)
    }

    /// The block that holds an address.
    pub(super) fn block_of(&self, address: u64) -> Option<Block> {
        let words = self.0.borrow();
        let holds = |block: &&Block| address >= block.address && address - block.address < block.size as u64;
        words.blocks.iter().find(holds).copied()
    }
}

impl TableMemory for Memory {
    fn allocate(&mut self, size: usize, align: usize) -> Result<Block, OutOfTableMemory> {
        if size > 1 << 20 {
            return Err(OutOfTableMemory { size, align });
        }
        let mut words = self.0.borrow_mut();
        let address = (words.next.max(0x4000_0000) + 1).next_multiple_of(align as u64);
        words.next = address + size as u64;
        let block = Block { address, size };
        words.blocks.push(block);
        Ok(block)
    }

    fn free(&mut self, _: Block) {
        panic!("hardware may still look there");
    }

    fn read(&self, address: u64) -> u64 {
        self.0.borrow().written.get(&address).copied().unwrap_or(0)
    }

    fn write(&mut self, address: u64, value: u64) {
        assert!(self.block_of(address).is_some());
        self.0.borrow_mut().written.insert(address, value);
    }

    fn publish(&mut self, address: u64, size: usize) {
        let mut words = self.0.borrow_mut();
        let range = words.written.range(address..address + size as u64);
        let new: Vec<_> = range.map(|(address, value)| (*address, *value)).collect();
        words.seen.extend(new);
    }
}

/// How an ITS is made.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) typer: u64,
    /// What each `GITS_BASER` reads at first, and its bits that can be written.
    pub(super) basers: [(u64, u64); 8],
    /// It keeps what is said of shareability.
    pub(super) coherent: bool,
    /// It never comes to rest.
    pub(super) restless: bool,
    /// It stops at commands with this opcode, or does not come to them.
    pub(super) stalls_at: Option<u64>,
    pub(super) stops_at: Option<u64>,
}

const BASER_KEPT: u64 = !(7 << 56 | 0x1f << 48);

/// As QEMU makes one: 16 bits of event and device ID, entries of 12 bytes, redistributors by their numbers.
pub(super) const QEMU: Kind = Kind {
    typer: 1 | 11 << 4 | 15 << 8 | 15 << 13,
    basers: [
        (1 << 56 | 7 << 48, BASER_KEPT),
        (4 << 56 | 7 << 48, BASER_KEPT),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
        (0, 0),
    ],
    coherent: true,
    restless: false,
    stalls_at: None,
    stops_at: None,
};

/// What a device was mapped to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) event_bits: u32,
    pub(super) events: BTreeMap<u32, (u32, u16)>,
}

/// Everything that commands did.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) control: u32,
    pub(super) basers: [u64; 8],
    pub(super) queue: u64,
    write: u64,
    read: u64,
    pub(super) devices: BTreeMap<u32, Device>,
    pub(super) collections: BTreeMap<u16, u64>,
    /// Redistributors that commands wait for.
    pub(super) unsynchronised: usize,
    pub(super) commands: usize,
}

/// See the module.
#[derive(Clone)]
pub(super) struct Service {
    kind: Kind,
    memory: Memory,
    pub(super) state: Rc<RefCell<State>>,
}

impl Service {
    pub(super) fn new(kind: Kind, memory: &Memory) -> Service {
        let state = State {
            // Firmware left it on.
            control: 1,
            basers: kind.basers.map(|(value, _)| value),
            ..State::default()
        };
        Service {
            kind,
            memory: memory.clone(),
            state: Rc::new(RefCell::new(state)),
        }
    }

    fn carry_out(&self, state: &mut State) {
        while state.read & 1 == 0 && state.read != state.write {
            let base = state.queue & 0xf_ffff_ffff_f000;
            let [first, second, third, fourth] =
                [0, 8, 16, 24].map(|word| self.memory.seen(base + state.read + word));
            let opcode = first & 0xff;
            if self.kind.stalls_at == Some(opcode) {
                state.read |= 1;
                return;
            }
            if self.kind.stops_at == Some(opcode) {
                return;
            }
            self.command(state, [first, second, third, fourth]);
            state.commands += 1;
            state.read = (state.read + 32) % (((state.queue & 0xff) + 1) << 12);
        }
    }

    fn command(&self, state: &mut State, [first, second, third, fourth]: [u64; 4]) {
        assert_eq!(fourth, 0);
        let device = (first >> 32) as u32;
        match first & 0xff {
            0x05 => {
                assert!(state.collections.values().any(|target| *target == third));
                state.unsynchronised = 0;
            }
            0x08 if third >> 63 == 0 => {
                state.devices.remove(&device);
            }
            0x08 => {
                let event_bits = (second & 0x1f) as u32 + 1;
                let table = third & 0xf_ffff_ffff_ff00;
                assert!(event_bits <= (self.kind.typer >> 8 & 0x1f) as u32 + 1);
                let size = (1 << event_bits) * ((self.kind.typer >> 4 & 0xf) as usize + 1);
                let block = self.memory.block_of(table).expect("a table of the core");
                assert!(block.address == table && block.size >= size);
                assert!(self.entries(state, 1) > u64::from(device), "in the device table");
                let new = Device {
                    event_bits,
                    ..Device::default()
                };
                assert!(state.devices.insert(device, new).is_none());
                state.unsynchronised += 1;
            }
            0x09 => {
                assert_eq!(third >> 63, 1);
                let collection = (third & 0xffff) as u16;
                let in_hardware = self.kind.typer >> 24 & 0xff;
                assert!(u64::from(collection) < in_hardware.max(self.entries(state, 4)));
                let target = third & 0xf_ffff_ffff_0000;
                assert!(state.collections.insert(collection, target).is_none());
            }
            0x0a => {
                let (event, lpi) = ((second & 0xffff_ffff) as u32, (second >> 32) as u32);
                let collection = (third & 0xffff) as u16;
                assert!(state.collections.contains_key(&collection) && lpi >= 8192);
                let device = state.devices.get_mut(&device).expect("mapped");
                assert!(event >> device.event_bits == 0);
                assert!(device.events.insert(event, (lpi, collection)).is_none());
                state.unsynchronised += 1;
            }
            opcode => panic!("command {opcode:#x}"),
        }
    }

    /// How many entries the table of that type has.
    fn entries(&self, state: &State, kind: u64) -> u64 {
        let baser = state.basers.iter().find(|baser| *baser >> 56 & 7 == kind);
        let Some(baser) = baser.filter(|baser| *baser >> 63 != 0) else {
            return 0;
        };
        let page = [0x1000, 0x4000, 0x1_0000][(baser >> 8 & 3) as usize];
        let size = ((baser & 0xff) + 1) * page;
        let address = baser & 0xffff_ffff_f000;
        let block = self.memory.block_of(address).expect("a table of the core");
        assert!(address.is_multiple_of(page) && block.address == address && block.size as u64 >= size);
        size / ((baser >> 48 & 0x1f) + 1)
    }

    fn incoherent(&self) -> u64 {
        if self.kind.coherent { 0 } else { 3 << 10 }
    }
}

impl Bus for Service {
    fn read32(&self, offset: usize) -> u32 {
        assert_eq!(offset, 0);
        let control = self.state.borrow().control;
        let rests = control & 1 == 0 && !self.kind.restless;
        control & 1 | if rests { 1 << 31 } else { 0 }
    }

    fn write32(&self, offset: usize, value: u32) {
        assert_eq!(offset, 0);
        let mut state = self.state.borrow_mut();
        state.control = value & 1;
        if value & 1 != 0 {
            assert!(state.queue >> 63 == 1);
            self.carry_out(&mut state);
        }
    }

    fn read64(&self, offset: usize) -> u64 {
        let state = self.state.borrow();
        match offset {
            0x08 => self.kind.typer,
            0x80 => state.queue,
            0x88 => state.write,
            0x90 => state.read,
            0x100..0x140 => state.basers[(offset - 0x100) / 8],
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write64(&self, offset: usize, value: u64) {
        let mut state = self.state.borrow_mut();
        match offset {
            0x80 => {
                assert!(state.control & 1 == 0 && value & 0xf000 == 0);
                state.queue = value & !self.incoherent();
                state.read = 0;
            }
            0x88 => {
                state.write = value;
                if state.control & 1 != 0 {
                    self.carry_out(&mut state);
                }
            }
            0x100..0x140 => {
                assert!(state.control & 1 == 0);
                let index = (offset - 0x100) / 8;
                let (fixed, kept) = self.kind.basers[index];
                state.basers[index] = (fixed & !kept | value & kept) & !self.incoherent();
            }
            _ => panic!("write of {offset:#x}"),
        }
    }
}

/// The first frame of a redistributor.
pub(super) struct Frame {
    pub(super) typer: u64,
    /// LPIs cannot be turned off.
    pub(super) sticky: bool,
    pub(super) coherent: bool,
    pub(super) control: Cell<u32>,
    pub(super) configuration: Cell<u64>,
    pub(super) pending: Cell<u64>,
}

impl Frame {
    pub(super) fn new(number: u64) -> Frame {
        Frame {
            typer: 1 | number << 8,
            sticky: false,
            coherent: true,
            control: Cell::new(0),
            configuration: Cell::new(0),
            pending: Cell::new(0),
        }
    }
}

impl Bus for Frame {
    fn read32(&self, offset: usize) -> u32 {
        assert_eq!(offset, 0x2_0000);
        self.control.get()
    }

    fn write32(&self, offset: usize, value: u32) {
        assert_eq!(offset, 0x2_0000);
        let stays = if self.sticky { self.control.get() & 1 } else { 0 };
        self.control.set(value | stays);
    }

    fn read64(&self, offset: usize) -> u64 {
        match offset {
            0x2_0008 => self.typer,
            0x2_0070 => self.configuration.get(),
            0x2_0078 => self.pending.get() & !(1 << 62),
            _ => panic!("read of {offset:#x}"),
        }
    }

    fn write64(&self, offset: usize, value: u64) {
        assert_eq!(self.control.get() & 1, 0, "LPIs are on");
        let value = if self.coherent { value } else { value & !(3 << 10) };
        match offset {
            0x2_0070 => self.configuration.set(value),
            0x2_0078 => self.pending.set(value),
            _ => panic!("write of {offset:#x}"),
        }
    }
}
