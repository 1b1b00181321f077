//! From stream ID to stream mapping.

use super::rig::*;
use crate::Rule;
use crate::v2::{Bypass, FaultKind, How, Params, Route};

#[test]
fn a_stream_without_a_mapping_is_unidentified() {
    let rig = Rig::new(Params::generic());
    let blocked = rig.smmu.dma(STREAM, 0x1234, true).unwrap_err();
    assert_eq!(blocked.kind, FaultKind::UnidentifiedStream);
    assert!(blocked.aborted);
    assert!(rig.smmu.global_interrupt());
    rig.write(CR0, SHUT & !(1 << 1));
    assert!(!rig.smmu.dma(STREAM, 0x1234, true).unwrap_err().aborted);
}

#[test]
fn without_usfcfg_it_bypasses() {
    let rig = Rig::after_reset(Params::generic());
    rig.boot();
    rig.write(CR0, SHUT & !(1 << 10));
    let passed = rig.smmu.dma(STREAM, 0x1234, true).unwrap();
    assert_eq!(passed.address, 0x1234);
    assert_eq!(passed.how, How::Bypassed(Bypass::Unidentified));
    rig.smmu.violations().assert_none();
    rig.smmu.forbid_bypass();
    rig.smmu.violations().expect(Rule::Bypass);
}

#[test]
fn with_clientpd_everything_bypasses() {
    let rig = Rig::after_reset(Params::generic());
    rig.boot();
    rig.write(CR0, SHUT | CLIENTPD);
    let passed = rig.smmu.dma(STREAM, 0x1234, true).unwrap();
    assert_eq!(passed.how, How::Bypassed(Bypass::ClientPortDisabled));
    rig.smmu.violations().assert_none();
}

#[test]
fn bypass_is_noticed_wherever_it_comes_from() {
    let rig = Rig::new(Params::generic());
    rig.write(s2cr(3), BYPASS);
    rig.smmu.violations().assert_none();
    rig.write(smr(3), VALID | 5);
    rig.smmu.violations().expect(Rule::Bypass);
    rig.write(smr(3), 0);
    rig.write(s2cr(3), FAULT);
    // A mapping to a bank that is not enabled.
    rig.write(rig.cbar(BANK), VMID.into());
    rig.map_stream(3, 5, BANK);
    rig.smmu.violations().expect(Rule::Bypass);
    assert_eq!(rig.smmu.route(5), Route::Bypass(Bypass::BankDisabled(BANK)));
    rig.write(CR0, SHUT | CLIENTPD);
    rig.smmu.violations().expect(Rule::Bypass);
    rig.write(CR0, SHUT & !(1 << 10));
    rig.smmu.violations().expect(Rule::Bypass);
}

#[test]
fn masked_bits_are_not_compared() {
    let rig = Rig::new(Params::generic());
    rig.write(smr(2), VALID | 0x000f << 16 | 0x120);
    for (stream, kind) in [
        (0x120, FaultKind::InvalidContext),
        (0x12f, FaultKind::InvalidContext),
        (0x130, FaultKind::UnidentifiedStream),
        (0x8120, FaultKind::UnidentifiedStream),
    ] {
        assert_eq!(rig.smmu.route(stream), Route::Fault(kind), "{stream:#x}");
    }
    rig.smmu.violations().assert_none();
}

#[test]
fn software_finds_the_bits_that_exist() {
    let rig = Rig::new(Params::small());
    rig.write(smr(0), 0x7fff << 16);
    assert_eq!(rig.read(smr(0)), 0xff << 16);
    rig.write(smr(0), 0x7fff);
    assert_eq!(rig.read(smr(0)), 0x7fff);
    rig.smmu.violations().assert_none();
    rig.write(smr(0), VALID | 0x100 << 16);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write(smr(0), 1 << 15);
    rig.smmu.violations().expect(Rule::Reserved);
}

#[test]
fn a_conflict_of_mappings_is_a_violation_when_it_arises_and_a_fault() {
    let rig = Rig::new(Params::generic());
    rig.write(smr(0), VALID | 0x10);
    rig.write(smr(1), VALID | 0x0001 << 16 | 0x10);
    rig.smmu.violations().expect(Rule::StreamMatchConflict);
    assert_eq!(
        rig.smmu.dma(0x10, 0, false).unwrap_err().kind,
        FaultKind::StreamMatchConflict
    );
    assert_eq!(rig.read(GFSR), 1 << 2);
    assert_eq!(rig.smmu.route(0x11), Route::Fault(FaultKind::InvalidContext));
}

#[test]
fn without_smcfcfg_a_conflict_is_unpredictable() {
    let rig = Rig::after_reset(Params::generic());
    rig.boot();
    rig.write(CR0, SHUT & !(1 << 21));
    rig.write(smr(0), VALID | 0x10);
    rig.write(smr(1), VALID | 0x10);
    rig.smmu.violations().expect(Rule::StreamMatchConflict);
    let passed = rig.smmu.dma(0x10, 0, false).unwrap();
    assert_eq!(passed.how, How::Bypassed(Bypass::StreamMatchConflict));
    rig.smmu.violations().expect(Rule::StreamMatchConflict);
    rig.smmu.forbid_bypass();
    rig.smmu.violations().expect(Rule::Bypass);
}

#[test]
fn moving_a_valid_mapping_over_another_conflicts_at_once() {
    let rig = Rig::new(Params::generic());
    rig.write(smr(0), VALID | 0x10);
    rig.write(smr(1), VALID | 0x20);
    // Widening the mask first and changing the ID afterwards matches 0x10 in between.
    rig.write(smr(1), VALID | 0x30 << 16 | 0x20);
    rig.smmu.violations().expect(Rule::StreamMatchConflict);
}

#[test]
fn conflicts_while_the_client_port_is_disabled_harm_nobody() {
    let rig = Rig::after_reset(Params::generic());
    rig.boot();
    rig.write(CR0, SHUT | CLIENTPD);
    rig.write(smr(0), VALID | 0x10);
    rig.write(smr(1), VALID | 0x10);
    rig.smmu.violations().assert_none();
    rig.write(CR0, SHUT);
    rig.smmu.violations().expect(Rule::StreamMatchConflict);
}

#[test]
fn mappings_with_unknown_values_must_not_take_part() {
    let rig = Rig::after_reset(Params::generic());
    for index in 1..32 {
        rig.write(smr(index), 0);
    }
    rig.write(smr(0), VALID | 1);
    rig.write(CR0, SHUT);
    // SMR0 is valid, but its S2CR was never written.
    rig.smmu.violations().expect(Rule::Unknown);
    let forgetful = Rig::after_reset(Params::generic());
    for index in 0..31 {
        forgetful.write(smr(index), 0);
        forgetful.write(s2cr(index), FAULT);
    }
    forgetful.write(CR0, SHUT);
    forgetful.smmu.violations().expect(Rule::Unknown);
}

#[test]
fn reserved_bits_and_encodings_of_s2cr_are_refused() {
    let rig = Rig::new(Params::generic());
    for wrong in [
        3 << 16,
        FAULT | 1,
        FAULT | 1 << 24,
        BYPASS | 1,
        1 << 18,
        1 << 10,
        1 << 30,
        1 << 20,
        1 << 22,
        1 << 26,
        1 << 12,
    ] {
        rig.write(s2cr(0), wrong);
        rig.smmu.violations().expect(Rule::Reserved);
    }
    // In bypass, bits 27:24 are FB and BSU.
    rig.write(s2cr(0), BYPASS | 1 << 26 | 3 << 24);
    // Privileged data, inner shareable write-back memory.
    rig.write(s2cr(0), 1 | 3 << 24 | 2 << 26 | 1 << 11 | 0xf << 12 | 2 << 8);
    rig.smmu.violations().assert_none();
}

#[test]
fn a_mapping_names_a_bank_that_exists() {
    let rig = Rig::new(Params::generic());
    rig.write(s2cr(0), 8);
    rig.smmu.violations().expect(Rule::IllegalStreamMapping);
    rig.write(smr(0), VALID | STREAM);
    assert_eq!(rig.dma(0, false).unwrap_err().kind, FaultKind::UnimplementedBank);
    assert_eq!(rig.read(GFSR), 1 << 3);
    // There are no more banks than pages.
    let crowded = Rig::new(Params::small().with_idr(1, 7, 0, 3));
    crowded.write(s2cr(0), 2);
    crowded.smmu.violations().expect(Rule::IllegalStreamMapping);
}

#[test]
fn with_stream_indexing_the_stream_id_is_the_index() {
    let rig = Rig::new(Params::stream_indexing());
    let mut tree = rig.tree();
    tree.map_page(IPA, PA, RW);
    rig.set_up(BANK, tree.root, VMID);
    rig.write_bank(BANK, SCTLR, ON);
    rig.write(s2cr(STREAM as usize), 1);
    assert_eq!(rig.reaches(IPA), (PA, false));
    assert_eq!(
        rig.smmu.route(STREAM + 1),
        Route::Fault(FaultKind::InvalidContext)
    );
    assert_eq!(rig.smmu.route(64), Route::Fault(FaultKind::UnidentifiedStream));
    rig.smmu.violations().assert_none();
    rig.write(smr(0), 0);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.read(smr(0));
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.write(s2cr(64), FAULT);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
}

#[test]
fn with_stream_indexing_every_mapping_takes_part_from_the_start() {
    let rig = Rig::after_reset(Params::stream_indexing());
    for index in 0..63 {
        rig.write(s2cr(index), FAULT);
    }
    rig.write(CR0, SHUT);
    rig.smmu.violations().expect(Rule::Unknown);
}

#[test]
fn extended_stream_ids_have_their_valid_bit_in_s2cr() {
    let rig = Rig::after_reset(Params::extended_ids());
    rig.write(CR0, SHUT | CLIENTPD | 1 << 3 | 1 << 31);
    for index in 0..32 {
        rig.write(s2cr(index), FAULT);
        rig.write(smr(index), 0);
    }
    rig.write(TLBIALLNSNH, 0);
    rig.global_sync();
    rig.write(CR0, SHUT | 1 << 3 | 1 << 31);
    let mut tree = rig.tree();
    tree.map_page(IPA, PA, RW);
    rig.set_up(BANK, tree.root, 0x1234);
    rig.write_bank(BANK, SCTLR, ON);
    rig.write_bank(BANK, FSR, ALL_FAULTS);
    rig.write(smr(4), 0x000f << 16 | 0xabc0);
    assert_eq!(
        rig.smmu.route(0xabc5),
        Route::Fault(FaultKind::UnidentifiedStream)
    );
    rig.write(s2cr(4), 1 << 10 | 1);
    assert_eq!(rig.smmu.route(0xabc5), Route::Bank(BANK));
    assert_eq!(rig.smmu.dma(0xabc5, IPA, false).unwrap().address, PA);
    rig.smmu.violations().assert_none();
    // The VMID is in CBA2R alone.
    rig.write(rig.cbar(2), 5);
    rig.smmu.violations().expect(Rule::Reserved);
    // All of it counts.
    rig.write(TLBIVMID, 0x34);
    rig.global_sync();
    tree.unmap(IPA, 3);
    assert!(rig.smmu.dma(0xabc5, IPA, false).is_ok());
    rig.write(TLBIVMID, 0x1234);
    rig.global_sync();
    assert!(rig.smmu.dma(0xabc5, IPA, false).is_err());
    rig.smmu.violations().assert_none();
}

#[test]
fn what_gives_registers_another_meaning_does_not_change_under_transactions() {
    let rig = Rig::new(Params::extended_ids());
    rig.write(CR0, SHUT | 1 << 3 | 1 << 31);
    rig.write(CR0, SHUT);
    rig.smmu.violations().assert_none();
    rig.write(smr(0), VALID | 0x10);
    rig.write(CR0, SHUT | 1 << 3);
    rig.smmu.violations().expect(Rule::Guarded);
    // Valid afterwards only.
    rig.write(s2cr(1), FAULT | 1 << 10);
    rig.write(smr(0), 0);
    rig.write(CR0, SHUT);
    rig.smmu.violations().expect(Rule::Guarded);
    rig.write(smr(0), VALID | 0x10);
    rig.write(CR0, SHUT | 1 << 31);
    rig.smmu.violations().expect(Rule::Guarded);
}

#[test]
fn the_16th_bit_counts_with_exidenable_only() {
    let rig = Rig::new(Params::extended_ids());
    rig.write(smr(0), VALID | 0x10);
    assert_eq!(rig.smmu.route(0x10), Route::Fault(FaultKind::InvalidContext));
    assert_eq!(
        rig.smmu.route(0x8010),
        Route::Fault(FaultKind::UnidentifiedStream)
    );
}

#[test]
fn a_stream_id_that_does_not_exist_matches_nothing() {
    let rig = Rig::new(Params::generic().with_idr(0, 12, 9, 6));
    rig.write(smr(0), VALID | 0x7fff << 16);
    assert_eq!(rig.smmu.route(0x3f), Route::Fault(FaultKind::InvalidContext));
    assert_eq!(rig.smmu.route(0x40), Route::Fault(FaultKind::UnidentifiedStream));
}

#[test]
fn the_unknown_valid_bit_is_in_smr_or_in_s2cr() {
    let rig = Rig::after_reset(Params::extended_ids());
    for index in 0..32 {
        rig.write(s2cr(index), FAULT);
    }
    rig.write(CR0, SHUT | 1 << 3);
    rig.smmu.violations().assert_none();
    let rig = Rig::after_reset(Params::extended_ids());
    for index in 1..32 {
        rig.write(s2cr(index), FAULT);
    }
    rig.write(CR0, SHUT | 1 << 3);
    rig.smmu.violations().expect(Rule::Unknown);
    let rig = Rig::after_reset(Params::generic());
    for index in 0..32 {
        rig.write(s2cr(index), FAULT);
        if index != 5 {
            rig.write(smr(index), 0);
        }
    }
    rig.write(CR0, SHUT);
    rig.smmu.violations().expect(Rule::Unknown);
}
