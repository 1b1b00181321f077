//! "Is invalidation meaningful?" of the platform facts, one test a line, and what this model adds to it.

use super::rig::*;
use crate::Rule;
use crate::v3::{Config, DmaOutcome, Event};
use mmio::TableMemory;

const IPA: u64 = 0x4000_0000;
const PA: u64 = 0x5000_0000;

fn one_page() -> (Rig, Tree) {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_page(IPA, PA, RW);
    assert_eq!(rig.reaches(IPA + 0x345), PA + 0x345);
    (rig, tree)
}

#[test]
fn an_entry_made_invalid_is_used_until_its_own_cfgi_ste() {
    let (rig, _tree) = one_page();
    rig.store(rig.entry(STREAM), 0);
    assert_eq!(rig.reaches(IPA), PA);
    rig.commands(&[cfgi_ste(STREAM + 1, true)]);
    assert_eq!(
        rig.reaches(IPA),
        PA,
        "the CFGI_STE of another stream has no effect"
    );
    rig.commands(&[cfgi_ste(STREAM, true)]);
    rig.blocked(IPA, false, Event::C_BAD_STE);
}

#[test]
fn an_entry_set_to_abort_is_used_until_cfgi_all() {
    let (rig, _tree) = one_page();
    rig.store(rig.entry(STREAM), 1);
    assert_eq!(rig.reaches(IPA), PA);
    rig.commands(&[CFGI_ALL]);
    assert_eq!(rig.dma(IPA, false), DmaOutcome::Aborted { event: None });
}

#[test]
fn a_root_that_is_swapped_is_used_until_cfgi_ste_leaf_or_not() {
    for leaf in [true, false] {
        let (rig, _old) = one_page();
        let mut new = rig.tree();
        new.map_page(IPA, PA + PAGE, RW);
        // One word: old or new, never a mixture.
        rig.store(rig.entry(STREAM) + 24, new.root);
        assert_eq!(rig.reaches(IPA), PA);
        rig.commands(&[cfgi_ste(STREAM, leaf), tlbi_vmid(VMID)]);
        assert_eq!(rig.reaches(IPA), PA + PAGE);
    }
}

#[test]
fn a_page_that_is_unmapped_is_reachable_until_tlbi() {
    let (rig, mut tree) = one_page();
    tree.unmap(IPA, 3);
    assert_eq!(rig.reaches(IPA), PA);
    rig.commands(&[tlbi_ipa(VMID, IPA)]);
    rig.faults(IPA);
}

#[test]
fn a_block_that_is_unmapped_is_reachable_until_tlbi_of_any_page_in_it() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_block(IPA, PA, 2);
    assert_eq!(rig.reaches(IPA + 0x12_3456), PA + 0x12_3456);
    tree.unmap(IPA, 2);
    assert_eq!(rig.reaches(IPA), PA);
    rig.commands(&[tlbi_ipa(VMID, IPA + 0x5_5000)]);
    rig.faults(IPA);
}

#[test]
fn a_page_that_is_remapped_lands_in_the_old_page() {
    let (rig, mut tree) = one_page();
    tree.map_page(IPA, PA + PAGE, RW);
    assert_eq!(rig.reaches(IPA), PA);
    assert_eq!(rig.smmu.unsettled().len(), 1);
    rig.commands(&[tlbi_ipa(VMID, IPA)]);
    assert_eq!(rig.reaches(IPA), PA + PAGE);
    rig.settled();
}

#[test]
fn a_page_made_read_only_stays_writable_until_tlbi() {
    let (rig, mut tree) = one_page();
    tree.map_page(IPA, PA, RO);
    assert_eq!(rig.dma(IPA, true).translated(), Some(PA));
    rig.commands(&[tlbi_ipa(VMID, IPA)]);
    rig.blocked(IPA, true, Event::F_PERMISSION);
    assert_eq!(rig.reaches(IPA), PA);
}

#[test]
fn invalidations_of_something_else_leave_the_entry() {
    let (rig, mut tree) = one_page();
    tree.unmap(IPA, 3);
    for other in [
        tlbi_ipa(VMID + 1, IPA),
        tlbi_ipa(VMID, IPA + PAGE),
        tlbi_vmid(VMID + 1),
        cfgi_ste(STREAM, false),
        CFGI_ALL,
        tlbi_range(VMID, IPA + PAGE, 15, 0, 3),
        tlbi_range(VMID + 1, IPA, 15, 0, 3),
    ] {
        rig.commands(&[other]);
        assert_eq!(rig.reaches(IPA), PA, "{other:x?}");
    }
}

#[test]
fn each_right_invalidation_removes_the_entry() {
    for right in [
        tlbi_ipa(VMID, IPA),
        tlbi_vmid(VMID),
        TLBI_ALL,
        tlbi_range(VMID, IPA, 15, 0, 3),
        tlbi_range(VMID, IPA, 0, 0, 3),
        tlbi_range(VMID, IPA, 1, 0, 0),
        tlbi_range(VMID, IPA - 4 * PAGE, 2, 1, 3),
    ] {
        let (rig, mut tree) = one_page();
        tree.unmap(IPA, 3);
        rig.commands(&[right]);
        rig.faults(IPA);
        rig.settled();
    }
}

#[test]
fn a_range_ends_where_num_and_scale_say() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    for page in 0..9 {
        tree.map_page(IPA + page * PAGE, PA + page * PAGE, RW);
        rig.reaches(IPA + page * PAGE);
        tree.unmap(IPA + page * PAGE, 3);
    }
    // (3 + 1) * 2^1 pages.
    rig.commands(&[tlbi_range(VMID, IPA, 3, 1, 3)]);
    for page in 0..8 {
        rig.faults(IPA + page * PAGE);
    }
    assert_eq!(rig.reaches(IPA + 8 * PAGE), PA + 8 * PAGE);
}

#[test]
fn a_wrong_level_hint_spares_the_entry_and_is_reported() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_block(IPA, PA, 2);
    rig.reaches(IPA);
    tree.unmap(IPA, 2);
    rig.commands(&[tlbi_range(VMID, IPA, 31, 4, 3)]);
    assert_eq!(rig.reaches(IPA), PA);
    rig.smmu.violations().expect(Rule::RangeHint);
    rig.commands(&[tlbi_range(VMID, IPA, 31, 4, 2)]);
    rig.faults(IPA);
}

#[test]
fn a_vmid_used_again_still_hits_the_old_entries() {
    let (rig, old) = one_page();
    let mut new = rig.tree();
    new.map_page(IPA, PA + PAGE, RW);
    rig.replace_entry(STREAM, INVALID);
    rig.replace_entry(STREAM + 1, stage2_entry(new.root, VMID));
    assert_eq!(
        rig.smmu.dma(STREAM + 1, IPA, false).translated(),
        Some(PA),
        "the other guest's page"
    );
    rig.smmu.violations().expect(Rule::VmidReuse);
    rig.commands(&[tlbi_vmid(VMID)]);
    assert_eq!(rig.smmu.dma(STREAM + 1, IPA, false).translated(), Some(PA + PAGE));
    drop(old);
}

#[test]
fn what_was_not_mapped_is_not_cached() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    rig.faults(IPA);
    tree.map_page(IPA, PA, RW);
    assert_eq!(rig.reaches(IPA), PA);
}

#[test]
fn an_invalidation_counts_only_after_cmd_sync() {
    let (rig, mut tree) = one_page();
    tree.unmap(IPA, 3);
    rig.command(tlbi_ipa(VMID, IPA));
    rig.drain();
    assert_eq!(rig.reaches(IPA), PA, "consumed, and not guaranteed");
    assert!(!rig.smmu.unsettled().is_empty());
    rig.sync();
    rig.faults(IPA);
    rig.settled();
}

#[test]
fn an_invalidation_counts_only_once_cmd_sync_is_consumed() {
    let (rig, mut tree) = one_page();
    tree.unmap(IPA, 3);
    rig.command(tlbi_ipa(VMID, IPA));
    rig.command(SYNC);
    assert_eq!(rig.reaches(IPA), PA, "nobody waited");
    rig.drain();
    rig.faults(IPA);
}

#[test]
fn a_fill_between_cfgi_and_tlbi_of_one_batch_survives() {
    let (rig, mut tree) = one_page();
    tree.map_page(IPA + PAGE, PA + PAGE, RW);
    rig.store(rig.entry(STREAM), 1);
    rig.command(cfgi_ste(STREAM, true));
    rig.command(tlbi_vmid(VMID));
    rig.command(SYNC);
    // The cached entry of the stream still translates, and fills the TLB behind the TLBI.
    assert_eq!(rig.reaches(IPA + PAGE), PA + PAGE);
    rig.drain();
    tree.unmap(IPA + PAGE, 3);
    assert_eq!(rig.smmu.unsettled().len(), 1, "{:?}", rig.smmu.unsettled());
    rig.commands(&[tlbi_vmid(VMID)]);
    rig.settled();
}

#[test]
fn a_walk_between_a_tlbi_and_its_sync_may_stay_cached() {
    for tlbi in [tlbi_vmid(VMID), tlbi_ipa(VMID, IPA), TLBI_ALL] {
        let rig = Rig::new(Config::qemu10());
        let mut tree = rig.attached();
        tree.map_page(IPA, PA, RW);
        tree.map_page(IPA + PAGE, PA + PAGE, RW);
        rig.command(tlbi);
        rig.command(SYNC);
        rig.reaches(IPA);
        rig.drain();
        let slot = tree.descriptor(IPA, 2);
        tree.store(slot, 0);
        assert_eq!(
            rig.reaches(IPA + PAGE),
            PA + PAGE,
            "through the cached table descriptor"
        );
        rig.commands(&[tlbi_vmid(VMID)]);
        rig.faults(IPA + PAGE);
    }
}

#[test]
fn a_cached_table_descriptor_is_walked_until_an_invalidation_that_is_not_leaf_only() {
    let (rig, mut tree) = one_page();
    let table_slot = tree.descriptor(IPA, 2);
    tree.store(table_slot, 0);
    // The leaf is gone, the way to its table is not.
    let [word0, word1] = tlbi_ipa(VMID, IPA);
    rig.commands(&[[word0, word1 | 1]]);
    assert_eq!(
        rig.reaches(IPA),
        PA,
        "walked through a table that nothing points to"
    );
    rig.commands(&[tlbi_ipa(VMID, IPA)]);
    rig.faults(IPA);
}

#[test]
fn freeing_a_table_that_may_be_cached_is_reported() {
    let (rig, mut tree) = one_page();
    let slot = tree.descriptor(IPA, 2);
    let table = tree.memory.read(slot) & !0xfff;
    tree.store(slot, 0);
    tree.memory.free(mmio::Block {
        address: table,
        size: 0x1000,
    });
    rig.smmu.violations().expect(Rule::NotAllocated);
}

#[test]
fn freeing_a_root_that_a_stream_uses_is_reported() {
    let (rig, mut tree) = one_page();
    let root = mmio::Block {
        address: tree.root,
        size: 0x1000,
    };
    tree.memory.free(root);
    rig.smmu.violations().expect(Rule::NotAllocated);
}

#[test]
fn freeing_after_detach_and_invalidation_is_fine() {
    let (rig, mut tree) = one_page();
    rig.replace_entry(STREAM, INVALID);
    rig.commands(&[tlbi_vmid(VMID)]);
    tree.memory.free(mmio::Block {
        address: tree.root,
        size: 0x1000,
    });
    rig.settled();
}

#[test]
fn a_block_over_cached_pages_without_break_before_make_is_reported() {
    let (rig, mut tree) = one_page();
    let slot = tree.descriptor(IPA, 2);
    let [word0, word1] = tlbi_ipa(VMID, IPA + PAGE);
    tree.store(slot, (PA + BLOCK) | RW);
    rig.commands(&[[word0, word1]]);
    assert_eq!(rig.reaches(IPA + PAGE), PA + BLOCK + PAGE);
    rig.smmu.violations().expect(Rule::BreakBeforeMake);
}

#[test]
fn a_tlbi_before_the_change_was_published_is_reported() {
    let rig = Rig::new(Config::non_coherent());
    let mut tree = rig.attached();
    tree.map_page(IPA, PA, RW);
    rig.reaches(IPA);
    let slot = tree.descriptor(IPA, 3);
    tree.memory.write(slot, 0);
    rig.commands(&[tlbi_ipa(VMID, IPA)]);
    assert_eq!(
        rig.reaches(IPA),
        PA,
        "walked again, from memory that does not have the change"
    );
    rig.smmu.violations().expect(Rule::Unpublished);
}
