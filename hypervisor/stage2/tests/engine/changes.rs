//! What is written, published and invalidated, in which order.

use crate::hardware::{Event, Handle, machine};
use stage2::{Access, AddressSpace, Attributes, Error, Mapping};

const PAGE: u64 = 1 << 12;
const MEGA: u64 = 1 << 21;
const GIGA: u64 = 1 << 30;
const READ_ONLY: Attributes = Attributes {
    access: Access::Read,
    ..Attributes::RAM
};

fn mappings(memory: &Handle, space: &AddressSpace) -> Vec<(u64, u64, u64)> {
    space
        .mappings(memory)
        .map(|Mapping { ipa, pa, size, .. }| (ipa, pa, size))
        .collect()
}

#[test]
fn a_descriptor_has_the_bits_of_the_manual() {
    let (mut memory, _, mut space) = machine(39);
    let doorbell = Attributes {
        access: Access::Write,
        ..Attributes::DEVICE
    };
    for (ipa, attributes, expected) in [
        // Page: AF | SH=3 | S2AP=3 | MemAttr=0xf | 0b11.
        (0, Attributes::RAM, 0x0000_0000_4000_07ff),
        // Page: XN | AF | S2AP=3 | MemAttr=1 | 0b11.
        (PAGE, Attributes::DEVICE, 0x0040_0000_4000_04c7),
        (2 * PAGE, READ_ONLY, 0x0000_0000_4000_077f),
        (3 * PAGE, doorbell, 0x0040_0000_4000_0487),
    ] {
        memory.take_log();
        space.map(&mut memory, ipa, GIGA, PAGE, attributes).unwrap();
        let written = memory.take_log().into_iter().any(|event| match event {
            Event::Write { value, .. } => value == expected,
            _ => false,
        });
        assert!(written, "{attributes:?} is not {expected:#x}");
        assert_eq!(space.translate(&memory, ipa + 5), Some((GIGA + 5, attributes)));
    }
    // Blocks: bit 1 clear.
    memory.take_log();
    space.map(&mut memory, GIGA, GIGA, GIGA, Attributes::RAM).unwrap();
    let entry = Event::Write {
        address: space.root() + 8,
        was: 0,
        value: 0x0000_0000_4000_07fd,
    };
    assert!(memory.take_log().contains(&entry));
}

#[test]
fn the_largest_blocks_that_fit_are_used() {
    let (mut memory, _, mut space) = machine(39);
    space
        .map(
            &mut memory,
            GIGA - MEGA - PAGE,
            2 * GIGA - MEGA - PAGE,
            GIGA + MEGA + 2 * PAGE,
            Attributes::RAM,
        )
        .unwrap();
    memory.check(&space);
    assert_eq!(
        mappings(&memory, &space),
        [
            (GIGA - MEGA - PAGE, 2 * GIGA - MEGA - PAGE, PAGE),
            (GIGA - MEGA, 2 * GIGA - MEGA, MEGA),
            (GIGA, 2 * GIGA, GIGA),
            (2 * GIGA, 3 * GIGA, PAGE),
        ]
    );
}

#[test]
fn addresses_that_are_not_aligned_alike_get_smaller_blocks() {
    let (mut memory, _, mut space) = machine(39);
    space.map(&mut memory, 0, PAGE, MEGA, Attributes::RAM).unwrap();
    assert_eq!(space.mappings(&memory).count(), 512);
    space.map(&mut memory, GIGA, MEGA, GIGA, Attributes::RAM).unwrap();
    assert_eq!(space.mappings(&memory).count(), 1024);
}

#[test]
fn level_0_has_no_blocks() {
    let (mut memory, _, mut space) = machine(48);
    space.map(&mut memory, 0, 0, 512 * GIGA, Attributes::RAM).unwrap();
    memory.check(&space);
    assert_eq!(space.mappings(&memory).count(), 512);
}

#[test]
fn every_start_level_reaches_its_last_page() {
    for bits in [32, 34, 35, 39, 40, 43, 44, 48] {
        let (mut memory, _, mut space) = machine(bits);
        let end = space.geometry().ipa_end();
        let top = space.geometry().pa_end() - PAGE;
        space
            .map(&mut memory, end - PAGE, top, PAGE, Attributes::RAM)
            .unwrap();
        space.map(&mut memory, 0, 0, PAGE, Attributes::RAM).unwrap();
        memory.check(&space);
        assert_eq!(
            mappings(&memory, &space),
            [(0, 0, PAGE), (end - PAGE, top, PAGE)],
            "{bits} bits"
        );
        assert_eq!(space.translate(&memory, end), None);
        assert_eq!(
            space.map(&mut memory, end, 0, PAGE, Attributes::RAM),
            Err(Error::IpaTooLarge {
                ipa: end,
                size: PAGE,
                bits: space.geometry().ipa_bits()
            })
        );
    }
}

#[test]
fn splitting_a_block_breaks_before_it_makes() {
    let (mut memory, mut caches, mut space) = machine(39);
    space.map(&mut memory, 0, 0, MEGA, Attributes::RAM).unwrap();
    memory.take_log();
    space.unmap(&mut memory, &mut caches, PAGE, PAGE).unwrap();
    memory.check(&space);
    let log = memory.take_log();
    let at = |wanted: &dyn Fn(&Event) -> bool| log.iter().position(wanted).unwrap();
    let broken =
        at(&|event| matches!(event, Event::Write { was, value, .. } if was & 1 == 1 && value & 1 == 0));
    let Event::Write { address: entry, .. } = log[broken] else {
        unreachable!()
    };
    let published = broken
        + log[broken..]
            .iter()
            .position(|event| matches!(event, Event::Publish { address, .. } if *address == entry))
            .unwrap();
    // The whole block was changed, so the whole block is forgotten.
    let forgotten = at(&|event| {
        *event
            == Event::Invalidate {
                vmid: 7,
                ipa: 0,
                size: MEGA,
            }
    });
    let made = at(
        &|event| matches!(event, Event::Write { address, value, .. } if *address == entry && value & 3 == 3),
    );
    assert!(
        broken < published && published < forgotten && forgotten < made,
        "{log:#x?}"
    );
    assert!(matches!(log.last(), Some(Event::Publish { address, .. }) if *address == entry));
    assert_eq!(space.translate(&memory, PAGE), None);
    assert_eq!(
        space.translate(&memory, MEGA - 1),
        Some((MEGA - 1, Attributes::RAM))
    );
    assert_eq!(space.mappings(&memory).count(), 511);
}

#[test]
fn a_gigabyte_is_split_down_to_the_page() {
    let (mut memory, mut caches, mut space) = machine(44);
    space.map(&mut memory, GIGA, 0, GIGA, Attributes::RAM).unwrap();
    let hole = GIGA + 5 * MEGA + 3 * PAGE;
    space
        .protect(&mut memory, &mut caches, hole, PAGE, READ_ONLY)
        .unwrap();
    memory.check(&space);
    assert_eq!(space.mappings(&memory).count(), 511 + 512);
    assert_eq!(space.translate(&memory, hole), Some((hole - GIGA, READ_ONLY)));
    assert_eq!(
        space.translate(&memory, hole + PAGE),
        Some((hole + PAGE - GIGA, Attributes::RAM))
    );
}

#[test]
fn a_range_that_cuts_two_blocks_splits_both_with_one_invalidation() {
    let (mut memory, mut caches, mut space) = machine(39);
    space.map(&mut memory, 0, 0, 3 * MEGA, Attributes::RAM).unwrap();
    memory.take_log();
    space
        .unmap(&mut memory, &mut caches, MEGA - PAGE, MEGA + 2 * PAGE)
        .unwrap();
    memory.check(&space);
    let invalidations: Vec<_> = memory
        .take_log()
        .into_iter()
        .filter(|event| matches!(event, Event::Invalidate { .. }))
        .collect();
    assert_eq!(
        invalidations,
        [Event::Invalidate {
            vmid: 7,
            ipa: 0,
            size: 3 * MEGA
        }]
    );
    assert_eq!(space.mappings(&memory).count(), 511 + 511);
}

#[test]
fn one_block_cut_at_both_ends_is_split_once() {
    let (mut memory, mut caches, mut space) = machine(39);
    space.map(&mut memory, 0, 0, GIGA, Attributes::RAM).unwrap();
    space
        .unmap(&mut memory, &mut caches, MEGA - PAGE, MEGA + 2 * PAGE)
        .unwrap();
    memory.check(&space);
    // Root, level 2, and a level 3 table at each end.
    assert_eq!(memory.blocks(), 4);
    assert_eq!(space.translate(&memory, MEGA), None);
    assert_eq!(space.mappings(&memory).count(), 509 + 511 + 511);
}

#[test]
fn protecting_what_is_so_already_touches_nothing() {
    let (mut memory, mut caches, mut space) = machine(39);
    space.map(&mut memory, 0, 0, MEGA, READ_ONLY).unwrap();
    memory.take_log();
    space
        .protect(&mut memory, &mut caches, PAGE, PAGE, READ_ONLY)
        .unwrap();
    let log = memory.take_log();
    assert!(
        !log.iter()
            .any(|event| matches!(event, Event::Write { .. } | Event::Invalidate { .. })),
        "{log:?}"
    );
}

#[test]
fn empty_tables_are_freed_after_the_invalidation() {
    let (mut memory, mut caches, mut space) = machine(44);
    space
        .map(&mut memory, 0, 0, 4 * MEGA + PAGE, Attributes::RAM)
        .unwrap();
    assert_eq!(memory.blocks(), 4);
    memory.take_log();
    space.unmap(&mut memory, &mut caches, 0, 4 * MEGA + PAGE).unwrap();
    memory.check(&space);
    assert_eq!(memory.blocks(), 1);
    let log = memory.take_log();
    let forgotten = log
        .iter()
        .position(|event| matches!(event, Event::Invalidate { .. }))
        .unwrap();
    assert_eq!(
        log.iter()
            .filter(|event| matches!(event, Event::Free { .. }))
            .count(),
        3
    );
    assert!(
        log.iter()
            .position(|event| matches!(event, Event::Free { .. }))
            .unwrap()
            > forgotten
    );
    // The block comes back as a block.
    space.map(&mut memory, 0, 0, MEGA, Attributes::RAM).unwrap();
    assert_eq!(mappings(&memory, &space), [(0, 0, MEGA)]);
}

#[test]
fn destroying_gives_every_table_back() {
    let (mut memory, mut caches, mut space) = machine(39);
    space.map(&mut memory, PAGE, PAGE, GIGA, Attributes::RAM).unwrap();
    assert!(memory.blocks() > 1);
    memory.detach();
    memory.take_log();
    space.destroy(&mut memory, &mut caches).unwrap();
    assert_eq!(memory.blocks(), 0);
    assert_eq!(
        memory.take_log()[0],
        Event::Invalidate {
            vmid: 7,
            ipa: 0,
            size: 1 << 39
        }
    );
}

#[test]
fn vttbr_holds_vmid_and_root() {
    let (_, _, space) = machine(39);
    assert_eq!(space.vttbr(), 7 << 48 | space.root());
}
