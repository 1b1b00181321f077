//! Faults, decoded.

use crate::common::*;
use crate::fake::*;
use smmu_v2::{Event, EventKind, InterruptReport};

const GFAR: usize = 0x40;
const GFSYNR0: usize = 0x50;
const GFSYNR1: usize = 0x54;
const FSR: usize = 0x58;
const FAR: usize = 0x60;
const FSYNR0: usize = 0x68;
const MULTI: u32 = 1 << 31;

/// Stream 5 in bank 0, stream 6 in bank 1.
fn attached(fake: &Fake) -> FakeDriver {
    let mut driver = probe(fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    driver.attach(&one(6), &domain(8)).unwrap();
    driver
}

/// A context fault as hardware records it.
fn record(fake: &Fake, bank: u32, fsr: u32, address: u64, fsynr0: u32, stream: u32) {
    let at = |offset| fake.bank(bank, offset);
    let [low, high] = [address & 0xffff_ffff, address >> 32].map(|half| u32::try_from(half).unwrap());
    for (offset, value) in [
        (at(FSR), fsr),
        (at(FAR), low),
        (at(FAR + 4), high),
        (at(FSYNR0), fsynr0),
    ] {
        fake.set(offset, value);
    }
    fake.set(fake.global_1(0x400 + 4 * bank as usize), stream);
}

const READ: Event = Event {
    stream: 6,
    kind: EventKind::Translation,
    code: 0x402,
    address: Some(0x12_3456_7890),
    write: false,
    instruction: false,
    count: 1,
};

#[test]
fn a_context_fault_tells_stream_address_and_direction() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    let variants = [
        (0, READ),
        (1 << 4, Event { write: true, ..READ }),
        (
            1 << 6,
            Event {
                instruction: true,
                ..READ
            },
        ),
        // Late: whose it was is not known.
        (1 << 11 | 1 << 4, Event::LOST),
    ];
    for (fsynr0, expected) in variants {
        record(&fake, 1, 0x402, 0x12_3456_7890, fsynr0, 6);
        assert_eq!(events(&mut driver), [expected]);
        assert_eq!(fake.get(fake.bank(1, FSR)) & !0x600, 0, "it is cleared");
        assert_eq!(events(&mut driver), []);
    }
}

#[test]
fn every_cause_has_a_kind() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    let causes = [
        (1 << 1, EventKind::Translation),
        (1 << 2, EventKind::AccessFlag),
        (1 << 3, EventKind::Permission),
        (1 << 4, EventKind::WalkAbort),
        (1 << 5, EventKind::Other),
        (1 << 6, EventKind::Other),
        (1 << 7, EventKind::AddressSize),
        (1 << 8 | 1 << 3, EventKind::Permission),
    ];
    for (fsr, kind) in causes {
        record(&fake, 0, fsr, 0x1000, 0, 5);
        let event = events(&mut driver)[0];
        assert_eq!((event.kind, event.code, event.stream), (kind, fsr, 5), "{fsr:#x}");
    }
    record(&fake, 0, 1 << 8, 0x1000, 0, 5);
    assert_eq!(events(&mut driver), [Event::LOST], "whose it was is not known");
    record(&fake, 0, 0x600, 0x1000, 0, 5);
    assert_eq!(events(&mut driver), [], "the format of the tables is no fault");
}

#[test]
fn faults_that_found_no_room_are_told_as_lost() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    record(&fake, 1, MULTI | 0x402, 0x12_3456_7890, 0, 6);
    fake.set(GFSR, MULTI | 2);
    fake.set(GFSYNR1, 9);
    let mut told = Vec::new();
    let outcome = driver.interrupt(|event| told.push(*event));
    let expected = InterruptReport {
        events: 2,
        lost: 2,
        more: false,
        global_errors: 0,
        dead: false,
    };
    assert_eq!(outcome, expected);
    let kinds: Vec<_> = told.iter().map(|event| (event.stream, event.kind)).collect();
    let (own, lost) = (EventKind::NotAttached, EventKind::Lost);
    assert_eq!(
        kinds,
        [(9, own), (0, lost), (6, EventKind::Translation), (0, lost)]
    );
}

/// A fault that came while the one before it was cleared leaves only that it came: whoever still stands there did it not.
#[test]
fn a_fault_of_which_only_multi_is_left_blames_nobody() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    for fsr in [MULTI, MULTI | 0x400, MULTI | 1 << 8] {
        record(&fake, 1, fsr, 0x12_3456_7890, 0, 6);
        assert_eq!(events(&mut driver), [Event::LOST]);
        assert_eq!(fake.get(fake.bank(1, FSR)) & !0x600, 0, "it is cleared");
    }
    fake.set(GFSR, MULTI);
    fake.set(GFSYNR1, 9);
    assert_eq!(events(&mut driver), [Event::LOST]);
}

#[test]
fn streams_without_a_group_are_told_by_the_global_fault() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    for (gfsr, kind) in [
        (1, EventKind::NotAttached),
        (2, EventKind::NotAttached),
        (4, EventKind::Other),
        (1 << 4, EventKind::Other),
    ] {
        for (offset, value) in [
            (GFSR, gfsr),
            (GFSYNR0, 1 << 1 | 1 << 3),
            (GFSYNR1, 0x33),
            (GFAR, 0x4000),
            (GFAR + 4, 1),
        ] {
            fake.set(offset, value);
        }
        let expected = Event {
            stream: 0x33,
            kind,
            code: gfsr,
            address: Some(0x1_0000_4000),
            write: true,
            instruction: true,
            count: 1,
        };
        assert_eq!(events(&mut driver), [expected]);
        assert_eq!(fake.get(GFSR), 0);
    }
}

#[test]
fn causes_that_are_no_streams_are_told_apart() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    fake.set(GFSR, 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8);
    let outcome = driver.interrupt(|event| panic!("{event:?}"));
    assert_eq!((outcome.events, outcome.global_errors), (0, 0x1e0));
    assert_eq!(fake.get(GFSR), 0);
}

#[test]
fn faults_are_recorded_by_each_frame() {
    let fakes = [Fake::new(8, 4), Fake::new(8, 4)];
    let mut driver = try_probe(&fakes, &SETUP).unwrap();
    driver.attach(&one(6), &domain(7)).unwrap();
    record(&fakes[1], 0, 0x402, 0x12_3456_7890, 0, 6);
    fakes[0].set(GFSR, 2);
    fakes[0].set(GFSYNR1, 9);
    let told: Vec<_> = events(&mut driver).iter().map(|event| event.stream).collect();
    assert_eq!(told, [9, 6]);
    assert_eq!(events(&mut driver), []);
}

/// A device that faults all the time does not hold the CPU: one fault of each kind is told, and the rest is for later.
#[test]
fn a_storm_is_told_one_fault_at_a_time() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    record(&fake, 1, 0x402, 0x12_3456_7890, 0, 6);
    fake.on_every_write(|fake| record(fake, 1, 0x402, 0x12_3456_7890, 0, 6));
    let outcome = driver.interrupt(|event| assert_eq!(*event, READ));
    assert_eq!((outcome.events, outcome.more), (1, true));
    fake.on_every_write(check);
    let outcome = driver.interrupt(|_| ());
    assert_eq!((outcome.events, outcome.more), (1, false));
}

/// A bus on which nobody answers does not become a storm of faults that never ends.
#[test]
fn registers_that_read_all_ones_are_a_failed_smmu() {
    for frame in [0, 1] {
        let at: [fn(&Fake) -> usize; 2] = [|_| GFSR, |fake| fake.bank(0, FSR)];
        for at in at {
            let fakes = [Fake::new(8, 4), Fake::new(8, 4)];
            let mut driver = try_probe(&fakes, &SETUP).unwrap();
            driver.attach(&one(6), &domain(7)).unwrap();
            fakes[frame].set(at(&fakes[frame]), u32::MAX);
            fakes.iter().for_each(|fake| drop(fake.take_log()));
            let outcome = driver.interrupt(|event| panic!("{event:?}"));
            let expected = InterruptReport {
                events: 0,
                lost: 0,
                more: false,
                global_errors: 0,
                dead: true,
            };
            assert_eq!(outcome, expected);
            assert!(fakes.iter().all(|fake| fake.take_log().is_empty()));
        }
    }
}

#[test]
fn reserved_bits_are_no_faults() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    fake.set(GFSR, 0x7fff_fe00);
    fake.set(fake.bank(0, FSR), 0x3fff_f801);
    fake.take_log();
    let outcome = driver.interrupt(|event| panic!("{event:?}"));
    assert_eq!((outcome.more, outcome.dead), (false, false));
    assert_eq!(fake.take_log(), []);
}
