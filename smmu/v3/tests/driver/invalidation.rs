//! What the SMMU still remembers after a range was unmapped.

use crate::common::{Machine, Tables};
use proptest::prelude::*;
use smmu_model::v3::Config;
use smmu_v3::IpaRange;
use smmu_v3::commands::Command;
use smmu_v3::invalidate::PAGE_LIMIT;
use std::collections::BTreeSet;

const STREAM: u32 = 0x10;
const PA: u64 = 0x6000_0000;
const BLOCK: u64 = 0x20_0000;

#[test]
fn an_unmapped_page_is_reached_until_it_is_invalidated_and_never_after() {
    for config in [
        Config::qemu10(),
        Config::no_range_invalidation(),
        Config::non_coherent(),
    ] {
        let machine = Machine::new(config);
        let mut driver = machine.probe(0xffff);
        let mut tables = Tables::new(&machine, 1);
        tables.map(0x1000, PA);
        driver.attach(STREAM, &tables.domain()).unwrap();
        assert_eq!(machine.write(STREAM, 0x1000), Some(PA));
        tables.unmap(0x1000);
        // The control: without the invalidation the attack succeeds, so the model would show a forgotten one.
        assert_eq!(machine.write(STREAM, 0x1000), Some(PA));
        assert_ne!(machine.smmu.unsettled(), Vec::<String>::new());
        driver.invalidate(&tables.page(0x1000)).unwrap();
        assert_eq!(machine.write(STREAM, 0x1000), None);
        machine.assert_settled();
    }
}

#[test]
fn a_page_that_became_read_only_is_not_written_any_more() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let mut tables = Tables::new(&machine, 1);
    tables.map(0x1000, PA);
    driver.attach(STREAM, &tables.domain()).unwrap();
    assert_eq!(machine.write(STREAM, 0x1000), Some(PA));
    tables.map_read_only(0x1000, PA);
    driver.invalidate(&tables.page(0x1000)).unwrap();
    assert_eq!(machine.write(STREAM, 0x1000), None);
    assert_eq!(machine.read(STREAM, 0x1000), Some(PA));
    machine.assert_settled();
}

#[test]
fn invalidating_one_page_leaves_its_neighbours_and_other_vmids_cached() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let (mut tables, mut other) = (Tables::new(&machine, 1), Tables::new(&machine, 2));
    for (n, page) in (0..).zip([0x1000, 0x2000, 0x3000]) {
        tables.map(page, PA + (n << 12));
        other.map(page, PA + (n << 12));
    }
    driver.attach(STREAM, &tables.domain()).unwrap();
    driver.attach(STREAM + 1, &other.domain()).unwrap();
    for page in [0x1000, 0x2000, 0x3000] {
        machine.write(STREAM, page).unwrap();
        machine.write(STREAM + 1, page).unwrap();
        tables.unmap(page);
        other.unmap(page);
    }
    driver.invalidate(&tables.page(0x2000)).unwrap();
    // What is still reached is still cached.
    let reached = |stream| [0x1000, 0x2000, 0x3000].map(|page| machine.write(stream, page).is_some());
    assert_eq!(reached(STREAM), [true, false, true]);
    assert_eq!(reached(STREAM + 1), [true, true, true]);
}

#[test]
fn a_block_is_forgotten_by_any_page_inside_it() {
    for config in [Config::qemu10(), Config::no_range_invalidation()] {
        let machine = Machine::new(config);
        let mut driver = machine.probe(0xffff);
        let mut tables = Tables::new(&machine, 1);
        tables.map_block(BLOCK, PA);
        driver.attach(STREAM, &tables.domain()).unwrap();
        assert_eq!(machine.write(STREAM, BLOCK + 0x5678), Some(PA + 0x5678));
        tables.unmap_block(BLOCK);
        driver
            .invalidate(&IpaRange {
                vmid: 1,
                ipa: BLOCK + 0x9000,
                size: 0x1000,
            })
            .unwrap();
        assert_eq!(machine.write(STREAM, BLOCK + 0x5678), None);
        machine.assert_settled();
    }
}

#[test]
fn size_0_forgets_the_whole_vmid_and_no_other() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let (mut tables, mut other) = (Tables::new(&machine, 1), Tables::new(&machine, 2));
    for (stream, tables) in [(STREAM, &mut tables), (STREAM + 1, &mut other)] {
        tables.map(0x1000, PA);
        driver.attach(stream, &tables.domain()).unwrap();
        assert_eq!(machine.write(stream, 0x1000), Some(PA));
        tables.unmap(0x1000);
    }
    driver
        .invalidate(&IpaRange {
            vmid: 1,
            ipa: 0,
            size: 0,
        })
        .unwrap();
    assert_eq!(machine.write(STREAM, 0x1000), None);
    assert_eq!(machine.write(STREAM + 1, 0x1000), Some(PA));
}

#[test]
fn an_invalidation_waits_for_its_sync() {
    let machine = Machine::new(Config::qemu10());
    let mut driver = machine.probe(0xffff);
    let before = machine.smmu.consumed().len();
    driver
        .invalidate(&IpaRange {
            vmid: 1,
            ipa: 0x1000,
            size: 0x7000,
        })
        .unwrap();
    let commands: Vec<_> = machine.smmu.consumed()[before..]
        .iter()
        .map(|words| Command::parse(*words))
        .collect();
    let pages = Command::Pages {
        vmid: 1,
        ipa: 0x1000,
        blocks: 7,
        scale: 0,
    };
    assert_eq!(commands, [Ok(pages), Ok(Command::Sync)]);
}

#[test]
fn more_commands_than_the_queue_holds_go_through() {
    let machine = Machine::new(Config::small().with_idr(3, 10, 10, 0));
    let mut driver = machine.probe(0x3f);
    let before = machine.smmu.consumed().len();
    driver
        .invalidate(&IpaRange {
            vmid: 1,
            ipa: 0,
            size: PAGE_LIMIT << 12,
        })
        .unwrap();
    assert_eq!((machine.smmu.consumed().len() - before) as u64, PAGE_LIMIT + 1);
    machine.assert_settled();
}

/// A step of the property test, on some of 64 pages.
#[derive(Debug, Clone)]
enum Step {
    Map(u64, u64),
    Unmap(u64, u64),
    Access(u64, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..64, 1_u64..16).prop_map(|(page, count)| Step::Map(page, count)),
        (0_u64..64, 1_u64..16).prop_map(|(page, count)| Step::Unmap(page, count)),
        (0_u64..80, any::<bool>()).prop_map(|(page, write)| Step::Access(page, write)),
    ];
    proptest::collection::vec(step, 1..60)
}

fn config() -> impl Strategy<Value = Config> {
    prop_oneof![
        Just(Config::qemu10()),
        Just(Config::no_range_invalidation()),
        Just(Config::linear_only()),
        Just(Config::non_coherent()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// After every finished unmap, DMA reaches exactly what is mapped.
    #[test]
    fn dma_reaches_what_is_mapped(config in config(), steps in steps()) {
        let machine = Machine::new(config);
        let mut driver = machine.probe(0xff);
        let mut tables = Tables::new(&machine, 9);
        driver.attach(STREAM, &tables.domain()).unwrap();
        let mut mapped = BTreeSet::new();
        for step in steps {
            match step {
                Step::Map(first, count) => {
                    for page in first..(first + count).min(64) {
                        tables.map(page << 12, PA + (page << 12));
                        mapped.insert(page);
                    }
                }
                Step::Unmap(first, count) => {
                    let end = (first + count).min(64);
                    for page in first..end {
                        tables.unmap(page << 12);
                        mapped.remove(&page);
                    }
                    let range = IpaRange { vmid: 9, ipa: first << 12, size: (end - first) << 12 };
                    driver.invalidate(&range).unwrap();
                }
                Step::Access(page, write) => {
                    let lands = if write { machine.write(STREAM, page << 12) } else { machine.read(STREAM, page << 12) };
                    prop_assert_eq!(lands, mapped.contains(&page).then_some(PA + (page << 12)));
                }
            }
        }
        machine.assert_settled();
    }
}
