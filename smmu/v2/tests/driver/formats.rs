//! What differs between SMMUs: version, formats of stream IDs and VMIDs, page size, and the MMU-500's own switches.

use crate::common::*;
use crate::fake::*;
use mmio::Bus;
use smmu_v2::{Domain, DomainError, Error, Frames, Setup, Smmu};
use std::slice::from_ref;

/// IDR2 of an SMMUv1: 40 bits in and out.
const V1: u32 = 2 << 4 | 2;

#[test]
fn an_smmu_v1_walks_the_same_tables_in_its_own_words() {
    let fake = Fake::with(IDR0 | 8, 1 << 28 | 4, V1);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    assert_eq!(fake.get(fake.global_1(0)), 7, "CBAR has the VMID");
    // EAE, inner shareable, write-back, start level 1, 32 + 8 bits, and S.
    assert_eq!(fake.get(fake.bank(0, 0x30)), 0x8002_3558);
    assert_eq!(fake.read64(fake.bank(0, 0x20)), domain(7).root);
    assert!(
        !fake
            .take_log()
            .iter()
            .any(|(offset, _)| *offset == fake.global_1(0x800)),
        "it has no CBA2R"
    );
    for (ipa_bits, start_level, t0sz) in [(39, 1, 0x19), (32, 1, 0), (31, 1, 1), (34, 2, 0x1e), (25, 2, 7)] {
        driver.detach(&one(5)).unwrap();
        let domain = Domain {
            ipa_bits,
            start_level,
            ..domain(7)
        };
        driver.attach(&one(5), &domain).unwrap();
        let tcr = fake.get(fake.bank(0, 0x30));
        assert_eq!(
            (tcr & 0x3f, tcr >> 6 & 3),
            (t0sz, u32::from(2 - start_level)),
            "{ipa_bits} bits"
        );
    }
    let wide = Domain {
        ipa_bits: 42,
        pa_bits: 42,
        ..domain(8)
    };
    let error = driver.attach(&one(6), &wide).unwrap_err();
    assert!(
        matches!(error, Error::Domain(DomainError::Shape { .. })),
        "{error}"
    );
}

#[test]
fn an_smmu_v2_without_aarch64_tables_is_driven_as_a_v1() {
    let fake = Fake::with(IDR0 | 8, 1 << 28 | 4, 5 << 4 | 5);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    let wide = Domain {
        ipa_bits: 48,
        pa_bits: 48,
        start_level: 0,
        ..domain(8)
    };
    assert!(
        matches!(driver.attach(&one(6), &wide), Err(Error::Domain(_))),
        "its tables have 40 bits"
    );
}

/// Whatever stood in CBA2R would decide the format, and under which VMID translations are cached.
#[test]
fn an_smmu_v2_is_told_that_tables_are_aarch32_ones() {
    let fake = Fake::with(IDR0 | 8, 1 << 28 | 4, 1 << 15 | 1 << 14 | 2 << 4 | 2);
    fake.set(fake.global_1(0x800), 1);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(0x107)).unwrap();
    assert_eq!(fake.get(fake.global_1(0x800)), 0x107 << 16);
}

#[test]
fn walks_that_are_not_coherent_are_not_cached() {
    let fake = Fake::new(8, 4);
    let setup = Setup {
        coherent: false,
        ..SETUP
    };
    let mut driver = try_probe(from_ref(&fake), &setup).unwrap();
    let wide = Domain {
        ipa_bits: 36,
        pa_bits: 48,
        ..domain(7)
    };
    driver.attach(&one(5), &wide).unwrap();
    // 48 bits out, outer shareable, start level 1, 36 bits in.
    assert_eq!(
        fake.get(fake.bank(0, 0x30)),
        1 << 31 | 5 << 16 | 0x2000 | 1 << 6 | 28
    );
}

#[test]
fn a_domain_that_cannot_be_walked_is_refused_and_the_stream_faults() {
    let fake = Fake::with(IDR0 | 8, 1 << 28 | 4, 1 << 12 | 2 << 4 | 1);
    let mut driver = probe(&fake);
    let input = DomainError::Input {
        ipa_bits: 40,
        input_bits: 36,
    };
    assert_eq!(driver.attach(&one(5), &domain(7)), Err(Error::Domain(input)));
    let narrow = Domain {
        ipa_bits: 36,
        ..domain(0x100)
    };
    let vmid = DomainError::Vmid {
        vmid: 0x100,
        vmid_bits: 8,
    };
    assert_eq!(driver.attach(&one(5), &narrow), Err(Error::Domain(vmid)));
    assert_eq!(fake.take_log(), []);
}

#[test]
fn stream_ids_have_16_bits_where_they_can() {
    let without = Fake::with(IDR0 | 8, 1 << 28 | 4, IDR2);
    let driver = try_probe(from_ref(&without), &SETUP).unwrap();
    assert_eq!(
        (without.get(CR0) & EXIDENABLE, driver.limits().id_bits),
        (0, 0x7fff)
    );

    let fake = Fake::with(IDR0 | EXIDS | 8, 1 << 28 | 4, IDR2);
    let mut driver = try_probe(from_ref(&fake), &SETUP).unwrap();
    assert_eq!(
        (driver.limits().id_bits, driver.limits().mask_bits),
        (0xffff, 0xffff)
    );
    fake.take_log();
    driver.attach(&exact([0x8000, 0x8001]), &domain(7)).unwrap();
    let expected: [(usize, u64); 2] = [
        (fake.smr(0), 1 << 16 | 0x8000),
        (fake.s2cr(0), EXIDVALID.into()), // one write makes it valid and leads to bank 0
    ];
    assert_eq!(fake.take_log()[8..], expected);
    assert_eq!(
        [0, 0x8001, 0x8002].map(|stream| bank_of(&fake, stream)),
        [None, Some(0), None]
    );
    driver.detach(&exact([0x8001, 0x8000])).unwrap();
    let log = fake.take_log();
    assert_eq!(
        log[0],
        (fake.s2cr(0), u64::from(FAULT | EXIDVALID)),
        "it faults while it is valid"
    );
    assert_eq!(bank_of(&fake, 0x8001), None);
}

#[test]
fn ids_that_the_smmu_does_not_have_are_refused() {
    let fake = Fake::new(8, 4);
    // Ten bits of stream ID, of which the lower four can be left out.
    fake.limit(SMR, VALID | 0xf << 16 | 0x3ff);
    let mut driver = probe(&fake);
    assert_eq!((driver.limits().id_bits, driver.limits().mask_bits), (0x3ff, 0xf));
    assert_eq!(fake.get(SMR), 0);
    let error = driver.attach(&one(0x400), &domain(7)).unwrap_err();
    assert!(
        matches!(error, Error::StreamRange { id_bits: 0x3ff, .. }),
        "{error}"
    );
    let masked = [smmu_v2::Stream { id: 0, mask: 0x10 }];
    assert!(matches!(
        driver.attach(&masked, &domain(7)),
        Err(Error::StreamRange { .. })
    ));
    driver.attach(&exact(0x20..0x40), &domain(7)).unwrap();
    assert!((0x20..0x40).all(|stream| bank_of(&fake, stream) == Some(0)));
    assert_eq!(
        (fake.get(SMR) >> 16 & 0x7fff, fake.get(SMR + 4) >> 16 & 0x7fff),
        (0xf, 0xf)
    );
}

#[test]
fn of_two_frames_the_narrower_one_counts() {
    let fakes = [Fake::new(8, 4), Fake::new(8, 4)];
    fakes[0].limit(SMR, VALID | 0x7f << 16 | 0x3ff);
    fakes[1].limit(SMR, VALID | 0x7ff << 16 | 0x1ff);
    let driver = try_probe(&fakes, &SETUP).unwrap();
    assert_eq!(
        (driver.limits().id_bits, driver.limits().mask_bits),
        (0x1ff, 0x7f)
    );
}

#[test]
fn where_the_stream_id_is_an_index_nothing_is_matched() {
    let fake = Fake::with(1 << 29 | 4 << 9 | 1 << 16, 1 << 28 | 4, IDR2);
    let mut driver = probe(&fake);
    driver.attach(&exact([12, 3]), &domain(7)).unwrap();
    driver.attach(&one(0), &domain(8)).unwrap();
    assert_eq!(
        [0, 3, 12, 1].map(|stream| bank_of(&fake, stream)),
        [Some(1), Some(0), Some(0), None]
    );
    assert!(matches!(
        driver.attach(&one(3), &domain(7)),
        Err(Error::Attached { .. })
    ));
    assert!(matches!(
        driver.attach(&one(16), &domain(7)),
        Err(Error::StreamRange { .. })
    ));
    let masked = [smmu_v2::Stream { id: 4, mask: 1 }];
    assert!(matches!(
        driver.attach(&masked, &domain(7)),
        Err(Error::StreamRange { .. })
    ));
    driver.detach(&exact([3, 12])).unwrap();
    assert_eq!(
        [0, 3, 12].map(|stream| bank_of(&fake, stream)),
        [Some(1), None, None]
    );
    assert!(
        !fake
            .take_log()
            .iter()
            .any(|(offset, _)| (SMR..S2CR).contains(offset))
    );
}

#[test]
fn banks_lie_where_the_page_size_puts_them() {
    let fake = Fake::with(IDR0 | 8, 1 << 31 | 1 << 28 | 4, IDR2);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    driver.attach(&one(6), &domain(8)).unwrap();
    assert_eq!(fake.read64(0x5_0020), domain(8).root);
    assert_eq!(fake.get(0x1_0804), 8 << 16 | 1);
}

#[test]
fn a_bank_without_an_interrupt_does_not_ask_for_one() {
    let fake = Fake::with(1 << 29 | SMS | 15 << 9 | 8, 1 << 28 | 4, IDR2);
    let mut driver = probe(&fake);
    driver.attach(&one(5), &domain(7)).unwrap();
    assert_eq!(fake.get(fake.bank(0, 0)), 0x127);
}

/// An MMU-500 as it comes out of reset, of revision `r2p1` or `r1p0`.
fn mmu_500(idr7: u32) -> Fake {
    let fake = Fake::new(8, 4);
    for (offset, value) in [
        (0xfe0, 0x81),
        (0xfe4, 0xb4),
        (0xfe8, 0x1b),
        (0x3c, idr7),
        (0x10, 0x400_051c),
    ] {
        fake.set(offset, value);
    }
    for bank in 0..4 {
        fake.set(fake.bank(bank, 4), 3);
    }
    fake
}

#[test]
fn an_mmu_500_is_unlocked_and_does_not_prefetch() {
    let fake = mmu_500(0x21);
    let driver = try_probe(from_ref(&fake), &SETUP).unwrap();
    assert_eq!(
        fake.get(0x10),
        0x1c,
        "the lock and the entries of streams that bypass are gone, the rest is as it was"
    );
    assert!((0..4).all(|bank| fake.get(fake.bank(bank, 4)) == 1));
    assert!(!driver.prefetches());
    let log = fake.take_log();
    let at = |wanted| log.iter().position(|(offset, _)| *offset == wanted).unwrap();
    assert!(at(0x10) < at(fake.bank(0, 4)) && at(fake.bank(3, 4)) < at(CR0));

    let fake = mmu_500(0x10);
    try_probe(from_ref(&fake), &SETUP).unwrap();
    assert_eq!(
        fake.get(0x10),
        0x400_001c,
        "the bit is something else before r2p0"
    );
}

#[test]
fn an_mmu_500_that_secure_firmware_has_locked_is_told_of() {
    let fake = mmu_500(0x21);
    fake.limit(fake.bank(2, 4), 0);
    assert!(try_probe(from_ref(&fake), &SETUP).unwrap().prefetches());
    let other = Fake::new(8, 4);
    other.set(other.bank(2, 4), 3);
    assert!(!probe(&other).prefetches(), "the bit means something else there");
    assert_eq!(other.get(other.bank(2, 4)), 3);
}

/// The non-secure side's lock is undone, and nothing of the secure side's is touched.
#[test]
fn as_secure_software_it_unlocks_an_mmu_500_by_the_alias() {
    let fake = mmu_500(0x21);
    fake.set(0x10 + ALIAS, 0x400_051c);
    fake.set(CR0 + ALIAS, CLIENTPD);
    let smmu = Smmu::identify(Frames::one(fake.clone()), SIZE, true).unwrap();
    smmu_gate::v2::shut_v2(&smmu, &Ticks::default()).unwrap();
    let driver = smmu_v2::Driver::probe(smmu, Ticks::default(), &SETUP).unwrap();
    assert_eq!((fake.get(0x10), fake.get(0x10 + ALIAS)), (0x400_051c, 0x1c));
    assert!(!driver.prefetches());
}

#[test]
fn as_secure_software_it_uses_the_aliases() {
    let fake = Fake::new(8, 4);
    fake.set(CR0 + ALIAS, CLIENTPD);
    let smmu = Smmu::identify(Frames::one(fake.clone()), SIZE, true).unwrap();
    smmu_gate::v2::shut_v2(&smmu, &Ticks::default()).unwrap();
    let mut driver = smmu_v2::Driver::probe(smmu, Ticks::default(), &SETUP).unwrap();
    driver.attach(&one(5), &domain(7)).unwrap();
    for (offset, value) in [(0x448, 2), (0x450, 2), (0x454, 0x33), (0x440, 0x1234)] {
        fake.set(offset, value);
    }
    let event = events(&mut driver)[0];
    assert_eq!(
        (event.stream, event.address, event.write),
        (0x33, Some(0x1234), true)
    );
    let banked = [CR0, CR2, 0x10, 0x48];
    assert!(!fake.take_log().iter().any(|(offset, _)| banked.contains(offset)));
    assert_eq!((fake.get(0x448), fake.get(CR0 + ALIAS)), (0, 0x8020_1d36));
}

/// As Linux does: the upper half first, and tables whose invalidation would need 64 bits at once are not used.
#[test]
fn registers_of_64_bits_are_accessed_in_halves_where_they_must_be() {
    let fakes = [Fake::new(8, 4), Fake::new(8, 4)];
    let frames = Frames::two(fakes[0].clone(), fakes[1].clone()).in_halves();
    let smmu = Smmu::identify(frames, SIZE, false).unwrap();
    smmu_gate::v2::shut_v2(&smmu, &Ticks::default()).unwrap();
    let mut driver = smmu_v2::Driver::probe(smmu, Ticks::default(), &SETUP).unwrap();
    let high = smmu_v2::Domain {
        root: 0x12_4000_0000,
        ..domain(7)
    };
    driver.attach(&one(5), &high).unwrap();
    for fake in &fakes {
        assert_eq!(root_of(fake, 5), Some(high.root));
        assert_eq!(fake.get(fake.global_1(0x800)) & 1, 0, "AArch32 tables");
        let ttbr0 = fake.bank(0, 0x20);
        let log = fake.take_log();
        let written: Vec<_> = log.iter().filter(|(offset, _)| offset & !7 == ttbr0).collect();
        assert_eq!(written, [&(ttbr0 + 4, 0x12), &(ttbr0, 0x4000_0000)]);
    }
    let range = smmu_v2::IpaRange {
        vmid: 7,
        ipa: 0x1000,
        size: 0x1000,
    };
    driver.invalidate(&range).unwrap();
    assert_eq!(fakes[1].take_log(), [(TLBIVMID, 7), (TLBGSYNC, 0)]);
}
