//! Context banks: what may be written when, and what a bank needs before transactions reach it.

use mmio::TableMemory;

use super::rig::*;
use crate::Rule;
use crate::v2::{Bypass, FaultKind, How, Params};

#[test]
fn a_stream_translates_through_its_bank() {
    for params in [
        Params::mmu500(),
        Params::generic(),
        Params::mmu401(),
        Params::non_coherent(),
    ] {
        let rig = Rig::new(params);
        let mut tree = rig.attached();
        tree.map_page(IPA + 0x1000, PA + 0x5000, RO);
        assert_eq!(rig.reaches(IPA + 0x10), (PA + 0x10, false));
        assert_eq!(rig.reaches(IPA + 0x18), (PA + 0x18, true));
        assert_eq!(rig.dma(IPA, true).unwrap().address, PA);
        assert_eq!(rig.reaches(IPA + 0x1000).0, PA + 0x5000);
        rig.blocked(IPA + 0x1000, true, FaultKind::Permission);
        rig.smmu.violations().assert_none();
        rig.detach();
        rig.blocked(IPA, false, FaultKind::UnidentifiedStream);
        rig.settled();
        rig.smmu.violations().assert_none();
    }
}

#[test]
fn a_disabled_bank_is_bypass() {
    let rig = Rig::after_reset(Params::generic());
    rig.boot();
    rig.attached();
    rig.write_bank(BANK, SCTLR, 0);
    let passed = rig.dma(IPA, true).unwrap();
    assert_eq!(passed.how, How::Bypassed(Bypass::BankDisabled(BANK)));
    rig.smmu.violations().assert_none();
}

#[test]
fn tables_do_not_change_under_transactions() {
    let rig = Rig::new(Params::generic());
    let tree = rig.attached();
    rig.write_bank(BANK, TCR, TCR39);
    rig.write_bank64(BANK, TTBR0, tree.root);
    rig.smmu.violations().assert_none();
    rig.write_bank(BANK, TCR, TCR39 & !(1 << 8));
    rig.smmu.violations().expect(Rule::Guarded);
    rig.write_bank64(BANK, TTBR0, tree.root + 0x1000);
    rig.smmu.violations().expect(Rule::Guarded);
    rig.write_bank(BANK, TTBR0 + 4, 0);
    rig.smmu.violations().expect(Rule::Guarded);
}

#[test]
fn tables_of_a_bank_that_nothing_reaches_may_change() {
    let rig = Rig::new(Params::generic());
    let tree = rig.tree();
    rig.set_up(BANK, tree.root, VMID);
    rig.write_bank(BANK, SCTLR, ON);
    rig.write_bank64(BANK, TTBR0, tree.root + 0x1000);
    rig.write_bank(BANK, TCR, TCR39 | 1 << 9);
    rig.smmu.violations().assert_none();
}

#[test]
fn attributes_change_only_while_the_bank_is_disabled() {
    let rig = Rig::new(Params::generic());
    rig.write_bank(BANK, SCTLR, ON);
    rig.write(rig.cbar(BANK), VMID.into());
    rig.smmu.violations().expect(Rule::Guarded);
    rig.write(rig.cba2r(BANK), 1);
    rig.smmu.violations().expect(Rule::Guarded);
}

#[test]
fn a_bank_is_complete_before_transactions_reach_it() {
    let registers = [0, 1, 2, 3, 4];
    for missing in registers {
        let rig = Rig::new(Params::generic());
        let tree = rig.tree();
        let write: [&dyn Fn(); 5] = [
            &|| rig.write(rig.cbar(BANK), VMID.into()),
            &|| rig.write(rig.cba2r(BANK), 1),
            &|| rig.write_bank(BANK, TCR, TCR39),
            &|| rig.write_bank(BANK, TTBR0, u32::try_from(tree.root & 0xffff_ffff).unwrap()),
            &|| rig.write_bank(BANK, TTBR0 + 4, u32::try_from(tree.root >> 32).unwrap()),
        ];
        for (_, write) in write.iter().enumerate().filter(|(index, _)| *index != missing) {
            write();
        }
        rig.write_bank(BANK, SCTLR, ON);
        rig.smmu.violations().assert_none();
        rig.map_stream(0, STREAM, BANK);
        let found = rig.smmu.violations().take();
        assert!(
            found.iter().any(|violation| violation.rule == Rule::Unknown),
            "{missing}: {found:?}"
        );
    }
}

#[test]
fn the_tlb_is_known_before_transactions_reach_a_bank() {
    let rig = Rig::after_reset(Params::generic());
    for index in 0..32 {
        rig.write(smr(index), 0);
        rig.write(s2cr(index), FAULT);
    }
    rig.write(TLBIALLNSNH, 0);
    rig.write(CR0, SHUT);
    rig.smmu.violations().assert_none();
    rig.attach(0, STREAM, BANK, VMID);
    rig.smmu.violations().expect(Rule::Unknown);
}

#[test]
fn enabling_is_checked_in_whichever_order_it_is_done() {
    // The stream mapping first, then the bank; and everything before the client port.
    let rig = Rig::after_reset(Params::generic());
    rig.boot();
    rig.write(CR0, SHUT | CLIENTPD);
    rig.map_stream(0, STREAM, BANK);
    rig.set_up(BANK, 0x9000, VMID);
    rig.write_bank(BANK, SCTLR, ON);
    rig.smmu.violations().assert_none();
    rig.write(CR0, SHUT);
    rig.smmu.violations().expect(Rule::NotAllocated);
}

#[test]
fn a_root_is_published_before_transactions_reach_it() {
    let rig = Rig::new(Params::generic());
    let tree = rig.tree();
    rig.memory.clone().write(tree.root, 1);
    rig.set_up(BANK, tree.root, VMID);
    rig.write_bank(BANK, SCTLR, ON);
    rig.map_stream(0, STREAM, BANK);
    rig.smmu.violations().expect(Rule::Unpublished);
}

#[test]
fn reserved_bits_of_banks_are_refused() {
    let rig = Rig::new(Params::generic());
    rig.write(rig.cbar(BANK), 0x100);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write(rig.cbar(BANK), 1 << 24);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write(rig.cbar(BANK), 0);
    rig.write(rig.cba2r(BANK), 1 << 16);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write_bank(BANK, SCTLR, 1 << 9);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write_bank(BANK, SCTLR, 1 << 31);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write_bank(BANK, FSR, u32::MAX);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write(TLBIVMID, 0x100);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write_bank(BANK, 0x10, 1);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write_bank64(BANK, 0x28, 1);
    rig.smmu.violations().expect(Rule::Reserved);
}

#[test]
fn stage_1_is_only_where_it_is_offered() {
    let rig = Rig::new(Params::generic());
    for kind in 1..4 {
        rig.write(rig.cbar(0), kind << 16);
        rig.smmu.violations().expect(Rule::IllegalContextBank);
    }
    rig.write(rig.cbar(2), 1 << 16);
    rig.smmu.violations().assert_none();
    let stage1 = Rig::new(Params::stage1_only());
    stage1.write(stage1.cbar(2), 0);
    stage1.smmu.violations().expect(Rule::IllegalContextBank);
    stage1.write(stage1.cbar(2), 3 << 16);
    stage1.smmu.violations().expect(Rule::IllegalContextBank);
    let stage2 = Rig::new(Params::generic().with_idr(0, 30, 30, 0));
    stage2.write(stage2.cbar(2), 1 << 16);
    stage2.smmu.violations().expect(Rule::IllegalContextBank);
}

#[test]
fn stage_1_is_not_modelled() {
    let rig = Rig::new(Params::generic());
    rig.write(rig.cbar(2), 1 << 16);
    rig.write(rig.cba2r(2), 1);
    rig.write_bank(2, TCR, TCR39);
    rig.write_bank64(2, TTBR0, 0);
    rig.write_bank(2, SCTLR, ON);
    rig.map_stream(0, STREAM, 2);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
    rig.blocked(IPA, false, FaultKind::IllegalContextBank);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
    // Stage 1 with a fault as stage 2 lets nothing through.
    rig.write(smr(0), 0);
    rig.write_bank(2, SCTLR, 0);
    rig.write(rig.cbar(2), 2 << 16);
    rig.write(smr(0), VALID | STREAM);
    rig.blocked(IPA, false, FaultKind::InvalidContext);
    rig.smmu.violations().assert_none();
}

#[test]
fn smmuv1_has_no_va64_and_no_invalidation_by_ipa() {
    let rig = Rig::new(Params::mmu401());
    rig.write(rig.cba2r(0), 1);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.write_bank64(0, TLBIIPAS2, 0);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.bank_sync(0);
    rig.smmu.violations().assert_none();
}

#[test]
fn smmuv1_banks_share_interrupts() {
    let rig = Rig::new(Params::mmu401());
    rig.write(rig.cbar(BANK), 2 << 24);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
    let tree = rig.tree();
    rig.set_up(BANK, tree.root, VMID);
    rig.write(rig.cbar(BANK), 1 << 24 | u32::from(VMID));
    rig.write(rig.cbar(2), 1 << 24);
    rig.write_bank(BANK, SCTLR, ON);
    rig.map_stream(0, STREAM, BANK);
    rig.blocked(IPA, false, FaultKind::Translation);
    assert!(rig.smmu.context_interrupt(BANK));
    assert!(rig.smmu.context_interrupt(2));
    assert!(!rig.smmu.context_interrupt(3));
}

#[test]
fn smmuv1_faults_on_an_interrupt_that_does_not_exist() {
    let rig = Rig::new(Params::mmu401());
    rig.write(rig.cbar(BANK), 7 << 24);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
    rig.map_stream(0, STREAM, BANK);
    rig.blocked(IPA, false, FaultKind::UnimplementedInterrupt);
    assert_eq!(rig.read(GFSR), 1 << 4);
}

#[test]
fn two_streams_have_two_address_spaces() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    let mut other = rig.attach(1, STREAM + 1, 2, VMID + 1);
    other.map_page(IPA, PA + 0x10_0000, RW);
    assert_eq!(rig.reaches(IPA).0, PA);
    assert_eq!(
        rig.smmu.dma(STREAM + 1, IPA, true).unwrap().address,
        PA + 0x10_0000
    );
    assert_eq!(rig.reaches(IPA), (PA, true));
    rig.smmu.violations().assert_none();
}

#[test]
fn walks_that_are_not_coherent_are_not_cacheable() {
    for (bits, broken) in [(0, false), (1 << 8, true), (1 << 10, true)] {
        let rig = Rig::new(Params::non_coherent());
        rig.settled();
        let tree = rig.tree();
        rig.set_up(BANK, tree.root, VMID);
        rig.write_bank(BANK, TCR, TCR39 & !0xf00 | bits);
        rig.write_bank(BANK, SCTLR, ON);
        rig.smmu.violations().assert_none();
        rig.map_stream(0, STREAM, BANK);
        if broken {
            rig.smmu.violations().expect(Rule::IllegalContextBank);
        }
        rig.smmu.violations().assert_none();
    }
}
