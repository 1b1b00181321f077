//! What runs short is said with numbers, and nothing is half done.

use crate::common::*;
use crate::fake::*;
use smmu_v2::Error;
use std::slice::from_ref;

#[test]
fn groups_run_short() {
    let fake = Fake::new(3, 4);
    let mut driver = probe(&fake);
    driver.attach(&exact([0, 3]), &domain(1)).unwrap();
    fake.take_log();
    // 5 and 6 have no group in common.
    let error = driver.attach(&exact([5, 6]), &domain(2)).unwrap_err();
    assert_eq!(
        error,
        Error::Groups {
            demand: 2,
            free: 1,
            capacity: 3
        }
    );
    assert_eq!(error.to_string(), "stream mapping groups needed: 2, of 3 free: 1");
    assert_eq!(fake.take_log(), []);
    driver.attach(&exact([4, 5, 6, 7]), &domain(2)).unwrap();
    assert!((4..8).all(|stream| bank_of(&fake, stream) == Some(1)));
}

/// What hardware has beyond the architecture stays as the gate left it.
#[test]
fn groups_beyond_the_architectures_are_not_used() {
    let fake = Fake::new(200, 4);
    let mut driver = probe(&fake);
    assert_eq!(driver.groups(), 128);
    // None of these has a neighbour: an even number of bits is set in each.
    let apart: Vec<u32> = (0..0x200_u32)
        .filter(|id| id.count_ones() % 2 == 0)
        .take(129)
        .collect();
    let (last, rest) = apart.split_last().unwrap();
    driver.attach(&exact(rest.iter().copied()), &domain(1)).unwrap();
    let error = driver.attach(&one(*last), &domain(1)).unwrap_err();
    let expected = Error::Groups {
        demand: 1,
        free: 0,
        capacity: 128,
    };
    assert_eq!(error, expected);
    assert!((128..200).all(|group| fake.get(fake.s2cr(group)) == FAULT && fake.get(fake.smr(group)) == 0));
    driver.release().unwrap();
}

#[test]
fn banks_run_short() {
    let fake = Fake::new(8, 2);
    let mut driver = probe(&fake);
    driver.attach(&one(1), &domain(1)).unwrap();
    driver.attach(&one(2), &domain(2)).unwrap();
    fake.take_log();
    let error = driver.attach(&one(3), &domain(3)).unwrap_err();
    assert_eq!(
        error,
        Error::Banks {
            demand: 3,
            capacity: 2
        }
    );
    assert_eq!(fake.take_log(), []);
    driver.attach(&one(3), &domain(2)).unwrap();
    driver.detach(&one(1)).unwrap();
    driver.attach(&one(1), &domain(3)).unwrap();
    assert_eq!(
        [1, 2, 3].map(|stream| bank_of(&fake, stream)),
        [Some(0), Some(1), Some(1)]
    );
}

#[test]
fn vmids_are_as_wide_as_the_smmu_has_them() {
    let fake = Fake::with(IDR0 | 8, 1 << 28 | 4, 2 << 4 | 2);
    let setup = smmu_v2::Setup {
        vmid_base: 0xf0,
        ..SETUP
    };
    let mut driver = try_probe(from_ref(&fake), &setup).unwrap();
    driver.attach(&one(1), &domain(0xf)).unwrap();
    let error = driver.attach(&one(2), &domain(0x10)).unwrap_err();
    assert_eq!(error.to_string(), "VMID 0x10 does not fit 8 bits");
}
