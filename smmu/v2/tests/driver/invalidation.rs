//! What is forgotten, and that it is waited for.

use crate::common::*;
use crate::fake::*;
use smmu_v2::{Error, IpaRange};

const TLBIIPAS2: usize = 0x630;
const TLBSYNC: usize = 0x7f0;
const TLBSTATUS: usize = 0x7f4;

fn range(vmid: u16, ipa: u64, size: u64) -> IpaRange {
    IpaRange { vmid, ipa, size }
}

/// Two address spaces: VMID 7 in bank 0, VMID 8 in bank 1.
fn attached(fake: &Fake) -> FakeDriver {
    let mut driver = probe(fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    driver.attach(&one(6), &domain(8)).unwrap();
    fake.take_log();
    driver
}

#[test]
fn pages_are_forgotten_one_by_one_in_the_bank_of_their_vmid() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    driver.invalidate(&range(8, 0xff_4000_0000, 0x3000)).unwrap();
    let cb = |offset| fake.bank(1, offset);
    let expected: [(usize, u64); 4] = [
        (cb(TLBIIPAS2), 0xff4_0000),
        (cb(TLBIIPAS2), 0xff4_0001),
        (cb(TLBIIPAS2), 0xff4_0002),
        (cb(TLBSYNC), 0),
    ];
    assert_eq!(fake.take_log(), expected);
}

#[test]
fn many_pages_go_with_their_vmid() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    for size in [65 << 12, 1 << 30, 0] {
        driver.invalidate(&range(8, 0, size)).unwrap();
        assert_eq!(fake.take_log(), [(TLBIVMID, 8), (TLBGSYNC, 0)]);
    }
    driver.invalidate(&range(8, 0, 64 << 12)).unwrap();
    assert_eq!(fake.take_log().len(), 65);
}

/// The walk cache of a Tegra194 does not find table entries by IPA: nothing that may have been a table goes page by page.
#[test]
fn what_may_have_been_a_table_goes_with_its_vmid() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    for ipa in [0, 0x20_0000, 0x4000_0000, 0x20_0000 * 511] {
        for size in [0x20_0000, 0x4000_0000] {
            driver.invalidate(&range(7, ipa, size)).unwrap();
            assert_eq!(fake.take_log(), [(TLBIVMID, 7), (TLBGSYNC, 0)]);
        }
    }
}

#[test]
fn a_vmid_without_a_bank_is_forgotten_as_a_whole() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    driver.invalidate(&range(9, 0x1000, 0x1000)).unwrap();
    assert_eq!(fake.take_log(), [(TLBIVMID, 9), (TLBGSYNC, 0)]);
}

/// SMMUv1 has no invalidation by IPA.
#[test]
fn an_smmu_v1_forgets_by_vmid() {
    let fake = Fake::with(IDR0 | 8, 1 << 28 | 4, 2 << 4 | 2);
    let mut driver = attached(&fake);
    driver.invalidate(&range(7, 0x1000, 0x1000)).unwrap();
    assert_eq!(fake.take_log(), [(TLBIVMID, 7), (TLBGSYNC, 0)]);
}

#[test]
fn what_is_not_forgotten_in_time_is_an_error() {
    let fakes = [Fake::new(8, 4), Fake::new(8, 4)];
    let mut driver = try_probe(&fakes, &SETUP).unwrap();
    driver.attach(&one(5), &domain(7)).unwrap();
    for fake in &fakes {
        fake.stick(fake.bank(0, TLBSTATUS));
        let error = driver.invalidate(&range(7, 0x1000, 0x1000)).unwrap_err();
        assert!(
            matches!(error, Error::Sync(timeout) if timeout.waited_us >= 100_000),
            "{error}"
        );
        fake.stick(TLBGSTATUS);
        assert!(matches!(driver.invalidate(&range(7, 0, 0)), Err(Error::Sync(_))));
        fake.unstick();
    }
    driver.invalidate(&range(7, 0x1000, 0x1000)).unwrap();
}

#[test]
fn ranges_that_are_not_pages_are_refused() {
    let fake = Fake::new(8, 4);
    let mut driver = attached(&fake);
    for (ipa, size) in [
        (1, 4096),
        (0, 1),
        (1 << 40, 4096),
        ((1 << 40) - 4096, 8192),
        (u64::MAX << 12, 8192),
    ] {
        assert_eq!(
            driver.invalidate(&range(7, ipa, size)),
            Err(Error::Range { ipa, size })
        );
    }
    assert_eq!(fake.take_log(), []);
}
