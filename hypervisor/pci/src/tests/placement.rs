//! Which addresses stay, and which are given.

use super::{ALL, EDU, WINDOWS, bdf, check_placement, virt};
use crate::config::{command, offset};
use crate::fake::{FakeFunction, FakeSegment};
use crate::*;

#[test]
fn firmwares_addresses_stay_when_they_make_sense() {
    let segment = virt();
    segment.write32(bdf(0, 1, 0), offset::BAR0, 0x2000_0000);
    segment.write32(bdf(0, 2, 0), offset::BAR0, 0x2000_0000);
    segment.write32(bdf(0, 3, 0), offset::BAR0, 0x5000_0000);
    let mut fabric = enumerate(&segment, ALL);
    let assigned = assign(&segment, &mut fabric, &WINDOWS);
    assert_eq!(assigned.kept, [bdf(0, 0, 0), bdf(0, 1, 0)]);
    assert_eq!(assigned.placed, [bdf(0, 2, 0), bdf(0, 3, 0)]);
    assert_eq!(fabric.get(bdf(0, 1, 0)).unwrap().bars[0].address, 0x2000_0000);
    check_placement(&segment, &fabric);
}

/// Behind a bridge addresses must make sense as well: in its window, and apart from each other.
#[test]
fn addresses_behind_a_bridge_stay_only_where_they_make_sense() {
    let kept = |addresses: [u32; 2]| {
        let segment = FakeSegment::default();
        segment.add(0, &[1], 0, FakeFunction::bridge(0x000c_1b36));
        segment.write32(bdf(0, 1, 0), offset::BUSES, 0x0001_0100);
        segment.write32(bdf(0, 1, 0), offset::MEMORY_WINDOW, 0x2010_2000);
        segment.write32(bdf(0, 1, 0), offset::PREFETCHABLE_WINDOW, 0x0000_fff0);
        for (device, address) in (0..).zip(addresses) {
            segment.add(0, &[1, device], 0, FakeFunction::endpoint(EDU).bar32(0, 0x1_0000));
            segment.write32(bdf(1, device, 0), offset::BAR0, address);
        }
        let mut fabric = enumerate(&segment, ALL);
        let assigned = assign(&segment, &mut fabric, &WINDOWS);
        check_placement(&segment, &fabric);
        assigned.kept == [bdf(0, 1, 0)]
    };
    assert!(kept([0x2000_0000, 0x2001_0000]));
    assert!(!kept([0x2000_0000, 0x2000_0000]), "on each other");
    assert!(!kept([0x2000_0000, 0x2020_0000]), "outside the bridge's window");
    assert!(!kept([0x2000_0000, 0]), "one without an address");
}

#[test]
fn no_two_bars_share_a_page() {
    let segment = FakeSegment::default();
    for slot in 1..=2 {
        segment.add(
            0,
            &[slot],
            0,
            FakeFunction::endpoint(EDU).bar32(0, 256).bar32(1, 16),
        );
    }
    segment.add(0, &[3], 0, FakeFunction::bridge(0x000c_1b36).express(4));
    segment.add(
        0,
        &[3, 0],
        0,
        FakeFunction::endpoint(EDU).bar32(0, 16).bar32(1, 16),
    );
    // Firmware packed the first device's BARs, which was its right.
    segment.write32(bdf(0, 1, 0), offset::BAR0, 0x2000_0000);
    segment.write32(bdf(0, 1, 0), offset::BAR0 + 4, 0x2000_0100);
    let mut fabric = enumerate(&segment, ALL);
    assert_eq!(assign(&segment, &mut fabric, &WINDOWS).kept, []);
    let mut pages: Vec<u64> = fabric
        .functions
        .iter()
        .flat_map(|f| &f.bars)
        .map(|bar| bar.address >> 12)
        .collect();
    pages.sort_unstable();
    assert_eq!(pages.len(), 6);
    assert!(pages.is_sorted_by(|before, after| before < after), "{pages:x?}");
    check_placement(&segment, &fabric);
}

#[test]
fn what_does_not_fit_does_not_decode() {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, FakeFunction::endpoint(EDU).bar32(0, 1 << 31));
    segment.write32(bdf(0, 1, 0), offset::BAR0, 0x8000_0000);
    segment.add(0, &[2], 0, FakeFunction::endpoint(EDU).bar32(0, 1 << 20));
    // The first BAR has a place before it shows that the second has none.
    let half = FakeFunction::endpoint(EDU).bar32(0, 1 << 20).bar32(1, 1 << 31);
    segment.add(0, &[3], 0, half);
    let mut fabric = enumerate(&segment, ALL);
    let assigned = assign(&segment, &mut fabric, &WINDOWS);
    assert_eq!(assigned.unplaced, [bdf(0, 1, 0), bdf(0, 3, 0)]);
    for unplaced in assigned.unplaced {
        assert_eq!(segment.read32(unplaced, offset::COMMAND) & command::MEMORY, 0);
        // Nobody is to be given a window there.
        assert!(
            fabric
                .get(unplaced)
                .unwrap()
                .bars
                .iter()
                .all(|bar| bar.address == 0)
        );
    }
    check_placement(&segment, &fabric);
}

#[test]
fn behind_a_narrow_bridge_everything_lies_below_4_gib() {
    let segment = FakeSegment::default();
    let mut narrow = FakeFunction::bridge(0x000c_1b36).express(4);
    narrow.set(offset::PREFETCHABLE_WINDOW, 0, 0xfff0_fff0);
    narrow.set(offset::PREFETCHABLE_BASE_UPPER, 0, 0);
    narrow.set(offset::PREFETCHABLE_LIMIT_UPPER, 0, 0);
    segment.add(0, &[1], 0, narrow);
    segment.add(
        0,
        &[1, 0],
        0,
        FakeFunction::endpoint(EDU).bar64(0, 128 << 20, true),
    );
    let mut fabric = enumerate(&segment, ALL);
    assert_eq!(assign(&segment, &mut fabric, &WINDOWS).unplaced, []);
    assert!(fabric.get(bdf(1, 0, 0)).unwrap().bars[0].address < 1 << 32);
    check_placement(&segment, &fabric);
}

#[test]
fn impossible_bars_do_not_exist() {
    let segment = FakeSegment::default();
    let mut function = FakeFunction::endpoint(EDU);
    function.set(offset::BAR0, 0, 0xff0f_0000);
    function.set(offset::BAR0 + 4, 6, 0xfff0_0000);
    // A 64-bit BAR in the last register has no upper half.
    function.set(offset::BAR0 + 20, 4, 0xfff0_0000);
    segment.add(0, &[1], 0, function);
    assert_eq!(enumerate(&segment, ALL).functions[0].bars, []);
}
