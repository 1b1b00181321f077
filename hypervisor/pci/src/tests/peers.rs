//! Access control services, and who may reach whom without the root complex.

use super::{ALL, bdf};
use crate::fake::{FakeFunction, FakeSegment};
use crate::*;

const ENDPOINT: u16 = 0;
const ROOT: u16 = 4;
const UPSTREAM: u16 = 5;
const DOWNSTREAM: u16 = 6;
const TO_PCI: u16 = 7;
const FROM_PCI: u16 = 8;
const INTEGRATED: u16 = 9;
const EVENT_COLLECTOR: u16 = 10;

/// What QEMU's root ports have: all but egress control.
const ALL_SERVICES: u16 = 0x5f;
/// Source validation, both redirects, upstream forwarding.
const UPWARDS: u16 = 0x1d;
const REDIRECT: u16 = 0x0c;

/// The device number `name` tells functions apart, wherever the walk finds them.
fn endpoint(name: u16) -> FakeFunction {
    FakeFunction::endpoint(u32::from(name) << 16 | 0x1234)
}

fn bridge(name: u16, port: u16) -> FakeFunction {
    FakeFunction::bridge(u32::from(name) << 16 | 0x1234).express(port)
}

/// A port whose access control services can all be switched on.
fn good(name: u16, port: u16) -> FakeFunction {
    bridge(name, port).access_control(ALL_SERVICES, 0, ALL_SERVICES)
}

/// A function of a device with several, with access control services that can be switched on.
fn good_function(name: u16) -> FakeFunction {
    endpoint(name)
        .express(ENDPOINT)
        .multi_function()
        .access_control(REDIRECT, 0, REDIRECT)
}

/// A segment with one root bus.
fn segment(functions: impl IntoIterator<Item = (&'static [u8], usize, FakeFunction)>) -> FakeSegment {
    let segment = FakeSegment::default();
    for (path, number, function) in functions {
        segment.add(0, path, number, function);
    }
    segment
}

/// The place of each function of `names`, by name as well.
fn places<const N: usize>(segment: &FakeSegment, names: [u16; N]) -> [Option<u16>; N] {
    let fabric = enumerate(segment, ALL);
    names.map(|name| {
        let mut named = fabric.functions.iter().filter(|function| function.device == name);
        let place = fabric.peers_at(named.next().unwrap().bdf);
        assert_eq!(named.next(), None, "{name} is there twice");
        place.map(|place| fabric.get(place).unwrap().device)
    })
}

#[test]
fn a_root_port_that_redirects_has_no_peers_behind_it() {
    let segment = segment([
        (&[1][..], 0, good(1, ROOT)),
        (&[1, 0], 0, endpoint(10).express(ENDPOINT)),
    ]);
    assert_eq!(places(&segment, [10, 1]), [None, None]);
    let fabric = enumerate(&segment, ALL);
    assert!(fabric.get(bdf(0, 1, 0)).unwrap().redirects);
    assert!(!fabric.get(bdf(1, 0, 0)).unwrap().redirects);
    assert_eq!(segment.read32(bdf(0, 1, 0), 0x104), 0x001d_005f);
    assert_eq!(fabric.peers_at(bdf(7, 0, 0)), None, "nobody is there");
}

#[test]
fn what_is_not_there_is_not_switched_on() {
    let port = bridge(1, ROOT).access_control(0x5b, 0, 0xffff);
    let segment = segment([(&[1][..], 0, port)]);
    enumerate(&segment, ALL);
    assert_eq!(segment.read32(bdf(0, 1, 0), 0x104), 0x0019_005b);
}

/// Firmware left an exception on for peers and for translated requests. Translation blocking is nobody's harm.
#[test]
fn exceptions_that_firmware_left_on_are_off() {
    let port = bridge(1, ROOT).access_control(0x7f, 0x7f, 0x7f);
    let segment = segment([(&[1][..], 0, port), (&[1, 0], 0, endpoint(10).express(ENDPOINT))]);
    assert_eq!(places(&segment, [10]), [None]);
    assert_eq!(segment.read32(bdf(0, 1, 0), 0x104), 0x001f_007f);
}

#[test]
fn only_what_is_read_back_makes_a_port_redirect() {
    let port = || bridge(1, ROOT);
    let bad = [
        ("none", port()),
        ("stuck at zero", port().access_control(ALL_SERVICES, 0, 0)),
        ("no source validation", port().access_control(0x5e, 0, 0x5f)),
        ("no request redirect", port().access_control(0x5b, 0, 0x5f)),
        ("no completion redirect", port().access_control(0x57, 0, 0x5f)),
        ("no upstream forwarding", port().access_control(0x4f, 0, 0x5f)),
        ("on, but not there", port().access_control(0, UPWARDS, 0x5f)),
        ("source validation stuck", port().access_control(0x5f, 0, 0x5e)),
        ("request redirect stuck", port().access_control(0x5f, 0, 0x5b)),
        ("completion redirect stuck", port().access_control(0x5f, 0, 0x57)),
        ("upstream forwarding stuck", port().access_control(0x5f, 0, 0x4f)),
        (
            "egress control stuck on",
            port().access_control(0x7f, 0x20, UPWARDS),
        ),
        (
            "direct translated stuck on",
            port().access_control(0x7f, 0x40, UPWARDS),
        ),
        ("all ones", port().access_control(0xffff, 0xffff, 0)),
    ];
    for (what, port) in bad {
        let segment = segment([
            (&[1][..], 0, port),
            (&[1, 0], 0, endpoint(10).express(ENDPOINT)),
            (&[2], 0, good(2, ROOT)),
            (&[2, 0], 0, endpoint(20).express(ENDPOINT)),
        ]);
        assert_eq!(places(&segment, [10, 1, 20]), [Some(1), None, None], "{what}");
    }
}

/// A switch below a root port, with two devices.
fn switch(root: FakeFunction, one: FakeFunction, other: FakeFunction) -> FakeSegment {
    segment([
        (&[1][..], 0, root),
        (&[1, 0], 0, bridge(2, UPSTREAM)),
        (&[1, 0, 0], 0, one),
        (&[1, 0, 1], 0, other),
        (&[1, 0, 0, 0], 0, endpoint(10).express(ENDPOINT)),
        (&[1, 0, 1, 0], 0, endpoint(20).express(ENDPOINT)),
    ])
}

#[test]
fn a_switch_keeps_apart_when_all_its_ports_redirect() {
    let good_switch = switch(good(1, ROOT), good(3, DOWNSTREAM), good(4, DOWNSTREAM));
    assert_eq!(places(&good_switch, [10, 20, 2, 3]), [None; 4]);
    // The device behind the bad port reaches the one behind the good port.
    let mixed = switch(good(1, ROOT), good(3, DOWNSTREAM), bridge(4, DOWNSTREAM));
    assert_eq!(places(&mixed, [10, 20]), [Some(2); 2]);
    let bad = switch(good(1, ROOT), bridge(3, DOWNSTREAM), bridge(4, DOWNSTREAM));
    assert_eq!(places(&bad, [10, 20]), [Some(2); 2]);
    // What the switch sends up comes back from the root port.
    let reflected = switch(bridge(1, ROOT), good(3, DOWNSTREAM), good(4, DOWNSTREAM));
    assert_eq!(places(&reflected, [10, 20]), [Some(1); 2]);
    assert_eq!(places(&reflected, [1, 2, 3]), [None; 3], "bridges are no members");
    let both = switch(bridge(1, ROOT), bridge(3, DOWNSTREAM), good(4, DOWNSTREAM));
    assert_eq!(places(&both, [10, 20]), [Some(1); 2]);
    // On the bus inside a switch nobody but its downstream ports can be judged.
    let strange = switch(good(1, ROOT), good(3, DOWNSTREAM), good(4, DOWNSTREAM));
    strange.add(0, &[1, 0, 2], 0, good_function(30));
    assert_eq!(places(&strange, [10, 20, 30]), [Some(2); 3]);
}

#[test]
fn a_downstream_port_without_a_switch_is_judged_alone() {
    for (port, place) in [(good(1, DOWNSTREAM), None), (bridge(1, DOWNSTREAM), Some(1))] {
        let segment = segment([(&[1][..], 0, port), (&[1, 0], 0, endpoint(10).express(ENDPOINT))]);
        assert_eq!(places(&segment, [10]), [place]);
    }
}

/// Whatever they say of themselves: they have a bus behind them, or may have.
#[test]
fn bridges_that_are_no_ports_never_keep_apart() {
    let conventional = FakeFunction::bridge(0x0002_1234);
    let bridges = [TO_PCI, FROM_PCI, ENDPOINT, INTEGRATED, EVENT_COLLECTOR, 15].map(|port| good(2, port));
    for bridge in bridges.into_iter().chain([conventional]) {
        let segment = segment([
            (&[1][..], 0, good(1, ROOT)),
            (&[1, 0], 0, bridge),
            (&[1, 0, 3], 0, endpoint(10)),
            (&[1, 0, 4], 0, endpoint(20)),
        ]);
        assert_eq!(places(&segment, [10, 20, 2]), [Some(2), Some(2), None]);
    }
}

/// Two functions of one device behind a root port.
fn device(root: FakeFunction, one: FakeFunction, other: FakeFunction) -> FakeSegment {
    segment([(&[1][..], 0, root), (&[1, 0], 0, one), (&[1, 0], 5, other)])
}

#[test]
fn functions_of_a_device_are_apart_when_all_of_them_redirect() {
    let plain = |name| endpoint(name).express(ENDPOINT).multi_function();
    let of = |other| places(&device(good(1, ROOT), good_function(10), other), [10, 11]);
    assert_eq!(of(good_function(11)), [None; 2]);
    // With the services, but without redirects: it says that it reaches no other function.
    assert_eq!(of(plain(11).access_control(0, 0, 0)), [None; 2]);

    assert_eq!(of(plain(11)), [Some(10); 2], "the one reaches the other");
    let bad = [
        (REDIRECT, 0, 0),
        (REDIRECT, 0, 0x04),
        (REDIRECT, 0, 0x08),
        (0x04, 0, REDIRECT),
        (0x08, 0, REDIRECT),
        (0x2c, 0x20, REDIRECT),
        (0x4c, 0x40, REDIRECT),
        (0xffff, 0xffff, 0),
    ];
    for (capability, control, writable) in bad {
        let other = plain(11).access_control(capability, control, writable);
        assert_eq!(
            of(other),
            [Some(10); 2],
            "{capability:#x} {control:#x} {writable:#x}"
        );
    }
    let both = device(good(1, ROOT), plain(10), plain(11));
    assert_eq!(places(&both, [10, 11]), [Some(10); 2]);
    // A higher place holds them already.
    let below = device(bridge(1, ROOT), plain(10), plain(11));
    assert_eq!(places(&below, [10, 11]), [Some(1); 2]);
}

/// A function without a link is no port, whatever it says, and access control is nothing for the rest.
#[test]
fn a_function_of_a_device_is_excused_by_no_type() {
    for port in [ROOT, DOWNSTREAM, TO_PCI, FROM_PCI, EVENT_COLLECTOR] {
        let other = endpoint(11)
            .express(port)
            .multi_function()
            .access_control(REDIRECT, 0, REDIRECT);
        let segment = device(good(1, ROOT), good_function(10), other);
        assert_eq!(places(&segment, [10, 11]), [Some(10); 2], "type {port}");
    }
}

#[test]
fn on_the_root_bus_only_functions_of_one_device_are_peers() {
    let integrated = |name| endpoint(name).express(INTEGRATED);
    let redirecting = |name| {
        integrated(name)
            .multi_function()
            .access_control(REDIRECT, 0, REDIRECT)
    };
    let segment = segment([
        (&[1][..], 0, endpoint(10)),
        (&[2], 0, integrated(20)),
        (&[3], 0, endpoint(30).multi_function()),
        (&[3], 1, endpoint(31).multi_function()),
        (&[4], 0, integrated(40).multi_function()),
        (&[4], 7, integrated(47).multi_function()),
        (&[5], 0, redirecting(50)),
        (&[5], 1, redirecting(51)),
    ]);
    assert_eq!(places(&segment, [10, 20]), [None; 2]);
    assert_eq!(places(&segment, [30, 31]), [Some(30); 2]);
    assert_eq!(places(&segment, [40, 47]), [Some(40); 2]);
    assert_eq!(places(&segment, [50, 51]), [None; 2]);
}

/// Ports and functions that share a device reach what is behind each other, unless all of them redirect.
#[test]
fn a_device_may_hold_ports_and_functions() {
    let beside = |one: FakeFunction, other: FakeFunction| {
        segment([
            (&[1][..], 0, one.multi_function()),
            (&[1], 1, other.multi_function()),
            (&[1, 0], 0, endpoint(10).express(ENDPOINT)),
        ])
    };
    let ports = beside(good(1, ROOT), good(2, ROOT));
    assert_eq!(places(&ports, [10]), [None]);
    let mixed = beside(good(1, ROOT), bridge(2, ROOT));
    assert_eq!(places(&mixed, [10]), [Some(1)]);
    let plain = beside(good(1, ROOT), endpoint(11).express(INTEGRATED));
    assert_eq!(places(&plain, [10, 11]), [Some(1); 2]);
    let apart = beside(good(1, ROOT), good_function(11));
    assert_eq!(places(&apart, [10, 11]), [None; 2]);
}

/// A DMA engine beside the upstream port of a switch.
#[test]
fn an_upstream_port_redirects_when_its_device_has_more_functions() {
    let with = |upstream: FakeFunction, engine: FakeFunction| {
        let segment = switch(good(1, ROOT), good(3, DOWNSTREAM), good(4, DOWNSTREAM));
        segment.add(0, &[1, 0], 0, upstream.multi_function());
        segment.add(0, &[1, 0], 1, engine);
        places(&segment, [10, 20, 11])
    };
    let upstream = || bridge(2, UPSTREAM).access_control(REDIRECT, 0, REDIRECT);
    let plain = endpoint(11).express(ENDPOINT).multi_function();
    assert_eq!(with(upstream(), good_function(11)), [None; 3]);
    assert_eq!(with(bridge(2, UPSTREAM), good_function(11)), [Some(2); 3]);
    assert_eq!(with(upstream(), plain), [Some(2); 3]);
}

#[test]
fn the_topmost_place_names_all_below_it() {
    let nested = |upper: FakeFunction, lower: FakeFunction| {
        let segment = segment([
            (&[1][..], 0, good(1, ROOT)),
            (&[1, 0], 0, bridge(2, UPSTREAM)),
            (&[1, 0, 0], 0, upper),
            (&[1, 0, 1], 0, good(4, DOWNSTREAM)),
            (&[1, 0, 1, 0], 0, endpoint(20).express(ENDPOINT)),
            (&[1, 0, 0, 0], 0, bridge(5, UPSTREAM)),
            (&[1, 0, 0, 0, 0], 0, lower),
            (&[1, 0, 0, 0, 1], 0, good(7, DOWNSTREAM)),
            (&[1, 0, 0, 0, 0, 0], 0, bridge(8, TO_PCI)),
            (&[1, 0, 0, 0, 0, 0, 2], 0, endpoint(30)),
            (&[1, 0, 0, 0, 1, 0], 0, endpoint(40).express(ENDPOINT)),
        ]);
        places(&segment, [20, 30, 40])
    };
    let none = nested(good(3, DOWNSTREAM), good(6, DOWNSTREAM));
    assert_eq!(none, [None, Some(8), None]);
    let lower = nested(good(3, DOWNSTREAM), bridge(6, DOWNSTREAM));
    assert_eq!(lower, [None, Some(5), Some(5)]);
    let upper = nested(bridge(3, DOWNSTREAM), good(6, DOWNSTREAM));
    assert_eq!(upper, [Some(2); 3]);
    let both = nested(bridge(3, DOWNSTREAM), bridge(6, DOWNSTREAM));
    assert_eq!(both, [Some(2); 3]);
}
