//! Refusals, memory that runs out, walkers that do not answer.

use crate::hardware::{Event, Handle, machine};
use stage2::{Access, AddressSpace, Attributes, Error, InvalidateError, Mapping, Walker};

const PAGE: u64 = 1 << 12;
const MEGA: u64 = 1 << 21;
const GIGA: u64 = 1 << 30;
const READ_ONLY: Attributes = Attributes {
    access: Access::Read,
    ..Attributes::RAM
};
const SILENT: InvalidateError = InvalidateError {
    walker: Walker::Smmu(0),
    status: 3,
};

fn all(memory: &Handle, space: &AddressSpace) -> Vec<Mapping> {
    space.mappings(memory).collect()
}

#[test]
fn bad_ranges_are_refused() {
    let (mut memory, mut caches, mut space) = machine(40);
    for (ipa, pa, size) in [(1, 0, PAGE), (0, 1, PAGE), (0, 0, 1), (0, 0, 0)] {
        let refused = Err(Error::NotPages { ipa, pa, size });
        assert_eq!(space.map(&mut memory, ipa, pa, size, Attributes::RAM), refused);
    }
    let end = 1 << 40;
    for (ipa, size) in [
        (end, PAGE),
        (end - PAGE, 2 * PAGE),
        (u64::MAX - 4095, PAGE),
        (u64::MAX - 4095, u64::MAX - 4095),
    ] {
        let refused = Err(Error::IpaTooLarge { ipa, size, bits: 40 });
        assert_eq!(space.map(&mut memory, ipa, 0, size, Attributes::RAM), refused);
        assert_eq!(space.unmap(&mut memory, &mut caches, ipa, size), refused);
        assert_eq!(
            space.protect(&mut memory, &mut caches, ipa, size, READ_ONLY),
            refused
        );
    }
    let end = 1 << 48;
    for (pa, size) in [(end, PAGE), (end - PAGE, 2 * PAGE), (u64::MAX - 4095, PAGE)] {
        let refused = Err(Error::PaTooLarge { pa, size, bits: 48 });
        assert_eq!(space.map(&mut memory, 0, pa, size, Attributes::RAM), refused);
    }
    assert!(memory.take_log().is_empty());
}

#[test]
fn nothing_is_mapped_over() {
    let (mut memory, _, mut space) = machine(40);
    space.map(&mut memory, MEGA, 0, PAGE, Attributes::RAM).unwrap();
    memory.take_log();
    // The same page to the same place is an error too: it is somebody's mistake.
    for (ipa, size) in [(MEGA, PAGE), (0, GIGA), (MEGA - PAGE, 2 * PAGE)] {
        let refused = Err(Error::AlreadyMapped { ipa: MEGA });
        assert_eq!(space.map(&mut memory, ipa, ipa, size, Attributes::RAM), refused);
    }
    assert!(memory.take_log().is_empty());
}

#[test]
fn what_is_not_mapped_cannot_be_changed() {
    let (mut memory, mut caches, mut space) = machine(40);
    space.map(&mut memory, 0, 0, 3 * PAGE, Attributes::RAM).unwrap();
    memory.take_log();
    let refused = Err(Error::NotMapped { ipa: 3 * PAGE });
    assert_eq!(space.unmap(&mut memory, &mut caches, PAGE, MEGA), refused);
    assert_eq!(
        space.protect(&mut memory, &mut caches, PAGE, MEGA, READ_ONLY),
        refused
    );
    assert_eq!(
        space.unmap(&mut memory, &mut caches, GIGA, PAGE),
        Err(Error::NotMapped { ipa: GIGA })
    );
    assert!(memory.take_log().is_empty());
}

#[test]
fn without_memory_for_the_root_there_is_no_space() {
    let mut memory = Handle::default();
    memory.allow(Some(0));
    let geometry = crate::hardware::geometry(40);
    assert!(AddressSpace::new(&mut memory, geometry, 1).is_err());
    assert_eq!(memory.blocks(), 0);
}

#[test]
fn a_change_that_runs_out_of_memory_changes_nothing() {
    type Operation = fn(&mut AddressSpace, &mut Handle, &mut Handle) -> Result<(), Error>;
    let operations: [(Operation, usize); 3] = [
        // Two level 3 tables, two level 2, in a 44-bit tree one level 1.
        (
            |space, memory, _| space.map(memory, 4 * GIGA - PAGE, PAGE, 2 * PAGE, Attributes::RAM),
            4,
        ),
        (
            |space, memory, caches| space.unmap(memory, caches, MEGA - PAGE, MEGA + 2 * PAGE),
            3,
        ),
        (
            |space, memory, caches| space.protect(memory, caches, PAGE, PAGE, READ_ONLY),
            2,
        ),
    ];
    for (operation, needed) in operations {
        let (mut memory, mut caches, mut space) = machine(44);
        space.map(&mut memory, 0, 0, GIGA, Attributes::RAM).unwrap();
        let (before, blocks) = (all(&memory, &space), memory.blocks());
        for left in 0..needed {
            memory.allow(Some(left));
            let refused = operation(&mut space, &mut memory, &mut caches);
            assert!(
                matches!(refused, Err(Error::OutOfMemory(_))),
                "{left} left: {refused:?}"
            );
            assert_eq!(
                (all(&memory, &space), memory.blocks()),
                (before.clone(), blocks),
                "{left} left"
            );
            memory.check(&space);
        }
        memory.allow(Some(needed));
        operation(&mut space, &mut memory, &mut caches).unwrap();
        memory.check(&space);
        assert_eq!(memory.blocks(), blocks + needed);
    }
}

#[test]
fn a_failed_invalidation_leaves_the_range_unmapped_and_keeps_its_tables() {
    let (mut memory, mut caches, mut space) = machine(40);
    space.map(&mut memory, 0, 0, 3 * PAGE, Attributes::RAM).unwrap();
    let blocks = memory.blocks();
    memory.fail_next_invalidation();
    memory.take_log();
    let failed = space.unmap(&mut memory, &mut caches, 0, 3 * PAGE);
    assert_eq!(
        failed,
        Err(Error::Invalidate {
            vmid: 7,
            ipa: 0,
            size: GIGA,
            cause: SILENT
        })
    );
    assert!(
        !memory
            .take_log()
            .iter()
            .any(|event| matches!(event, Event::Free { .. }))
    );
    assert_eq!(memory.blocks(), blocks);
    assert_eq!(all(&memory, &space), []);

    // Nothing is changed on top of what may be cached.
    assert!(space.is_stale());
    let stale = Err(Error::Stale { vmid: 7 });
    assert_eq!(space.map(&mut memory, 0, MEGA, PAGE, Attributes::RAM), stale);
    assert_eq!(space.unmap(&mut memory, &mut caches, 0, PAGE), stale);
    assert_eq!(space.protect(&mut memory, &mut caches, 0, PAGE, READ_ONLY), stale);
    memory.fail_next_invalidation();
    assert_eq!(space.recover(&mut memory, &mut caches), Err(SILENT));
    assert!(space.is_stale());
    assert_eq!(memory.blocks(), blocks);

    space.recover(&mut memory, &mut caches).unwrap();
    assert_eq!(memory.blocks(), 1);
    memory.check(&space);
    space.map(&mut memory, 0, MEGA, PAGE, Attributes::RAM).unwrap();
    memory.check(&space);
}

#[test]
fn a_block_whose_split_failed_is_gone_as_a_whole() {
    for protect in [false, true] {
        let (mut memory, mut caches, mut space) = machine(40);
        space.map(&mut memory, 0, 0, 2 * MEGA, Attributes::RAM).unwrap();
        let blocks = memory.blocks();
        memory.fail_next_invalidation();
        let failed = if protect {
            space.protect(&mut memory, &mut caches, PAGE, PAGE, READ_ONLY)
        } else {
            space.unmap(&mut memory, &mut caches, PAGE, PAGE)
        };
        assert_eq!(
            failed,
            Err(Error::Invalidate {
                vmid: 7,
                ipa: 0,
                size: MEGA,
                cause: SILENT
            })
        );
        assert_eq!(space.translate(&memory, 0), None);
        assert!(space.translate(&memory, MEGA).is_some());
        // The table that was to replace the block was never seen by a walker.
        assert_eq!(memory.blocks(), blocks);
        space.recover(&mut memory, &mut caches).unwrap();
        space.map(&mut memory, 0, MEGA, MEGA, READ_ONLY).unwrap();
        memory.check(&space);
    }
}

#[test]
fn a_space_that_a_walker_may_still_follow_is_not_destroyed() {
    let (mut memory, mut caches, mut space) = machine(40);
    space.map(&mut memory, 0, 0, 3 * PAGE, Attributes::RAM).unwrap();
    memory.fail_next_invalidation();
    assert!(space.unmap(&mut memory, &mut caches, 0, 3 * PAGE).is_err());
    let blocks = memory.blocks();
    memory.detach();
    memory.fail_next_invalidation();
    let kept = space.destroy(&mut memory, &mut caches).unwrap_err();
    assert_eq!(kept.cause, SILENT);
    assert_eq!(memory.blocks(), blocks);
    assert_eq!(
        kept.to_string(),
        "VMID 7: tables are kept: SMMU 0 did not complete the invalidation (status 3)"
    );
    kept.space.destroy(&mut memory, &mut caches).unwrap();
    assert_eq!(memory.blocks(), 0);
}
