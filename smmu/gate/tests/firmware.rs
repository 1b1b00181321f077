//! Whatever firmware left behind: after the gate every stream aborts, and on the way no stream that
//! aborted is ever let through.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use mmio::{Block, Bus, TableMemory};
use smmu_gate::v3::is_shut;
use smmu_gate::{Found, GateError, shut_v3};
use smmu_model::v3::{Config, Delays, Fates, Fault, Smmu};
use smmu_model::{Clock, Memory};
use std::cell::RefCell;
use std::rc::Rc;

const CR0: usize = 0x20;
const CR0ACK: usize = 0x24;
const GBPA: usize = 0x44;
const IRQ_CTRL: usize = 0x50;
const UPDATE: u32 = 1 << 31;
const ABORT: u32 = 1 << 20;
const SMMUEN: u32 = 1;
const EVENTQEN: u32 = 1 << 2;
const CMDQEN: u32 = 1 << 3;

/// Streams with different entries in firmware's table: bypass, abort, invalid, beyond the table.
const STREAMS: [u32; 4] = [0, 1, 2, 100];
const ABORTED: Fates = Fates {
    abort: true,
    bypass: false,
    translate: false,
};
const BYPASSED: Fates = Fates {
    abort: false,
    bypass: true,
    translate: false,
};

struct Machine {
    memory: Memory,
    clock: Clock,
    smmu: Smmu,
}

impl Machine {
    fn new(config: Config) -> Self {
        let (memory, clock) = (Memory::coherent(), Clock::new());
        let smmu = Smmu::new(config, &memory, &clock);
        Machine { memory, clock, smmu }
    }

    /// As firmware does it, and waits.
    fn set_enables(&self, cr0: u32) {
        self.smmu.write32(CR0, cr0);
        self.clock.advance(100);
        assert_eq!(self.smmu.read32(CR0ACK), cr0);
    }

    fn allocate(&self, size: usize) -> Block {
        self.memory.clone().allocate(size, size).unwrap()
    }

    /// Enables the queues, and makes the SMMU forget everything.
    fn enable_queues(&self) {
        let smmu = &self.smmu;
        smmu.write32(0x28, 0xd75); // CR1: write-back, inner shareable
        smmu.write32(0x2c, 0b010); // CR2: RECINVSID
        let commands = self.allocate(256);
        smmu.write64(0x90, commands.address | 4);
        smmu.write32(0x98, 0);
        smmu.write32(0x9c, 0);
        smmu.write64(0xa0, self.allocate(512).address | 4);
        smmu.write32(0x1_00a8, 0);
        smmu.write32(0x1_00ac, 0);
        self.set_enables(CMDQEN);
        self.set_enables(CMDQEN | EVENTQEN);
        let mut memory = self.memory.clone();
        for (slot, words) in (0..).zip([[0x04, 31], [0x30, 0], [0x46, 0]]) {
            memory.write(commands.address + 16 * slot, words[0]);
            memory.write(commands.address + 16 * slot + 8, words[1]);
        }
        memory.publish(commands.address, 48);
        smmu.write32(0x98, 3);
        self.clock.advance(50);
        assert_eq!(smmu.read32(0x9c), 3);
    }

    /// Translation with a linear table of four entries: bypass, abort, two invalid.
    fn translate(&self) {
        self.enable_queues();
        let table = self.allocate(256);
        let mut memory = self.memory.clone();
        memory.write(table.address, 0b1001);
        memory.write(table.address + 64, 0b0001);
        memory.publish(table.address, 256);
        self.smmu.write64(0x80, table.address);
        self.smmu.write32(0x88, 2);
        self.set_enables(CMDQEN | EVENTQEN | SMMUEN);
        assert_eq!(
            STREAMS.map(|stream| self.smmu.fates(stream)),
            [BYPASSED, ABORTED, ABORTED, ABORTED]
        );
    }

    /// Makes the hardware faulty, and polls longer, so that a timeout is not a hundred thousand polls away.
    fn inject(&self, fault: Fault) {
        self.smmu.inject(fault);
        self.clock.set_step(100);
    }

    /// From now on, panics when a stream that certainly aborted may be let through.
    fn watch(&self) {
        let before = RefCell::new(STREAMS.map(|stream| self.smmu.fates(stream)));
        self.smmu.on_every_change(move |smmu| {
            let now = STREAMS.map(|stream| smmu.fates(stream));
            for ((stream, before), now) in STREAMS.iter().zip(before.replace(now)).zip(now) {
                assert!(
                    before != ABORTED || now == ABORTED,
                    "stream {stream:#x} went from abort to {now:?}"
                );
            }
        });
    }

    #[track_caller]
    fn check(&self, found: Found) {
        self.watch();
        let report = shut_v3(&self.smmu, &self.clock).unwrap();
        assert_eq!(report.found, found);
        assert!(is_shut(&self.smmu));
        assert_eq!(STREAMS.map(|stream| self.smmu.fates(stream)), [ABORTED; 4]);
        assert_eq!(
            [CR0, CR0ACK, IRQ_CTRL].map(|offset| self.smmu.read32(offset)),
            [0; 3]
        );
        assert_eq!(self.smmu.unsettled(), Vec::<String>::new());
        self.smmu.violations().assert_none();
    }
}

#[test]
fn an_smmu_after_reset_is_open_and_then_shut() {
    let machine = Machine::new(Config::qemu10());
    assert_eq!(STREAMS.map(|stream| machine.smmu.fates(stream)), [BYPASSED; 4]);
    machine.check(Found::Open);
}

#[test]
fn an_smmu_that_firmware_shut_stays_shut() {
    let machine = Machine::new(Config {
        gbpa_reset: ABORT | 0x1000,
        ..Config::qemu10()
    });
    machine.check(Found::Shut);
}

#[test]
fn shutting_twice_is_shutting_once() {
    let machine = Machine::new(Config::qemu10());
    machine.check(Found::Open);
    machine.check(Found::Shut);
}

#[test]
fn an_update_under_way_is_waited_for() {
    for value in [0x1000, ABORT | 0x1000] {
        let machine = Machine::new(Config::qemu10());
        machine.smmu.write32(GBPA, UPDATE | value);
        machine.check(if value & ABORT == 0 {
            Found::Open
        } else {
            Found::Shut
        });
    }
}

/// Whose CR0 takes longer to change than anything else.
fn slow() -> Config {
    let delays = Delays {
        cr0ack: 90,
        ..Config::qemu10().delays
    };
    Config {
        delays,
        ..Config::qemu10()
    }
}

#[test]
fn a_running_translation_is_ended_without_a_gap() {
    let machine = Machine::new(Config::qemu10());
    machine.translate();
    machine.check(Found::Translating);
}

#[test]
fn a_translation_that_is_being_enabled_is_ended() {
    let machine = Machine::new(slow());
    machine.translate();
    machine.set_enables(CMDQEN | EVENTQEN);
    machine.smmu.write32(CR0, CMDQEN | EVENTQEN | SMMUEN);
    machine.check(Found::Translating);
}

#[test]
fn a_translation_that_is_being_disabled_is_shut() {
    let machine = Machine::new(slow());
    machine.translate();
    machine.smmu.write32(CR0, CMDQEN | EVENTQEN);
    machine.check(Found::Translating);
}

#[test]
fn queues_and_interrupts_that_firmware_left_on_are_switched_off() {
    let machine = Machine::new(Config::qemu10());
    machine.enable_queues();
    machine.smmu.write32(IRQ_CTRL, 0b101);
    machine.check(Found::Open);
}

#[test]
fn a_stuck_update_is_an_error_and_translation_stays_on() {
    let machine = Machine::new(Config::qemu10());
    machine.translate();
    machine.inject(Fault::GbpaStuck);
    machine.watch();
    let error = shut_v3(&machine.smmu, &machine.clock).unwrap_err();
    assert!(
        matches!(error, GateError::UpdateStuck { gbpa, .. } if gbpa & (UPDATE | ABORT) == UPDATE | ABORT),
        "{error}"
    );
    assert_eq!(machine.smmu.read32(CR0) & SMMUEN, SMMUEN);
}

#[test]
fn an_update_that_never_ended_is_an_error() {
    let machine = Machine::new(Config::qemu10());
    machine.inject(Fault::GbpaStuck);
    machine.smmu.write32(GBPA, UPDATE | 0x1000);
    let error = shut_v3(&machine.smmu, &machine.clock).unwrap_err();
    assert!(
        matches!(error, GateError::UpdateStuck { gbpa, .. } if gbpa & ABORT == 0),
        "{error}"
    );
    machine.smmu.violations().assert_none();
}

#[test]
fn a_change_of_cr0_that_is_never_acknowledged_is_an_error() {
    let machine = Machine::new(Config::qemu10());
    machine.translate();
    machine.inject(Fault::Cr0AckStuck);
    machine.watch();
    let error = shut_v3(&machine.smmu, &machine.clock).unwrap_err();
    let expected = (CMDQEN | EVENTQEN, CMDQEN | EVENTQEN | SMMUEN);
    assert!(
        matches!(error, GateError::NotAcknowledged { cr0, cr0ack, .. } if (cr0, cr0ack) == expected),
        "{error}"
    );
    assert_ne!(
        machine.smmu.read32(GBPA) & ABORT,
        0,
        "if it takes effect late, it is shut"
    );
}

#[test]
fn interrupts_that_cannot_be_switched_off_are_an_error() {
    let machine = Machine::new(Config::qemu10());
    machine.smmu.write32(IRQ_CTRL, 0b101);
    machine.clock.advance(10);
    machine.inject(Fault::IrqCtrlAckStuck);
    let error = shut_v3(&machine.smmu, &machine.clock).unwrap_err();
    assert!(
        matches!(
            error,
            GateError::InterruptsNotAcknowledged {
                irq_ctrlack: 0b101,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn features_are_read_as_qemu_has_them() {
    let machine = Machine::new(Config::qemu10());
    let features = shut_v3(&machine.smmu, &machine.clock).unwrap().features;
    assert_eq!((features.major, features.minor), (3, 1));
    assert!(features.stage2 && features.granule_4k && features.aarch64_tables && features.little_endian);
    assert!(features.coherent && features.two_level && features.range_invalidation);
    assert!(
        !features.el2 && !features.ats && !features.broadcast && !features.forced_stall && !features.preset
    );
    assert_eq!(
        (features.output_bits, features.stream_bits, features.vmid_bits),
        (44, 16, 16)
    );
    assert_eq!((features.command_bits, features.event_bits), (19, 19));
}

#[test]
fn features_that_are_missing_are_told() {
    let machine = Machine::new(
        Config::small()
            .with_idr(0, 0, 0, 0)
            .with_idr(3, 10, 10, 0)
            .with_idr(0, 4, 4, 0),
    );
    let features = shut_v3(&machine.smmu, &machine.clock).unwrap().features;
    assert!(!features.stage2 && !features.coherent && !features.two_level && !features.range_invalidation);
    assert_eq!(
        (features.output_bits, features.stream_bits, features.vmid_bits),
        (36, 6, 8)
    );
}

/// A frame that reads the same everywhere, and counts what is written.
struct Nothing {
    reads: u32,
    writes: Rc<RefCell<u32>>,
}

impl Bus for Nothing {
    fn read32(&self, _: usize) -> u32 {
        self.reads
    }
    fn write32(&self, _: usize, _: u32) {
        *self.writes.borrow_mut() += 1;
    }
    fn read64(&self, _: usize) -> u64 {
        u64::from(self.reads) << 32 | u64::from(self.reads)
    }
    fn write64(&self, _: usize, _: u64) {
        *self.writes.borrow_mut() += 1;
    }
}

#[test]
fn a_frame_without_a_device_is_an_error_and_is_not_written() {
    for reads in [0, u32::MAX] {
        let writes = Rc::new(RefCell::new(0));
        let frame = Nothing {
            reads,
            writes: writes.clone(),
        };
        let error = shut_v3(&frame, &Clock::new()).unwrap_err();
        assert_eq!(
            error,
            GateError::NoDevice {
                idr0: reads,
                idr1: reads,
                idr5: reads
            }
        );
        assert_eq!(*writes.borrow(), 0);
    }
}
