//! Random changes against the simplest model there is: a map from page to page.

use crate::hardware::{Handle, machine};
use proptest::prelude::*;
use stage2::{Access, AddressSpace, Attributes, Error, MemoryType};
use std::collections::BTreeMap;

const PAGE: u64 = 1 << 12;
/// Pages of the window that is played in, around a 1 GiB boundary.
const PAGES: u64 = 2048;
const BASE: u64 = (1 << 30) - PAGES / 2 * PAGE;

type Model = BTreeMap<u64, (u64, Attributes)>;

#[derive(Debug, Clone)]
enum Step {
    Map {
        page: u64,
        to: u64,
        pages: u64,
        attributes: Attributes,
    },
    Unmap {
        page: u64,
        pages: u64,
    },
    Protect {
        page: u64,
        pages: u64,
        attributes: Attributes,
    },
}

fn attributes() -> impl Strategy<Value = Attributes> {
    (0..3, any::<bool>(), any::<bool>()).prop_map(|(access, device, execute_never)| Attributes {
        access: [Access::Read, Access::Write, Access::ReadWrite][access as usize],
        memory: if device {
            MemoryType::Device
        } else {
            MemoryType::Normal
        },
        execute_never,
    })
}

/// A range of pages of the window: single pages, whole blocks, anything.
fn pages() -> impl Strategy<Value = (u64, u64)> {
    prop_oneof![
        (0..PAGES, Just(1)),
        (0..PAGES / 512, 1..=2_u64).prop_map(|(block, blocks)| (block * 512, blocks * 512)),
        (0..PAGES, 1..1500_u64),
    ]
    .prop_map(|(page, pages)| (page, pages.min(PAGES - page)))
}

fn step() -> impl Strategy<Value = Step> {
    let target = prop_oneof![(0..8_u64).prop_map(|block| block * 512), 0..4096_u64];
    prop_oneof![
        3 => (pages(), target, attributes())
            .prop_map(|((page, pages), to, attributes)| Step::Map { page, to, pages, attributes }),
        2 => pages().prop_map(|(page, pages)| Step::Unmap { page, pages }),
        2 => (pages(), attributes())
            .prop_map(|((page, pages), attributes)| Step::Protect { page, pages, attributes }),
    ]
}

fn missing(model: &Model, page: u64, pages: u64) -> Result<(), Error> {
    match (page..page + pages).find(|page| !model.contains_key(page)) {
        Some(page) => Err(Error::NotMapped {
            ipa: BASE + page * PAGE,
        }),
        None => Ok(()),
    }
}

/// What the step should answer; the model is changed accordingly.
fn play(model: &mut Model, step: &Step) -> Result<(), Error> {
    match *step {
        Step::Map {
            page,
            to,
            pages,
            attributes,
        } => {
            if let Some(page) = (page..page + pages).find(|page| model.contains_key(page)) {
                return Err(Error::AlreadyMapped {
                    ipa: BASE + page * PAGE,
                });
            }
            model.extend((0..pages).map(|number| (page + number, (to + number, attributes))));
        }
        Step::Unmap { page, pages } => {
            missing(model, page, pages)?;
            model.retain(|at, _| *at < page || *at >= page + pages);
        }
        Step::Protect {
            page,
            pages,
            attributes,
        } => {
            missing(model, page, pages)?;
            model
                .range_mut(page..page + pages)
                .for_each(|(_, mapped)| mapped.1 = attributes);
        }
    }
    Ok(())
}

fn perform(
    space: &mut AddressSpace,
    memory: &mut Handle,
    caches: &mut Handle,
    step: &Step,
) -> Result<(), Error> {
    match *step {
        Step::Map {
            page,
            to,
            pages,
            attributes,
        } => space.map(memory, BASE + page * PAGE, to * PAGE, pages * PAGE, attributes),
        Step::Unmap { page, pages } => space.unmap(memory, caches, BASE + page * PAGE, pages * PAGE),
        Step::Protect {
            page,
            pages,
            attributes,
        } => space.protect(memory, caches, BASE + page * PAGE, pages * PAGE, attributes),
    }
}

fn pages_of(space: &AddressSpace, memory: &Handle) -> Model {
    let pages = space.mappings(memory).flat_map(|mapping| {
        (0..mapping.size / PAGE).map(move |number| {
            let page = (mapping.ipa - BASE) / PAGE + number;
            (page, (mapping.pa / PAGE + number, mapping.attributes))
        })
    });
    pages.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn every_page_leads_where_the_model_says(
        bits in prop_oneof![Just(34_u8), Just(40), Just(44)],
        steps in proptest::collection::vec(step(), 1..20),
    ) {
        let (mut memory, mut caches, mut space) = machine(bits);
        let mut model = Model::new();
        for step in &steps {
            prop_assert_eq!(perform(&mut space, &mut memory, &mut caches, step), play(&mut model, step), "{:?}", step);
            memory.check(&space);
            prop_assert!(pages_of(&space, &memory) == model, "after {:?}", step);
        }
        for page in 0..PAGES {
            let expected = model.get(&page).map(|&(to, attributes)| (to * PAGE + 8, attributes));
            prop_assert_eq!(space.translate(&memory, BASE + page * PAGE + 8), expected);
        }
        // Whatever was done, unmapping everything leaves the root alone.
        while let Some((&page, _)) = model.first_key_value() {
            let pages = (page..).take_while(|at| model.contains_key(at)).count() as u64;
            let step = Step::Unmap { page, pages };
            prop_assert_eq!(perform(&mut space, &mut memory, &mut caches, &step), play(&mut model, &step));
        }
        memory.check(&space);
        prop_assert_eq!(memory.blocks(), 1);
    }

    #[test]
    fn running_out_of_memory_anywhere_changes_nothing(
        steps in proptest::collection::vec((step(), 0..4_usize), 1..16),
    ) {
        let (mut memory, mut caches, mut space) = machine(44);
        let mut model = Model::new();
        for (step, allowed) in &steps {
            let blocks = memory.blocks();
            memory.allow(Some(*allowed));
            let mut after = model.clone();
            let expected = play(&mut after, step);
            match perform(&mut space, &mut memory, &mut caches, step) {
                Err(Error::OutOfMemory(_)) => prop_assert_eq!(memory.blocks(), blocks),
                answer => {
                    prop_assert_eq!(answer, expected);
                    model = after;
                }
            }
            memory.check(&space);
            prop_assert!(pages_of(&space, &memory) == model, "after {:?}", step);
        }
    }
}
