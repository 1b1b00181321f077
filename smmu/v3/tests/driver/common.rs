//! A machine of models, with the gate shut, and stage-2 tables to attach streams to.

use mmio::{Block, TableMemory};
use smmu_model::v3::{Config, DmaOutcome, Smmu};
use smmu_model::{Clock, Memory};
use smmu_v3::{Domain, Driver, Error, Event, EventKind, IpaRange, Setup};

/// The driver over the models.
pub(crate) type ModelDriver = Driver<Smmu, Memory, Clock>;

/// Memory, time and one SMMU. From the moment the gate is shut, bypass is a violation.
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    pub(crate) clock: Clock,
    pub(crate) smmu: Smmu,
}

impl Machine {
    pub(crate) fn new(config: Config) -> Self {
        let coherent = config.idr[0] & 1 << 4 != 0;
        let memory = if coherent {
            Memory::coherent()
        } else {
            Memory::non_coherent()
        };
        let clock = Clock::new();
        let smmu = Smmu::new(config, &memory, &clock);
        smmu_gate::shut_v3(&smmu, &clock).unwrap();
        smmu.forbid_bypass();
        Machine { memory, clock, smmu }
    }

    pub(crate) fn try_probe(&self, max_stream: u32) -> Result<ModelDriver, Error> {
        let setup = Setup {
            max_stream,
            coherent: self.memory.is_coherent(),
        };
        Driver::probe(self.smmu.clone(), self.memory.clone(), self.clock.clone(), &setup)
    }

    pub(crate) fn probe(&self, max_stream: u32) -> ModelDriver {
        self.try_probe(max_stream).unwrap()
    }

    /// Nothing is left undone, and nothing was done wrong.
    #[track_caller]
    pub(crate) fn assert_settled(&self) {
        assert_eq!(self.smmu.unsettled(), Vec::<String>::new());
        self.smmu.violations().assert_none();
    }

    /// Where a write to `ipa` lands.
    pub(crate) fn write(&self, stream: u32, ipa: u64) -> Option<u64> {
        self.lands(stream, ipa, true)
    }

    /// Where a read of `ipa` lands.
    pub(crate) fn read(&self, stream: u32, ipa: u64) -> Option<u64> {
        self.lands(stream, ipa, false)
    }

    fn lands(&self, stream: u32, ipa: u64, write: bool) -> Option<u64> {
        match self.smmu.dma(stream, ipa, write) {
            DmaOutcome::Translated { pa, .. } => Some(pa),
            DmaOutcome::Aborted { .. } => None,
            other => panic!("stream {stream:#x}, IPA {ipa:#x}: {other:?}"),
        }
    }
}

/// Takes the events out, folded.
pub(crate) fn events(driver: &mut ModelDriver) -> Vec<Event> {
    let mut all = Vec::new();
    while driver.interrupt(|event| all.push(*event)).more {}
    all
}

/// Takes the events out and keeps what they are.
pub(crate) fn kinds(driver: &mut ModelDriver) -> Vec<(u32, EventKind)> {
    events(driver)
        .iter()
        .map(|event| (event.stream, event.kind))
        .collect()
}

/// A stage-2 tree of 39 bits, from level 1, with 4 KiB pages and 2 MiB blocks.
pub(crate) struct Tables {
    memory: Memory,
    root: Block,
    pub(crate) vmid: u16,
}

/// Valid, normal write-back memory, inner shareable, access flag set, readable (DDI 0487 D8.3.1).
const READ_ONLY: u64 = 0b11 | 0xf << 2 | 1 << 6 | 3 << 8 | 1 << 10;
/// Writable as well.
const READ_WRITE: u64 = READ_ONLY | 1 << 7;
/// A block has bit 1 clear.
const PAGE_BIT: u64 = 0b10;
const ADDRESS: u64 = 0xffff_ffff_f000;

impl Tables {
    pub(crate) fn new(machine: &Machine, vmid: u16) -> Self {
        let mut memory = machine.memory.clone();
        let root = memory.allocate(4096, 4096).unwrap();
        Tables { memory, root, vmid }
    }

    pub(crate) fn domain(&self) -> Domain {
        Domain {
            root: self.root.address,
            vmid: self.vmid,
            ipa_bits: 39,
            pa_bits: 40,
            start_level: 1,
        }
    }

    pub(crate) fn map(&mut self, ipa: u64, pa: u64) {
        let entry = self.entry(ipa, 3);
        self.set(entry, pa | READ_WRITE);
    }

    pub(crate) fn map_read_only(&mut self, ipa: u64, pa: u64) {
        let entry = self.entry(ipa, 3);
        self.set(entry, pa | READ_ONLY);
    }

    pub(crate) fn map_block(&mut self, ipa: u64, pa: u64) {
        let entry = self.entry(ipa, 2);
        self.set(entry, (pa | READ_WRITE) & !PAGE_BIT);
    }

    /// Without invalidation: that is the driver's part.
    pub(crate) fn unmap(&mut self, ipa: u64) {
        let entry = self.entry(ipa, 3);
        self.set(entry, 0);
    }

    pub(crate) fn unmap_block(&mut self, ipa: u64) {
        let entry = self.entry(ipa, 2);
        self.set(entry, 0);
    }

    /// The range of one page.
    pub(crate) fn page(&self, ipa: u64) -> IpaRange {
        IpaRange {
            vmid: self.vmid,
            ipa,
            size: 4096,
        }
    }

    /// The address of the descriptor of `level` for `ipa`; tables on the way are made.
    fn entry(&mut self, ipa: u64, level: u32) -> u64 {
        let index = |level: u32| (ipa >> (39 - 9 * level)) & 0x1ff;
        let mut table = self.root.address;
        for above in 1..level {
            let entry = table + 8 * index(above);
            let descriptor = self.memory.read(entry);
            table = if descriptor & 1 == 0 {
                let next = self.memory.allocate(4096, 4096).unwrap().address;
                self.set(entry, next | 0b11);
                next
            } else {
                descriptor & ADDRESS
            };
        }
        table + 8 * index(level)
    }

    fn set(&mut self, entry: u64, descriptor: u64) {
        self.memory.write(entry, descriptor);
        self.memory.publish(entry, 8);
    }
}
