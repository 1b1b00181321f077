//! Any sequence of devices that come and go.

use crate::common::*;
use crate::fake::*;
use proptest::prelude::*;
use smmu_v2::Stream;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::slice::from_ref;

/// One step: a device by its number, attached to a guest or detached.
#[derive(Debug, Clone)]
enum Step {
    Attach(usize, u16),
    Detach(usize),
    Quiesce,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..6, 1_u16..5).prop_map(|(device, guest)| Step::Attach(device, guest)),
        4 => (0_usize..6).prop_map(Step::Detach),
        1 => Just(Step::Quiesce),
    ]
}

/// Devices that have no stream in common: each stream below 64 belongs to one of six, or to none.
fn devices() -> impl Strategy<Value = Vec<Vec<Stream>>> {
    prop::collection::vec(0_usize..7, 64).prop_map(|owners| {
        let of = |device: usize| {
            let ids = (0_u32..).zip(&owners).filter(move |(_, owner)| **owner == device);
            exact(ids.map(|(id, _)| id))
        };
        (0..6).map(of).collect()
    })
}

/// From now on, panics when a stream that is not among `moving` changes.
fn hold(fake: &Fake, moving: &[Stream]) {
    let moving: BTreeSet<u32> = moving.iter().map(|stream| stream.id).collect();
    let before = RefCell::new((0..64).map(|stream| fake.fates(stream)).collect::<Vec<_>>());
    fake.on_every_write(move |fake| {
        check(fake);
        for (stream, before) in (0_u32..).zip(before.borrow_mut().iter_mut()) {
            let now = fake.fates(stream);
            assert!(
                moving.contains(&stream) || now == *before,
                "stream {stream} became {now:?}"
            );
            *before = now;
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Every stream translates through its guest's tables or faults, nothing else moves meanwhile, no stream is ever
    /// matched twice, and none ever passes.
    #[test]
    fn every_stream_leads_to_its_guest(
        devices in devices(), steps in prop::collection::vec(step(), 1..24),
        extended: bool, groups in 8_u32..64, banks in 1_u32..5,
    ) {
        let fake = Fake::with(IDR0 | if extended { EXIDS } else { 0 } | groups, 1 << 28 | banks, IDR2);
        let mut driver = try_probe(from_ref(&fake), &SETUP).unwrap();
        let mut attached: BTreeMap<usize, u16> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Attach(device, guest) => {
                    hold(&fake, &devices[device]);
                    let done = driver.attach(&devices[device], &domain(guest));
                    let new = !attached.contains_key(&device) || devices[device].is_empty();
                    prop_assert!(new || done.is_err());
                    if done.is_ok() {
                        attached.insert(device, guest);
                    }
                }
                Step::Detach(device) => {
                    hold(&fake, &devices[device]);
                    driver.detach(&devices[device]).unwrap();
                    attached.remove(&device);
                }
                Step::Quiesce => {
                    fake.on_every_write(check);
                    driver.quiesce().unwrap();
                    attached.clear();
                }
            }
            let mut wanted = vec![None; 64];
            for (device, guest) in &attached {
                for stream in &devices[*device] {
                    wanted[stream.id as usize] = Some(domain(*guest).root);
                }
            }
            let found: Vec<_> = (0..64).map(|stream| root_of(&fake, stream)).collect();
            prop_assert_eq!(found, wanted);
        }
        fake.on_every_write(check);
        driver.release().unwrap();
        prop_assert_eq!(smmu_gate::v2::opening(&identify(from_ref(&fake))), None);
    }
}
