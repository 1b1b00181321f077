//! Stream table entries on their way: what may be half-written, what is cached. After the idea of Linux'
//! arm-smmu-v3 KUnit tests: at each sync an entry is the old one or the new one, in the bits that are used.

use super::rig::*;
use crate::Rule;
use crate::v3::{Config, DmaOutcome, Event, Fates};
use mmio::TableMemory;

const IPA: u64 = 0x4000_0000;

fn entry_rules(act: impl FnOnce(&Rig, u64)) -> Vec<Rule> {
    let rig = Rig::new(Config::qemu10());
    act(&rig, rig.entry(STREAM));
    let mut found: Vec<Rule> = rig
        .smmu
        .violations()
        .take()
        .iter()
        .map(|violation| violation.rule)
        .collect();
    found.dedup();
    found
}

#[test]
fn the_full_procedure_is_fine_in_both_memories() {
    for config in [
        Config::qemu10(),
        Config::non_coherent(),
        Config::linear_only(),
        Config::stage2_only(),
    ] {
        let rig = Rig::new(config);
        let mut tree = rig.attached();
        tree.map_page(IPA, 0x5000_0000, RW);
        assert_eq!(rig.reaches(IPA), 0x5000_0000);
        rig.replace_entry(STREAM, ABORT);
        assert_eq!(rig.dma(IPA, false), DmaOutcome::Aborted { event: None });
        rig.commands(&[tlbi_vmid(VMID)]);
        rig.settled();
    }
}

#[test]
fn body_and_v_without_a_sync_between_are_half_written() {
    let rules = entry_rules(|rig, entry| {
        let words = stage2_entry(rig.tree().root, VMID);
        rig.store_body(STREAM, &words);
        rig.store(entry, words[0]);
        rig.commands(&[cfgi_ste(STREAM, true)]);
    });
    assert_eq!(rules, [Rule::HalfWritten]);
}

#[test]
fn body_sync_and_then_v_is_fine() {
    let rules = entry_rules(|rig, entry| {
        let words = stage2_entry(rig.tree().root, VMID);
        rig.store_body(STREAM, &words);
        rig.commands(&[cfgi_ste(STREAM, true)]);
        rig.store(entry, words[0]);
        rig.commands(&[cfgi_ste(STREAM, true)]);
    });
    assert_eq!(rules, []);
}

#[test]
fn a_live_entry_changed_in_two_words_is_half_written() {
    let rules = entry_rules(|rig, entry| {
        let _old = rig.attached();
        let new = stage2_entry(rig.tree().root, VMID + 1);
        rig.store(entry + 16, new[2]);
        rig.store(entry + 24, new[3]);
        rig.commands(&[cfgi_ste(STREAM, true)]);
    });
    assert_eq!(rules, [Rule::HalfWritten]);
}

#[test]
fn a_live_entry_changed_in_one_word_is_old_or_new() {
    let rules = entry_rules(|rig, entry| {
        let _old = rig.attached();
        rig.store(entry + 24, rig.tree().root);
        rig.commands(&[cfgi_ste(STREAM, true), tlbi_vmid(VMID)]);
    });
    assert_eq!(rules, []);
}

#[test]
fn a_torn_entry_that_is_shut_again_before_the_sync_was_visible() {
    let rules = entry_rules(|rig, entry| {
        let _old = rig.attached();
        rig.store(entry + 24, rig.tree().root);
        rig.store(entry, 0);
        rig.commands(&[cfgi_ste(STREAM, true)]);
    });
    assert_eq!(rules, [Rule::HalfWritten]);
}

#[test]
fn shutting_an_entry_and_changing_it_needs_a_sync_between() {
    let rules = entry_rules(|rig, entry| {
        let _old = rig.attached();
        rig.store(entry, 0);
        rig.store(entry + 24, rig.tree().root);
    });
    assert_eq!(rules, [], "one other word: still old or new");
    let rules = entry_rules(|rig, entry| {
        let _old = rig.attached();
        rig.store(entry, 0);
        rig.store(entry + 16, 0);
        rig.store(entry + 24, 0);
    });
    assert_eq!(rules, [Rule::HalfWritten]);
}

#[test]
fn two_new_entries_one_after_the_other_are_found_at_the_second() {
    let rules = entry_rules(|rig, entry| {
        let _old = rig.attached();
        rig.store(entry + 24, rig.tree().root);
        rig.smmu.violations().assert_none();
        rig.store(entry + 24, rig.tree().root);
    });
    assert_eq!(rules, [Rule::HalfWritten]);
}

#[test]
fn an_entry_that_changes_while_it_is_being_invalidated_was_visible() {
    let rules = entry_rules(|rig, entry| {
        let old = rig.attached();
        rig.command(cfgi_ste(STREAM, true));
        rig.command(SYNC);
        rig.store(entry + 24, rig.tree().root);
        rig.store(entry + 24, old.root);
        rig.drain();
        rig.smmu.violations().assert_none();
        rig.commands(&[cfgi_ste(STREAM, true)]);
    });
    assert_eq!(rules, [Rule::HalfWritten]);
}

#[test]
fn an_illegal_entry_is_found_when_it_is_announced() {
    let rules = entry_rules(|rig, entry| {
        rig.store(entry, 0b010 << 1 | 1);
        rig.commands(&[cfgi_ste(STREAM, true)]);
    });
    assert!(rules.contains(&Rule::IllegalSte), "{rules:?}");
}

#[test]
fn a_fetch_does_not_last_over_disabling() {
    let rules = entry_rules(|rig, entry| {
        let words = stage2_entry(rig.tree().root, VMID);
        rig.store_body(STREAM, &words);
        rig.set_cr0(0xc);
        rig.set_cr0(0xd);
        rig.store(entry, words[0]);
        rig.commands(&[cfgi_ste(STREAM, true)]);
        rig.faults(IPA);
    });
    assert_eq!(rules, []);
}

#[test]
fn words_behind_an_abort_may_change_freely() {
    let rules = entry_rules(|rig, _entry| {
        rig.replace_entry(STREAM, ABORT);
        rig.store_body(STREAM, &stage2_entry(rig.tree().root, VMID));
    });
    assert_eq!(rules, []);
}

#[test]
fn an_entry_invalidated_before_it_was_published_is_reported() {
    for config in [Config::qemu10(), Config::non_coherent()] {
        let rig = Rig::new(config);
        rig.memory.clone().write(rig.entry(STREAM), 1);
        rig.commands(&[cfgi_ste(STREAM, true)]);
        rig.smmu.violations().expect(Rule::Unpublished);
    }
}

#[test]
fn in_a_memory_that_is_not_coherent_an_unpublished_entry_is_not_seen() {
    let rig = Rig::new(Config::non_coherent());
    let _tree = rig.attached();
    rig.memory.clone().write(rig.entry(STREAM), 0);
    rig.commands(&[cfgi_ste(STREAM, true)]);
    rig.faults(IPA);
    rig.smmu.violations().expect(Rule::Unpublished);
}

#[test]
fn a_level_2_table_linked_later_needs_cfgi_without_leaf() {
    let rig = Rig::new(Config::qemu10());
    let level2 = rig.memory.clone().allocate(64 << 8, 64 << 8).unwrap();
    rig.store(level2.address, 1);
    rig.store(rig.table.address + 8, level2.address | 9);
    let outcome = |rig: &Rig| rig.smmu.dma(0x100, IPA, false).event_kind();
    assert_eq!(
        outcome(&rig),
        Some(Event::C_BAD_STREAMID),
        "the old descriptor is cached"
    );
    rig.commands(&[cfgi_ste(0x100, true)]);
    assert_eq!(
        outcome(&rig),
        Some(Event::C_BAD_STREAMID),
        "Leaf leaves the descriptor cached"
    );
    rig.commands(&[cfgi_ste(0x100, false)]);
    assert_eq!(outcome(&rig), None, "abort, as the new entry says");
    rig.settled();
}

#[test]
fn a_level_2_table_linked_before_it_was_published_is_reported() {
    let rig = Rig::new(Config::qemu10());
    let level2 = rig.memory.clone().allocate(64 << 8, 64 << 8).unwrap();
    rig.memory.clone().write(level2.address, 1);
    rig.store(rig.table.address + 8, level2.address | 9);
    rig.smmu.violations().expect(Rule::Unpublished);
}

#[test]
fn a_level_2_table_that_is_unlinked_stays_cached_until_cfgi_all() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_page(IPA, 0x5000_0000, RW);
    rig.store(rig.table.address, 0);
    rig.commands(&[cfgi_ste(STREAM + 1, false)]);
    assert_eq!(rig.reaches(IPA), 0x5000_0000, "the entry itself is cached");
    rig.commands(&[CFGI_ALL]);
    rig.blocked(IPA, false, Event::C_BAD_STREAMID);
    rig.memory.clone().free(rig.level2.unwrap());
    rig.settled();
}

#[test]
fn a_descriptor_that_spans_too_much_is_reported_and_leads_nowhere() {
    let rig = Rig::new(Config::qemu10());
    let level2 = rig.memory.clone().allocate(64 << 9, 64 << 9).unwrap();
    rig.store(rig.table.address + 8, level2.address | 10);
    rig.smmu.violations().expect(Rule::IllegalL1);
    rig.commands(&[CFGI_ALL]);
    assert_eq!(
        rig.smmu.dma(0x100, IPA, false).event_kind(),
        Some(Event::C_BAD_STREAMID)
    );
}

#[test]
fn a_table_that_was_not_published_before_enabling_is_reported() {
    let rig = Rig::new(Config::qemu10());
    rig.set_cr0(0xc);
    let mut memory = rig.memory.clone();
    let word = memory.read(rig.table.address);
    memory.write(rig.table.address, word);
    rig.set_cr0(0xd);
    rig.smmu.violations().expect(Rule::Unpublished);
}

#[test]
fn freeing_a_linked_level_2_table_is_reported() {
    let rig = Rig::new(Config::qemu10());
    rig.memory.clone().free(rig.level2.unwrap());
    rig.smmu.violations().expect(Rule::NotAllocated);
}

#[test]
fn disabling_and_enabling_keeps_the_caches() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_page(IPA, 0x5000_0000, RW);
    rig.reaches(IPA);
    rig.set_cr0(0xc);
    rig.store(rig.entry(STREAM), 0);
    rig.set_cr0(0xd);
    assert_eq!(rig.reaches(IPA), 0x5000_0000, "the entry from before");
    rig.commands(&[CFGI_ALL]);
    rig.blocked(IPA, false, Event::C_BAD_STE);
}

#[test]
fn another_table_is_no_longer_bound_by_the_first() {
    let rig = Rig::new(Config::qemu10());
    let _tree = rig.attached();
    rig.replace_entry(STREAM, INVALID);
    rig.set_cr0(0xc);
    let mut memory = rig.memory.clone();
    memory.free(rig.level2.unwrap());
    memory.free(rig.table);
    let table = memory.allocate(64 << 6, 64 << 6).unwrap();
    mmio::Bus::write64(&rig.smmu, STRTAB_BASE, table.address);
    rig.write(STRTAB_BASE_CFG, 6);
    rig.commands(&[CFGI_ALL, TLBI_ALL]);
    rig.set_cr0(0xd);
    rig.blocked(IPA, false, Event::C_BAD_STE);
    rig.settled();
}

#[test]
fn another_table_needs_cfgi_all_before_it_is_enabled() {
    let rig = Rig::new(Config::linear_only());
    rig.set_cr0(0xc);
    let other = rig.memory.clone().allocate(64 << 10, 64 << 10).unwrap();
    mmio::Bus::write64(&rig.smmu, STRTAB_BASE, other.address);
    rig.set_cr0(0xd);
    rig.smmu.violations().expect(Rule::Unknown);
}

#[test]
fn fates_cover_everything_that_may_be_seen() {
    let rig = Rig::new(Config::qemu10());
    let shut = Fates {
        abort: true,
        ..Fates::default()
    };
    let translated = Fates {
        translate: true,
        ..Fates::default()
    };
    assert_eq!(rig.smmu.fates(STREAM), shut);
    let _tree = rig.attached();
    assert_eq!(rig.smmu.fates(STREAM), translated);
    rig.store(rig.entry(STREAM), 1);
    assert_eq!(
        rig.smmu.fates(STREAM),
        Fates {
            abort: true,
            translate: true,
            bypass: false
        }
    );
    rig.commands(&[cfgi_ste(STREAM, true)]);
    assert_eq!(rig.smmu.fates(STREAM), shut);
    // While CR0 is on its way both the table and GBPA count.
    rig.write(CR0, 0xc);
    assert_eq!(rig.smmu.fates(STREAM), shut);
}

#[test]
fn the_hook_sees_every_change() {
    let rig = Rig::new(Config::qemu10());
    let seen = std::rc::Rc::new(std::cell::Cell::new(0));
    let count = seen.clone();
    rig.smmu.on_every_change(move |smmu| {
        assert!(!smmu.fates(STREAM).bypass);
        count.set(count.get() + 1);
    });
    rig.store(rig.entry(STREAM), 1);
    rig.write(IRQ_CTRL, 5);
    rig.clock.advance(1);
    assert_eq!(seen.get(), 3);
}
