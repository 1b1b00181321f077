//! What packing must and must not do.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const ALL: Limits = Limits {
    id_bits: 0x7fff,
    mask_bits: 0x7fff,
};

fn exact(ids: impl IntoIterator<Item = u32>) -> Vec<Stream> {
    ids.into_iter().map(|id| Stream { id, mask: 0 }).collect()
}

/// By trying every ID.
fn matched(id: u32, mask: u32) -> BTreeSet<u32> {
    (0..1 << 8)
        .filter(|stream| (stream ^ id) & !mask & 0xff == 0)
        .collect()
}

fn sizes(streams: &[Stream], limits: &Limits) -> Vec<(u16, u16)> {
    let packed = pack(streams, limits).unwrap();
    packed.iter().map(|entry| (entry.id(), entry.mask())).collect()
}

#[test]
fn neighbours_become_one() {
    assert_eq!(sizes(&exact(0..8), &ALL), [(0, 7)]);
    assert_eq!(sizes(&exact(0..256), &ALL), [(0, 0xff)]);
    assert_eq!(sizes(&exact([0x100, 0x500]), &ALL), [(0x100, 0x400)]);
    assert_eq!(sizes(&exact([1, 2]), &ALL), [(1, 0), (2, 0)], "two bits apart");
    assert_eq!(sizes(&exact([7, 7, 7]), &ALL), [(7, 0)], "said again");
    assert_eq!(sizes(&[], &ALL), []);
}

#[test]
fn an_smmu_with_fewer_mask_bits_gets_more_groups() {
    let limits = Limits { mask_bits: 1, ..ALL };
    assert_eq!(sizes(&exact(0..8), &limits), [(0, 1), (2, 1), (4, 1), (6, 1)]);
    let none = Limits { mask_bits: 0, ..ALL };
    assert_eq!(sizes(&exact(0..8), &none).len(), 8);
}

/// Both stand in one device of a real tree: bits of the ID that the mask leaves out.
#[test]
fn id_bits_under_the_mask_do_not_count() {
    let streams = [
        Stream {
            id: 0x11a1,
            mask: 0x420,
        },
        Stream {
            id: 0x1181,
            mask: 0x420,
        },
    ];
    assert_eq!(sizes(&streams, &ALL), [(0x1181, 0x420)]);
}

#[test]
fn what_another_holds_needs_no_group() {
    let streams = [
        Stream { id: 5, mask: 0 },
        Stream { id: 4, mask: 3 },
        Stream { id: 6, mask: 1 },
    ];
    assert_eq!(sizes(&streams, &ALL), [(4, 3)]);
}

#[test]
fn matches_that_overlap_otherwise_are_refused() {
    let (first, second) = (Stream { id: 0, mask: 3 }, Stream { id: 2, mask: 4 });
    assert_eq!(
        pack(&[first, second], &ALL),
        Err(Error::Overlap { first, second })
    );
}

#[test]
fn what_the_smmu_cannot_match_is_refused() {
    let limits = Limits {
        id_bits: 0x3ff,
        mask_bits: 0xff,
    };
    for (id, mask) in [(0x400, 0), (0x1_0000, 0), (0, 0x100), (0, 0x1_0000)] {
        let stream = Stream { id, mask };
        let error = Error::StreamRange {
            stream,
            id_bits: 0x3ff,
            mask_bits: 0xff,
        };
        assert_eq!(pack(&[stream], &limits), Err(error));
    }
}

#[test]
fn more_than_any_smmu_has_is_an_error() {
    // None of these has a neighbour: an even number of bits is set in each.
    let ids = (0..0x400_u32).filter(|id| id.count_ones() % 2 == 0);
    assert!(matches!(
        pack(&exact(ids), &ALL),
        Err(Error::Groups { demand: 129, .. })
    ));
}

proptest! {
    /// Exactly the streams that were asked for, each matched once, in no more groups than there were.
    #[test]
    fn packing_keeps_to_the_streams(
        streams in prop::collection::vec((0_u32..256, prop_oneof![3 => Just(0), 1 => 0_u32..256]), 0..24),
        mask_bits: u8,
    ) {
        let limits = Limits { id_bits: 0xff, mask_bits: 0xff & u16::from(mask_bits) };
        let usable = |(id, mask): (u32, u32)| Stream { id, mask: mask & u32::from(limits.mask_bits) };
        let streams: Vec<Stream> = streams.into_iter().map(usable).collect();
        let wanted: BTreeSet<u32> = streams.iter().flat_map(|stream| matched(stream.id, stream.mask)).collect();
        match pack(&streams, &limits) {
            Ok(packed) => {
                prop_assert!(packed.len() <= streams.len());
                let sets: Vec<_> = packed.iter().map(|one| matched(one.id().into(), one.mask().into())).collect();
                let total: usize = sets.iter().map(BTreeSet::len).sum();
                let union: BTreeSet<u32> = sets.into_iter().flatten().collect();
                prop_assert_eq!(total, union.len(), "no stream is matched twice");
                prop_assert_eq!(union, wanted);
                prop_assert!(packed.iter().all(|one| one.mask() & !limits.mask_bits == 0));
            }
            Err(Error::Overlap { first, second }) => {
                let (one, two) = (matched(first.id, first.mask), matched(second.id, second.mask));
                prop_assert!(!one.is_disjoint(&two) && !one.is_subset(&two) && !two.is_subset(&one));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn matches_count_what_they_have_in_common(id in 0_u16..256, mask in 0_u16..256, id2 in 0_u16..256, mask2 in 0_u16..256) {
        let new = |id: u16, mask: u16| Match::new(&Stream { id: id.into(), mask: mask.into() }, &ALL).unwrap();
        let sets = [matched(id.into(), mask.into()), matched(id2.into(), mask2.into())];
        let common = sets[0].intersection(&sets[1]).count();
        prop_assert_eq!(new(id, mask).common(&new(id2, mask2)) as usize, common);
        prop_assert_eq!(new(id, mask).count() as usize, sets[0].len());
    }
}
