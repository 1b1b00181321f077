//! Which stage-2 geometries translate, and which entries are C_BAD_STE, as measured on QEMU 10.0.

use super::rig::*;
use crate::Rule;
use crate::v3::{Config, Event};
use mmio::TableMemory;

/// Attaches `STREAM` to a root of `tables` concatenated tables with this S2T0SZ and S2SL0.
fn attach(rig: &Rig, t0sz: u32, sl0: u32, tables: usize) -> Tree {
    let root = rig
        .memory
        .clone()
        .allocate(0x1000 * tables, 0x1000 * tables)
        .unwrap()
        .address;
    let mut words = stage2_entry(root, VMID);
    words[2] = words[2] & !(0xff << 32) | u64::from(t0sz) << 32 | u64::from(sl0) << 38;
    rig.replace_entry(STREAM, words);
    Tree {
        memory: rig.memory.clone(),
        root,
        bits: 64 - t0sz,
        level: 2 - sl0,
    }
}

#[test]
fn geometries_that_copied_data() {
    for (t0sz, sl0, tables) in [
        (25, 1, 1),
        (24, 1, 2),
        (22, 1, 8),
        (21, 1, 16),
        (20, 2, 1),
        (33, 0, 2),
    ] {
        let rig = Rig::new(Config::qemu10());
        let mut tree = attach(&rig, t0sz, sl0, tables);
        let top = (1u64 << tree.bits) - PAGE;
        tree.map_page(0, 0x5000_0000, RW);
        tree.map_page(top, 0x6000_0000, RW);
        assert_eq!(rig.reaches(0x345), 0x5000_0345, "T0SZ {t0sz}");
        assert_eq!(rig.reaches(top + 8), 0x6000_0008, "T0SZ {t0sz}");
        if tree.bits < 44 {
            rig.faults(1 << tree.bits);
        }
        rig.settled();
    }
}

#[test]
fn leaves_of_each_size() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    tree.map_page(0x1000, 0x5000_0000, RW);
    tree.map_block(BLOCK, 0x5020_0000, 2);
    tree.map_block(1 << 30, 0x1_4000_0000, 1);
    assert_eq!(rig.reaches(0x1abc), 0x5000_0abc);
    assert_eq!(rig.reaches(BLOCK + 0x12_3456), 0x5032_3456);
    assert_eq!(rig.reaches((1 << 30) + 0x1234_5678), 0x1_5234_5678);
}

#[test]
fn a_block_at_level_0_is_not_mapped() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = attach(&rig, 20, 2, 1);
    tree.map_block(0, 0, 0);
    rig.faults(0);
}

#[test]
fn a_block_at_level_3_is_not_mapped() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.attached();
    let slot = tree.descriptor(0, 3);
    tree.store(slot, 0x5000_0000 | RW);
    rig.faults(0);
}

#[test]
fn entries_that_are_bad() {
    let good = stage2_entry(0, VMID)[2];
    let with = |low: u32, bits: u32, value: u64| good & !(((1 << bits) - 1) << low) | value << low;
    let cases = [
        (with(57, 1, 1), "S2S"),
        (with(38, 2, 3), "S2SL0"),
        (with(32, 8, 16 | 2 << 6), "S2T0SZ"), // 48 bits, of 44
        (with(32, 8, 20 | 1 << 6), "S2T0SZ"), // 32 concatenated tables
        (with(32, 8, 34 | 1 << 6), "S2T0SZ"), // a root without an entry
        (with(32, 6, 40), "S2T0SZ"),
        (with(46, 2, 3), "S2TG"),
        (with(51, 1, 0), "S2AA64"),
        (with(52, 1, 1), "S2ENDI"),
        (with(48, 3, 7), "S2PS"),
        (with(44, 2, 1), "S2SH0"),
        (with(16, 1, 1), "STE[2][31:16]"),
        (with(56, 1, 1), "STE[2]"), // S2HA without HTTU
        (with(63, 1, 1), "STE[2]"),
    ];
    for (word2, field) in cases {
        let rig = Rig::new(Config::qemu10());
        // Aligned for any number of concatenated tables.
        let root = rig.memory.clone().allocate(0x1000, 0x10_0000).unwrap().address;
        let mut words = stage2_entry(root, VMID);
        words[2] = word2;
        rig.replace_entry(STREAM, words);
        rig.blocked(0, false, Event::C_BAD_STE);
        let found = rig.smmu.violations().take();
        let expected = format!("STE of stream {STREAM:#x}: {field}");
        let named = found
            .iter()
            .any(|found| found.rule == Rule::IllegalSte && found.subject == expected);
        assert!(named, "{field}: {found:?}");
    }
}

#[test]
fn a_root_that_is_misaligned_or_too_high_is_bad() {
    for (root_offset, word2) in [(0x800, 0), (0, 2u64 << 48)] {
        let rig = Rig::new(Config::qemu10());
        // Behind S2PS of 32 bits when word2 says so.
        let root = rig.tree().root + root_offset;
        let mut words = stage2_entry(root, VMID);
        if word2 != 0 {
            words[2] &= !(7 << 48);
        }
        rig.replace_entry(STREAM, words);
        rig.blocked(0, false, Event::C_BAD_STE);
        assert!(rig.smmu.violations().rules().contains(&Rule::IllegalSte));
        rig.smmu.violations().take();
    }
}

#[test]
fn a_physical_size_beyond_oas_is_accepted() {
    let rig = Rig::new(Config::qemu10());
    let mut tree = rig.tree();
    tree.map_page(0, 0x5000_0000, RW);
    let mut words = stage2_entry(tree.root, VMID);
    words[2] = words[2] & !(7 << 48) | 5 << 48;
    rig.replace_entry(STREAM, words);
    assert_eq!(rig.reaches(0), 0x5000_0000);
}

#[test]
fn stage_2_is_bad_where_there_is_none() {
    let rig = Rig::new(Config::stage1_only());
    let tree = rig.tree();
    rig.replace_entry(STREAM, stage2_entry(tree.root, VMID));
    rig.blocked(0, false, Event::C_BAD_STE);
    rig.smmu.violations().expect(Rule::IllegalSte);
}

#[test]
fn a_vmid_of_more_than_8_bits_needs_vmid16() {
    let rig = Rig::new(Config::small());
    let tree = rig.tree();
    let mut words = stage2_entry(tree.root, 0x100);
    // 36 bits: T0SZ 28 at level 1.
    words[2] = words[2] & !(0x3f << 32) | 28 << 32;
    rig.replace_entry(STREAM, words);
    rig.blocked(0, false, Event::C_BAD_STE);
    rig.smmu.violations().expect(Rule::IllegalSte);
}

#[test]
fn stalling_must_be_asked_for_where_it_is_forced() {
    let rig = Rig::new(Config::stall_forced());
    let tree = rig.tree();
    rig.replace_entry(STREAM, stage2_entry(tree.root, VMID));
    rig.blocked(0, false, Event::C_BAD_STE);
    rig.smmu.violations().expect(Rule::IllegalSte);
}

#[test]
fn descriptors_that_are_not_legal_are_reported() {
    for (extra, what) in [(1 << 11, "bit 11"), (1 << 50, "bit 50"), (0, "reserved MemAttr")] {
        let rig = Rig::new(Config::qemu10());
        let mut tree = rig.attached();
        let rights = if extra == 0 { RW & !(3 << 2) } else { RW | extra };
        tree.map_page(0, 0x5000_0000, rights);
        rig.dma(0, false);
        assert_eq!(rig.smmu.violations().rules(), [Rule::IllegalDescriptor], "{what}");
        rig.smmu.violations().take();
    }
}
