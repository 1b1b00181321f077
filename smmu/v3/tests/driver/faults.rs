//! Hardware that is slow, stuck or refuses: every wait ends, and an error is never less isolated than before.

use crate::common::{Machine, Tables, events};
use mmio::Bus;
use smmu_model::Rule;
use smmu_model::v3::{Config, Fates, Fault, Line};
use smmu_v3::{Error, Event, EventKind, IpaRange, Register};

const STREAM: u32 = 0x10;
const PA: u64 = 0x6000_0000;
const ABORT: Fates = Fates {
    abort: true,
    bypass: false,
    translate: false,
};
/// The time that the core gives one call of a component.
const CALL_LIMIT_US: u64 = 250_000;

/// Polls take longer, so that timeouts are not a million polls away.
fn hasten(machine: &Machine) {
    machine.clock.set_step(100);
}

/// Runs `act` and checks that it ended within a call's time.
fn in_time<T>(machine: &Machine, act: impl FnOnce() -> T) -> T {
    let start = machine.clock.peek_us();
    let result = act();
    let waited = machine.clock.peek_us() - start;
    assert!(waited < CALL_LIMIT_US, "took {waited} us");
    result
}

#[test]
fn commands_that_are_not_consumed_end_in_a_timeout() {
    for fault in [Fault::CommandsStuck, Fault::SyncStuck] {
        let machine = Machine::new(Config::qemu10());
        let mut driver = machine.probe(0xffff);
        let mut tables = Tables::new(&machine, 1);
        tables.map(0x1000, PA);
        driver.attach(STREAM, &tables.domain()).unwrap();
        hasten(&machine);
        machine.smmu.inject(fault);
        let range = IpaRange {
            vmid: 1,
            ipa: 0,
            size: 0,
        };
        let error = in_time(&machine, || driver.invalidate(&range)).unwrap_err();
        assert!(
            matches!(error, Error::CommandTimeout { .. }),
            "{fault:?}: {error}"
        );
        let error = in_time(&machine, || driver.detach(STREAM)).unwrap_err();
        assert!(
            matches!(error, Error::CommandTimeout { .. }),
            "{fault:?}: {error}"
        );
        let error = in_time(&machine, || driver.attach(STREAM + 1, &tables.domain())).unwrap_err();
        assert!(
            matches!(error, Error::CommandTimeout { .. }),
            "{fault:?}: {error}"
        );
        assert_eq!(machine.smmu.fates(STREAM + 1), ABORT);
        // A queue that goes on after all is in step, and nothing has to be probed again.
        machine.smmu.repair();
        driver.detach(STREAM).unwrap();
        driver.attach(STREAM + 1, &tables.domain()).unwrap();
        assert_eq!(machine.write(STREAM, 0x1000), None);
        assert_eq!(machine.write(STREAM + 1, 0x1000), Some(PA));
        driver.release().unwrap();
        machine.assert_settled();
    }
}

/// A queue of eight fills up with the first batches that time out.
#[test]
fn a_full_queue_ends_in_a_timeout() {
    let machine = Machine::new(Config::small());
    let mut driver = machine.probe(0x3f);
    hasten(&machine);
    machine.smmu.inject(Fault::CommandsStuck);
    for _ in 0..8 {
        let range = IpaRange {
            vmid: 1,
            ipa: 0,
            size: 0,
        };
        let error = in_time(&machine, || driver.invalidate(&range)).unwrap_err();
        assert!(matches!(error, Error::CommandTimeout { .. }), "{error}");
    }
    machine.smmu.repair();
    driver.release().unwrap();
    machine.assert_settled();
}

#[test]
fn a_release_that_cannot_be_finished_keeps_the_driver_and_its_memory() {
    let machine = Machine::new(Config::qemu10());
    let driver = machine.probe(0xffff);
    hasten(&machine);
    for fault in [Fault::SyncStuck, Fault::IrqCtrlAckStuck] {
        machine.smmu.inject(fault);
    }
    let blocks = machine.memory.allocated().len();
    let unreleased = in_time(&machine, || driver.release().err()).unwrap();
    assert!(matches!(unreleased.error, Error::CommandTimeout { .. }));
    assert_eq!(machine.memory.allocated().len(), blocks);
    machine.smmu.repair();
    unreleased.driver.release().unwrap();
    assert_eq!(machine.memory.allocated(), []);
    machine.assert_settled();
}

#[test]
fn a_probe_that_is_not_acknowledged_leaves_the_smmu_shut() {
    for (fault, register) in [
        (Fault::Cr0AckStuck, Register::Cr0Ack),
        (Fault::IrqCtrlAckStuck, Register::IrqCtrlAck),
    ] {
        let machine = Machine::new(Config::qemu10());
        hasten(&machine);
        machine.smmu.inject(fault);
        let error = in_time(&machine, || machine.try_probe(0xffff)).unwrap_err();
        assert!(
            matches!(error, Error::Register { register: culprit, .. } if culprit == register),
            "{error}"
        );
        assert_eq!(machine.smmu.fates(STREAM), ABORT);
    }
}

#[test]
fn a_probe_whose_commands_hang_gives_the_memory_back() {
    for fault in [
        Fault::CommandsStuck,
        Fault::SyncStuck,
        Fault::CommandIllegal { after: 0 },
    ] {
        let machine = Machine::new(Config::qemu10());
        hasten(&machine);
        machine.smmu.inject(fault);
        assert!(
            in_time(&machine, || machine.try_probe(0xffff)).is_err(),
            "{fault:?}"
        );
        assert_eq!(machine.memory.allocated(), [], "{fault:?}");
        assert!(smmu_gate::v3::is_shut(&machine.smmu));
        machine.smmu.repair();
        machine.clock.set_step(1);
        machine.probe(0xffff).release().unwrap();
        machine.assert_settled();
    }
}

/// A frame that is mapped one page too small.
#[derive(Debug)]
struct OnePage(smmu_model::v3::Smmu);

impl Bus for OnePage {
    fn read32(&self, offset: usize) -> u32 {
        if offset < 0x1_0000 {
            self.0.read32(offset)
        } else {
            u32::MAX
        }
    }
    fn write32(&self, offset: usize, value: u32) {
        if offset < 0x1_0000 {
            self.0.write32(offset, value);
        }
    }
    fn read64(&self, offset: usize) -> u64 {
        self.0.read64(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.0.write64(offset, value);
    }
}

#[test]
fn a_frame_without_its_second_page_is_an_error() {
    let machine = Machine::new(Config::qemu10());
    hasten(&machine);
    let setup = smmu_v3::Setup {
        max_stream: 0xffff,
        coherent: true,
    };
    let bus = OnePage(machine.smmu.clone());
    let error =
        smmu_v3::Driver::probe(bus, machine.memory.clone(), machine.clock.clone(), &setup).unwrap_err();
    let register = Register::EventProducer;
    assert!(
        matches!(error, Error::Register { register: culprit, read: u32::MAX, .. } if culprit == register),
        "{error}"
    );
    assert_eq!(machine.memory.allocated(), []);
    machine.assert_settled();
}

#[test]
fn a_refused_command_is_an_error_and_the_queue_goes_on() {
    // An attach issues seven commands.
    for after in 0..7 {
        for (fault, code) in [
            (Fault::CommandIllegal { after }, 1),
            (Fault::CommandAbort { after }, 2),
        ] {
            let machine = Machine::new(Config::qemu10());
            let mut driver = machine.probe(0xffff);
            let mut tables = Tables::new(&machine, 1);
            tables.map(0x1000, PA);
            machine.smmu.inject(fault);
            let error = driver.attach(STREAM, &tables.domain()).unwrap_err();
            assert!(
                matches!(error, Error::Command(fault) if fault.code == code),
                "{fault:?}: {error}"
            );
            assert_eq!(machine.write(STREAM, 0x1000), None, "{fault:?}");
            assert_eq!(machine.smmu.fates(STREAM), ABORT, "{fault:?}");
            if after == 5 {
                // The valid entry was taken back before the SMMU was known to have it, as there is nothing else
                // to do. To the model that is a third entry between two invalid ones.
                machine.smmu.violations().expect(Rule::HalfWritten);
            }
            driver.attach(STREAM, &tables.domain()).unwrap();
            assert_eq!(machine.write(STREAM, 0x1000), Some(PA));
            machine.assert_settled();
        }
    }
}

#[test]
fn a_refused_command_names_itself() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    machine.smmu.inject(Fault::CommandIllegal { after: 0 });
    let index = machine.smmu.read32(0x9c) & 0xff;
    let error = driver
        .invalidate(&IpaRange {
            vmid: 1,
            ipa: 0,
            size: 0,
        })
        .unwrap_err();
    assert_eq!(
        error,
        Error::Command(smmu_v3::CommandFault {
            code: 1,
            opcode: 0x28,
            index
        })
    );
    machine.assert_settled();
}

#[test]
fn a_detach_that_was_refused_can_be_repeated() {
    for after in 0..4 {
        let machine = Machine::new(Config::qemu10());
        let mut driver = machine.probe(0xffff);
        let mut tables = Tables::new(&machine, 1);
        tables.map(0x1000, PA);
        driver.attach(STREAM, &tables.domain()).unwrap();
        assert_eq!(machine.write(STREAM, 0x1000), Some(PA));
        machine.smmu.inject(Fault::CommandIllegal { after });
        assert!(matches!(driver.detach(STREAM), Err(Error::Command(_))));
        driver.detach(STREAM).unwrap();
        assert_eq!(machine.write(STREAM, 0x1000), None);
        machine.assert_settled();
    }
}

#[test]
fn global_errors_are_acknowledged_and_told() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    machine.smmu.take_irq(Line::GlobalError);
    machine.smmu.inject(Fault::GlobalError(1 << 8));
    assert!(machine.smmu.take_irq(Line::GlobalError));
    let report = driver.interrupt(|event| panic!("{event:?}"));
    assert_eq!(
        (report.global_errors, report.events, report.more),
        (1 << 8, 0, false)
    );
    assert_eq!(machine.smmu.read32(0x60), machine.smmu.read32(0x64));
    assert_eq!(driver.interrupt(|_| {}).global_errors, 0);
    machine.assert_settled();
}

#[test]
fn an_event_queue_that_cannot_be_written_is_told_and_works_again() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    machine.smmu.inject(Fault::EventQueueAbort);
    assert_eq!(machine.write(STREAM, 0x1000), None);
    assert!(machine.smmu.take_irq(Line::GlobalError));
    assert_eq!(events(&mut driver), [Event::LOST]);
    machine.smmu.repair();
    assert_eq!(machine.write(STREAM, 0x1000), None);
    assert_eq!(events(&mut driver)[0].kind, EventKind::NotAttached);
    machine.assert_settled();
}
