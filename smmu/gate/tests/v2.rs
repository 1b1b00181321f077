//! Whatever firmware left behind in an SMMUv1 or v2: after the gate every stream faults, and on the way no stream
//! gets through that did not before.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

mod fake;

use fake::*;
use proptest::prelude::*;
use smmu_gate::Found;
use smmu_gate::v2::{Frames, GateError, IdentifyError, Smmu, V2Report, opening, shut_v2};
use std::cell::RefCell;

const SIZE: usize = 0x20_0000;

fn identify(fake: &Fake) -> Smmu<Fake> {
    Smmu::identify(Frames::one(fake.clone()), SIZE, false).unwrap()
}

/// Panics when a write opens one of `streams`.
fn watch(fake: &Fake, streams: Vec<u32>) {
    let before = RefCell::new(
        streams
            .iter()
            .map(|&stream| fake.fates(stream))
            .collect::<Vec<_>>(),
    );
    fake.on_every_write(move |fake| {
        let now: Vec<_> = streams.iter().map(|&stream| fake.fates(stream)).collect();
        for ((stream, before), now) in streams.iter().zip(before.replace(now.clone())).zip(now) {
            assert!(
                !now.opens(&before),
                "stream {stream:#x} went from {before:?} to {now:?}"
            );
        }
    });
}

#[track_caller]
fn shut(fake: &Fake) -> V2Report {
    let streams: Vec<u32> = if fake.matches_streams() {
        (0..24).chain([0x100, 0x7fff, 0x8000, 0xffff]).collect()
    } else {
        (0..fake.groups()).collect()
    };
    watch(fake, streams.clone());
    let smmu = identify(fake);
    let report = shut_v2(&smmu, &Ticks::default()).unwrap();
    assert_eq!(opening(&smmu), None);
    for stream in streams {
        assert_eq!(fake.fates(stream), Fates::FAULT, "stream {stream:#x}");
    }
    report
}

/// Stream 1 translates through bank 1, stream 2 bypasses, stream 3 faults.
fn running() -> Fake {
    let fake = Fake::new(8, 4);
    for (group, s2cr) in [(1, 1), (2, BYPASS), (3, FAULT)] {
        fake.set(fake.smr(group), VALID | group);
        fake.set(fake.s2cr(group), s2cr);
    }
    fake.set(fake.bank(1, 0), 0x61);
    fake.set(CR0, USFCFG);
    fake
}

#[test]
fn an_smmu_after_reset_is_open_and_then_shut() {
    let fake = Fake::new(8, 4);
    assert_eq!(shut(&fake).found, Found::Open);
    assert_eq!(shut(&fake).found, Found::Shut, "shutting twice is shutting once");
}

#[test]
fn the_steps_come_in_their_order() {
    let fake = running();
    let report = shut(&fake);
    assert_eq!(
        (report.found, report.bypassing, report.translating),
        (Found::Open, 1, 1)
    );
    let log = fake.take_log();
    let first = |wanted: usize| log.iter().position(|(offset, _)| *offset == wanted).unwrap();
    let last = |wanted: usize| log.iter().rposition(|(offset, _)| *offset == wanted).unwrap();
    assert!((0..8).all(|group| first(fake.s2cr(group)) < first(CR0)));
    assert!(first(CR0) < first(CR2) && first(CR2) < first(TLBIALLNSNH));
    assert_eq!(log[first(CR0)].1, 0x20_1d12, "client ports were on");
    assert!(first(TLBIALLNSNH) < first(TLBGSYNC));
    assert!((0..4).all(|bank| first(TLBGSYNC) < first(fake.bank(bank, 0))));
    assert!((0..8).all(|group| last(fake.bank(3, 0)) < first(fake.smr(group))));
    assert!(last(fake.smr(7)) < last(CR0) && last(CR0) < last(TLBGSYNC));
    // GFRE, GCFGFRE, STALLD, USFCFG, VMIDPNE, PTM, SMCFCFG; no interrupts.
    assert_eq!(fake.get(CR0), 0x20_1d12);
}

#[test]
fn a_running_translation_is_ended() {
    let fake = running();
    fake.set(fake.s2cr(2), 1);
    assert_eq!(shut(&fake).found, Found::Translating);
    assert_eq!(fake.get(fake.bank(1, 0)), 0);
}

#[test]
fn streams_behind_a_bank_that_is_off_were_open() {
    let fake = running();
    fake.set(fake.smr(2), 0);
    fake.set(fake.bank(1, 0), 0x60);
    let report = shut(&fake);
    assert_eq!((report.found, report.bypassing), (Found::Open, 1));
}

/// An extended entry is valid by its S2CR: written to fault without that bit, it would be unmatched, and pass.
#[test]
fn extended_entries_fault_before_they_become_invalid() {
    let fake = Fake::with(IDR0 | EXIDS | 8, 1 << 28 | 4, IDR2);
    fake.set(CR0, EXIDENABLE);
    fake.set(fake.smr(0), 0xffff);
    fake.set(fake.s2cr(0), EXIDVALID | 2);
    fake.set(fake.bank(2, 0), 0x61);
    assert_eq!(fake.fates(0xffff), Fates::bank(2));
    let report = shut(&fake);
    assert!(report.features.extended_ids);
    assert_eq!(fake.get(CR0) & EXIDENABLE, 0);
    let log = fake.take_log();
    let first = log.iter().find(|(offset, _)| *offset == fake.s2cr(0)).unwrap();
    assert_eq!(first.1, u64::from(FAULT | EXIDVALID));
}

/// Client ports go on when there is nothing else left that could pass.
#[test]
fn client_ports_go_on_last() {
    let fake = Fake::new(8, 4);
    shut(&fake);
    let log = fake.take_log();
    let of = |wanted: usize| log.iter().filter(move |(offset, _)| *offset == wanted);
    let values: Vec<u64> = of(CR0).map(|(_, value)| *value).collect();
    assert_eq!(values, [0x20_1d13, 0x20_1d12, 0x20_1d12]);
    let at = |write: (usize, u64)| log.iter().position(|other| *other == write).unwrap();
    assert!(at((CR2, 0)) < at((CR0, 0x20_1d12)));
}

#[test]
fn tables_of_indices_and_extra_groups_are_switched_off() {
    for bit in [29, 31] {
        let fake = running();
        fake.set(CR2, 1 << bit);
        shut(&fake);
        assert_eq!(fake.get(CR2), 0);
    }
}

#[test]
fn stalled_transactions_are_terminated_while_their_bank_is_on() {
    let fake = running();
    fake.set(fake.bank(1, 0), 0xe1);
    fake.stall(1, 3);
    shut(&fake);
    let log = fake.take_log();
    let of_bank = |offset| (0x5000..0x6000).contains(&offset);
    let log: Vec<_> = log.into_iter().filter(|(offset, _)| *offset >= 0x4000).collect();
    let (fsr, resume) = ((fake.bank(1, 0x58), 0x8000_01fe), (fake.bank(1, 8), 1));
    let expected = [
        (fake.bank(1, 0), 0x61), // It does not stall any more, and translates.
        fsr,
        resume,
        fsr,
        resume,
        fsr,
        resume,
        (fake.bank(1, 0), 0),
    ];
    let own: Vec<_> = log
        .iter()
        .copied()
        .filter(|(offset, _)| of_bank(*offset))
        .collect();
    assert_eq!(own, expected);
    let others = log.iter().filter(|(offset, _)| !of_bank(*offset));
    assert!(
        others.clone().all(|(_, value)| *value == 0) && others.count() == 3,
        "nothing stalls there"
    );
}

/// One that was in flight when its bank was told not to stall, and stalls while everything is forgotten.
#[test]
fn what_stalls_late_is_terminated_as_well() {
    let fake = running();
    let smmu = identify(&fake);
    let late = RefCell::new(true);
    fake.on_every_write(move |fake| {
        if fake.take_log().iter().any(|(offset, _)| *offset == TLBGSYNC) && late.replace(false) {
            fake.stall(1, 1);
        }
    });
    shut_v2(&smmu, &Ticks::default()).unwrap();
    assert_eq!((fake.get(fake.bank(1, 0)), fake.get(fake.bank(1, 0x58))), (0, 0));
}

#[test]
fn a_bank_that_stalls_for_ever_stays_on_and_is_told_of() {
    let fake = running();
    fake.stall(1, u32::MAX);
    let smmu = identify(&fake);
    let error = shut_v2(&smmu, &Ticks::default()).unwrap_err();
    assert!(matches!(error, GateError::Stalled { bank: 1, .. }), "{error}");
    assert_eq!((fake.get(fake.bank(1, 0)), fake.fates(1)), (0x61, Fates::FAULT));
    fake.stall(1, 1);
    shut(&fake);
    fake.stall(2, 1);
    assert_eq!(opening(&smmu).unwrap().to_string(), "FSR 2 reads 0x40000002");
}

#[test]
fn streams_that_are_indices_have_no_matching_to_shut() {
    let fake = Fake::with(1 << 29 | 3 << 9, 1 << 28 | 2, IDR2);
    fake.set(CR0, 0);
    // Neither bit exists, and there are no match registers.
    fake.limit(CR0, !(USFCFG | SMCFCFG));
    let report = shut(&fake);
    assert_eq!((report.features.groups, report.features.stream_match), (8, false));
    assert!(
        !fake
            .take_log()
            .iter()
            .any(|(offset, _)| (SMR..S2CR).contains(offset))
    );
}

#[test]
fn pages_have_4_or_64_kib() {
    let fake = Fake::with(IDR0 | 2, 1 << 31 | 2, IDR2);
    fake.set(0x2_0000, 0x61);
    shut(&fake);
    assert_eq!((fake.bank(0, 0), fake.get(0x2_0000)), (0x2_0000, 0));
}

#[test]
fn as_secure_software_it_uses_the_aliases() {
    let fake = running();
    fake.set(CR0 + ALIAS, CLIENTPD);
    let smmu = Smmu::identify(Frames::one(fake.clone()), SIZE, true).unwrap();
    assert_eq!(shut_v2(&smmu, &Ticks::default()).unwrap().found, Found::Open);
    assert_eq!((fake.get(CR0), fake.get(CR0 + ALIAS)), (USFCFG, 0x20_1d12));
    let written: Vec<usize> = fake.take_log().iter().map(|(offset, _)| *offset).collect();
    assert!(!written.contains(&CR0) && !written.contains(&CR2));
    assert!(written.contains(&(CR2 + ALIAS)) && written.contains(&TLBGSYNC));
}

#[test]
fn two_frames_are_shut_as_one() {
    let (first, second) = (running(), running());
    first.set(first.s2cr(2), 1);
    second.set(CR0, CLIENTPD);
    for fake in [&first, &second] {
        watch(fake, vec![0, 1, 2, 3]);
    }
    let smmu = Smmu::identify(Frames::two(first.clone(), second.clone()), SIZE, false).unwrap();
    let report = shut_v2(&smmu, &Ticks::default()).unwrap();
    assert_eq!(report.found, Found::Open, "the second was");
    for fake in [&first, &second] {
        assert!((0..4).all(|stream| fake.fates(stream) == Fates::FAULT));
    }
    second.set(second.s2cr(5), 0);
    assert_eq!(opening(&smmu).unwrap().to_string(), "S2CR 5 reads 0x00000000");
}

#[test]
fn what_does_not_end_leaves_the_banks_on() {
    let (first, second) = (running(), running());
    second.stick(TLBGSTATUS);
    let smmu = Smmu::identify(Frames::two(first.clone(), second.clone()), SIZE, false).unwrap();
    let error = shut_v2(&smmu, &Ticks::default()).unwrap_err();
    assert!(matches!(error, GateError::SyncStuck(_)), "{error}");
    for fake in [&first, &second] {
        assert_eq!(fake.get(fake.bank(1, 0)), 0x61);
        assert_eq!(fake.fates(1), Fates::FAULT, "nothing new gets to them");
    }
}

#[test]
fn an_smmu_that_does_not_take_a_step_is_not_called_shut() {
    let cases: [(usize, u32, &str); 7] = [
        // Either bit of CR2 that does not go is another way from a stream to a bank.
        (CR2, !(1 << 29), "CR2 0 reads"),
        (CR2, !(1 << 31), "CR2 0 reads"),
        (CR0, !USFCFG, "CR0 0 reads"),
        (CR0, !SMCFCFG, "CR0 0 reads"),
        (S2CR + 4, 0, "S2CR 1 reads"),
        (SMR + 4, 0, "SMR 1 reads"),
        (0x5000, 0, "SCTLR 1 reads"),
    ];
    for (offset, writable, expected) in cases {
        let fake = running();
        fake.set(CR0, 0);
        if offset == CR2 {
            fake.set(CR2, !writable);
        }
        fake.limit(offset, writable);
        let error = shut_v2(&identify(&fake), &Ticks::default()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn frames_without_an_smmu_are_refused_and_not_written() {
    let refused = |fakes: Vec<Fake>, size| {
        let frames = match fakes.as_slice() {
            [one] => Frames::one(one.clone()),
            [first, second, ..] => Frames::two(first.clone(), second.clone()),
            [] => unreachable!(),
        };
        let error = Smmu::identify(frames, size, false).map(|_| ()).unwrap_err();
        assert!(fakes.iter().all(|fake| fake.take_log().is_empty()));
        error
    };
    for ones in [0, u32::MAX] {
        let error = refused(vec![Fake::with(ones, ones, ones)], SIZE);
        let (idr0, idr1, idr2) = (ones, ones, ones);
        assert_eq!(error, IdentifyError::NoDevice { idr0, idr1, idr2 });
        let said = error.to_string();
        assert!(
            said.starts_with("it does not identify itself as an SMMUv1 or v2: IDR0 reads"),
            "{said}"
        );
    }
    let (size, needed) = (0x7fff, 0x8000);
    assert_eq!(
        refused(vec![running()], size),
        IdentifyError::FrameTooSmall { size, needed }
    );
    let error = refused(vec![Fake::new(8, 4), Fake::new(16, 4)], SIZE);
    assert!(matches!(
        error,
        IdentifyError::FramesDiffer {
            groups: 8,
            other_groups: 16,
            ..
        }
    ));
}

#[test]
fn features_are_read() {
    let fake = Fake::with(IDR0 | 1 << 14 | 162, 7 << 28 | 16, IDR2);
    for (offset, value) in [(0xfe0, 0x81), (0xfe4, 0xb4), (0xfe8, 0x1b), (0x3c, 0x21)] {
        fake.set(offset, value);
    }
    let features = *identify(&fake).features();
    assert!(features.stage2 && features.aarch64_tables && features.aarch32_tables && features.coherent);
    assert!(features.mmu_500 && !features.extended_ids);
    assert_eq!(
        (features.groups, features.banks, features.interrupts),
        (162, 16, 2)
    );
    assert_eq!(
        (features.input_bits, features.output_bits, features.vmid_bits),
        (40, 48, 16)
    );
    assert_eq!((features.global_pages, features.frame_bytes()), (256, 272 << 12));
    assert_eq!((features.major, features.minor), (2, 1));
    let v1 = *identify(&Fake::with(IDR0 | 8, 1 << 28 | 4, 2 << 4 | 2)).features();
    assert!(!v1.aarch64_tables && v1.aarch32_tables && !v1.mmu_500);
    assert_eq!(v1.vmid_bits, 8);
}

/// Some hardware has more groups than the architecture, and they match streams like the others.
#[test]
fn groups_beyond_the_architectures_are_shut_as_well() {
    let fake = Fake::new(200, 4);
    fake.set(CR0, USFCFG);
    for (group, s2cr) in [(127, BYPASS), (128, BYPASS), (160, 1), (199, BYPASS)] {
        fake.set(fake.smr(group), VALID | group);
        fake.set(fake.s2cr(group), s2cr);
    }
    fake.set(fake.bank(1, 0), 0x61);
    watch(&fake, vec![0, 127, 128, 160, 199]);
    let smmu = identify(&fake);
    let report = shut_v2(&smmu, &Ticks::default()).unwrap();
    assert_eq!((report.bypassing, report.translating), (3, 1));
    assert!(
        [127, 128, 160, 199]
            .iter()
            .all(|&stream| fake.fates(stream) == Fates::FAULT)
    );
    fake.set(fake.s2cr(199), BYPASS);
    assert_eq!(opening(&smmu).unwrap().to_string(), "S2CR 199 reads 0x00010000");
}

#[test]
fn an_smmu_with_groups_that_cannot_be_reached_is_refused() {
    let room = 244;
    let matching = |groups| (Fake::new(groups, 4), groups);
    let indexed = |bits: u32| (Fake::with(1 << 29 | bits << 9, 1 << 28 | 2, IDR2), 1_u32 << bits);
    for (fake, groups) in [matching(245), matching(255), indexed(8), indexed(15)] {
        let frames = Frames::one(fake.clone());
        let error = Smmu::identify(frames, SIZE, false).map(|_| ()).unwrap_err();
        assert_eq!(error, IdentifyError::TooManyGroups { groups, room });
        assert!(fake.take_log().is_empty());
    }
    let all = |fake| u32::from(identify(&fake).features().groups);
    assert_eq!(
        [matching(244), indexed(7)].map(|(fake, groups)| all(fake) == groups),
        [true; 2]
    );
}

proptest! {
    /// Any state at all, with conflicts, with either format, with anything that unmatched streams do.
    #[test]
    fn no_state_of_firmware_is_opened_on_the_way(
        cr0: u32, cr2 in prop_oneof![9 => Just(0), 1 => any::<u32>()],
        groups in prop::collection::vec((0_u32..32, 0_u32..32, any::<bool>(), 0_u32..4, any::<bool>(), 0_u32..6), 8),
        banks in prop::collection::vec(any::<bool>(), 4), extended: bool,
    ) {
        let fake = Fake::with(IDR0 | if extended { EXIDS } else { 0 } | 8, 1 << 28 | 4, IDR2);
        fake.set(CR0, if extended { cr0 } else { cr0 & !EXIDENABLE });
        if !extended {
            fake.limit(CR0, !EXIDENABLE);
        }
        fake.set(CR2, cr2);
        for (group, (id, mask, valid, kind, exidvalid, bank)) in (0..).zip(groups) {
            fake.set(fake.smr(group), u32::from(valid) << 31 | mask << 16 | id);
            fake.set(fake.s2cr(group), kind << 16 | u32::from(exidvalid) << 10 | bank);
        }
        for (bank, on) in (0..).zip(banks) {
            fake.set(fake.bank(bank, 0), u32::from(on));
        }
        shut(&fake);
    }
}
