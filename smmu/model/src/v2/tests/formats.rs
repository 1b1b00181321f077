//! Which tables a context bank may describe.

use mmio::TableMemory;

use super::rig::*;
use crate::Rule;
use crate::v2::{FaultKind, Params};

/// A bank with these registers is reached by a stream; the subjects of the violations are returned.
fn complaints(params: Params, tcr: u32, ttbr0: u64, va64: bool) -> Vec<String> {
    let rig = Rig::new(params);
    rig.write(rig.cbar(BANK), VMID.into());
    rig.write(rig.cba2r(BANK), va64.into());
    rig.write_bank(BANK, TCR, tcr);
    rig.write_bank64(BANK, TTBR0, ttbr0);
    rig.write_bank(BANK, SCTLR, ON);
    rig.map_stream(0, STREAM, BANK);
    let found = rig.smmu.violations().take();
    let illegal = found
        .into_iter()
        .filter(|violation| violation.rule == Rule::IllegalContextBank);
    illegal.map(|violation| violation.subject).collect()
}

#[track_caller]
fn refused(tcr: u32, ttbr0: u64, field: &str) {
    assert_eq!(
        complaints(Params::generic(), tcr, ttbr0, true),
        [format!("CB1 {field}")]
    );
}

#[test]
fn aarch64_tables_fit_what_is_offered() {
    let root = 0x8_8000_0000;
    assert!(complaints(Params::generic(), TCR39, root, true).is_empty());
    refused(TCR39 & !(1 << 31), root, "TCR[31]");
    refused(TCR39 | 1 << 20, root, "TCR");
    refused(TCR39 & !(1 << 13), root, "TCR.SH0");
    refused(TCR39 | 3 << 14, root, "TCR.TG0");
    refused(TCR39 | 2 << 14, root, "TCR.TG0");
    refused(TCR39 & !0x3f | 15, root, "TCR.T0SZ");
    refused(TCR39 & !0x3f | 40, root, "TCR.T0SZ");
    refused(TCR39 | 3 << 6, root, "TCR.SL0");
    // 39 bits cannot start at level 2 in 16 tables.
    refused(TCR39 & !(3 << 6), root, "TCR.T0SZ");
    // 30 bits leave a root at level 1 without an index.
    refused(TCR39 & !0x3f | 34, root, "TCR.T0SZ");
    refused(TCR39 | 7 << 16, root, "TCR.PASize");
    refused(TCR39, root | 1 << 48, "TTBR0");
    refused(TCR39, 1 << 40, "TTBR0");
    refused(TCR39, root + 8, "TTBR0");
    refused(TCR39, root + 0x800, "TTBR0");
}

#[test]
fn sizes_do_not_exceed_the_identification() {
    // 36 bits of input, 40 of output.
    let params = Params::small();
    let subject = |tcr| complaints(params, tcr, 0x8000_0000, true);
    assert_eq!(subject(TCR39 & !(3 << 16) | 5 << 16), ["CB1 TCR.T0SZ"]);
    let narrow = TCR39 & !0x3f | 28;
    assert_eq!(subject(narrow & !(7 << 16) | 1 << 16), [""; 0]);
    assert_eq!(subject(narrow & !(7 << 16) | 5 << 16), ["CB1 TCR.PASize"]);
    // Level 0 needs more than 42 bits of output.
    assert_eq!(subject(narrow & !(3 << 6) | 2 << 6), ["CB1 TCR.SL0"]);
    let no_aarch64 = Params::generic().with_idr(2, 14, 12, 0);
    assert_eq!(complaints(no_aarch64, TCR39, 0x8000_0000, true), ["CB1 TCR.TG0"]);
}

#[test]
fn long_descriptors_of_aarch32_have_a_signed_t0sz() {
    let long = |tcr| complaints(Params::generic(), tcr, 0x8_8000_0000, false);
    assert_eq!(long(TCR39_LONG), [""; 0]);
    assert_eq!(long(TCR39_LONG & !(1 << 4)), ["CB1 TCR.S"]);
    assert_eq!(long(TCR39_LONG | 1 << 5), ["CB1 TCR[5]"]);
    assert_eq!(long(TCR39_LONG | 1 << 14), ["CB1 TCR[15:14]"]);
    assert_eq!(long(TCR39_LONG & !(3 << 6) | 2 << 6), ["CB1 TCR.SL0"]);
    assert_eq!(long(TCR39_LONG & !(1 << 31)), ["CB1 TCR[31]"]);
    let no_aarch32 = Params::generic().with_idr(0, 25, 24, 2);
    assert_eq!(
        complaints(no_aarch32, TCR39_LONG, 0x8_8000_0000, false),
        ["CB1 CBA2R.VA64"]
    );
    // T0SZ = -8: 40 bits, the most there is.
    assert_eq!(long(TCR39_LONG & !0xf | 8), [""; 0]);
    assert_eq!(long(TCR39_LONG & !0xf | 7), ["CB1 TCR.S"]);
    // 32 bits of input from level 2 take 4 concatenated tables.
    assert_eq!(long(TCR39_LONG & !0xdf), [""; 0]);
}

#[test]
fn an_illegal_bank_translates_nothing() {
    let rig = Rig::new(Params::generic());
    let tree = rig.tree();
    rig.set_up(BANK, tree.root, VMID);
    rig.write_bank(BANK, TCR, TCR39 | 3 << 6);
    rig.write_bank(BANK, SCTLR, ON);
    rig.map_stream(0, STREAM, BANK);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
    rig.blocked(IPA, false, FaultKind::IllegalContextBank);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
}

#[test]
fn big_endian_tables_are_not_modelled() {
    let rig = Rig::new(Params::generic());
    let tree = rig.tree();
    rig.set_up(BANK, tree.root, VMID);
    rig.write_bank(BANK, SCTLR, ON | 1 << 4);
    rig.map_stream(0, STREAM, BANK);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
}

#[test]
fn concatenated_roots_and_blocks_are_walked() {
    let rig = Rig::new(Params::generic());
    let root = rig.memory.clone().allocate(0x8000, 0x8000).unwrap();
    let mut tree = Tree {
        memory: rig.memory.clone(),
        root: root.address,
        bits: 42,
        level: 1,
    };
    rig.set_up(BANK, tree.root, VMID);
    // 42 bits of input: the root is 8 tables.
    rig.write_bank(BANK, TCR, TCR39 & !0x3f | 22);
    rig.write_bank(BANK, SCTLR, ON);
    rig.map_stream(0, STREAM, BANK);
    tree.map_block(0x3ff_c000_0000, 0x40_0000_0000, 1);
    tree.map_block(0x200_0020_0000, 0x10_0020_0000, 2);
    assert_eq!(rig.reaches(0x3ff_ffff_fff0).0, 0x40_3fff_fff0);
    assert_eq!(rig.reaches(0x200_0020_1234).0, 0x10_0020_1234);
    rig.blocked(1 << 42, false, FaultKind::Translation);
    rig.smmu.violations().assert_none();
}

#[test]
fn smmuv1_reports_a_large_address_as_translation_fault() {
    let rig = Rig::new(Params::mmu401());
    let mut tree = rig.attached();
    tree.map_page(IPA, 1 << 41, RW);
    rig.blocked(IPA, false, FaultKind::AddressSize);
    assert_eq!(rig.read_bank(BANK, FSR), 1 << 1 | 1 << 9);
}

#[test]
fn illegal_descriptors_are_named() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    let slot = tree.descriptor(IPA + 0x20_0000, 2);
    tree.store(slot, PA | RW);
    rig.dma(IPA + 0x20_0000, false).unwrap();
    rig.smmu.violations().expect(Rule::IllegalDescriptor);
}

#[test]
fn long_descriptors_reach_40_bits_at_most() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.tree();
    tree.map_page(IPA, 1 << 41, RW);
    rig.write(rig.cbar(BANK), VMID.into());
    rig.write(rig.cba2r(BANK), 0);
    rig.write_bank(BANK, TCR, TCR39_LONG & !(7 << 16) | 5 << 16);
    rig.write_bank64(BANK, TTBR0, tree.root);
    rig.write_bank(BANK, SCTLR, ON);
    rig.map_stream(0, STREAM, BANK);
    rig.blocked(IPA, false, FaultKind::AddressSize);
    rig.smmu.violations().assert_none();
}
