//! What the TLB keeps, and what makes it forget.

use mmio::TableMemory;

use super::rig::*;
use crate::Rule;
use crate::stage2::Tlb;
use crate::v2::{FaultKind, Params};

/// Attached, with the page cached and gone from the tables.
fn stale() -> (Rig, Tree) {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    rig.reaches(IPA);
    tree.unmap(IPA, 3);
    (rig, tree)
}

#[test]
fn an_entry_stays_until_it_is_invalidated_and_synchronised() {
    let (rig, _tree) = stale();
    assert_eq!(rig.reaches(IPA), (PA, true));
    assert_eq!(rig.smmu.unsettled().len(), 1);
    rig.write(TLBIVMID, VMID.into());
    rig.clock.advance(100);
    assert_eq!(rig.reaches(IPA), (PA, true));
    rig.write(TLBGSYNC, 0);
    assert_eq!(rig.reaches(IPA), (PA, true));
    rig.clock.advance(3);
    rig.blocked(IPA, false, FaultKind::Translation);
    rig.settled();
    rig.smmu.violations().assert_none();
}

#[test]
fn every_invalidation_does_its_work() {
    let (rig, _tree) = stale();
    rig.write(TLBIALLNSNH, 0);
    rig.global_sync();
    rig.blocked(IPA, false, FaultKind::Translation);
    for register in [TLBIIPAS2, TLBIIPAS2L] {
        for global in [false, true] {
            let (rig, _tree) = stale();
            rig.write_bank64(BANK, register, IPA >> 12);
            if global {
                rig.global_sync();
            } else {
                rig.bank_sync(BANK);
            }
            rig.blocked(IPA, false, FaultKind::Translation);
            rig.settled();
        }
    }
}

#[test]
fn what_does_not_cover_the_entry_leaves_it() {
    let (rig, _tree) = stale();
    rig.write(TLBIVMID, u32::from(VMID) + 1);
    rig.write(0x6c, 0); // TLBIALLH
    rig.write_bank64(BANK, TLBIIPAS2, (IPA >> 12) + 1);
    rig.global_sync();
    rig.bank_sync(BANK);
    assert_eq!(rig.reaches(IPA), (PA, true));
    // Another bank's synchronisation does not cover this bank's invalidation.
    rig.write_bank64(BANK, TLBIIPAS2, IPA >> 12);
    rig.bank_sync(0);
    assert_eq!(rig.reaches(IPA), (PA, true));
    rig.bank_sync(BANK);
    rig.blocked(IPA, false, FaultKind::Translation);
}

#[test]
fn an_invalidation_after_the_synchronisation_began_is_not_covered() {
    let (rig, _tree) = stale();
    rig.write(TLBGSYNC, 0);
    rig.write(TLBIVMID, VMID.into());
    rig.clock.advance(10);
    assert_eq!(rig.reaches(IPA), (PA, true));
}

#[test]
fn an_entry_that_is_younger_than_the_invalidation_stays() {
    for which in 0..3 {
        let rig = Rig::new(Params::generic());
        rig.attached();
        match which {
            0 => rig.write(TLBIVMID, VMID.into()),
            1 => rig.write(TLBIALLNSNH, 0),
            _ => rig.write_bank64(BANK, TLBIIPAS2, IPA >> 12),
        }
        assert_eq!(rig.reaches(IPA), (PA, false));
        rig.global_sync();
        assert_eq!(rig.reaches(IPA), (PA, true));
    }
}

#[test]
fn tlbiipas2l_leaves_table_descriptors() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    rig.reaches(IPA);
    let table = tree.descriptor(IPA, 2);
    tree.store(table, 0);
    rig.write_bank64(BANK, TLBIIPAS2L, IPA >> 12);
    rig.bank_sync(BANK);
    assert_eq!(rig.reaches(IPA), (PA, false));
    rig.write_bank64(BANK, TLBIIPAS2, IPA >> 12);
    rig.bank_sync(BANK);
    rig.blocked(IPA, false, FaultKind::Translation);
}

#[test]
fn an_invalidation_by_ipa_has_the_width_of_the_tables() {
    let (rig, _tree) = stale();
    rig.write_bank(BANK, TLBIIPAS2, 0);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    rig.write_bank64(BANK, TLBIIPAS2, 1 << 36);
    rig.smmu.violations().expect(Rule::Reserved);
    rig.write_bank64(BANK, TLBIIPAS2 + 4, 0);
    rig.smmu.violations().expect(Rule::NoSuchRegister);
    // Stage 1 has no IPA of its own.
    rig.write(rig.cbar(3), 1 << 16);
    rig.write_bank(3, TLBIIPAS2, 0);
    rig.smmu.violations().expect(Rule::IllegalContextBank);
}

#[test]
fn a_vmid_is_not_reused_before_it_is_invalidated() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.reaches(IPA);
    rig.write(smr(0), 0);
    rig.write_bank(BANK, SCTLR, 0);
    rig.smmu.violations().expect(Rule::Bypass);
    let tree = rig.tree();
    rig.set_up(BANK, tree.root, VMID);
    rig.write_bank(BANK, SCTLR, ON);
    rig.smmu.violations().assert_none();
    rig.write(smr(0), VALID | STREAM);
    rig.smmu.violations().expect(Rule::VmidReuse);
    rig.dma(0, false).unwrap_err();
    rig.smmu.violations().expect(Rule::VmidReuse);
}

#[test]
fn a_vmid_may_be_reused_after_it_was_invalidated() {
    let rig = Rig::new(Params::generic());
    rig.attached();
    rig.reaches(IPA);
    rig.detach();
    rig.attached();
    assert_eq!(rig.reaches(IPA), (PA, false));
    rig.smmu.violations().assert_none();
}

#[test]
fn two_live_banks_share_a_vmid_only_with_their_tables() {
    let rig = Rig::new(Params::generic());
    let tree = rig.attached();
    rig.set_up(2, tree.root, VMID);
    rig.write_bank(2, SCTLR, ON);
    rig.map_stream(1, STREAM + 1, 2);
    rig.smmu.violations().assert_none();
    rig.attach(2, STREAM + 2, 3, VMID);
    rig.smmu.violations().expect(Rule::VmidReuse);
}

#[test]
fn a_block_is_broken_before_it_is_made_anew() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    rig.reaches(IPA);
    let slot = tree.descriptor(IPA, 2);
    tree.store(slot, PA & !0x1f_ffff | RW);
    rig.write_bank64(BANK, TLBIIPAS2, (IPA >> 12) + 1);
    rig.bank_sync(BANK);
    rig.dma(IPA + 0x1000, false).unwrap();
    rig.smmu.violations().expect(Rule::BreakBeforeMake);
}

#[test]
fn descriptors_are_published_before_the_tlb_is_invalidated() {
    let rig = Rig::new(Params::non_coherent());
    let mut tree = rig.attached();
    rig.reaches(IPA);
    let slot = tree.descriptor(IPA, 3);
    rig.memory.clone().write(slot, 0);
    for invalidate in [
        &|| rig.write(TLBIVMID, VMID.into()) as (),
        &|| rig.write(TLBIALLNSNH, 0),
        &|| rig.write_bank64(BANK, TLBIIPAS2, IPA >> 12),
    ] as [&dyn Fn(); 3]
    {
        invalidate();
        rig.smmu.violations().expect(Rule::Unpublished);
    }
    rig.global_sync();
    // It is still what the walker sees.
    assert_eq!(rig.reaches(IPA), (PA, false));
}

#[test]
fn memory_is_not_given_back_while_hardware_may_walk_it() {
    let rig = Rig::new(Params::generic());
    let mut tree = rig.attached();
    rig.reaches(IPA);
    let blocks = rig.memory.allocated();
    let root = blocks.iter().find(|block| block.address == tree.root).unwrap();
    rig.memory.clone().free(*root);
    rig.smmu.violations().expect(Rule::NotAllocated);
    let rig = Rig::new(Params::generic());
    tree = rig.attached();
    rig.reaches(IPA);
    let slot = tree.descriptor(IPA, 1);
    let table = tree.memory.read(slot) & 0xffff_ffff_f000;
    tree.store(slot, 0);
    let blocks = rig.memory.allocated();
    let block = *blocks.iter().find(|block| block.address == table).unwrap();
    rig.write_bank64(BANK, TLBIIPAS2, IPA >> 12);
    rig.memory.clone().free(block);
    rig.smmu.violations().expect(Rule::NotAllocated);
}

#[test]
fn the_oldest_entries_leave_a_full_tlb() {
    let params = Params {
        tlb_entries: 4,
        ..Params::generic()
    };
    let rig = Rig::new(params);
    let mut tree = rig.attached();
    for page in 0..6 {
        tree.map_page(IPA + page * 0x1000, PA, RW);
        assert!(!rig.reaches(IPA + page * 0x1000).1);
    }
    assert!(rig.reaches(IPA + 0x5000).1);
    assert!(!rig.reaches(IPA).1);
}

#[test]
fn a_banks_synchronisation_covers_what_came_before_it() {
    let (rig, _tree) = stale();
    rig.write_bank(BANK, TLBSYNC, 0);
    rig.write_bank64(BANK, TLBIIPAS2, IPA >> 12);
    rig.clock.advance(10);
    assert_eq!(rig.reaches(IPA), (PA, true));
    rig.bank_sync(BANK);
    rig.blocked(IPA, false, FaultKind::Translation);
}

#[test]
fn a_synchronisation_may_take_no_time() {
    let params = Params {
        sync_delay: 0,
        ..Params::generic()
    };
    let rig = Rig::new(params);
    let mut tree = rig.attached();
    rig.reaches(IPA);
    tree.unmap(IPA, 3);
    rig.write(TLBIVMID, VMID.into());
    rig.write(TLBGSYNC, 0);
    assert_eq!(rig.read(TLBGSTATUS), 0);
    rig.blocked(IPA, false, FaultKind::Translation);
}

#[test]
fn an_invalidation_may_happen_before_it_is_synchronised() {
    let (rig, _tree) = stale();
    rig.write(TLBIVMID, VMID.into());
    for _ in 0..1024 {
        rig.write(TLBIVMID, 0xff);
    }
    rig.blocked(IPA, false, FaultKind::Translation);
}

#[test]
fn what_is_remembered_of_walks_is_bounded() {
    let mut tlb = Tlb::default();
    for table in 0..100 {
        tlb.remember_table(VMID, table * 0x1000, 0x1000);
    }
    tlb.limit(4);
    assert_eq!(tlb.tables(None).count(), 4);
}

/// What has got to a bank may still be there, until everything of its VMID was invalidated and that was waited for.
#[test]
fn a_bank_goes_off_when_nothing_is_in_flight() {
    /// What is done before, and whether it is too little.
    type Case = (bool, fn(&Rig));
    let cases: [Case; 6] = [
        (true, |_| ()),
        (true, |rig| rig.global_sync()),
        (true, |rig| rig.write(TLBIVMID, VMID.into())),
        (true, |rig| {
            rig.write_bank64(BANK, TLBIIPAS2, IPA >> 12);
            rig.bank_sync(BANK);
        }),
        (false, |rig| {
            rig.write(TLBIVMID, VMID.into());
            rig.global_sync();
        }),
        (false, |rig| {
            rig.write(TLBIALLNSNH, 0);
            rig.global_sync();
        }),
    ];
    for (broken, wait) in cases {
        let rig = Rig::new(Params::generic());
        let _tree = rig.attached();
        rig.reaches(IPA);
        rig.write(s2cr(0), FAULT);
        wait(&rig);
        rig.write_bank(BANK, SCTLR, 0);
        if broken {
            rig.smmu.violations().expect(Rule::Bypass);
        }
        rig.smmu.violations().assert_none();
    }
}
