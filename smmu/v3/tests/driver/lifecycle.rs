//! From a shut SMMU to a shut SMMU: probe, attach, detach, quiesce, release.

use crate::common::{Machine, Tables, events, kinds};
use mmio::Bus;
use smmu_model::v3::{Config, Fault};
use smmu_model::{Clock, Memory};
use smmu_v3::commands::Command;
use smmu_v3::{Domain, DomainError, Error, EventKind, Missing, Setup};

const CR0: usize = 0x20;
const PA: u64 = 0x6000_0000;

/// Every SMMU that the driver has to drive.
fn configs() -> Vec<(&'static str, Config)> {
    vec![
        ("qemu10", Config::qemu10()),
        ("linear", Config::linear_only()),
        ("no ranges", Config::no_range_invalidation()),
        ("stage 2 only", Config::stage2_only()),
        ("small", Config::small()),
        ("not coherent", Config::non_coherent()),
        ("stall or terminate", Config::stall_optional()),
        ("ATS", Config::qemu10().with_idr(0, 10, 10, 1)),
        ("EL2 streams", Config::qemu10().with_idr(0, 9, 9, 1)),
    ]
}

/// The small SMMU walks 36 bits only.
fn domain(machine: &Machine, tables: &Tables) -> Domain {
    let narrow = machine.smmu.read32(0x14) & 7 == 1;
    if narrow {
        Domain {
            ipa_bits: 36,
            pa_bits: 36,
            ..tables.domain()
        }
    } else {
        tables.domain()
    }
}

#[test]
fn every_supported_smmu_comes_up_translates_and_goes_down() {
    for (name, config) in configs() {
        let machine = Machine::new(config);
        let mut driver = machine.probe(0x3f);
        // Where devices can claim to be translated already, the claim is checked.
        let enables = if name == "ATS" { 0b1_1101 } else { 0b1101 };
        assert_eq!(machine.smmu.read32(CR0), enables, "{name}");
        machine.assert_settled();

        let mut tables = Tables::new(&machine, 1);
        tables.map(0x4000_0000, PA);
        driver.attach(0x21, &domain(&machine, &tables)).unwrap();
        machine.assert_settled();
        assert_eq!(machine.write(0x21, 0x4000_0123), Some(PA + 0x123), "{name}");
        assert_eq!(machine.write(0x21, 0x4000_1000), None, "{name}");
        assert_eq!(kinds(&mut driver), [(0x21, EventKind::Translation)], "{name}");

        driver.detach(0x21).unwrap();
        machine.assert_settled();
        assert_eq!(machine.write(0x21, 0x4000_0123), None, "{name}");
        assert_eq!(kinds(&mut driver), [(0x21, EventKind::NotAttached)], "{name}");

        let before = machine.memory.allocated().len();
        driver.release().unwrap();
        assert_eq!(machine.smmu.read32(CR0), 0, "{name}");
        assert_eq!(machine.write(0x21, 0x4000_0123), None, "{name}");
        // What is left are the stage-2 tables.
        let left = machine.memory.allocated().len();
        assert_eq!((before > left, left), (true, 3), "{name}");
        machine.assert_settled();
    }
}

#[test]
fn a_released_smmu_can_be_probed_again() {
    let machine = Machine::new(Config::qemu10());
    for round in 0..3 {
        let mut driver = machine.probe(0xffff);
        let mut tables = Tables::new(&machine, 1);
        tables.map(0x4000_0000, PA + (round << 12));
        driver.attach(8, &tables.domain()).unwrap();
        assert_eq!(machine.read(8, 0x4000_0000), Some(PA + (round << 12)));
        driver.release().unwrap();
        assert_eq!(machine.read(8, 0x4000_0000), None);
    }
    machine.assert_settled();
}

#[test]
fn unattached_streams_abort_and_say_so() {
    for (config, max_stream) in [
        (Config::qemu10(), 0x1fff),
        (Config::linear_only(), 0x1fff),
        (Config::qemu10(), 0x3f),
    ] {
        let machine = Machine::new(config);
        let mut driver = machine.probe(max_stream);
        for stream in [0, max_stream, max_stream + 1] {
            assert_eq!(machine.write(stream, 0x1000), None);
        }
        let expected = [
            (0, EventKind::NotAttached),
            (max_stream, EventKind::NotAttached),
            (max_stream + 1, EventKind::UnknownStream),
        ];
        assert_eq!(kinds(&mut driver), expected);
    }
}

#[test]
fn the_table_has_two_levels_where_that_saves_memory() {
    for (config, max_stream, two_level, bits) in [
        (Config::qemu10(), 0xffff, true, 16),
        (Config::qemu10(), 0x100, true, 9),
        (Config::qemu10(), 0xff, false, 8),
        (Config::qemu10(), 0, false, 0),
        (Config::linear_only(), 0xffff, false, 16),
        (Config::small(), 0xffff, false, 6),
        (Config::qemu10(), u32::MAX, true, 16),
    ] {
        let driver = Machine::new(config).probe(max_stream);
        assert_eq!(
            (driver.two_level(), driver.stream_bits()),
            (two_level, bits),
            "{max_stream:#x}"
        );
    }
}

#[test]
fn an_smmu_whose_gate_is_open_is_not_touched() {
    let (memory, clock) = (Memory::coherent(), Clock::new());
    let smmu = smmu_model::v3::Smmu::new(Config::qemu10(), &memory, &clock);
    let touched = std::rc::Rc::new(std::cell::Cell::new(false));
    let flag = touched.clone();
    smmu.on_every_change(move |_| flag.set(true));
    let setup = Setup {
        max_stream: 0xffff,
        coherent: true,
    };
    let error = smmu_v3::Driver::probe(smmu.clone(), memory.clone(), clock.clone(), &setup).unwrap_err();
    assert_eq!(error, Error::GateOpen { cr0: 0, gbpa: 0x1000 });
    assert!(!touched.get());
    assert_eq!(memory.allocated(), []);
}

#[test]
fn an_smmu_that_lacks_something_is_refused() {
    for (config, missing) in [
        (Config::stage1_only(), Missing::Stage2),
        (Config::qemu10().with_idr(5, 4, 4, 0), Missing::TableFormat),
        (Config::qemu10().with_idr(0, 3, 2, 1), Missing::TableFormat),
        (Config::qemu10().with_idr(0, 22, 21, 3), Missing::TableFormat),
        (Config::stall_forced(), Missing::Termination),
        (Config::qemu10().with_idr(1, 29, 29, 1), Missing::BaseAddresses),
        (Config::qemu10().with_idr(1, 30, 30, 1), Missing::BaseAddresses),
    ] {
        let machine = Machine::new(config);
        assert_eq!(machine.try_probe(0xff).err(), Some(Error::Unsupported(missing)));
        assert_eq!(machine.memory.allocated(), []);
        assert!(smmu_gate::v3::is_shut(&machine.smmu));
        machine.assert_settled();
    }
}

#[test]
fn a_stream_is_attached_once() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let (first, second) = (Tables::new(&machine, 1), Tables::new(&machine, 2));
    driver.attach(8, &first.domain()).unwrap();
    for tables in [&first, &second] {
        assert_eq!(
            driver.attach(8, &tables.domain()),
            Err(Error::Attached { stream: 8 })
        );
    }
    machine.assert_settled();
}

#[test]
fn streams_outside_the_table_are_refused() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0x7ff);
    let tables = Tables::new(&machine, 1);
    let error = Err(Error::StreamRange {
        stream: 0x800,
        stream_bits: 11,
    });
    assert_eq!(driver.attach(0x800, &tables.domain()), error);
    assert_eq!(driver.detach(0x800), error);
}

#[test]
fn a_domain_that_cannot_be_walked_is_refused_and_the_stream_aborts() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let domain = Domain {
        ipa_bits: 48,
        start_level: 0,
        ..Tables::new(&machine, 1).domain()
    };
    let error = DomainError::Shape {
        ipa_bits: 48,
        start_level: 0,
        output_bits: 44,
    };
    assert_eq!(driver.attach(8, &domain), Err(Error::Domain(error)));
    assert_eq!(machine.write(8, 0), None);
    machine.assert_settled();
}

#[test]
fn streams_of_one_guest_share_a_domain_and_leave_it_one_by_one() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let mut tables = Tables::new(&machine, 7);
    tables.map(0x1000, PA);
    for stream in [0x8, 0x10, 0x2100] {
        driver.attach(stream, &tables.domain()).unwrap();
    }
    driver.detach(0x10).unwrap();
    let lands = [0x8, 0x10, 0x2100].map(|stream| machine.write(stream, 0x1000));
    assert_eq!(lands, [Some(PA), None, Some(PA)]);
    machine.assert_settled();
}

#[test]
fn a_vmid_has_one_address_space() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let (first, second) = (Tables::new(&machine, 7), Tables::new(&machine, 7));
    driver.attach(0x8, &first.domain()).unwrap();
    let error = Err(Error::VmidTaken { vmid: 7, stream: 0x8 });
    assert_eq!(driver.attach(0x10, &second.domain()), error);
    // The same root walked differently is another address space as well.
    assert_eq!(
        driver.attach(
            0x10,
            &Domain {
                ipa_bits: 38,
                ..first.domain()
            }
        ),
        error
    );
    driver.detach(0x8).unwrap();
    driver.attach(0x10, &second.domain()).unwrap();
    machine.assert_settled();
}

#[test]
fn a_vmid_that_is_used_again_shows_nothing_of_its_last_owner() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let mut first = Tables::new(&machine, 7);
    first.map(0x1000, PA);
    first.map(0x2000, PA + 0x2000);
    driver.attach(8, &first.domain()).unwrap();
    assert_eq!(machine.write(8, 0x1000), Some(PA));
    assert_eq!(machine.write(8, 0x2000), Some(PA + 0x2000));
    driver.detach(8).unwrap();
    let mut second = Tables::new(&machine, 7);
    second.map(0x1000, PA + 0x8000);
    driver.attach(8, &second.domain()).unwrap();
    assert_eq!(machine.write(8, 0x1000), Some(PA + 0x8000));
    assert_eq!(machine.write(8, 0x2000), None);
    machine.assert_settled();
}

#[test]
fn detaching_what_is_not_attached_changes_nothing() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let tables = Tables::new(&machine, 7);
    driver.attach(8, &tables.domain()).unwrap();
    for stream in [8, 8, 9, 0xff00] {
        driver.detach(stream).unwrap();
        machine.assert_settled();
    }
    assert_eq!(events(&mut driver), []);
}

#[test]
fn quiesce_stops_every_stream_and_they_can_come_back() {
    for config in [Config::qemu10(), Config::linear_only()] {
        let machine = Machine::new(config);
        let mut driver = machine.probe(0xfff);
        let mut tables = Tables::new(&machine, 3);
        tables.map(0x1000, PA);
        let streams = [0, 0x8, 0x10, 0x100, 0xfff];
        for stream in streams {
            driver.attach(stream, &tables.domain()).unwrap();
            assert_eq!(machine.write(stream, 0x1000), Some(PA));
        }
        driver.quiesce().unwrap();
        machine.assert_settled();
        assert_eq!(streams.map(|stream| machine.write(stream, 0x1000)), [None; 5]);
        driver.attach(0x8, &tables.domain()).unwrap();
        assert_eq!(machine.write(0x8, 0x1000), Some(PA));
        driver.release().unwrap();
        machine.assert_settled();
    }
}

#[test]
fn a_release_with_streams_attached_stops_them() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let mut tables = Tables::new(&machine, 3);
    tables.map(0x1000, PA);
    driver.attach(8, &tables.domain()).unwrap();
    driver.release().unwrap();
    assert_eq!(machine.write(8, 0x1000), None);
    assert!(smmu_gate::v3::is_shut(&machine.smmu));
    machine.assert_settled();
}

#[test]
fn a_release_with_the_gate_open_behind_it_is_refused() {
    let machine = Machine::new(Config::qemu10());
    let driver = machine.probe(0xffff);
    // Somebody opened the gate behind the driver's back. Translation still stops everything.
    machine.smmu.write32(0x44, 1 << 31 | 0x1000);
    machine.clock.advance(10);
    let unreleased = driver.release().unwrap_err();
    assert!(matches!(unreleased.error, Error::GateOpen { .. }));
    assert_eq!(machine.smmu.read32(CR0) & 1, 1);
    machine.smmu.write32(0x44, 1 << 31 | 1 << 20 | 0x1000);
    machine.clock.advance(10);
    unreleased.driver.release().unwrap();
    machine.assert_settled();
}

#[test]
fn running_out_of_memory_leaks_nothing() {
    for allocations in 0..3 {
        let machine = Machine::new(Config::qemu10());
        machine.memory.fail_after(Some(allocations));
        assert!(
            matches!(machine.try_probe(0xffff).err(), Some(Error::NoMemory(_))),
            "{allocations}"
        );
        assert_eq!(machine.memory.allocated(), []);
        assert!(smmu_gate::v3::is_shut(&machine.smmu));
        machine.assert_settled();
    }
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let tables = Tables::new(&machine, 1);
    machine.memory.fail_after(Some(0));
    assert!(matches!(
        driver.attach(8, &tables.domain()),
        Err(Error::NoMemory(_))
    ));
    assert_eq!(machine.write(8, 0), None);
    machine.memory.fail_after(None);
    driver.attach(8, &tables.domain()).unwrap();
    machine.assert_settled();
}

/// A detach whose TLB command was refused, and a core that gave the VMID to somebody else all the same.
#[test]
fn an_attach_trusts_no_earlier_detach() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let mut first = Tables::new(&machine, 7);
    first.map(0x1000, PA);
    driver.attach(8, &first.domain()).unwrap();
    assert_eq!(machine.write(8, 0x1000), Some(PA));
    machine.smmu.inject(Fault::CommandIllegal { after: 2 });
    assert!(matches!(driver.detach(8), Err(Error::Command(_))));
    let second = Tables::new(&machine, 7);
    driver.attach(8, &second.domain()).unwrap();
    assert_eq!(machine.write(8, 0x1000), None);
    machine.assert_settled();
}

#[test]
fn translations_of_el2_are_forgotten_where_they_exist() {
    for el2 in [0, 1] {
        let machine = Machine::new(Config::qemu10().with_idr(0, 9, 9, el2));
        machine.probe(0xffff);
        let commands = machine.smmu.consumed();
        let forgotten = commands
            .iter()
            .any(|words| Command::parse(*words) == Ok(Command::El2All));
        assert_eq!(forgotten, el2 == 1);
    }
}
