//! Two instances that are programmed as one SMMU.

use mmio::Bus;

use super::rig::*;
use crate::Rule;
use crate::v2::Params;

type Change = fn(&Rig);

/// Both halves, programmed alike, with two pages mapped.
fn pair() -> (Rig, Rig, Tree) {
    let first = Rig::after_reset(Params::pair());
    let second = first.through(1);
    first.boot();
    second.boot();
    first.smmu.forbid_bypass();
    let mut tree = first.tree();
    tree.map_page(IPA, PA, RW);
    tree.map_page(IPA + 0x1000, PA + 0x1000, RW);
    for rig in [&first, &second] {
        rig.set_up(BANK, tree.root, VMID);
        rig.write_bank(BANK, SCTLR, ON);
        rig.map_stream(0, STREAM, BANK);
    }
    first.smmu.violations().assert_none();
    (first, second, tree)
}

#[test]
fn transactions_take_turns() {
    let (first, _second, _tree) = pair();
    assert_eq!(first.reaches(IPA), (PA, false));
    assert_eq!(first.reaches(IPA + 0x1000), (PA + 0x1000, false));
    // The second instance's TLB does not know what the first one's does.
    assert!(first.smmu.dma_through(0, STREAM, IPA, false).is_ok());
    let how = first.smmu.dma_through(1, STREAM, IPA, false).unwrap().how;
    assert!(matches!(how, crate::v2::How::Translated { cached: false, .. }));
    first.smmu.violations().assert_none();
}

#[test]
fn an_invalidation_of_one_leaves_the_other_stale() {
    let (first, second, mut tree) = pair();
    first.reaches(IPA);
    first.reaches(IPA + 0x1000);
    tree.unmap(IPA, 3);
    tree.unmap(IPA + 0x1000, 3);
    first.write(TLBIVMID, VMID.into());
    first.global_sync();
    assert!(first.dma(IPA, false).is_err());
    assert_eq!(first.reaches(IPA + 0x1000), (PA + 0x1000, true));
    assert_eq!(first.smmu.unsettled().len(), 1);
    second.write(TLBIVMID, VMID.into());
    second.global_sync();
    assert!(first.dma(IPA + 0x1000, false).is_err());
    first.settled();
}

#[test]
fn every_difference_is_a_violation_when_a_transaction_comes() {
    let differences: [Change; 9] = [
        |rig| rig.write(CR0, SHUT | 1 << 12),
        |rig| rig.write(smr(5), VALID | 9),
        |rig| rig.write(smr(0), VALID | 9),
        |rig| rig.write(s2cr(0), FAULT),
        |rig| rig.write_bank(BANK, SCTLR, ON | 1 << 7),
        |rig| {
            rig.write(smr(0), 0);
            rig.write_bank(BANK, SCTLR, 0);
            rig.write(rig.cbar(BANK), 9);
            rig.write_bank(BANK, SCTLR, ON);
            rig.write(smr(0), VALID | STREAM);
        },
        |rig| {
            rig.write(smr(0), 0);
            rig.write_bank(BANK, SCTLR, 0);
            rig.write(rig.cba2r(BANK), 3);
            rig.write_bank(BANK, SCTLR, ON);
            rig.write(smr(0), VALID | STREAM);
        },
        |rig| {
            rig.write(smr(0), 0);
            rig.write_bank(BANK, TCR, TCR39 & !(1 << 8));
            rig.write(smr(0), VALID | STREAM);
        },
        |rig| {
            rig.write(smr(0), 0);
            let other = rig.tree();
            rig.write_bank64(BANK, TTBR0, other.root);
            rig.write(smr(0), VALID | STREAM);
        },
    ];
    for (index, differ) in differences.iter().enumerate() {
        let (first, second, _tree) = pair();
        differ(&second);
        first.smmu.violations().assert_none();
        let _ = first.dma(IPA, false);
        let rules = first.smmu.violations().rules();
        assert!(rules.contains(&Rule::InstancesDiffer), "{index}: {rules:?}");
        first.smmu.violations().take();
    }
}

#[test]
fn lines_of_both_are_joined() {
    let (first, second, _tree) = pair();
    assert!(first.dma(IPA + 0x5000, false).is_err());
    assert!(first.smmu.context_interrupt(BANK));
    assert_eq!(first.read_bank(BANK, FSR), 0);
    assert_ne!(second.read_bank(BANK, FSR), 0);
    assert!(first.smmu.dma(9, 0x1000, false).is_err());
    assert!(first.smmu.global_interrupt());
    assert_eq!(first.read(GFSR), 0);
    second.write(GFSR, 2);
    assert!(!first.smmu.global_interrupt());
}

#[test]
fn bypass_of_either_is_noticed() {
    let (first, second, _tree) = pair();
    second.write(CR0, SHUT & !(1 << 10));
    first.smmu.violations().expect(Rule::Bypass);
}

#[test]
fn a_frame_that_does_not_exist_is_silent() {
    let rig = Rig::new(Params::generic());
    let none = rig.smmu.frame(1);
    assert_eq!(none.read32(IDR0), u32::MAX);
    assert_eq!(none.read64(GFAR), u64::MAX);
    none.write32(CR0, 1);
    none.write64(GFAR, 1);
    assert_eq!(rig.read(CR0), SHUT);
}

#[test]
fn the_second_instance_takes_longer_to_synchronise() {
    let (first, second, _tree) = pair();
    for rig in [&first, &second] {
        rig.write(TLBGSYNC, 0);
    }
    let active = || [&first, &second].map(|rig| rig.read(TLBGSTATUS));
    let mut seen = vec![active()];
    for _ in 0..8 {
        first.clock.advance(1);
        seen.push(active());
    }
    seen.dedup();
    assert_eq!(seen, [[1, 1], [0, 1], [0, 0]]);
}
