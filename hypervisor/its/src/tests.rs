//! What the ITS and a redistributor are told, judged by a strict model of both.

mod model;

use super::*;
use model::{Frame, Kind, Memory, QEMU, Service, Ticks};
use std::vec::Vec;

const COLLECTIONS: u16 = 8;

fn collection(cpu: u16) -> Collection {
    let frame = Frame::new(cpu.into());
    let address = 0x80a_0000 + u64::from(cpu) * 0x2_0000;
    Collection::new(cpu.into(), &Redistributor::new(&frame, 0x2_0000), address)
}

fn open(kind: Kind, highest: u32) -> (Result<Its<Service, Memory>, Error>, Service) {
    let memory = Memory::default();
    let service = Service::new(kind, &memory);
    let its = Its::new(service.clone(), memory, &Ticks::default(), highest, COLLECTIONS);
    (its, service)
}

#[test]
fn each_event_of_a_device_is_an_lpi_of_its_own() {
    let (its, service) = open(QEMU, 0x20);
    let mut its = its.unwrap();
    its.map(&Ticks::default(), 8, 8192..8200, &collection(1)).unwrap();
    its.map(&Ticks::default(), 0x20, 8200..8201, &collection(1))
        .unwrap();
    its.map(&Ticks::default(), 0x10, 8208..8210, &collection(3))
        .unwrap();
    let state = service.state.borrow();
    assert_eq!(state.control, 1);
    assert_eq!(
        state.collections.iter().collect::<Vec<_>>(),
        [(&1, &0x1_0000), (&3, &0x3_0000)]
    );
    assert_eq!(state.devices.len(), 3);
    let first = &state.devices[&8];
    assert_eq!(first.event_bits, 3);
    let events: Vec<_> = first
        .events
        .iter()
        .map(|(event, target)| (*event, *target))
        .collect();
    assert_eq!(
        events,
        (0..8).map(|event| (event, (8192 + event, 1))).collect::<Vec<_>>()
    );
    assert_eq!(state.devices[&0x20].event_bits, 1, "no device has fewer");
    assert_eq!(state.devices[&0x20].events.len(), 1);
    assert_eq!(state.devices[&0x10].events[&1], (8209, 3));
    assert_eq!(state.unsynchronised, 0);
}

#[test]
fn the_queue_goes_round() {
    let (its, service) = open(QEMU, 0xff);
    let mut its = its.unwrap();
    for device in 1..5 {
        let first = 8192 + 256 * device;
        its.map(&Ticks::default(), device, first..first + 256, &collection(0))
            .unwrap();
    }
    let state = service.state.borrow();
    assert_eq!(state.commands, 4 * (256 + 2) + 1);
    for device in 1..5 {
        assert_eq!(
            state.devices[&device].events[&255],
            (8192 + 256 * device + 255, 0)
        );
    }
}

#[test]
fn redistributors_go_by_their_addresses_where_the_its_says_so() {
    let by_address = Kind {
        typer: QEMU.typer | 1 << 19,
        ..QEMU
    };
    let (its, service) = open(by_address, 8);
    its.unwrap()
        .map(&Ticks::default(), 8, 8192..8194, &collection(2))
        .unwrap();
    assert_eq!(service.state.borrow().collections[&2], 0x80e_0000);
}

#[test]
fn tables_follow_what_hardware_accepts() {
    // Pages of 64 KiB only, and nothing is kept of shareability.
    let fixed = |kind: u64| (kind << 56 | 7 << 48 | 2 << 8, !(7 << 56 | 0x1f << 48 | 3 << 8));
    let mut odd = Kind {
        coherent: false,
        ..QEMU
    };
    // A table of virtual CPUs, which stays off.
    odd.basers[..3].copy_from_slice(&[fixed(4), (2 << 56, !(7 << 56)), fixed(1)]);
    let (its, service) = open(odd, 0x3000);
    its.unwrap()
        .map(&Ticks::default(), 0x3000, 8192..8193, &collection(0))
        .unwrap();
    let state = service.state.borrow();
    let [collections, vcpus, devices, ..] = state.basers;
    assert_eq!(
        (vcpus, devices & 0x3ff),
        (2 << 56, 2 << 8 | 1),
        "0x3001 entries are two pages"
    );
    for value in [collections, devices, state.queue] {
        assert_eq!((value >> 59 & 7, value >> 10 & 3), (1, 0), "past the caches");
    }
    let (its, service) = open(QEMU, 8);
    its.unwrap();
    let state = service.state.borrow();
    for value in [state.basers[0], state.basers[1], state.queue] {
        assert_eq!((value >> 59 & 7, value >> 10 & 3), (7, 1), "cached and shared");
    }
}

#[test]
fn collections_may_need_no_memory() {
    let mut without = QEMU;
    without.basers[1] = (0, 0);
    assert_eq!(open(without, 8).0.err(), Some(Error::FewCollections(0)));
    without.typer |= 8 << 24;
    let (its, _) = open(without, 8);
    its.unwrap()
        .map(&Ticks::default(), 8, 8192..8193, &collection(7))
        .unwrap();
}

#[test]
fn an_its_that_cannot_be_used_is_refused() {
    let error = |kind: Kind, highest: u32| open(kind, highest).0.err();
    let virtual_only = Kind {
        typer: QEMU.typer & !1,
        ..QEMU
    };
    assert!(matches!(error(virtual_only, 8), Some(Error::NoLpis { .. })));
    let restless = Kind {
        restless: true,
        ..QEMU
    };
    assert!(matches!(error(restless, 8), Some(Error::Timeout { .. })));
    let mut no_devices = QEMU;
    no_devices.basers[0] = (0, 0);
    assert_eq!(error(no_devices, 8), Some(Error::NoDeviceTable));
    let (device, highest) = (0x1_0000, 0xffff);
    assert_eq!(
        error(QEMU, device),
        Some(Error::DeviceOutOfRange { device, highest })
    );
    let wide = Kind {
        typer: QEMU.typer | 0x1f << 13,
        ..QEMU
    };
    assert!(matches!(error(wide, u32::MAX), Some(Error::TableTooLarge(_))));
    assert!(matches!(error(wide, 0x10_0000), Some(Error::Memory(_))));
    let mut deaf = QEMU;
    deaf.basers[0].1 = 3 << 8;
    assert!(matches!(error(deaf, 8), Some(Error::NotKept { .. })));
}

#[test]
fn a_device_that_cannot_be_told_apart_is_refused() {
    let narrow = Kind {
        typer: QEMU.typer & !(0x1f << 8) | 3 << 8,
        ..QEMU
    };
    let (its, service) = open(narrow, 8);
    let mut its = its.unwrap();
    let mut map = |device, lpis| its.map(&Ticks::default(), device, lpis, &collection(0));
    assert_eq!(map(0, 8192..8193), Err(Error::DeviceZero));
    let (device, highest) = (9, 8);
    assert_eq!(
        map(9, 8192..8193),
        Err(Error::DeviceOutOfRange { device, highest })
    );
    assert_eq!(map(8, 8192..8192), Err(Error::Events(0)));
    assert_eq!(map(8, 8192..8195), Err(Error::Events(3)));
    assert_eq!(map(8, 8192..8224), Err(Error::Events(32)));
    assert_eq!(service.state.borrow().commands, 0);
    assert_eq!(map(8, 8192..8208), Ok(()));
    assert_eq!(map(8, 8208..8209), Err(Error::DeviceTaken(8)));
}

#[test]
fn an_its_that_stops_is_reported() {
    let stalls = Kind {
        stalls_at: Some(0x0a),
        ..QEMU
    };
    let (its, _) = open(stalls, 8);
    let error = its.unwrap().map(&Ticks::default(), 8, 8192..8194, &collection(0));
    assert_eq!(error, Err(Error::Stalled(0x41)));
    let stops = Kind {
        stops_at: Some(0x05),
        ..QEMU
    };
    let (its, _) = open(stops, 8);
    let error = its.unwrap().map(&Ticks::default(), 8, 8192..8194, &collection(0));
    assert!(matches!(
        error,
        Err(Error::Timeout {
            register: "GITS_CREADR",
            ..
        })
    ));
}

#[test]
fn redistributors_share_one_table_of_enabled_lpis() {
    let memory = Memory::default();
    let mut lpis = Lpis::new(memory.clone(), 16, 0xa0).unwrap();
    let frames = [
        Frame::new(0),
        Frame {
            coherent: false,
            ..Frame::new(1)
        },
    ];
    for frame in &frames {
        let redistributor = Redistributor::new(frame, 0x2_0000);
        lpis.turn_on(&redistributor, &Ticks::default()).unwrap();
        assert_eq!(frame.control.get(), 1);
        let address = frame.configuration.get() & 0xf_ffff_ffff_f000;
        assert_eq!(frame.configuration.get() & 0x1f, 13);
        for lpi in (0..u64::from(LPIS)).step_by(8) {
            assert_eq!(memory.seen(address + lpi), 0xa3a3_a3a3_a3a3_a3a3);
        }
        let pending = frame.pending.get() & 0xf_ffff_ffff_0000;
        assert!(memory.block_of(pending).unwrap().size >= 0x4000 / 8);
        assert_eq!(frame.pending.get() >> 62, 1, "the table is all zeroes");
    }
    let table = |frame: &Frame| frame.configuration.get() & !0xfff;
    assert_eq!(table(&frames[0]), table(&frames[1]));
    assert_ne!(
        frames[0].pending.get() & !0xffff,
        frames[1].pending.get() & !0xffff
    );
    let attributes = |frame: &Frame| (frame.pending.get() >> 7 & 7, frame.pending.get() >> 10 & 3);
    assert_eq!((attributes(&frames[0]), attributes(&frames[1])), ((7, 1), (1, 0)));
    assert_eq!(Redistributor::new(&frames[1], 0x2_0000).number(), 1);
}

#[test]
fn a_redistributor_without_lpis_is_refused() {
    let mut lpis = Lpis::new(Memory::default(), 14, 0xa0).unwrap();
    let mut turn_on = |frame: &Frame| lpis.turn_on(&Redistributor::new(frame, 0x2_0000), &Ticks::default());
    let mut frame = Frame::new(0);
    frame.control.set(1);
    assert_eq!(turn_on(&frame), Ok(()), "firmware left them on");
    frame.sticky = true;
    frame.control.set(1);
    assert_eq!(turn_on(&frame), Err(Error::StaysOn));
    frame.typer = 0;
    assert!(matches!(turn_on(&frame), Err(Error::NoLpis { .. })));
    let short = Lpis::new(Memory::default(), 13, 0xa0);
    assert_eq!(short.err(), Some(Error::ShortNumbers(13)));
}

#[test]
fn lpis_are_given_once() {
    let mut lpis = Lpis::new(Memory::default(), 16, 0xa0).unwrap();
    assert_eq!(lpis.take(8), Ok(8192..8200));
    assert_eq!(lpis.take(8000), Ok(8200..16200));
    assert_eq!(lpis.take(200), Err(Error::OutOfLpis(200)));
    assert_eq!(lpis.take(184), Ok(16200..16384));
    assert_eq!(lpis.take(1), Err(Error::OutOfLpis(1)));
    assert_eq!(lpis.take(u32::MAX), Err(Error::OutOfLpis(u32::MAX)));
}
