//! From a shut SMMU to a shut SMMU: probe, attach, detach, quiesce, release.

use crate::common::*;
use crate::fake::*;
use smmu_v2::{Driver, Error, Missing, Setup};
use std::slice::from_ref;

#[test]
fn an_smmu_whose_gate_is_open_is_not_touched() {
    let fake = Fake::new(8, 4);
    let error = Driver::probe(identify(from_ref(&fake)), Ticks::default(), &SETUP).unwrap_err();
    assert!(
        matches!(error, Error::GateOpen(opening) if opening.register == "CR0"),
        "{error}"
    );
    assert_eq!(fake.take_log(), []);
}

#[test]
fn an_smmu_that_lacks_something_is_refused() {
    let cases = [
        (Fake::with(1 << 30 | SMS | 8, 1 << 28 | 4, IDR2), Missing::Stage2),
        (
            Fake::with(IDR0 | 1 << 25 | 8, 1 << 28 | 4, 0x22),
            Missing::TableFormat,
        ),
        (Fake::with(IDR0, 1 << 28 | 4, IDR2), Missing::Groups),
        (Fake::with(IDR0 | 8, 1 << 28, IDR2), Missing::Banks),
    ];
    for (fake, missing) in cases {
        let smmu = shut(from_ref(&fake));
        let error = Driver::probe(smmu, Ticks::default(), &SETUP).unwrap_err();
        assert_eq!(error, Error::Unsupported(missing));
        assert_eq!(fake.take_log(), []);
    }
}

#[test]
fn a_probed_smmu_is_as_shut_as_before_and_interrupts() {
    let fake = Fake::new(8, 4);
    let driver = probe(&fake);
    // The gate's bits, GFIE, GCFGFIE and VMID16EN.
    assert_eq!(fake.get(CR0), 0x8020_1d36);
    assert!((0..64).all(|stream| bank_of(&fake, stream).is_none()));
    assert_eq!(
        (driver.limits().id_bits, driver.limits().mask_bits),
        (0x7fff, 0x7fff)
    );
    assert!(!driver.prefetches());
}

#[test]
fn a_stream_translates_from_attach_to_detach() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    assert_eq!(root_of(&fake, 5), Some(domain(7).root));
    assert_eq!(root_of(&fake, 4), None);
    driver.detach(&one(5)).unwrap();
    assert_eq!(root_of(&fake, 5), None);
    assert!(
        (0..4).all(|bank| fake.get(fake.bank(bank, 0)) == 0),
        "no bank is left on"
    );
    assert!((0..8).all(|group| fake.get(fake.smr(group)) == 0));
}

#[test]
fn streams_of_one_guest_share_a_bank_and_leave_it_one_by_one() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    for stream in [1, 9, 33] {
        driver.attach(&one(stream), &domain(7)).unwrap();
    }
    driver.attach(&one(2), &domain(8)).unwrap();
    assert_eq!(
        [1, 9, 33, 2].map(|stream| bank_of(&fake, stream)),
        [Some(0), Some(0), Some(0), Some(1)]
    );
    driver.detach(&one(9)).unwrap();
    assert_eq!(
        [1, 9, 33, 2].map(|stream| bank_of(&fake, stream)),
        [Some(0), None, Some(0), Some(1)]
    );
    driver.detach(&one(1)).unwrap();
    driver.detach(&one(33)).unwrap();
    assert_eq!(fake.get(fake.bank(0, 0)), 0);
    // What was given up is used again.
    driver.attach(&one(3), &domain(9)).unwrap();
    assert_eq!(
        (bank_of(&fake, 3), root_of(&fake, 3)),
        (Some(0), Some(domain(9).root))
    );
}

#[test]
fn a_device_takes_few_groups_and_goes_as_a_whole() {
    let fake = Fake::new(2, 4);
    let mut driver = probe(&fake);
    let device = exact(8..16);
    driver.attach(&device, &domain(1)).unwrap();
    assert_eq!(fake.get(fake.smr(0)), VALID | 7 << 16 | 8);
    assert!((8..16).all(|stream| bank_of(&fake, stream) == Some(0)));
    assert_eq!([7, 16].map(|stream| bank_of(&fake, stream)), [None, None]);
    let error = driver.detach(&device[..3]).unwrap_err();
    assert!(matches!(error, Error::PartOfGroup { .. }), "{error}");
    assert!(
        (8..16).all(|stream| bank_of(&fake, stream) == Some(0)),
        "nothing was done"
    );
    // Said otherwise, in another order, twice: it is the same streams.
    let mut other = exact((8..16).rev());
    other.extend(exact([9]));
    driver.detach(&other).unwrap();
    assert!((8..16).all(|stream| bank_of(&fake, stream).is_none()));
}

#[test]
fn a_stream_is_attached_once() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&exact([4, 5]), &domain(1)).unwrap();
    for streams in [exact([4]), exact([3, 5]), exact([0, 1, 2, 3, 4, 5, 6, 7])] {
        for vmid in [1, 2] {
            let error = driver.attach(&streams, &domain(vmid)).unwrap_err();
            assert!(matches!(error, Error::Attached { .. }), "{error}");
        }
    }
    assert_eq!(
        fake.get(fake.bank(1, 0)),
        0,
        "no bank was taken for what was refused"
    );
}

#[test]
fn a_vmid_has_one_address_space() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(1), &domain(7)).unwrap();
    let other = [
        smmu_v2::Domain {
            root: 0x5000_0000,
            ..domain(7)
        },
        smmu_v2::Domain {
            ipa_bits: 39,
            ..domain(7)
        },
    ];
    for other in other {
        assert_eq!(
            driver.attach(&one(2), &other),
            Err(Error::VmidTaken { vmid: 7, bank: 0 })
        );
    }
    driver.detach(&one(1)).unwrap();
    driver.attach(&one(2), &other[0]).unwrap();
    assert_eq!(root_of(&fake, 2), Some(0x5000_0000));
}

#[test]
fn detaching_what_is_not_attached_does_nothing() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.detach(&one(5)).unwrap();
    assert_eq!(fake.take_log(), []);
}

#[test]
fn a_released_smmu_is_shut_and_can_be_probed_again() {
    let fake = Fake::new(8, 4);
    for round in 1..4 {
        let mut driver = probe(&fake);
        driver.attach(&one(5), &domain(round)).unwrap();
        assert_eq!(root_of(&fake, 5), Some(domain(round).root));
        driver.release().unwrap();
        assert_eq!(smmu_gate::v2::opening(&identify(from_ref(&fake))), None);
        assert_eq!(fake.get(CR0), 0x20_1d12, "no interrupts, no formats");
        assert_eq!(root_of(&fake, 5), None);
    }
}

#[test]
fn quiescing_ends_everything_and_the_driver_goes_on() {
    let fake = Fake::new(8, 4);
    let mut driver = probe(&fake);
    driver.attach(&one(1), &domain(1)).unwrap();
    driver.attach(&one(2), &domain(2)).unwrap();
    driver.quiesce().unwrap();
    assert!((0..64).all(|stream| bank_of(&fake, stream).is_none()));
    assert!((0..4).all(|bank| fake.get(fake.bank(bank, 0)) == 0));
    driver.attach(&one(2), &domain(3)).unwrap();
    assert_eq!(root_of(&fake, 2), Some(domain(3).root));
}

#[test]
fn two_frames_are_programmed_as_one() {
    let fakes = [Fake::new(8, 4), Fake::new(8, 4)];
    let mut driver = try_probe(&fakes, &SETUP).unwrap();
    driver.attach(&one(5), &domain(7)).unwrap();
    for fake in &fakes {
        assert_eq!(root_of(fake, 5), Some(domain(7).root));
    }
    assert_eq!(fakes[0].take_log(), fakes[1].take_log());
    // A status counts only when both have it.
    fakes[1].stick(TLBGSTATUS);
    assert!(matches!(driver.detach(&one(5)), Err(Error::Sync(_))));
    fakes[1].unstick();
    driver.detach(&one(5)).unwrap();
    for fake in &fakes {
        assert_eq!((root_of(fake, 5), fake.get(fake.bank(0, 0))), (None, 0));
    }
}

#[test]
fn smmus_with_shared_vmids_are_told_others() {
    let fake = Fake::new(8, 4);
    let setup = Setup {
        vmid_base: 0x100,
        ..SETUP
    };
    let mut driver = try_probe(from_ref(&fake), &setup).unwrap();
    driver.attach(&one(5), &domain(7)).unwrap();
    assert_eq!(fake.get(fake.global_1(0x800)) >> 16, 0x107);
    fake.take_log();
    driver
        .invalidate(&smmu_v2::IpaRange {
            vmid: 7,
            ipa: 0,
            size: 0,
        })
        .unwrap();
    assert_eq!(fake.take_log()[0], (TLBIVMID, 0x107));
}
