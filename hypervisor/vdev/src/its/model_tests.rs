//! The virtual ITS and its LPIs against any sequence of commands, with a model of what the guest asked for.

use super::tests::{BASER, CBASER, CTLR, CWRITER, DEVICES, Guest, QUEUE};
use super::tests::{about, invall, mapc, mapd, mapti, movall};
use super::*;
use crate::vgic::{LPI_FIRST, ListRegister, REDISTRIBUTOR_SIZE};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// LPIs that the guests here use: neighbours, so that they often are the same.
const LPIS: u32 = 6;

#[derive(Debug, Clone)]
enum Step {
    MapDevice(usize, Option<u32>),
    MapCollection(u64, Option<usize>),
    Map(usize, u32, u32, u64),
    Move(usize, u32, u64),
    MoveAll(usize, usize),
    Discard(usize, u32),
    Clear(usize, u32),
    /// An entry of the configuration table is written, without the ITS being told.
    Configure(u32, bool),
    Invalidate(usize, u32),
    InvalidateAll(u64),
    /// The device signals, or the guest by INT.
    Signal(usize, u32, bool),
    /// The vCPU is entered and comes back, having acknowledged and ended what these bits say.
    Run(usize, u8, u8),
    /// It stays in.
    Enter(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    let (device, event, vcpu) = (0usize..2, 0u32..5, 0usize..2);
    let (collection, lpi) = (0u64..3, 0..LPIS);
    let bits = prop_oneof![Just(None), (1u32..4).prop_map(Some), Just(Some(5)), Just(Some(5))];
    prop_oneof![
        1 => (device.clone(), bits).prop_map(|(device, bits)| Step::MapDevice(device, bits)),
        2 => (collection.clone(), prop::option::weighted(0.9, 0usize..3))
            .prop_map(|(collection, vcpu)| Step::MapCollection(collection, vcpu)),
        8 => (device.clone(), event.clone(), lpi.clone(), collection.clone())
            .prop_map(|(device, event, lpi, collection)| Step::Map(device, event, lpi, collection)),
        8 => (device.clone(), event.clone(), collection.clone())
            .prop_map(|(device, event, collection)| Step::Move(device, event, collection)),
        3 => (0usize..3, 0usize..3).prop_map(|(from, to)| Step::MoveAll(from, to)),
        2 => (device.clone(), event.clone()).prop_map(|(device, event)| Step::Discard(device, event)),
        2 => (device.clone(), event.clone()).prop_map(|(device, event)| Step::Clear(device, event)),
        4 => (lpi, prop::bool::weighted(0.8)).prop_map(|(lpi, on)| Step::Configure(lpi, on)),
        3 => (device.clone(), event.clone()).prop_map(|(device, event)| Step::Invalidate(device, event)),
        2 => collection.prop_map(Step::InvalidateAll),
        32 => (device, event, any::<bool>())
            .prop_map(|(device, event, by_command)| Step::Signal(device, event, by_command)),
        12 => (vcpu.clone(), any::<u8>(), any::<u8>()).prop_map(|(vcpu, ack, end)| Step::Run(vcpu, ack, end)),
        12 => vcpu.prop_map(Step::Enter),
    ]
}

/// What the guest may expect, kept in the plainest form.
#[derive(Default)]
struct Model {
    sizes: BTreeMap<usize, u32>,
    collections: BTreeMap<u64, usize>,
    events: BTreeMap<(usize, u32), (u32, u64)>,
    /// What the ITS was told last.
    enabled: BTreeMap<u32, bool>,
    targets: BTreeMap<u32, usize>,
    /// Signalled, and not acknowledged or cleared since.
    owed: BTreeSet<u32>,
    /// Signalled while a list register held it, so that it may come once more.
    again: BTreeSet<u32>,
    signals: BTreeMap<u32, u32>,
    acknowledged: BTreeMap<u32, u32>,
}

impl Model {
    fn can_map(&self, device: usize, event: u32) -> bool {
        let size = self.sizes.get(&device);
        size.is_some_and(|bits| event >> bits == 0) && event < DEVICES[device].1
    }

    fn drop_event(&mut self, device: usize, event: u32) {
        if let Some((lpi, _)) = self.events.remove(&(device, event)) {
            self.forget(lpi);
        }
    }

    fn forget(&mut self, lpi: u32) {
        self.owed.remove(&lpi);
        self.again.remove(&lpi);
    }
}

struct Machine {
    guest: Guest,
    model: Model,
    /// What the table in memory says now.
    table: BTreeMap<u32, bool>,
    /// The list registers of vCPUs that are in.
    running: [Option<[ListRegister; 3]>; 2],
}

impl Machine {
    fn new() -> Machine {
        let mut guest = Guest::running();
        guest.send(&[mapd(DEVICES[1].0, Some(5))]);
        let mut model = Model {
            sizes: BTreeMap::from([(0, 5), (1, 5)]),
            ..Model::default()
        };
        for vcpu in 0..2 {
            model.collections.insert(vcpu as u64, vcpu);
        }
        for lpi in 0..8 {
            model.events.insert((0, lpi), (lpi, 0));
            model.enabled.insert(lpi, true);
            model.targets.insert(lpi, 0);
        }
        let table = model.enabled.clone();
        Machine {
            guest,
            model,
            table,
            running: [None; 2],
        }
    }

    fn enter(&mut self, vcpu: usize) {
        if self.running[vcpu].is_some() {
            return;
        }
        let mut list = [ListRegister::EMPTY; 3];
        self.guest.gic.flush(vcpu, &mut list);
        for entry in list.iter().filter(|entry| **entry != ListRegister::EMPTY) {
            let lpi = entry.intid() - LPI_FIRST;
            assert!(entry.is_pending() && !entry.is_active() && entry.physical().is_none());
            let is_expected = self.model.again.remove(&lpi) | !self.model.owed.insert(lpi);
            assert!(is_expected, "LPI {lpi} was not signalled");
            assert!(self.model.enabled[&lpi], "LPI {lpi} is masked");
            assert_eq!(self.model.targets[&lpi], vcpu, "LPI {lpi}");
            let other = self.running[1 - vcpu].iter().flatten();
            let is_elsewhere = other.clone().any(|other| other.intid() == entry.intid());
            assert!(!is_elsewhere, "LPI {lpi} is in one list register at a time");
        }
        self.running[vcpu] = Some(list);
        self.guest.kicks.0.retain(|kicked| *kicked != vcpu);
    }

    fn exit(&mut self, vcpu: usize, acknowledge: u8, end: u8) {
        let Some(mut list) = self.running[vcpu].take() else {
            return;
        };
        for (bit, entry) in list.iter_mut().enumerate() {
            if entry.is_pending() && acknowledge >> bit & 1 != 0 {
                *entry = ListRegister(entry.0 & !(1 << 62) | 1 << 63);
                let lpi = entry.intid() - LPI_FIRST;
                *self.model.acknowledged.entry(lpi).or_default() += 1;
                self.model.owed.remove(&lpi);
            }
            if entry.is_active() && end >> bit & 1 != 0 {
                *entry = ListRegister(entry.0 & !(1 << 63));
            }
        }
        self.guest.gic.sync(vcpu, &list, 0, &mut self.guest.kicks);
        self.guest.kicks.0.retain(|kicked| *kicked != vcpu);
    }

    fn step(&mut self, step: &Step) {
        let (guest, model) = (&mut self.guest, &mut self.model);
        let id = |device: usize| DEVICES[device].0;
        match *step {
            Step::MapDevice(device, bits) => {
                guest.send(&[mapd(id(device), bits.map(u64::from))]);
                for event in 0..8 {
                    model.drop_event(device, event);
                }
                model.sizes.remove(&device);
                model.sizes.extend(bits.map(|bits| (device, bits)));
            }
            Step::MapCollection(collection, vcpu) => {
                guest.send(&[mapc(collection, vcpu.map(|vcpu| vcpu as u64))]);
                match vcpu {
                    Some(vcpu @ 0..2) => {
                        model.collections.insert(collection, vcpu);
                        let own = model.events.values().filter(|(_, of)| *of == collection);
                        model.targets.extend(own.map(|(lpi, _)| (*lpi, vcpu)));
                    }
                    Some(_) => {}
                    None => drop(model.collections.remove(&collection)),
                }
            }
            Step::Map(device, event, lpi, collection) => {
                guest.send(&[mapti(id(device), event, LPI_FIRST + lpi, collection)]);
                if model.can_map(device, event) {
                    model.enabled.insert(lpi, self.table[&lpi]);
                    model.drop_event(device, event);
                    model.events.insert((device, event), (lpi, collection));
                    let vcpu = model.collections.get(&collection);
                    model.targets.extend(vcpu.map(|vcpu| (lpi, *vcpu)));
                }
            }
            Step::Move(device, event, collection) => {
                guest.send(&[about(0x01, id(device), event, collection)]);
                if let Some(vcpu) = model.collections.get(&collection)
                    && let Some((lpi, of)) = model.events.get_mut(&(device, event))
                {
                    *of = collection;
                    model.targets.insert(*lpi, *vcpu);
                }
            }
            Step::MoveAll(from, to) => {
                guest.send(&[movall(from as u64, to as u64)]);
                if from < 2 && to < 2 {
                    let moved = model.targets.values_mut().filter(|vcpu| **vcpu == from);
                    moved.for_each(|vcpu| *vcpu = to);
                }
            }
            Step::Discard(device, event) => {
                guest.send(&[about(0x0f, id(device), event, 0)]);
                model.drop_event(device, event);
            }
            Step::Clear(device, event) => {
                guest.send(&[about(0x04, id(device), event, 0)]);
                if let Some((lpi, _)) = model.events.get(&(device, event)).copied() {
                    model.forget(lpi);
                }
            }
            Step::Configure(lpi, on) => {
                guest.memory.bytes[0x1_0000 + lpi as usize] = if on { 0xa1 } else { 0xa0 };
                self.table.insert(lpi, on);
            }
            Step::Invalidate(device, event) => {
                guest.send(&[about(0x0c, id(device), event, 0)]);
                if let Some((lpi, _)) = model.events.get(&(device, event)) {
                    model.enabled.insert(*lpi, self.table[lpi]);
                }
            }
            Step::InvalidateAll(collection) => {
                guest.send(&[invall(collection)]);
                if let Some(vcpu) = model.collections.get(&collection) {
                    let own = model.targets.iter().filter(|(_, target)| *target == vcpu);
                    model.enabled.extend(own.map(|(lpi, _)| (*lpi, self.table[lpi])));
                }
            }
            Step::Signal(device, event, by_command) => {
                if by_command {
                    guest.send(&[about(0x03, id(device), event, 0)]);
                } else {
                    guest.signal(id(device), event);
                }
                if let Some((lpi, collection)) = model.events.get(&(device, event))
                    && let Some(vcpu) = model.collections.get(collection)
                {
                    model.targets.insert(*lpi, *vcpu);
                    model.owed.insert(*lpi);
                    let mut held = self.running.iter().flatten().flatten();
                    if held.any(|entry| entry.intid() == LPI_FIRST + lpi) {
                        model.again.insert(*lpi);
                    }
                    *model.signals.entry(*lpi).or_default() += 1;
                }
            }
            Step::Run(vcpu, acknowledge, end) => {
                self.enter(vcpu);
                self.exit(vcpu, acknowledge, end);
            }
            Step::Enter(vcpu) => self.enter(vcpu),
        }
    }

    /// What holds after each step.
    fn check(&self) {
        for vcpu in 0..2 {
            let has_room = self.running[vcpu].is_some_and(|list| list.contains(&ListRegister::EMPTY));
            let waits = self.guest.gic.has_work(vcpu) && !self.guest.kicks.0.contains(&vcpu);
            assert!(!(has_room && waits), "vCPU {vcpu} does not know of its LPI");
        }
        for (lpi, acknowledged) in &self.model.acknowledged {
            assert!(
                self.model.signals[lpi] >= *acknowledged,
                "LPI {lpi} came without a signal"
            );
        }
        for ((device, event), (lpi, collection)) in &self.model.events {
            let target = self.model.collections.get(collection);
            assert_eq!(
                self.guest.its.translate(DEVICES[*device].0, *event),
                target.map(|vcpu| Target {
                    vcpu: *vcpu,
                    intid: LPI_FIRST + lpi
                })
            );
        }
    }

    /// A guest that unmasks everything and handles all that comes: what it is owed, and then nothing more.
    fn drain(&mut self) {
        (0..2).for_each(|vcpu| self.exit(vcpu, 0, 0));
        (0..LPIS).for_each(|lpi| self.step(&Step::Configure(lpi, true)));
        self.step(&Step::MapCollection(0, Some(0)));
        self.step(&Step::MapCollection(1, Some(1)));
        self.step(&Step::InvalidateAll(0));
        self.step(&Step::InvalidateAll(1));
        let owed = &self.model.owed | &self.model.again;
        let before = self.model.acknowledged.clone();
        for _ in 0..4 {
            (0..2).for_each(|vcpu| self.step(&Step::Run(vcpu, u8::MAX, u8::MAX)));
        }
        for lpi in owed {
            let came = |counts: &BTreeMap<u32, u32>| counts.get(&lpi).copied().unwrap_or(0);
            assert_eq!(
                came(&self.model.acknowledged),
                came(&before) + 1,
                "LPI {lpi} is owed"
            );
        }
        assert!(!self.guest.gic.has_work(0) && !self.guest.gic.has_work(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a guest commands: an LPI comes for a signal of a mapped event and only then, on its vCPU, unless it is
    /// masked; a running vCPU is told of it; and none is lost.
    #[test]
    fn signals_come_exactly_once(steps in prop::collection::vec(any_step(), 1..120)) {
        let mut machine = Machine::new();
        for step in steps {
            machine.step(&step);
            machine.check();
        }
        machine.drain();
    }
}

/// A guest that writes anything anywhere, from a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64 (Marsaglia).
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn index(&mut self, end: usize) -> usize {
        usize::try_from(self.below(end as u64)).unwrap()
    }

    fn pick<const N: usize>(&mut self, from: [u64; N]) -> u64 {
        from[self.index(N)]
    }
}

/// A command of anything, but mostly one that means something.
fn random_command(random: &mut Random) -> [u64; 4] {
    const OPCODES: [u64; 20] = [
        1, 3, 3, 3, 4, 5, 8, 9, 9, 0xa, 0xa, 0xa, 0xa, 0xa, 0xa, 0xb, 0xc, 0xd, 0xe, 0xf,
    ];
    let wild = [(); 4].map(|()| random.next());
    let valid = if random.below(8) == 0 { 0 } else { 1 << 63 };
    let tame = [
        random.pick([8, 16, 24]) << 32 | random.pick(OPCODES),
        (0x2000 + random.below(66)) << 32 | random.below(9),
        valid | random.below(3) << 16 | random.below(4),
        random.below(3) << 16,
    ];
    let mix = random.next();
    core::array::from_fn(|word| {
        if mix >> (6 * word) & 0x3f == 0 {
            wild[word]
        } else {
            tame[word]
        }
    })
}

fn random_step(random: &mut Random, guest: &mut Guest) {
    let (value, size) = (random.next(), 1 << random.below(4));
    match random.below(64) {
        0..32 => {
            let command = random_command(random);
            guest.send(&[command]);
        }
        32..52 => {
            let (device, event) = (random.pick([0, 8, 16, 24]), random.below(10));
            guest.signal(u32::try_from(device).unwrap(), u32::try_from(event).unwrap());
        }
        52 => guest.write(CWRITER, size, value & 0x1fff),
        53 => guest.write(
            random.pick([CTLR, CBASER, CWRITER, BASER]) + random.below(9),
            size,
            value,
        ),
        54 => guest.write(random.below(SIZE + 0x100), size, value),
        55 => {
            let offset = random.pick([0, 0x70, 0x74, 0x78, 0x7c]) + REDISTRIBUTOR_SIZE * random.below(3);
            guest
                .gic
                .write_redistributor(offset, size, value, &mut guest.kicks);
        }
        56 => {
            guest.its.run(&mut guest.gic, &mut guest.memory, &mut guest.kicks);
        }
        57 => {
            let at = random.index(guest.memory.bytes.len());
            guest.memory.bytes[at] = value.to_le_bytes()[0];
        }
        _ => {
            // Back to something that works.
            guest.gic.write_distributor(0, 4, 2, &mut guest.kicks);
            guest.write(CTLR, 4, 0);
            guest.write(CBASER, 8, 1 << 63 | QUEUE);
            guest.write(CTLR, 4, 1);
            guest.next = 0;
        }
    }
    guest.its.read(random.below(SIZE + 0x100), size);
}

#[test]
fn no_guest_gets_more_than_its_own() {
    let seed = std::env::var("ITS_SEED").ok().and_then(|seed| seed.parse().ok());
    for seed in seed.map_or(1..41, |seed: u64| seed..seed + 1) {
        println!("ITS_SEED={seed}");
        let mut taken = BTreeSet::new();
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut guest = Guest::running();
        if seed % 2 == 0 {
            // One that has set up next to nothing.
            guest = Guest::new();
            guest.memory.bytes.fill_with(|| random.next().to_le_bytes()[0]);
            guest.start_redistributor(0);
        }
        let size = guest.gic.lpis().len() / 64;
        for _ in 0..4000 {
            guest.memory.reads = 0;
            guest.kicks.0.clear();
            random_step(&mut random, &mut guest);
            // At most three writes are one step; a command is one read, and one more or a table.
            assert!(
                guest.memory.reads <= 3 * BUDGET as usize * (2 + size),
                "bounded work"
            );
            assert!(guest.kicks.0.iter().all(|vcpu| *vcpu < 2));
            if random.below(2) == 0 {
                let vcpu = random.index(2);
                let lpis = guest.gic.lpis();
                let came = guest.take(vcpu);
                assert!(came.iter().all(|intid| lpis.contains(intid)));
                taken.extend(came);
            }
            for (device, event) in [(0x08, 8), (0x10, 4), (0x18, 0), (0, 0)] {
                assert_eq!(guest.its.translate(device, event), None, "beyond what is there");
            }
        }
        assert!(!taken.is_empty(), "it got its own, too");
    }
}
