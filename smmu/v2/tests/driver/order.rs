//! In which order things are written, and what happens when the SMMU does not come to an end.

use crate::common::*;
use crate::fake::*;
use smmu_v2::Error;
use std::slice::from_ref;

#[test]
fn a_bank_is_described_forgotten_about_and_on_before_a_group_leads_to_it() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    let cb = |offset| fake.bank(0, offset);
    let expected: [(usize, u64); 10] = [
        (cb(0x58), 0x8000_01fe),             // FSR
        (fake.global_1(0x800), 7 << 16 | 1), // CBA2R
        (fake.global_1(0), 0),               // CBAR
        (cb(0x30), 0x8002_3558),             // TCR
        (cb(0x20), domain(7).root),          // TTBR0
        (TLBIVMID, 7),
        (TLBGSYNC, 0),
        (cb(0), 0x167), // SCTLR: M, TRE, AFE, CFRE, CFIE, HUPCF
        (fake.s2cr(0), 0),
        (fake.smr(0), (VALID | 5).into()),
    ];
    assert_eq!(fake.take_log(), expected);
}

#[test]
fn a_stream_faults_is_forgotten_and_only_then_its_bank_goes_off() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    fake.take_log();
    driver.detach(&one(5)).unwrap();
    let expected: [(usize, u64); 8] = [
        (fake.s2cr(0), FAULT.into()),
        (TLBIVMID, 7),
        (TLBGSYNC, 0),
        (fake.s2cr(0), FAULT.into()),
        (fake.smr(0), 0),
        (fake.bank(0, 0), 0),
        (TLBIVMID, 7),
        (TLBGSYNC, 0),
    ];
    assert_eq!(fake.take_log(), expected);
}

/// A group that is given up is matched by nothing, and another stream may get it: before that, what was in flight through
/// it has to have ended.
#[test]
fn quiescing_gives_groups_up_only_when_everything_is_forgotten() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    driver.attach(&one(6), &domain(8)).unwrap();
    fake.take_log();
    driver.quiesce().unwrap();
    let log = fake.take_log();
    let at = |wanted: &dyn Fn(usize) -> bool| log.iter().position(|(offset, _)| wanted(*offset)).unwrap();
    let (smr, sync) = (
        at(&|offset| (SMR..S2CR).contains(&offset)),
        at(&|offset| offset == TLBGSYNC),
    );
    let off = at(&|offset| offset == fake.bank(0, 0));
    assert!((0..2).all(|group| at(&|offset| offset == fake.s2cr(group)) < sync));
    assert!(sync < smr && smr < off);
    // If it is not forgotten, they stay.
    driver.attach(&one(5), &domain(7)).unwrap();
    fake.stick(TLBGSTATUS);
    assert!(matches!(driver.quiesce(), Err(Error::Sync(_))));
    assert_eq!(
        (fake.get(fake.smr(0)), fake.get(fake.s2cr(0))),
        (VALID | 5, FAULT)
    );
}

#[test]
fn a_bank_that_others_use_stays_as_it_is() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    fake.take_log();
    driver.attach(&one(6), &domain(7)).unwrap();
    assert_eq!(
        fake.take_log(),
        [(fake.s2cr(1), 0), (fake.smr(1), (VALID | 6).into())]
    );
    driver.detach(&one(5)).unwrap();
    assert!(
        fake.take_log()
            .iter()
            .all(|(offset, _)| *offset < fake.bank(0, 0))
    );
}

#[test]
fn a_bank_whose_past_is_not_forgotten_is_not_used() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    fake.stick(TLBGSTATUS);
    let error = driver.attach(&one(5), &domain(7)).unwrap_err();
    assert!(matches!(error, Error::Sync(_)), "{error}");
    assert_eq!((bank_of(&fake, 5), fake.get(fake.bank(0, 0))), (None, 0));
    fake.unstick();
    driver.attach(&one(5), &domain(7)).unwrap();
    assert_eq!(bank_of(&fake, 5), Some(0));
}

#[test]
fn a_detach_that_did_not_end_is_ended_by_the_next_call() {
    type Retry = fn(&mut FakeDriver) -> Result<(), Error>;
    let retries: [Retry; 4] = [
        |driver| driver.detach(&one(5)),
        |driver| driver.detach(&one(60)),
        |driver| driver.attach(&one(6), &domain(8)),
        |driver| driver.quiesce(),
    ];
    for retry in retries {
        let fake = Fake::new(8, 4);
        let mut driver = probe(&fake);
        driver.attach(&one(5), &domain(7)).unwrap();
        fake.stick(TLBGSTATUS);
        for _ in 0..2 {
            assert!(matches!(driver.detach(&one(5)), Err(Error::Sync(_))));
            assert_eq!(bank_of(&fake, 5), None, "it faults all the same");
            assert_ne!(fake.get(fake.bank(0, 0)) & 1, 0, "and its bank is on");
        }
        fake.unstick();
        retry(&mut driver).unwrap();
        assert_eq!(fake.get(fake.s2cr(0)) & 0xff, 0);
        driver.attach(&one(5), &domain(9)).unwrap();
        assert_eq!(root_of(&fake, 5), Some(domain(9).root));
    }
}

#[test]
fn a_bank_that_is_off_is_not_used_before_its_past_is_forgotten() {
    let fake = Fake::new(8, 1);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    // The second synchronization of the detach, the one after the bank went off, does not end.
    fake.on_every_write(|fake| {
        check(fake);
        if fake.get(fake.bank(0, 0)) == 0 {
            fake.stick(TLBGSTATUS);
        }
    });
    assert!(matches!(driver.detach(&one(5)), Err(Error::Sync(_))));
    assert!(matches!(driver.attach(&one(6), &domain(8)), Err(Error::Sync(_))));
    assert_eq!(bank_of(&fake, 6), None);
    fake.on_every_write(check);
    fake.unstick();
    driver.attach(&one(6), &domain(8)).unwrap();
    assert_eq!(root_of(&fake, 6), Some(domain(8).root));
}

#[test]
fn an_smmu_that_cannot_be_released_stays_with_its_driver() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    fake.stick(TLBGSTATUS);
    let kept = driver.release().unwrap_err();
    assert!(matches!(kept.error, Error::Sync(_)), "{}", kept.error);
    assert_eq!(bank_of(&fake, 5), None);
    fake.unstick();
    kept.driver.release().unwrap();
}

#[test]
fn an_smmu_that_does_not_take_its_setup_is_shut_again() {
    let fake = Fake::new(8, 4);
    fake.limit(CR0, !(1 << 31));
    let error = try_probe(from_ref(&fake), &SETUP).unwrap_err();
    assert!(
        matches!(error, Error::Register { register: "CR0", .. }),
        "{error}"
    );
    assert_eq!(fake.get(CR0), 0x20_1d12);
    // The same of the second of two frames.
    let fakes = [Fake::new(8, 4), fake];
    let error = try_probe(&fakes, &SETUP).unwrap_err();
    assert!(
        matches!(error, Error::Register { register: "CR0", .. }),
        "{error}"
    );
}

#[test]
fn a_bank_that_does_not_become_a_stage_2_one_is_not_used() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    fake.set(fake.global_1(0), 1 << 16);
    fake.limit(fake.global_1(0), 0xff);
    let error = driver.attach(&one(5), &domain(7)).unwrap_err();
    assert!(
        matches!(error, Error::Register { register: "CBAR", .. }),
        "{error}"
    );
    assert_eq!(bank_of(&fake, 5), None);
}

/// Whatever a bank has not taken, in either frame, no stream gets to it; and what it may have cached meanwhile is
/// forgotten before it is tried again.
#[test]
fn a_bank_that_does_not_take_what_decides_its_walks_is_not_used() {
    /// A register, where it is, which of its bits do not change, and what they are.
    type Stuck = (&'static str, fn(&Fake) -> usize, u32, u32);
    let registers: [Stuck; 11] = [
        ("CBA2R", |fake| fake.global_1(0x800), 1 << 16, 0),
        ("CBAR", |fake| fake.global_1(0), 3 << 16, 1 << 16),
        ("TCR", |fake| fake.bank(0, 0x30), 0x3f, 0x19),
        ("TCR", |fake| fake.bank(0, 0x30), 3 << 6, 0),
        ("TCR", |fake| fake.bank(0, 0x30), 3 << 8, 0),
        ("TCR", |fake| fake.bank(0, 0x30), 3 << 12, 0),
        ("TCR", |fake| fake.bank(0, 0x30), 7 << 16, 5 << 16),
        ("TTBR0", |fake| fake.bank(0, 0x20), u32::MAX, 0),
        ("TTBR0", |fake| fake.bank(0, 0x24), 0xff, 0x5a),
        ("SCTLR", |fake| fake.bank(0, 0), 1, 0),
        ("SCTLR", |fake| fake.bank(0, 0), 1 << 7, 1 << 7),
    ];
    for frame in [0, 1] {
        for (register, at, bits, value) in registers {
            let fakes = [Fake::new(8, 4), Fake::new(8, 4)];
            let mut driver = try_probe(&fakes, &SETUP).unwrap();
            let (fake, offset) = (&fakes[frame], at(&fakes[frame]));
            fake.set(offset, value);
            fake.limit(offset, !bits);
            let error = driver.attach(&one(5), &domain(7)).unwrap_err();
            assert!(
                matches!(error, Error::Register { register: named, .. } if named == register),
                "{register}: {error}"
            );
            for fake in &fakes {
                assert_eq!(fake.fates(5), Fates::FAULT);
                fake.take_log();
            }
            fake.limit(offset, u32::MAX);
            driver.attach(&one(5), &domain(7)).unwrap();
            let log = fake.take_log();
            let at = |write| log.iter().position(|other| *other == write);
            assert!(at((TLBGSYNC, 0)) < at((fake.s2cr(0), 0)) && at((fake.s2cr(0), 0)).is_some());
            for fake in &fakes {
                assert_eq!(root_of(fake, 5), Some(domain(7).root));
            }
        }
    }
}
