//! Random graphs, written out as trees in either binding, read back, and compared with what a plain reading of the
//! rules says, number by number.

use std::collections::{BTreeMap, BTreeSet};
use std::format;
use std::string::String;
use std::vec::Vec;

use proptest::prelude::*;

use super::tree;
use crate::blob::Writer;
use crate::{Coverage, Graph, MasterIndex, PciFunction};

/// Stream IDs and masks are drawn from so many bits, so that they meet.
const BITS: u32 = 5;
const SMMUS: usize = 3;

/// A stream as it is written: at which SMMU, ID and mask.
type Written = (usize, u32, u32);

/// A board: how many specifier cells each SMMU takes, and what each master emits.
#[derive(Debug, Clone)]
struct Board {
    cells: Vec<u32>,
    masters: Vec<Vec<Written>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Form {
    Generic,
    Legacy,
    Both,
}

/// What is compared of a master: its stream IDs one by one, whether it is covered, and its group.
type Seen = BTreeMap<String, (BTreeSet<(String, u32)>, bool, BTreeSet<String>)>;

fn smmu_path(index: usize) -> String {
    format!("/smmu@{}", index * 0x20000)
}

fn cells(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

impl Board {
    /// The tree, with its nodes in the order of `order`: SMMUs first in numbering, then masters.
    fn write(&self, form: Form, order: &[usize]) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.begin("");
        writer.property("#address-cells", &cells(&[1]));
        writer.property("#size-cells", &cells(&[1]));
        for &node in order {
            match node.checked_sub(SMMUS) {
                None => self.write_smmu(&mut writer, form, node),
                Some(master) => self.write_master(&mut writer, form, master),
            }
        }
        writer.end();
        writer.finish()
    }

    fn write_smmu(&self, writer: &mut Writer, form: Form, index: usize) {
        let base = u32::try_from(index).unwrap() * 0x20000;
        writer.begin(&smmu_path(index)[1..]);
        writer.property("compatible", b"arm,mmu-500\0");
        writer.property("reg", &cells(&[base, 0x20000]));
        writer.property("#global-interrupts", &cells(&[0]));
        writer.property("#iommu-cells", &cells(&[self.cells[index]]));
        writer.property("phandle", &cells(&[smmu_phandle(index)]));
        if form != Form::Generic {
            let mut list = Vec::new();
            for (master, streams) in self.masters.iter().enumerate() {
                if streams.iter().any(|(smmu, ..)| *smmu == index) {
                    list.push(master_phandle(master));
                    list.extend(streams.iter().map(|(_, id, _)| id));
                }
            }
            writer.property("mmu-masters", &cells(&list));
        }
        writer.end();
    }

    fn write_master(&self, writer: &mut Writer, form: Form, index: usize) {
        let streams = &self.masters[index];
        writer.begin(&format!("m{index}"));
        writer.property("phandle", &cells(&[master_phandle(index)]));
        if form != Form::Generic {
            let count = u32::try_from(streams.len()).unwrap();
            writer.property("#stream-id-cells", &cells(&[count]));
        }
        if form != Form::Legacy {
            let mut list = Vec::new();
            for &(smmu, id, mask) in streams {
                list.extend([smmu_phandle(smmu), id]);
                if self.cells[smmu] == 2 {
                    list.push(mask);
                }
            }
            writer.property("iommus", &cells(&list));
        }
        writer.end();
    }

    /// What the rules say, without any of the reader's tables: sets of numbers are intersected.
    fn expected(&self) -> Seen {
        let matched = |&(smmu, id, mask): &Written| -> BTreeSet<(usize, u32)> {
            let fits = |number: &u32| (number ^ id) & !mask == 0;
            (0..1 << BITS).filter(fits).map(|number| (smmu, number)).collect()
        };
        let sets: Vec<Vec<BTreeSet<(usize, u32)>>> = self
            .masters
            .iter()
            .map(|streams| streams.iter().map(matched).collect())
            .collect();
        let whole: Vec<BTreeSet<(usize, u32)>> = sets
            .iter()
            .map(|sets| sets.iter().flatten().copied().collect())
            .collect();
        // Who overlaps partly, with whomever, is refused.
        let partial = |one: &BTreeSet<_>, other: &BTreeSet<_>| {
            !one.is_disjoint(other) && !one.is_subset(other) && !other.is_subset(one)
        };
        // A match that a wider one of the same master holds is not programmed, and overlaps with nobody.
        let kept: Vec<Vec<&BTreeSet<(usize, u32)>>> = sets
            .iter()
            .map(|own| {
                own.iter()
                    .filter(|set| {
                        !own.iter()
                            .any(|wide| wide.len() > set.len() && set.is_subset(wide))
                    })
                    .collect()
            })
            .collect();
        let all: Vec<&BTreeSet<_>> = kept.iter().flatten().copied().collect();
        let bad: Vec<bool> = kept
            .iter()
            .map(|own| own.iter().any(|set| all.iter().any(|other| partial(set, other))))
            .collect();
        // Groups: who shares a number with somebody of the group is in it.
        let count = self.masters.len();
        let mut group: Vec<usize> = (0..count).collect();
        for _ in 0..count {
            for one in 0..count {
                for other in 0..count {
                    if !whole[one].is_disjoint(&whole[other]) {
                        let least = group[one].min(group[other]);
                        (group[one], group[other]) = (least, least);
                    }
                }
            }
        }
        let name = |index: usize| format!("/m{index}");
        let members = |index: usize| -> Vec<usize> {
            (0..count).filter(|&other| group[other] == group[index]).collect()
        };
        (0..count)
            .map(|index| {
                let covered = !members(index).iter().any(|&other| bad[other]);
                let ids = whole[index]
                    .iter()
                    .map(|&(smmu, id)| (smmu_path(smmu), id))
                    .collect();
                let together = members(index).into_iter().map(name).collect();
                (name(index), (ids, covered, together))
            })
            .collect()
    }
}

fn smmu_phandle(index: usize) -> u32 {
    0x1_0000 + u32::try_from(index).unwrap()
}

fn master_phandle(index: usize) -> u32 {
    0x2_0000 + u32::try_from(index).unwrap()
}

fn seen(blob: &[u8]) -> Seen {
    let tree = tree(blob);
    let graph = Graph::build(&tree, &[]);
    let name = |index: &crate::MasterIndex| format!("{}", graph.master(*index).unwrap().identity);
    graph
        .masters()
        .iter()
        .enumerate()
        .map(|(index, master)| {
            let ids = master.streams.iter().flat_map(|stream| {
                let path = graph.smmu(stream.smmu).unwrap().path.clone();
                let fits = move |number: &u32| (number ^ stream.id) & !stream.mask == 0;
                (0..1 << BITS)
                    .filter(fits)
                    .map(move |number| (path.clone(), number))
            });
            let group = graph.group_of(crate::MasterIndex(index)).unwrap();
            let together = group.masters.iter().map(name).collect();
            let covered = master.coverage == Coverage::Covered;
            (format!("{}", master.identity), (ids.collect(), covered, together))
        })
        .collect()
}

/// Boards that both bindings can describe: no masks, and each master at one SMMU.
fn plain_board() -> impl Strategy<Value = Board> {
    let ids = prop::collection::vec(0..1u32 << BITS, 1..4);
    let master = (0..SMMUS, ids).prop_map(|(smmu, ids)| ids.into_iter().map(|id| (smmu, id, 0)).collect());
    prop::collection::vec(master, 1..8).prop_map(|masters| Board {
        cells: Vec::from([1; SMMUS]),
        masters,
    })
}

/// Boards with masks, which only the generic binding has, and masters behind several SMMUs.
fn masked_board() -> impl Strategy<Value = Board> {
    let mask = prop_oneof![3 => Just(0u32), 2 => prop::sample::select(Vec::from([1u32, 2, 4, 16])), 1 => 0..1u32 << BITS];
    let stream = (0..SMMUS, 0..1u32 << BITS, mask);
    let master = prop::collection::vec(stream, 1..4);
    prop::collection::vec(master, 1..8).prop_map(|masters| Board {
        cells: Vec::from([2; SMMUS]),
        masters,
    })
}

fn any_order(masters: usize) -> impl Strategy<Value = Vec<usize>> {
    Just((0..SMMUS + masters).collect::<Vec<_>>()).prop_shuffle()
}

fn with_order(board: impl Strategy<Value = Board>) -> impl Strategy<Value = (Board, Vec<usize>)> {
    board.prop_flat_map(|board| {
        let order = any_order(board.masters.len());
        (Just(board), order)
    })
}

/// One tuple: base, SMMU, output, length.
fn tuple() -> impl Strategy<Value = (u32, usize, u32, u32)> {
    let base = prop_oneof![0..64u32, Just(0xfff8), Just(u32::MAX)];
    let output = prop_oneof![0..64u32, Just(0xfff0)];
    let length = prop_oneof![0..32u32, Just(0x10000), Just(u32::MAX)];
    (base, 0..2usize, output, length)
}

/// What a plain walk over the tuples says of a requester ID: the stream, or nothing if it is refused.
fn by_hand(tuples: &[(u32, usize, u32, u32)], mask: u32, requester: u32) -> Option<(usize, u32)> {
    let masked = u64::from(requester & mask);
    let highest = u64::from(0xffff & mask);
    for &(base, smmu, output, length) in tuples {
        if length > 0 && base & !mask != 0 {
            // Here readers give up.
            return None;
        }
        let (base, length) = (u64::from(base), u64::from(length));
        if masked < base || masked >= base + length {
            continue;
        }
        // A tuple that wraps, or whose requester IDs do not all have a stream ID, gives nobody one.
        let last = highest.min(base + length - 1);
        let fits = u64::from(output) + (last - base) <= 0xffff;
        let wraps =
            base + length > u64::from(u32::MAX) || u64::from(output) + length - 1 > u64::from(u32::MAX);
        return (fits && !wraps).then(|| (smmu, output + u32::try_from(masked - base).unwrap()));
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn either_binding_reads_back_as_it_was_written((board, order) in with_order(plain_board())) {
        let expected = board.expected();
        for form in [Form::Generic, Form::Legacy, Form::Both] {
            prop_assert_eq!(&seen(&board.write(form, &order)), &expected, "{:?}", form);
        }
    }

    #[test]
    fn masks_group_and_refuse_as_their_numbers_say((board, order) in with_order(masked_board())) {
        prop_assert_eq!(seen(&board.write(Form::Generic, &order)), board.expected());
    }

    /// What is programmed for masters, each for itself and in any order, matches all their streams, and none twice.
    #[test]
    fn matches_hold_every_stream_once((board, order) in with_order(masked_board())) {
        let tree = tree(&board.write(Form::Generic, &order));
        let graph = Graph::build(&tree, &[]);
        let mut programmed = BTreeSet::new();
        for (index, master) in graph.masters().iter().enumerate() {
            if master.coverage != Coverage::Covered {
                continue;
            }
            let matches = graph.group_of(MasterIndex(index)).unwrap().matches_of(master);
            for stream in &master.streams {
                let holders = matches.iter().filter(|wide| wide.holds(stream)).count();
                prop_assert_eq!(holders, 1, "{}", stream);
            }
            programmed.extend(matches);
        }
        for (index, one) in programmed.iter().enumerate() {
            let mut others = programmed.iter().skip(index + 1);
            prop_assert!(!others.any(|other| one.overlaps(other)), "{}", one);
        }
    }

    #[test]
    fn maps_give_each_requester_its_first_tuple(
        tuples in prop::collection::vec(tuple(), 1..6),
        mask in prop_oneof![Just(u32::MAX), Just(0xff), Just(0xfff8), 0..0x80u32],
    ) {
        let board = Board { cells: Vec::from([1; SMMUS]), masters: Vec::new() };
        let mut writer = Writer::default();
        writer.begin("");
        writer.property("#address-cells", &cells(&[1]));
        writer.property("#size-cells", &cells(&[1]));
        (0..SMMUS).for_each(|index| board.write_smmu(&mut writer, Form::Generic, index));
        writer.begin("pcie");
        writer.property("device_type", b"pci\0");
        let list: Vec<u32> = tuples
            .iter()
            .flat_map(|&(base, smmu, output, length)| [base, smmu_phandle(smmu), output, length])
            .collect();
        writer.property("iommu-map", &cells(&list));
        writer.property("iommu-map-mask", &cells(&[mask]));
        writer.end();
        writer.end();
        let tree = tree(&writer.finish());
        let host = tree.find("/pcie").unwrap().id();
        let requesters = (0..0x60).chain([0xfff0, 0xfff8, 0xffff]);
        for requester in requesters {
            let [bus, slot] = u16::try_from(requester).unwrap().to_be_bytes();
            let function = PciFunction {
                host_bridge: host,
                segment: 0,
                bus,
                device: slot >> 3,
                function: slot & 7,
                requester_ids: Vec::new(),
                peers_at: None,
            };
            let graph = Graph::build(&tree, &[function]);
            let master = &graph.masters()[0];
            let found = match master.coverage {
                Coverage::Covered => Some((master.streams[0].smmu.0, master.streams[0].id)),
                _ => None,
            };
            prop_assert_eq!(found, by_hand(&tuples, mask, requester), "requester {:#x}", requester);
        }
    }
}
