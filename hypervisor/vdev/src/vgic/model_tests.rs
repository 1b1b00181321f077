//! The virtual GIC against any sequence of guest writes in the registers of either version, with a model of the physical side.

use super::tests::gic;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// The physical side: which passed-through interrupts are active, so that they cannot come again.
#[derive(Default)]
struct Physical {
    active: BTreeSet<(usize, u32)>,
    kicked: BTreeSet<usize>,
}

/// A PPI belongs to a CPU, an SPI to the machine.
fn line(vcpu: usize, physical: u32) -> (usize, u32) {
    (if physical < PRIVATE { vcpu } else { 0 }, physical)
}

impl Outside for Physical {
    fn kick(&mut self, vcpu: usize) {
        self.kicked.insert(vcpu);
    }
    fn deactivate(&mut self, vcpu: usize, physical: u32) {
        assert!([27, 36].contains(&physical), "only its own");
        self.active.remove(&line(vcpu, physical));
    }
    fn route(&mut self, physical: u32, vcpu: usize) {
        assert!(physical == 36 && vcpu < 2);
    }
}

#[derive(Debug, Clone)]
enum Step {
    WriteDistributor(u64, u8, u64),
    WriteRedistributor(u64, u8, u64),
    /// By a vCPU, in the registers of a GICv2.
    WriteV2(usize, u64, u8, u64),
    Read(u64, u8),
    Sgi(usize, u64),
    Physical(usize, bool),
    Line(bool),
    /// The vCPU is entered and comes back, having acknowledged and ended what these bits say.
    Run(usize, u8, u8),
    /// The same without being seen by anything in between: it stays in.
    Enter(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    // Mostly the words and bytes that the guest's own interrupts are in.
    let own = prop_oneof![
        Just(0u64),
        (1u64..8, 0u64..2).prop_map(|(bank, word)| bank * 0x80 + word * 4),
        prop_oneof![0u64..16, Just(27), Just(33), Just(36)].prop_map(|intid| 0x400 + intid),
        (0u64..3).prop_map(|word| 0xc00 + word * 4),
        prop_oneof![Just(33u64), Just(36)].prop_map(|intid| 0x6000 + 8 * intid),
    ];
    let offset = prop_oneof![4 => own, 1 => 0u64..0x1_0000];
    let frame = prop_oneof![
        Just(0u64),
        Just(0x1_0000),
        Just(0x2_0000),
        Just(0x3_0000),
        Just(0x4_0000)
    ];
    let size = prop_oneof![Just(1u8), Just(2), Just(4), Just(4), Just(4), Just(8)];
    let align = |(offset, size): (u64, u8)| (offset & !(u64::from(size) - 1), size);
    let value = prop_oneof![any::<u64>(), Just(u64::MAX), Just(2), Just(0x100)];
    prop_oneof![
        ((offset.clone(), size.clone()).prop_map(align), value.clone())
            .prop_map(|((offset, size), value)| Step::WriteDistributor(offset, size, value)),
        (
            frame,
            (offset.clone(), size.clone()).prop_map(align),
            value.clone()
        )
            .prop_map(|(frame, (offset, size), value)| Step::WriteRedistributor(
                frame + offset,
                size,
                value
            )),
        (
            0usize..2,
            (
                prop_oneof![offset.clone(), 0x800u64..0x840, 0xf00u64..0xf30],
                size.clone()
            )
                .prop_map(align),
            value.clone()
        )
            .prop_map(|(vcpu, (offset, size), value)| Step::WriteV2(vcpu, offset, size, value)),
        (offset, size).prop_map(|(offset, size)| Step::Read(offset, size)),
        (0usize..2, value).prop_map(|(vcpu, value)| Step::Sgi(vcpu, value)),
        (0usize..2, any::<bool>()).prop_map(|(vcpu, timer)| Step::Physical(vcpu, timer)),
        any::<bool>().prop_map(Step::Line),
        (0usize..2, any::<u8>(), any::<u8>()).prop_map(|(vcpu, ack, end)| Step::Run(vcpu, ack, end)),
        (0usize..2).prop_map(Step::Enter),
    ]
}

struct Machine {
    gic: Vgic,
    physical: Physical,
    /// The list registers of vCPUs that are in.
    running: [Option<[ListRegister; 3]>; 2],
}

impl Machine {
    fn enter(&mut self, vcpu: usize) {
        let mut list = [ListRegister::EMPTY; 3];
        self.gic.flush(vcpu, &mut list);
        let mut seen = BTreeSet::new();
        for entry in list.iter().filter(|entry| **entry != ListRegister::EMPTY) {
            assert!(seen.insert(entry.intid()), "one list register for one interrupt");
            assert!(entry.is_pending() || entry.is_active());
            let owned = entry.intid() < 16 || [27, 33, 36].contains(&entry.intid());
            assert!(owned, "{entry:?}");
            assert_eq!(
                entry.physical(),
                [27, 36].contains(&entry.intid()).then_some(entry.intid())
            );
            assert!(entry.physical().is_none() || !(entry.is_pending() && entry.is_active()));
        }
        self.running[vcpu] = Some(list);
        self.physical.kicked.remove(&vcpu);
    }

    /// The guest works on its list registers as the bits say, then exits.
    fn exit(&mut self, vcpu: usize, acknowledge: u8, end: u8) {
        let Some(mut list) = self.running[vcpu].take() else {
            return;
        };
        for (bit, entry) in list.iter_mut().enumerate() {
            if entry.is_pending() && acknowledge >> bit & 1 != 0 {
                *entry = ListRegister(entry.0 & !(1 << 62) | 1 << 63);
            }
            if entry.is_active() && end >> bit & 1 != 0 {
                *entry = ListRegister(entry.0 & !(1 << 63));
                if let Some(physical) = entry.physical() {
                    self.physical.active.remove(&line(vcpu, physical));
                }
            }
        }
        self.gic.sync(vcpu, &list, 0, &mut self.physical);
        self.physical.kicked.remove(&vcpu);
    }

    /// Handles an exit around `act`, as the core does.
    fn outside_of(&mut self, vcpu: usize, act: impl FnOnce(&mut Vgic, &mut Physical)) {
        self.exit(vcpu, 0, 0);
        act(&mut self.gic, &mut self.physical);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::WriteDistributor(offset, size, value) => {
                self.outside_of(0, |gic, out| gic.write_distributor(offset, size, value, out));
            }
            Step::WriteRedistributor(offset, size, value) => {
                self.outside_of(0, |gic, out| gic.write_redistributor(offset, size, value, out));
            }
            Step::WriteV2(vcpu, offset, size, value) => {
                self.outside_of(vcpu, |gic, out| {
                    gic.write_distributor_v2(vcpu, offset, size, value, out);
                });
            }
            Step::Read(offset, size) => {
                self.gic.read_distributor(offset, size);
                self.gic.read_distributor_v2(1, offset, size);
                self.gic.read_redistributor(offset * 3, size);
            }
            Step::Sgi(vcpu, value) => self.outside_of(vcpu, |gic, out| gic.send_sgi(vcpu, value, out)),
            Step::Physical(vcpu, timer) => {
                let physical = if timer { 27 } else { 36 };
                if self.physical.active.insert(line(vcpu, physical)) {
                    self.outside_of(vcpu, |gic, out| gic.raise(vcpu, physical, out));
                }
            }
            Step::Line(high) => self.outside_of(1, |gic, out| gic.set_line(1, 33, high, out)),
            Step::Run(vcpu, acknowledge, end) => {
                if self.running[vcpu].is_none() {
                    self.enter(vcpu);
                }
                self.exit(vcpu, acknowledge, end);
            }
            Step::Enter(vcpu) => {
                if self.running[vcpu].is_none() {
                    self.enter(vcpu);
                }
            }
        }
    }

    /// A vCPU that is in, and that the queue has work for, must have been kicked.
    fn check_kicks(&self) {
        for vcpu in 0..2 {
            if self.running[vcpu].is_some_and(|list| list.contains(&ListRegister::EMPTY)) {
                let waits = self.gic.has_work(vcpu) && !self.physical.kicked.contains(&vcpu);
                assert!(!waits, "vCPU {vcpu} runs and does not know of its interrupt");
            }
        }
    }

    /// A guest that enables everything and handles all that comes.
    fn drain(&mut self) {
        for vcpu in 0..2 {
            self.exit(vcpu, 0, 0);
        }
        let (gic, out) = (&mut self.gic, &mut self.physical);
        gic.set_line(0, 33, false, out);
        gic.write_distributor(0, 4, 2, out);
        gic.write_distributor(0x104, 4, u64::MAX, out);
        gic.write_redistributor(0x1_0100, 4, u64::MAX, out);
        gic.write_redistributor(0x3_0100, 4, u64::MAX, out);
        for _ in 0..64 {
            for vcpu in 0..2 {
                self.enter(vcpu);
                self.exit(vcpu, u8::MAX, u8::MAX);
            }
        }
        assert!(!self.gic.has_work(0) && !self.gic.has_work(1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Whatever a guest writes: its list registers hold only what is its own, a running vCPU is told of what comes,
    /// and no passed-through interrupt stays active for ever once the guest handles its interrupts.
    #[test]
    fn no_sequence_breaks_it(steps in prop::collection::vec(any_step(), 1..80)) {
        let mut machine =
            Machine { gic: gic(), physical: Physical::default(), running: [None, None] };
        for step in steps {
            machine.step(step);
            machine.check_kicks();
        }
        machine.drain();
        prop_assert_eq!(&machine.physical.active, &BTreeSet::new());
    }
}
