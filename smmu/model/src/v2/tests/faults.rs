//! What is recorded, which lines are asserted, and what stalls.

use mmio::Bus;

use super::rig::*;
use crate::Rule;
use crate::v2::{Blocked, FaultKind, Params};

#[test]
fn a_global_fault_is_recorded_and_cleared_by_writing_ones() {
    let rig = Rig::new(Params::generic());
    assert!(rig.smmu.dma(0x321, 0x8_1234_5678, true).is_err());
    assert_eq!(rig.read(GFSR), 1 << 1);
    assert_eq!(rig.frame.read64(GFAR), 0x8_1234_5678);
    assert_eq!(rig.read(GFSYNR0), 1 << 1);
    assert_eq!(rig.read(GFSYNR1), 0x321);
    assert!(rig.smmu.global_interrupt());
    // A second one leaves the record of the first.
    rig.write(smr(0), VALID | 7);
    assert_eq!(
        rig.smmu.dma(7, 0x99, false).unwrap_err().kind,
        FaultKind::InvalidContext
    );
    assert_eq!(rig.read(GFSR), 1 << 31 | 1 << 1);
    assert_eq!(rig.read(GFSYNR1), 0x321);
    rig.write(GFSR, 1 << 1);
    assert_eq!(rig.read(GFSR), 1 << 31);
    assert!(rig.smmu.global_interrupt());
    rig.write(GFSR, 1 << 31);
    assert!(!rig.smmu.global_interrupt());
    assert!(rig.smmu.dma(7, 0x99, false).is_err());
    assert_eq!(rig.read(GFSR), 1);
    assert_eq!(rig.read(GFSYNR0), 0);
    rig.write(GFSR, 1 << 20);
    rig.smmu.violations().expect(Rule::Reserved);
}

#[test]
fn the_global_line_needs_gfie_and_gcfgfie() {
    let rig = Rig::new(Params::generic());
    rig.write(CR0, SHUT & !(1 << 2));
    assert!(rig.smmu.dma(1, 0, false).is_err());
    assert!(!rig.smmu.global_interrupt());
    rig.write(CR0, SHUT);
    assert!(rig.smmu.global_interrupt());
    rig.write(GFSR, 0x8000_01ff);
    rig.write(GFSRRESTORE, 1 << 5);
    assert!(!rig.smmu.global_interrupt());
    rig.write(CR0, SHUT | 1 << 5);
    assert!(rig.smmu.global_interrupt());
}

#[test]
fn a_context_fault_is_recorded_and_cleared_by_writing_ones() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.blocked(IPA + 0x1_2345, true, FaultKind::Translation);
    // TF, the AArch64 format; a write, found at level 3.
    assert_eq!(rig.read_bank(BANK, FSR), 1 << 1 | 2 << 9);
    assert_eq!(rig.frame.read64(rig.bank(BANK, FAR)), IPA + 0x1_2345);
    assert_eq!(rig.frame.read64(rig.bank(BANK, IPAFAR)), IPA + 0x1_2000);
    assert_eq!(rig.read_bank(BANK, FSYNR0), 1 << 4 | 3);
    assert_eq!(rig.read(rig.global1(0x400 + 4 * BANK)), STREAM);
    assert!(rig.smmu.context_interrupt(BANK));
    assert!(!rig.smmu.context_interrupt(0));
    assert!(!rig.smmu.global_interrupt());
    rig.blocked(0, false, FaultKind::Translation);
    assert_eq!(rig.read_bank(BANK, FSR), 1 << 31 | 1 << 1 | 2 << 9);
    assert_eq!(rig.frame.read64(rig.bank(BANK, FAR)), IPA + 0x1_2345);
    rig.write_bank(BANK, FSR, rig.read_bank(BANK, FSR));
    assert_eq!(rig.read_bank(BANK, FSR) & ALL_FAULTS, 0);
    assert!(!rig.smmu.context_interrupt(BANK));
    rig.smmu.violations().assert_none();
}

#[test]
fn every_kind_of_context_fault_has_its_bit() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    tree.map_page(IPA + 0x1000, PA, RW & !(1 << 10));
    tree.map_page(IPA + 0x2000, PA, RO);
    tree.map_page(IPA + 0x3000, 1 << 41, RW);
    // A table where no memory is.
    let slot = tree.descriptor(IPA + 0x4000_0000, 1);
    tree.store(slot, 0x1_0000 | 3);
    for (offset, kind, bits) in [
        (0x1000, FaultKind::AccessFlag, 1 << 2),
        (0x2000, FaultKind::Permission, 1 << 3),
        (0x3000, FaultKind::AddressSize, 1 << 7),
        (0x4000_0000, FaultKind::External, 1 << 4),
        (0x5000, FaultKind::Translation, 1 << 1),
    ] {
        rig.blocked(IPA + offset, true, kind);
        assert_eq!(rig.read_bank(BANK, FSR), bits | 2 << 9, "{kind:?}");
        rig.write_bank(BANK, FSR, ALL_FAULTS);
    }
    rig.smmu.violations().assert_none();
}

#[test]
fn affd_lets_a_clear_access_flag_pass() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    tree.map_page(IPA + 0x1000, PA, RW & !(1 << 10));
    rig.write_bank(BANK, SCTLR, ON | 1 << 3);
    assert_eq!(rig.reaches(IPA + 0x1000).0, PA);
}

#[test]
fn cfre_and_cfie_decide_who_is_told() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.write_bank(BANK, SCTLR, 1 | 1 << 8);
    let blocked = rig.dma(0, false).unwrap_err();
    assert_eq!((blocked.kind, blocked.aborted), (FaultKind::Translation, false));
    assert!(!rig.smmu.context_interrupt(BANK));
    rig.write_bank(BANK, SCTLR, ON);
    assert!(rig.smmu.context_interrupt(BANK));
    assert!(rig.dma(0, false).unwrap_err().aborted);
}

#[test]
fn without_hupcf_nothing_passes_a_bank_with_a_fault() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.write_bank(BANK, SCTLR, ON & !(1 << 8));
    assert_eq!(rig.reaches(IPA).0, PA);
    rig.blocked(0, false, FaultKind::Translation);
    rig.blocked(IPA, false, FaultKind::UnderFault);
    assert_eq!(rig.read_bank(BANK, FSR), 1 << 1 | 2 << 9);
    rig.write_bank(BANK, FSR, ALL_FAULTS);
    assert_eq!(rig.reaches(IPA).0, PA);
}

#[test]
fn a_stalled_transaction_is_tried_again_or_ended() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    rig.write_bank(BANK, SCTLR, ON | 1 << 7);
    let blocked = rig.dma(IPA + 0x1000, false).unwrap_err();
    let ticket = blocked.stalled.unwrap();
    assert_eq!(rig.read_bank(BANK, FSR), 1 << 30 | 1 << 1 | 2 << 9);
    assert!(!rig.smmu.unsettled().is_empty());
    // SS is not cleared by writing ones, and keeps the line.
    rig.write_bank(BANK, FSR, ALL_FAULTS | 1 << 30);
    assert!(rig.smmu.context_interrupt(BANK));
    assert_eq!(rig.smmu.take_resumed(ticket), None);
    tree.map_page(IPA + 0x1000, PA, RW);
    rig.write_bank(BANK, RESUME, 0);
    assert_eq!(rig.smmu.take_resumed(ticket).unwrap().unwrap().address, PA);
    assert_eq!(rig.smmu.take_resumed(ticket), None);
    assert!(!rig.smmu.context_interrupt(BANK));

    let ticket = rig.dma(IPA + 0x9000, false).unwrap_err().stalled.unwrap();
    rig.write_bank(BANK, FSR, ALL_FAULTS);
    rig.write_bank(BANK, RESUME, 1);
    let ended = Blocked {
        kind: FaultKind::Terminated,
        aborted: true,
        stalled: None,
    };
    assert_eq!(rig.smmu.take_resumed(ticket), Some(Err(ended)));
    rig.smmu.violations().assert_none();
}

#[test]
fn resuming_nothing_is_refused() {
    let rig = Rig::new(Params::generic());
    rig.write_bank(BANK, RESUME, 1);
    rig.smmu.violations().expect(Rule::StallProtocol);
    rig.attached();
    rig.write_bank(BANK, SCTLR, ON | 1 << 7);
    assert!(rig.dma(0, false).unwrap_err().stalled.is_some());
    rig.write_bank(BANK, RESUME, 3);
    rig.smmu.violations().expect(Rule::Reserved);
}

#[test]
fn stalld_turns_stalls_into_ends() {
    for (params, stalls) in [(Params::generic(), false), (Params::mmu500(), true)] {
        let rig = Rig::new(params);
        rig.attached();
        rig.write_bank(BANK, SCTLR, ON | 1 << 7);
        rig.write(CR0, SHUT | 1 << 8);
        let blocked = rig.dma(0, false).unwrap_err();
        assert_eq!((blocked.stalled.is_some(), blocked.aborted), (stalls, !stalls));
    }
}

#[test]
fn a_syndrome_is_read_before_its_fault_is_cleared() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.blocked(0x5000, false, FaultKind::Translation);
    rig.write_bank(BANK, FSR, 1 << 31);
    assert_eq!(rig.frame.read64(rig.bank(BANK, FAR)), 0x5000);
    rig.write_bank(BANK, FSR, 1 << 1);
    assert_ne!(rig.frame.read64(rig.bank(BANK, FAR)), 0x5000);
    assert_ne!(rig.read(rig.global1(0x400 + 4 * BANK)), STREAM);
    assert!(rig.smmu.dma(0x55, 0x6000, false).is_err());
    assert_eq!(rig.read(GFSYNR1), 0x55);
    rig.write(GFSR, 1 << 1);
    assert_ne!(rig.read(GFSYNR1), 0x55);
    assert_ne!(rig.frame.read64(GFAR), 0x6000);
}

#[test]
fn restoring_sets_bits() {
    let rig = Rig::new(Params::generic());
    rig.write_bank(BANK, FSRRESTORE, 1 << 31 | 1 << 3);
    assert_eq!(rig.read_bank(BANK, FSR), 1 << 31 | 1 << 3);
    rig.write(GFSRRESTORE, 1 << 31 | 1 << 20 | 1 << 2);
    rig.smmu.violations().expect(Rule::Reserved);
    assert_eq!(rig.read(GFSR), 1 << 31 | 1 << 2);
    assert!(rig.smmu.global_interrupt());
    rig.smmu.violations().assert_none();
}

#[test]
fn faults_of_before_the_driver_are_noise_until_cleared() {
    let rig = Rig::after_reset(Params::generic());
    assert_ne!(rig.read(GFSR), 0);
    assert_ne!(rig.read_bank(0, FSR), 0);
    assert!(!rig.smmu.global_interrupt());
    rig.boot();
    assert_eq!(rig.read(GFSR), 0);
    assert_eq!(rig.read_bank(0, FSR), 0);
}

#[test]
fn a_second_fault_leaves_the_first_stalled() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.write_bank(BANK, SCTLR, ON | 1 << 7);
    assert!(rig.dma(0, false).unwrap_err().stalled.is_some());
    rig.write_bank(BANK, FSR, ALL_FAULTS);
    rig.write_bank(BANK, SCTLR, ON);
    assert!(rig.dma(0, false).unwrap_err().stalled.is_none());
    assert_eq!(rig.read_bank(BANK, FSR), 1 << 30 | 1 << 1 | 2 << 9);
}

#[test]
fn a_walk_that_met_a_bus_error_does_not_stall() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    rig.write_bank(BANK, SCTLR, ON | 1 << 7);
    let slot = tree.descriptor(0, 1);
    tree.store(slot, 0x1_0000 | 3);
    let blocked = rig.dma(0, false).unwrap_err();
    assert_eq!((blocked.kind, blocked.stalled), (FaultKind::External, None));
}

#[test]
fn a_bank_that_holds_many_stalled_transactions_ends_the_next() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.write_bank(BANK, SCTLR, ON | 1 << 7);
    let stalled = (0..100).filter(|_| rig.dma(0, false).unwrap_err().stalled.is_some());
    assert_eq!(stalled.count(), 64);
}
