//! Enumeration and assignment over fake segments.

use crate::config::{command, offset};
use crate::fake::{FakeFunction, FakeSegment};
use crate::*;
use proptest::prelude::*;

mod peers;
mod placement;
mod quiet;
mod reset;
mod virtio;

const ALL: BusRange = BusRange { first: 0, last: 255 };
const WINDOWS: [Window; 3] = [
    Window {
        space: Space::Io,
        pci: 0,
        cpu: 0x3eff_0000,
        size: 0x1_0000,
    },
    Window {
        space: Space::Memory32,
        pci: 0x1000_0000,
        cpu: 0x1000_0000,
        size: 0x2eff_0000,
    },
    Window {
        space: Space::Memory64,
        pci: 0x80_0000_0000,
        cpu: 0x80_0000_0000,
        size: 0x80_0000_0000,
    },
];
const EDU: u32 = 0x11e8_1234;

fn bdf(bus: u8, device: u8, function: u8) -> Bdf {
    Bdf::new(bus, device, function).unwrap()
}

/// QEMU's virt with three edu devices.
fn virt() -> FakeSegment {
    let segment = FakeSegment::default();
    segment.add(0, &[0], 0, FakeFunction::endpoint(0x0008_1b36));
    for slot in 1..=3 {
        segment.add(
            0,
            &[slot],
            0,
            FakeFunction::endpoint(EDU)
                .bar32(0, 1 << 20)
                .pin(1)
                .capability(0x40, 5, 0x80),
        );
    }
    segment
}

/// Every memory BAR that decodes lies in a window and apart from all others.
fn check_placement(segment: &FakeSegment, fabric: &Fabric) {
    let mut ranges = Vec::new();
    for function in &fabric.functions {
        let decodes = segment.read32(function.bdf, offset::COMMAND) & command::MEMORY != 0;
        for bar in function
            .bars
            .iter()
            .filter(|bar| decodes && bar.space != Space::Io)
        {
            assert_eq!(bar.address % bar.size, 0, "{} BAR {}", function.bdf, bar.index);
            let window = WINDOWS
                .iter()
                .find(|window| window.to_cpu(bar.address, bar.size).is_some());
            assert!(
                window.is_some_and(|window| window.space != Space::Io),
                "{} {bar:x?}",
                function.bdf
            );
            let low = segment.read32(function.bdf, bar.offset()) & !0xf;
            let high = if bar.space == Space::Memory64 {
                segment.read32(function.bdf, bar.offset() + 4)
            } else {
                0
            };
            assert_eq!(u64::from(high) << 32 | u64::from(low), bar.address);
            for bridge in fabric.above(function.bdf) {
                assert!(
                    bridge_lets_through(segment, bridge.bdf, bar.address, bar.size),
                    "{bar:x?}"
                );
            }
            ranges.push((bar.address, bar.address + bar.size));
        }
    }
    ranges.sort_unstable();
    assert!(
        ranges.is_sorted_by(|before, after| before.1 <= after.0),
        "{ranges:x?}"
    );
}

fn bridge_lets_through(segment: &FakeSegment, bridge: Bdf, address: u64, size: u64) -> bool {
    let read = |at| u64::from(segment.read32(bridge, at));
    let memory = (
        read(offset::MEMORY_WINDOW) << 16 & 0xfff0_0000,
        read(offset::MEMORY_WINDOW) & 0xfff0_0000 | 0xf_ffff,
    );
    let prefetchable = (
        read(offset::PREFETCHABLE_WINDOW) << 16 & 0xfff0_0000 | read(offset::PREFETCHABLE_BASE_UPPER) << 32,
        read(offset::PREFETCHABLE_WINDOW) & 0xfff0_0000
            | 0xf_ffff
            | read(offset::PREFETCHABLE_LIMIT_UPPER) << 32,
    );
    [memory, prefetchable]
        .iter()
        .any(|(base, limit)| *base <= address && address + size - 1 <= *limit)
}

#[test]
fn virt_is_found_and_assigned() {
    let segment = virt();
    let mut fabric = enumerate(&segment, ALL);
    assert_eq!(fabric.roots, [0]);
    assert_eq!(fabric.functions.len(), 4);
    let edu = fabric.get(bdf(0, 2, 0)).unwrap();
    assert_eq!((edu.vendor, edu.device), (0x1234, 0x11e8));
    assert_eq!(edu.class.to_string(), "00ff00");
    assert_eq!(edu.requester_ids, [0x10]);
    assert!(edu.has(id::MSI) && !edu.has(id::PCI_EXPRESS));
    assert_eq!(edu.port, Port::Conventional);
    assert_eq!(
        edu.bars,
        [Bar {
            index: 0,
            space: Space::Memory32,
            prefetchable: false,
            size: 1 << 20,
            address: 0
        }]
    );

    let assigned = assign(&segment, &mut fabric, &WINDOWS);
    assert_eq!(assigned.kept, [bdf(0, 0, 0)]);
    assert_eq!(assigned.placed, [bdf(0, 1, 0), bdf(0, 2, 0), bdf(0, 3, 0)]);
    let addresses: Vec<u64> = fabric
        .functions
        .iter()
        .flat_map(|f| &f.bars)
        .map(|bar| bar.address)
        .collect();
    assert_eq!(addresses, [0x1000_0000, 0x1010_0000, 0x1020_0000]);
    check_placement(&segment, &fabric);
    assert_eq!(
        segment.read32(bdf(0, 1, 0), offset::COMMAND) & 0xffff,
        command::MEMORY | command::INTX_DISABLE
    );
}

#[test]
fn a_function_that_firmware_left_mastering_is_silenced_and_told() {
    let segment = virt();
    segment.write32(
        bdf(0, 1, 0),
        offset::COMMAND,
        command::BUS_MASTER | command::MEMORY,
    );
    let fabric = enumerate(&segment, ALL);
    assert!(fabric.get(bdf(0, 1, 0)).unwrap().found_mastering);
    assert!(!fabric.get(bdf(0, 2, 0)).unwrap().found_mastering);
    let now = segment.read32(bdf(0, 1, 0), offset::COMMAND);
    assert_eq!(now & command::BUS_MASTER, 0);
}

#[test]
fn bus_mastering_opens_the_bridges_above_and_closes_the_function_only() {
    let segment = FakeSegment::default();
    segment.add(0, &[2], 0, FakeFunction::bridge(0x000c_1b36).express(4));
    segment.add(0, &[2, 0], 0, FakeFunction::endpoint(EDU).express(0));
    let fabric = enumerate(&segment, ALL);
    let mastering = |bdf| segment.read32(bdf, offset::COMMAND) & command::BUS_MASTER != 0;
    assert!(!mastering(bdf(0, 2, 0)) && !mastering(bdf(1, 0, 0)));
    fabric.set_bus_master(&segment, bdf(1, 0, 0), true);
    assert!(mastering(bdf(0, 2, 0)) && mastering(bdf(1, 0, 0)));
    fabric.set_bus_master(&segment, bdf(1, 0, 0), false);
    assert!(mastering(bdf(0, 2, 0)) && !mastering(bdf(1, 0, 0)));
    fabric.quiesce(&segment);
    assert!(!mastering(bdf(0, 2, 0)));
    fabric.set_intx(&segment, bdf(1, 0, 0), true);
    assert_eq!(
        segment.read32(bdf(1, 0, 0), offset::COMMAND) & command::INTX_DISABLE,
        0
    );
}

/// The tree of platforms.md section 3: a root port with a PCIe-to-PCI bridge behind it, and an expander root.
fn tree() -> FakeSegment {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, FakeFunction::endpoint(EDU).bar32(0, 1 << 20).pin(1));
    segment.add(
        0,
        &[2],
        0,
        FakeFunction::bridge(0x000c_1b36).express(4).bar32(0, 0x1000),
    );
    segment.add(0, &[2, 0], 0, FakeFunction::bridge(0x000e_1b36).express(7));
    segment.add(
        0,
        &[2, 0, 3],
        0,
        FakeFunction::endpoint(EDU).bar32(0, 1 << 20).pin(2),
    );
    segment.add(
        0,
        &[6],
        0,
        FakeFunction::endpoint(0x0010_1b36)
            .bar64(0, 0x4000, false)
            .express(9),
    );
    segment.add(
        0x20,
        &[0],
        0,
        FakeFunction::bridge(0x000c_1b36).express(4).multi_function(),
    );
    segment.add(
        0x20,
        &[0, 0],
        0,
        FakeFunction::endpoint(EDU)
            .bar64(2, 256 << 20, true)
            .bar_io(0, 32)
            .express(0),
    );
    segment
}

#[test]
fn bridges_are_numbered_and_aliases_known() {
    let segment = tree();
    let mut fabric = enumerate(&segment, ALL);
    assert_eq!(fabric.roots, [0, 0x20]);
    let found: Vec<Bdf> = fabric.functions.iter().map(|function| function.bdf).collect();
    let expected = [
        bdf(0, 1, 0),
        bdf(0, 2, 0),
        bdf(0, 6, 0),
        bdf(1, 0, 0),
        bdf(2, 3, 0),
        bdf(0x20, 0, 0),
        bdf(0x21, 0, 0),
    ];
    assert_eq!(found, expected);
    assert_eq!(
        fabric.get(bdf(0, 2, 0)).unwrap().bridge,
        Some(Bridge {
            secondary: 1,
            subordinate: 2
        })
    );
    // As measured on QEMU: RID 0218 arrives as 0200.
    assert_eq!(fabric.get(bdf(2, 3, 0)).unwrap().requester_ids, [0x0218, 0x0200]);
    assert_eq!(fabric.get(bdf(0x21, 0, 0)).unwrap().requester_ids, [0x2100]);
    // INTB of device 3 behind two bridges whose devices are 0 and 2.
    assert_eq!(fabric.pin_at_root(bdf(2, 3, 0)), Some((2, Pin::A)));
    assert_eq!(fabric.pin_at_root(bdf(0, 1, 0)), Some((1, Pin::A)));
    assert_eq!(fabric.pin_at_root(bdf(0, 6, 0)), None);

    let assigned = assign(&segment, &mut fabric, &WINDOWS);
    assert_eq!(assigned.unplaced, []);
    check_placement(&segment, &fabric);
    // Large and 64-bit: above 4 GiB, through the prefetchable window.
    let large = fabric.get(bdf(0x21, 0, 0)).unwrap().bars[1];
    assert_eq!((large.index, large.address), (2, 0x80_0000_0000));

    // A second look changes nothing: what was assigned is what firmware might have left.
    let before: Vec<_> = fabric
        .functions
        .iter()
        .map(|function| function.bars.clone())
        .collect();
    let mut again = enumerate(&segment, ALL);
    let assigned = assign(&segment, &mut again, &WINDOWS);
    assert_eq!((assigned.placed, assigned.unplaced), (vec![], vec![]));
    assert_eq!(
        before,
        again
            .functions
            .iter()
            .map(|function| function.bars.clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(again.roots, [0, 0x20]);
}

/// A conventional bridge may put its own ID on what it forwards, and a bridge to PCI above it puts another one there.
#[test]
fn every_bridge_that_may_take_ownership_is_an_alias() {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, FakeFunction::bridge(0x000c_1b36).express(7));
    segment.add(0, &[1, 2], 0, FakeFunction::bridge(0x0001_1b36));
    segment.add(0, &[1, 2, 3], 0, FakeFunction::endpoint(EDU));
    let fabric = enumerate(&segment, ALL);
    assert_eq!(fabric.get(bdf(1, 2, 0)).unwrap().requester_ids, [0x0110, 0x0100]);
    assert_eq!(
        fabric.get(bdf(2, 3, 0)).unwrap().requester_ids,
        [0x0218, 0x0110, 0x0100]
    );
}

#[test]
fn bus_numbers_of_firmware_that_collide_are_replaced() {
    let segment = FakeSegment::default();
    let mut claims = FakeFunction::bridge(0x000c_1b36).express(4);
    claims.set(offset::BUSES, 0x0005_0300, u32::MAX);
    segment.add(0, &[1], 0, claims.clone());
    segment.add(0, &[1, 0], 0, FakeFunction::endpoint(EDU));
    let mut backwards = FakeFunction::bridge(0x000c_1b36).express(4);
    backwards.set(offset::BUSES, 0x0001_0200, u32::MAX);
    segment.add(0, &[2], 0, backwards);
    segment.add(0, &[2, 0], 0, FakeFunction::endpoint(EDU));
    let fabric = enumerate(&segment, ALL);
    let found: Vec<Bdf> = fabric.functions.iter().map(|function| function.bdf).collect();
    assert_eq!(found, [bdf(0, 1, 0), bdf(0, 2, 0), bdf(3, 0, 0), bdf(6, 0, 0)]);
}

/// Firmware left a bridge closed, and numbers behind it that point at their own bus.
#[test]
fn numbers_behind_a_closed_bridge_are_checked_when_it_opens() {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, FakeFunction::bridge(0x000c_1b36).express(4));
    let mut stale = FakeFunction::bridge(0x000c_1b36);
    stale.set(offset::BUSES, 0x0001_0101, u32::MAX);
    segment.add(0, &[1, 0], 0, stale);
    segment.add(0, &[1, 0, 4], 0, FakeFunction::endpoint(EDU));
    let fabric = enumerate(&segment, ALL);
    let found: Vec<Bdf> = fabric.functions.iter().map(|function| function.bdf).collect();
    assert_eq!(found, [bdf(0, 1, 0), bdf(1, 0, 0), bdf(2, 4, 0)]);
}

/// A device that calls itself a bridge, and whose numbers cannot be changed.
#[test]
fn a_bridge_that_ignores_its_numbers_ends_the_walk_no_less() {
    for numbers in [0x0001_0101, 0x00ff_0001, 0x0000_0101, 0x0005_0201, 0x00ff_0201] {
        let segment = FakeSegment::default();
        segment.add(0, &[1], 0, FakeFunction::bridge(0x000c_1b36));
        for device in 0..3 {
            let mut stubborn = FakeFunction::bridge(0x000c_1b36);
            stubborn.set(offset::BUSES, numbers, 0);
            segment.add(0, &[1, device], 0, stubborn);
        }
        let fabric = enumerate(&segment, ALL);
        assert!(fabric.functions.len() >= 4, "{numbers:#x}");
        assert!(fabric.functions.iter().all(|function| {
            function
                .bridge
                .is_none_or(|numbers| numbers.secondary == 0 || numbers.secondary > function.bdf.bus())
        }));
    }
}

#[test]
fn a_bus_range_without_room_leaves_bridges_closed() {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, FakeFunction::bridge(0x000c_1b36).express(4));
    segment.add(0, &[1, 0], 0, FakeFunction::endpoint(EDU));
    segment.add(0, &[2], 0, FakeFunction::bridge(0x000c_1b36).express(4));
    segment.add(0, &[2, 0], 0, FakeFunction::endpoint(EDU));
    let fabric = enumerate(&segment, BusRange { first: 0, last: 1 });
    assert_eq!(fabric.functions.len(), 3);
    assert_eq!(
        fabric.get(bdf(0, 2, 0)).unwrap().bridge,
        Some(Bridge {
            secondary: 0,
            subordinate: 0
        })
    );
}

#[test]
fn a_link_has_one_device() {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, FakeFunction::bridge(0x000c_1b36).express(4));
    for slot in 0..32 {
        // A port that answers for every device number with the one that is there.
        segment.add(0, &[1, slot], 0, FakeFunction::endpoint(EDU));
    }
    assert_eq!(enumerate(&segment, ALL).functions.len(), 2);
}

#[test]
fn a_ring_of_capabilities_ends() {
    let segment = FakeSegment::default();
    let mut function = FakeFunction::endpoint(EDU).express(0);
    function.set(0x40, 0x0002_4010, 0);
    function.set(0x100, 0x1001_000b, 0);
    segment.add(0, &[1], 0, function);
    let fabric = enumerate(&segment, ALL);
    let count = |extended| {
        let ids = fabric.functions[0]
            .capabilities
            .iter()
            .map(|capability| capability.id);
        ids.filter(|id| (*id > 0xffff) == extended).count()
    };
    assert_eq!((count(false), count(true)), (48, 480));
}

fn any_function() -> impl Strategy<Value = FakeFunction> {
    let bar = (0u16..6, 4u32..34, any::<bool>(), any::<bool>());
    (
        any::<bool>(),
        0u16..10,
        prop::collection::vec(bar, 0..3),
        prop::collection::vec((0u16..256, any::<u32>()), 0..4),
    )
        .prop_map(|(bridge, port, bars, noise)| {
            let mut function = if bridge {
                FakeFunction::bridge(EDU)
            } else {
                FakeFunction::endpoint(EDU)
            };
            for (index, bits, wide, prefetchable) in bars {
                function = match (bridge, wide && index % 2 == 0) {
                    (true, _) => function,
                    (_, true) => function.bar64(index, 1 << bits, prefetchable),
                    _ => function.bar32(index, 1 << bits.min(29)),
                };
            }
            function = if bridge { function.express(port) } else { function };
            for (at, value) in noise.into_iter().filter(|(at, _)| !bridge && *at > 16) {
                function.set(at * 4 % 1024, value, value.rotate_left(7));
            }
            function
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever hangs on the buses and whatever firmware left in the bridges: the walk ends, everybody is silent,
    /// and what decodes is placed soundly.
    #[test]
    fn any_tree_is_tamed(
        nodes in prop::collection::vec((prop::collection::vec(0u8..3, 1..4), any_function()), 1..12),
        numbers in prop::collection::vec((any::<u16>(), any::<u32>()), 0..4),
    ) {
        let segment = FakeSegment::default();
        for (path, function) in nodes {
            segment.add(0, &path, 0, function);
        }
        for (slot, value) in numbers {
            let bridge = bdf(0, (slot % 3) as u8, 0);
            if segment.read32(bridge, offset::HEADER) >> 16 & 0x7f == 1 {
                // Numbers that no two bridges share; the fake refuses to route those, as hardware would go wrong.
                let secondary = 1 + (slot % 3) as u32 * 80 + value % 80;
                segment.write32(bridge, offset::BUSES, secondary << 8 | (secondary + value % 3) << 16);
            }
        }
        let buses = BusRange { first: 0, last: 255 };
        let mut fabric = enumerate(&segment, buses);
        assign(&segment, &mut fabric, &WINDOWS);
        for function in &fabric.functions {
            prop_assert_eq!(segment.read32(function.bdf, offset::COMMAND) & (command::BUS_MASTER | command::IO), 0);
        }
        check_placement(&segment, &fabric);
    }
}
