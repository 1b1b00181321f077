//! What an earlier owner, or the moment between two reads, leaves behind.

use crate::common::{Machine, Tables};
use mmio::Bus;
use smmu_model::v3::{Config, Fault, Smmu};
use smmu_v3::{Driver, IpaRange, Setup};
use std::cell::RefCell;

const STREAM: u32 = 0x10;
const PA: u64 = 0x6000_0000;
const CR0: usize = 0x20;
const CR1: usize = 0x28;
const CR2: usize = 0x2c;
const GERROR: usize = 0x60;
const GERRORN: usize = 0x64;
/// MSI addresses of global errors and of the event queue.
const IRQ_CFG0: [usize; 2] = [0x68, 0xb0];
/// SMMU_GERROR: event queue abort, and service failure mode.
const EVENTQ_ABT_ERR: u32 = 1 << 2;
const SFM_ERR: u32 = 1 << 8;

const ALL: IpaRange = IpaRange {
    vmid: 1,
    ipa: 0,
    size: 0,
};

/// A bus that remembers 64-bit writes: the model has no message interrupts.
#[derive(Debug)]
struct Recorder(Smmu, RefCell<Vec<(usize, u64)>>);

impl Bus for Recorder {
    fn read32(&self, offset: usize) -> u32 {
        self.0.read32(offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.0.write32(offset, value);
    }
    fn read64(&self, offset: usize) -> u64 {
        self.0.read64(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.1.borrow_mut().push((offset, value));
        self.0.write64(offset, value);
    }
}

/// An MSI would be a write to an address of somebody else's choice, and no wire would fire.
#[test]
fn interrupts_that_somebody_sent_elsewhere_come_by_wire_again() {
    let machine = Machine::new(Config::qemu10());
    let setup = Setup {
        max_stream: 0xffff,
        coherent: true,
    };
    let bus = Recorder(machine.smmu.clone(), RefCell::default());
    let driver = Driver::probe(bus, machine.memory.clone(), machine.clock.clone(), &setup).unwrap();
    let Ok((bus, ..)) = driver.release() else {
        panic!("not released")
    };
    for register in IRQ_CFG0 {
        assert!(bus.1.borrow().contains(&(register, 0)), "{register:#x}");
    }
    machine.assert_settled();
}

#[test]
fn errors_of_an_earlier_owner_are_not_told() {
    let machine = Machine::new(Config::qemu10());
    machine.smmu.inject(Fault::GlobalError(SFM_ERR));
    let mut driver = machine.probe(0xffff);
    assert_eq!(machine.smmu.read32(GERROR), machine.smmu.read32(GERRORN));
    assert_eq!(driver.interrupt(|event| panic!("{event:?}")).global_errors, 0);
    machine.assert_settled();
}

/// A shut SMMU may have its queues on: `is_shut` asks only whether anything gets through.
#[test]
fn queues_that_an_earlier_owner_left_on_are_off_before_they_move() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let enables = machine.smmu.read32(CR0);
    machine.smmu.write32(CR0, enables & !1);
    machine.clock.advance(50);
    driver.interrupt(|_| {});
    drop(driver);
    machine.probe(0x3f).release().unwrap();
    machine.smmu.violations().assert_none();
}

/// Changing CR0 while a change is outstanding is CONSTRAINED UNPREDICTABLE.
#[test]
fn an_outstanding_change_is_waited_for_before_the_next() {
    for fault in [Fault::Cr0AckStuck, Fault::IrqCtrlAckStuck] {
        let machine = Machine::new(Config::qemu10());
        let driver = machine.probe(0xffff);
        machine.clock.set_step(100);
        machine.smmu.inject(fault);
        let mut unreleased = driver.release().unwrap_err();
        for _ in 0..2 {
            unreleased = unreleased.driver.release().unwrap_err();
        }
        machine.smmu.repair();
        unreleased.driver.release().unwrap();
        machine.assert_settled();
    }
}

/// The driver of the outstanding change may be gone, and another one may try.
#[test]
fn a_change_that_a_failed_probe_left_outstanding_is_waited_for() {
    let machine = Machine::new(Config::qemu10());
    machine.clock.set_step(100);
    machine.smmu.inject(Fault::Cr0AckStuck);
    for _ in 0..2 {
        machine.try_probe(0xffff).unwrap_err();
    }
    machine.smmu.violations().assert_none();
}

/// An error that comes up while another one is handled is not acknowledged unseen.
#[test]
fn only_errors_that_were_seen_are_acknowledged() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    machine.smmu.inject(Fault::GlobalError(EVENTQ_ABT_ERR));
    let smmu = machine.smmu.clone();
    let first = driver.interrupt(|_| smmu.inject(Fault::GlobalError(SFM_ERR)));
    assert_eq!(first.global_errors, EVENTQ_ABT_ERR);
    assert_eq!(driver.interrupt(|_| {}).global_errors, SFM_ERR);
    assert_eq!(driver.interrupt(|_| {}).global_errors, 0);
    machine.assert_settled();
}

/// A command that is refused after its batch timed out stops the queue until an interrupt finds it, and the other
/// errors of that moment are left to be told.
#[test]
fn a_command_refused_too_late_is_told_by_the_interrupt() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    machine.clock.set_step(100);
    machine.smmu.inject(Fault::CommandsStuck);
    driver.invalidate(&ALL).unwrap_err();
    machine.smmu.repair();
    machine.smmu.inject(Fault::CommandIllegal { after: 0 });
    machine.clock.advance(50);
    machine.smmu.inject(Fault::GlobalError(SFM_ERR));
    let report = driver.interrupt(|_| {});
    let fault = report.command_fault.unwrap();
    assert_eq!(
        (fault.code, fault.opcode, report.global_errors),
        (1, 0x28, SFM_ERR)
    );
    assert_eq!(driver.interrupt(|_| {}).command_fault, None);
    driver.invalidate(&ALL).unwrap();
    machine.assert_settled();
}

/// The same while an operation waits: its recovery acknowledges the command's error and no other.
#[test]
fn a_recovery_leaves_other_errors_to_the_interrupt() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    machine.smmu.inject(Fault::GlobalError(SFM_ERR));
    machine.smmu.inject(Fault::CommandIllegal { after: 0 });
    driver.invalidate(&ALL).unwrap_err();
    assert_eq!(driver.interrupt(|_| {}).global_errors, SFM_ERR);
    machine.assert_settled();
}

/// Write-back and inner shareable, or neither: an SMMU that does not snoop must not be told to allocate in caches.
#[test]
fn attributes_of_its_own_accesses_follow_coherence() {
    for (config, expected) in [(Config::qemu10(), 0xd75), (Config::non_coherent(), 0x820)] {
        let machine = Machine::new(config);
        let driver = machine.probe(0xffff);
        assert_eq!(machine.smmu.read32(CR1), expected);
        driver.release().unwrap();
        machine.assert_settled();
    }
}

/// The CPUs' broadcasts are not for it; where it hears none, the bit that says so is RES0.
#[test]
fn broadcast_invalidation_is_declined_where_it_is_heard() {
    for (heard, expected) in [(1, 0b110), (0, 0b010)] {
        let machine = Machine::new(Config::qemu10().with_idr(0, 5, 5, heard));
        let driver = machine.probe(0xffff);
        assert_eq!(machine.smmu.read32(CR2), expected);
        driver.release().unwrap();
        machine.assert_settled();
    }
}

/// A device goes on while its stream is detached: whatever it makes the SMMU remember meanwhile is forgotten.
#[test]
fn what_a_device_leaves_in_the_tlb_while_it_is_detached_is_forgotten() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let mut tables = Tables::new(&machine, 1);
    tables.map(0x1000, PA);
    driver.attach(STREAM, &tables.domain()).unwrap();
    machine.smmu.on_every_change(|smmu| {
        let _ = smmu.dma(STREAM, 0x1000, true);
    });
    driver.detach(STREAM).unwrap();
    machine.smmu.on_every_change(|_| {});
    tables.unmap(0x1000);
    machine.assert_settled();
}

#[test]
fn every_second_level_table_is_given_back() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    assert!(driver.two_level());
    let tables = Tables::new(&machine, 1);
    for stream in [0, 0x100, 0xffff] {
        driver.attach(stream, &tables.domain()).unwrap();
    }
    driver.release().unwrap();
    let left: Vec<u64> = machine
        .memory
        .allocated()
        .iter()
        .map(|block| block.address)
        .collect();
    assert_eq!(left, [tables.domain().root]);
    machine.assert_settled();
}
