//! Events: folded, bounded, and never lost in silence.

use crate::common::{Machine, Tables, events};
use smmu_model::v3::{Config, Line, Overflow};
use smmu_v3::{Event, EventKind};

const STREAM: u32 = 0x10;
const PA: u64 = 0x6000_0000;

fn fault(kind: EventKind, code: u32, address: u64, write: bool, count: u32) -> Event {
    Event {
        stream: STREAM,
        kind,
        code,
        address: Some(address),
        write,
        instruction: false,
        count,
    }
}

#[test]
fn each_kind_of_fault_is_told_with_its_address_and_direction() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let mut tables = Tables::new(&machine, 1);
    tables.map_read_only(0x1000, PA);
    driver.attach(STREAM, &tables.domain()).unwrap();
    for (ipa, write) in [(0x2008, true), (0x2008, false), (0x1000, true), (1 << 39, false)] {
        assert_eq!(
            if write {
                machine.write(STREAM, ipa)
            } else {
                machine.read(STREAM, ipa)
            },
            None
        );
    }
    assert!(machine.smmu.take_irq(Line::EventQueue));
    let expected = [
        fault(EventKind::Translation, 0x10, 0x2008, true, 1),
        fault(EventKind::Translation, 0x10, 0x2008, false, 1),
        fault(EventKind::Permission, 0x13, 0x1000, true, 1),
        fault(EventKind::Translation, 0x10, 1 << 39, false, 1),
    ];
    assert_eq!(events(&mut driver), expected);
    assert_eq!(events(&mut driver), []);
    machine.assert_settled();
}

#[test]
fn equal_events_in_a_row_are_one() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let tables = Tables::new(&machine, 1);
    driver.attach(STREAM, &tables.domain()).unwrap();
    // A page and a bit, four bytes at a time, as QEMU's devices do it.
    for offset in (0..0x1100).step_by(4) {
        assert_eq!(machine.write(STREAM, 0x8000 + offset), None);
    }
    machine.read(STREAM, 0x9000);
    let expected = [
        fault(EventKind::Translation, 0x10, 0x8000, true, 1024),
        fault(EventKind::Translation, 0x10, 0x9000, true, 64),
        fault(EventKind::Translation, 0x10, 0x9000, false, 1),
    ];
    assert_eq!(events(&mut driver), expected);
    machine.assert_settled();
}

/// The small SMMU has room for four events.
#[test]
fn lost_events_are_told_once_for_each_time() {
    for overflow in [Overflow::Flag, Overflow::QueueAbort] {
        let machine = Machine::new(Config {
            overflow,
            ..Config::small()
        });
        let mut driver = machine.probe(0x3f);
        for round in 0..3_u64 {
            for page in 0..6 {
                assert_eq!(machine.write(STREAM, (round + page) << 12), None);
            }
            let not_attached = Event {
                stream: STREAM,
                kind: EventKind::NotAttached,
                code: 4,
                address: None,
                write: false,
                instruction: false,
                count: 4,
            };
            assert_eq!(
                events(&mut driver),
                [not_attached, Event::LOST],
                "{overflow:?}, round {round}"
            );
            assert_eq!(events(&mut driver), [], "{overflow:?}, round {round}");
        }
        machine.assert_settled();
    }
}

/// A device that faults again whenever room is made. One call must end all the same, and say that there is more.
#[test]
fn a_storm_does_not_keep_a_call_for_ever() {
    let machine = Machine::new(Config::small());
    let mut driver = machine.probe(0x3f);
    for _ in 0..4 {
        machine.write(STREAM, 0x1000);
    }
    machine.smmu.on_every_change(|smmu| {
        for stream in 0..4 {
            let _ = smmu.dma(stream, 0x2000, true);
        }
    });
    let mut told = 0;
    let report = driver.interrupt(|event| told += event.count);
    assert!(report.more);
    assert_eq!(report.events, 4);
    assert!(told >= 4);
}
