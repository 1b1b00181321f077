//! An SMMU of fakes with the gate shut.

use crate::fake::{Fake, Fates, Ticks};
use smmu_gate::v2::shut_v2;
use smmu_v2::{Domain, Driver, Error, Event, Frames, Setup, Smmu, Stream};
use std::slice::from_ref;

/// The driver over fakes.
pub(crate) type FakeDriver = Driver<Fake, Ticks>;

pub(crate) const SIZE: usize = 0x80_0000;

pub(crate) const SETUP: Setup = Setup {
    coherent: true,
    vmid_base: 0,
};

pub(crate) fn identify(fakes: &[Fake]) -> Smmu<Fake> {
    let frames = match fakes {
        [one] => Frames::one(one.clone()),
        [first, second] => Frames::two(first.clone(), second.clone()),
        _ => unreachable!("one frame or two"),
    };
    Smmu::identify(frames, SIZE, false).unwrap()
}

/// Shuts the SMMU, and from then on checks every write.
pub(crate) fn shut(fakes: &[Fake]) -> Smmu<Fake> {
    let smmu = identify(fakes);
    shut_v2(&smmu, &Ticks::default()).unwrap();
    for fake in fakes {
        fake.take_log();
        fake.on_every_write(check);
    }
    smmu
}

pub(crate) fn try_probe(fakes: &[Fake], setup: &Setup) -> Result<FakeDriver, Error> {
    Driver::probe(shut(fakes), Ticks::default(), setup)
}

pub(crate) fn probe(fake: &Fake) -> FakeDriver {
    let driver = try_probe(from_ref(fake), &SETUP).unwrap();
    fake.take_log();
    driver
}

/// What must hold at any moment.
pub(crate) fn check(fake: &Fake) {
    let streams = (0..64).chain([0x7fff, 0x8001, 0xffff]);
    let all = if fake.matches_streams() {
        u32::MAX
    } else {
        fake.groups()
    };
    for stream in streams.filter(|stream| *stream < all) {
        assert!(
            fake.matching(stream).len() <= 1,
            "stream {stream:#x} is matched twice"
        );
        assert!(!fake.fates(stream).bypass, "stream {stream:#x} passes");
    }
}

pub(crate) fn domain(vmid: u16) -> Domain {
    Domain {
        root: 0x4000_0000 + (u64::from(vmid) << 16),
        vmid,
        ipa_bits: 40,
        pa_bits: 40,
        start_level: 1,
    }
}

pub(crate) fn one(id: u32) -> [Stream; 1] {
    [Stream { id, mask: 0 }]
}

pub(crate) fn exact(ids: impl IntoIterator<Item = u32>) -> Vec<Stream> {
    ids.into_iter().map(|id| Stream { id, mask: 0 }).collect()
}

/// The bank that translates a stream, if one does.
#[track_caller]
pub(crate) fn bank_of(fake: &Fake, stream: u32) -> Option<u32> {
    let fates = fake.fates(stream);
    if fates == Fates::FAULT {
        return None;
    }
    assert_eq!(fates.banks.count_ones(), 1, "{fates:?}");
    Some(fates.banks.trailing_zeros())
}

/// The root table that a stream translates through, if it does.
#[track_caller]
pub(crate) fn root_of(fake: &Fake, stream: u32) -> Option<u64> {
    use mmio::Bus;
    bank_of(fake, stream).map(|bank| fake.read64(fake.bank(bank, 0x20)))
}

pub(crate) fn events(driver: &mut FakeDriver) -> Vec<Event> {
    let mut all = Vec::new();
    driver.interrupt(|event| all.push(*event));
    all
}
