//! The model against a plain list of what is mapped, over random sequences.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::rig::*;
use crate::v3::Config;

#[derive(Debug, Clone)]
enum Step {
    Map { page: u64, to: u64, rights: u64 },
    Unmap { page: u64 },
    InvalidatePages { page: u64, count: u64 },
    InvalidateVmid,
    Access { page: u64, write: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let page = 0u64..24;
    prop_oneof![
        (page.clone(), 0u64..64, prop_oneof![Just(RW), Just(RO)]).prop_map(|(page, to, rights)| Step::Map {
            page,
            to,
            rights
        }),
        page.clone().prop_map(|page| Step::Unmap { page }),
        (page.clone(), 1u64..9).prop_map(|(page, count)| Step::InvalidatePages { page, count }),
        Just(Step::InvalidateVmid),
        (page, any::<bool>()).prop_map(|(page, write)| Step::Access { page, write }),
    ]
}

/// What the tables say, and what the TLB may hold: a page is forgotten by invalidation alone.
#[derive(Default)]
struct Expected {
    tables: BTreeMap<u64, (u64, u64)>,
    cached: BTreeMap<u64, (u64, u64)>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn translations_are_those_of_the_tables_at_the_first_access_since_an_invalidation(
        steps in prop::collection::vec(step(), 1..60),
        ranges in any::<bool>(),
    ) {
        let rig = Rig::new(if ranges { Config::qemu10() } else { Config::no_range_invalidation() });
        let mut tree = rig.attached();
        let mut expected = Expected::default();
        for step in steps {
            match step {
                Step::Map { page, to, rights } => {
                    tree.map_page(page * PAGE, 0x5000_0000 + to * PAGE, rights);
                    expected.tables.insert(page, (0x5000_0000 + to * PAGE, rights));
                }
                Step::Unmap { page } => {
                    tree.unmap(page * PAGE, 3);
                    expected.tables.remove(&page);
                }
                Step::InvalidatePages { page, count } => {
                    if ranges {
                        rig.commands(&[tlbi_range(VMID, page * PAGE, count - 1, 0, 3)]);
                    } else {
                        let each: Vec<_> = (page..page + count).map(|page| tlbi_ipa(VMID, page * PAGE)).collect();
                        rig.commands(&each);
                    }
                    expected.cached.retain(|cached, _| !(page..page + count).contains(cached));
                }
                Step::InvalidateVmid => {
                    rig.commands(&[tlbi_vmid(VMID)]);
                    expected.cached.clear();
                }
                Step::Access { page, write } => {
                    let known = expected.cached.get(&page).or_else(|| expected.tables.get(&page)).copied();
                    if let Some(known) = known {
                        expected.cached.insert(page, known);
                    }
                    let allowed = known.filter(|&(_, rights)| !write || rights == RW);
                    prop_assert_eq!(rig.dma(page * PAGE, write).translated(), allowed.map(|(to, _)| to));
                }
            }
        }
        rig.commands(&[tlbi_vmid(VMID)]);
        rig.settled();
        rig.smmu.violations().assert_none();
    }

    /// No order of writes to an entry that respects the procedure is ever reported, whatever the entries are.
    #[test]
    fn the_procedure_is_never_half_written(vmids in prop::collection::vec(0u16..200, 1..6)) {
        let rig = Rig::new(Config::qemu10());
        for vmid in vmids {
            let tree = rig.tree();
            rig.replace_entry(STREAM, stage2_entry(tree.root, vmid));
        }
        rig.smmu.violations().assert_none();
    }

    /// Every word of an entry, at any value, is decoded without a panic, and a bypass is never a translation.
    #[test]
    fn any_entry_is_decoded(words in prop::array::uniform4(any::<u64>()), dma in any::<u64>()) {
        let rig = Rig::new(Config::qemu10());
        let [word0, word1, word2, word3] = words;
        // Never bypass: that is another rule's business.
        let word0 = if word0 & 0xf == 0b1001 { 0 } else { word0 };
        rig.overwrite_entry(STREAM, [word0, word1, word2, word3, 0, 0, 0, 0]);
        rig.commands(&[CFGI_ALL]);
        let outcome = rig.dma(dma, false);
        prop_assert!(outcome.is_aborted() || outcome.translated().is_some());
        rig.smmu.violations().take();
    }

    /// Every command, at any value, is consumed or refused.
    #[test]
    fn any_command_is_consumed_or_refused(word0 in any::<u64>(), word1 in any::<u64>(), opcode in 0u64..0x60) {
        let rig = Rig::new(Config::qemu10());
        let before = rig.smmu.consumed().len();
        rig.command([word0 & !0xff | opcode, word1]);
        rig.clock.advance(20);
        let refused = rig.read(CMDQ_CONS) >> 24 == 1;
        prop_assert_eq!(refused, rig.smmu.consumed().len() == before);
        rig.smmu.violations().take();
    }
}
