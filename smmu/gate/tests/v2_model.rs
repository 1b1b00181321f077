//! The gate for SMMUv1 and v2 on the strict model: whatever firmware left, no stream that was blocked is opened on the
//! way, afterwards every stream's accesses are blocked, and no rule is broken.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails by panicking")]

use mmio::{Bus, TableMemory};
use proptest::prelude::*;
use smmu_gate::Found;
use smmu_gate::v2::{Frames, GateError, Smmu, V2Report, opening, shut_v2};
use smmu_model::v2::{Defect, FaultKind, Frame, Params, Route, Smmu as Model};
use smmu_model::{Clock, Memory, Rule};
use std::cell::RefCell;

const SIZE: usize = 0x80_0000;
const STREAMS: [u32; 12] = [0, 1, 2, 3, 5, 0x10, 0x11, 0x3f, 0x1234, 0x7fff, 0x8000, 0xffff];
const IPA: u64 = 0x4000_0000;
const PA: u64 = 0x6000_0000;

/// Bits of SMMU_CR0.
const EXIDENABLE: u32 = 1 << 3;
const USFCFG: u32 = 1 << 10;
const SMCFCFG: u32 = 1 << 21;
const VALID: u32 = 1 << 31;
/// SMMU_S2CRn.
const EXIDVALID: u32 = 1 << 10;
const BYPASS: u32 = 1 << 16;
const FAULT: u32 = 2 << 16;
/// SMMU_CBn_SCTLR: M, CFRE, and CFCFG, which stalls.
const ON: u32 = 0x21;
const STALLING: u32 = 0x80;
/// SMMU_CBn_TCR: 36 bits in from level 1, 40 bits out; AArch32 tables are described by the same word.
const TCR: u32 = 0x8002_355c;

struct Machine {
    memory: Memory,
    clock: Clock,
    model: Model,
    params: Params,
}

impl Machine {
    fn new(params: Params) -> Self {
        let (memory, clock) = (Memory::coherent(), Clock::new());
        let model = Model::new(params, &memory, &clock);
        Machine {
            memory,
            clock,
            model,
            params,
        }
    }

    fn identify(&self) -> Smmu<Frame> {
        let frames = if self.params.frames == 2 {
            Frames::two(self.model.frame(0), self.model.frame(1))
        } else {
            Frames::one(self.model.frame(0))
        };
        Smmu::identify(frames, SIZE, self.params.secure_access).unwrap()
    }

    fn groups(&self) -> u32 {
        self.identify().features().groups.into()
    }

    fn banks(&self) -> usize {
        self.identify().features().banks.into()
    }

    fn page(&self) -> usize {
        self.identify().features().page_bytes
    }

    /// The offset of a register of a bank.
    fn bank(&self, bank: usize, register: usize) -> usize {
        (self.identify().features().global_pages + bank) * self.page() + register
    }

    fn write_cr0(&self, frame: usize, value: u32) {
        let alias = if self.params.secure_access { 0x400 } else { 0 };
        self.model.frame(frame).write32(alias, value);
    }

    /// Stage-2 tables of 36 bits with one block of 1 GiB, as firmware may have made them.
    fn tables(&self) -> u64 {
        let mut memory = self.memory.clone();
        let root = memory.allocate(4096, 4096).unwrap().address;
        memory.write(root + 8, (PA & !0x3fff_ffff) | 0x7fd);
        memory.publish(root, 16);
        root
    }

    /// A bank that translates through such tables, or is off.
    fn set_bank(&self, frame: usize, bank: usize, root: u64, sctlr: u32) {
        let bus = self.model.frame(frame);
        let v1 = self.params.version == smmu_model::v2::Version::V1;
        bus.write32(self.page() + 4 * bank, u32::try_from(bank).unwrap());
        if !v1 {
            bus.write32(self.page() + 0x800 + 4 * bank, 1);
        }
        bus.write32(self.bank(bank, 0x30), TCR);
        bus.write64(self.bank(bank, 0x20), root);
        bus.write32(self.bank(bank, 0), sctlr);
    }

    fn set_group(&self, frame: usize, group: u32, smr: u32, s2cr: u32) {
        let bus = self.model.frame(frame);
        let at = |base: usize| base + 4 * usize::try_from(group).unwrap();
        bus.write32(at(0xc00), s2cr);
        if self.identify().features().stream_match {
            bus.write32(at(0x800), smr);
        }
    }

    fn invalidate_tlb(&self, frame: usize) {
        self.model.frame(frame).write32(0x68, 0);
        self.model.frame(frame).write32(0x70, 0);
        self.clock.advance(10);
    }

    fn frames(&self) -> std::ops::Range<usize> {
        0..self.params.frames
    }

    /// From now on, panics when a stream gets through that did not, or by another way than before.
    fn watch(&self, accesses: bool) {
        let frames = self.params.frames;
        let routes = RefCell::new(routes(&self.model, frames));
        let reached = RefCell::new(accesses.then(|| reached(&self.model)));
        self.model.on_every_change(move |model| {
            let now = self::routes(model, frames);
            let before = routes.replace(now.clone());
            for ((at, before), (_, now)) in before.into_iter().zip(now) {
                let opened = match now {
                    Route::Fault(_) => false,
                    Route::Bypass(_) => !matches!(before, Route::Bypass(_)),
                    Route::Bank(_) => now != before,
                };
                assert!(!opened, "stream {at:x?} went from {before:?} to {now:?}");
            }
            let mut reached = reached.borrow_mut();
            if let Some(before) = reached.as_mut() {
                for (before, now) in before.iter_mut().zip(self::reached(model)) {
                    assert!(now.is_none() || now == *before, "{before:x?} became {now:x?}");
                    *before = now;
                }
            }
        });
    }

    /// Shuts the SMMU, and looks at everything afterwards.
    fn shut(&self, accesses: bool) -> V2Report {
        self.watch(accesses);
        let smmu = self.identify();
        let report = shut_v2(&smmu, &self.clock).unwrap();
        self.model.on_every_change(|_| ());
        assert_eq!(opening(&smmu), None);
        self.model.forbid_bypass();
        for stream in STREAMS {
            for frame in self.frames() {
                for (address, write) in [(IPA, true), (IPA, false), (0, true), (u64::MAX, false)] {
                    let outcome = self.model.dma_through(frame, stream, address, write);
                    assert!(
                        outcome.is_err_and(|blocked| blocked.aborted),
                        "stream {stream:#x}"
                    );
                }
            }
        }
        assert_eq!(self.model.unsettled(), Vec::<String>::new());
        report
    }
}

type Routes = Vec<((usize, u32), Route)>;

fn routes(model: &Model, frames: usize) -> Routes {
    let each = |frame| {
        STREAMS
            .into_iter()
            .map(move |stream| ((frame, stream), model.route_in(frame, stream)))
    };
    (0..frames).flat_map(each).collect()
}

/// Where a write of every stream gets to.
fn reached(model: &Model) -> Vec<Option<u64>> {
    let write = |stream| model.dma(stream, IPA, true).ok().map(|passed| passed.address);
    STREAMS.into_iter().map(write).collect()
}

fn presets() -> [Params; 11] {
    [
        Params::mmu500(),
        Params::generic(),
        Params::mmu401(),
        Params::small(),
        Params::stream_indexing(),
        Params::extended_ids(),
        Params::pair(),
        Params::secure_access(),
        Params::non_coherent(),
        Params::stage1_only(),
        // More groups than the architecture has.
        Params {
            resumes_singly: true,
            ..Params::generic().with_idr(0, 7, 0, 200)
        },
    ]
}

#[test]
fn after_reset_everything_is_open_and_then_shut() {
    for params in presets() {
        let machine = Machine::new(params);
        let accesses = params.frames == 1;
        assert_eq!(machine.shut(accesses).found, Found::Open);
        assert_eq!(machine.shut(accesses).found, Found::Shut);
        machine.model.violations().assert_none();
    }
}

/// What firmware that uses the SMMU leaves: stream 1 translates, stream 2 bypasses, stream 3 stalls, the others fault.
fn running(params: Params) -> Machine {
    let machine = Machine::new(params);
    let root = machine.tables();
    for frame in machine.frames() {
        for group in 0..machine.groups() {
            machine.set_group(frame, group, 0, FAULT);
        }
        for bank in 0..machine.banks() {
            machine.set_bank(frame, bank, root, 0);
            let bus = machine.model.frame(frame);
            bus.write32(machine.bank(bank, 0x58), 0x8000_01fe); // FSR
            bus.write32(machine.bank(bank, 4), 1); // ACTLR, without the prefetcher of the MMU-500
        }
        machine.set_bank(frame, 1, root, ON);
        machine.set_bank(frame, 0, root, ON | STALLING | 0x100);
        machine.invalidate_tlb(frame);
        machine.set_group(frame, 1, VALID | 1, 1);
        machine.set_group(frame, 2, VALID | 2, BYPASS);
        machine.set_group(frame, 3, VALID | 3, 0);
        machine.write_cr0(frame, USFCFG | SMCFCFG);
    }
    machine.model.violations().take();
    machine
}

#[test]
fn what_firmware_runs_is_ended_and_what_it_stalled_is_terminated() {
    let singly = Params {
        resumes_singly: true,
        ..Params::generic()
    };
    for params in [
        Params::generic(),
        Params::mmu401(),
        Params::stream_indexing(),
        singly,
    ] {
        let machine = running(params);
        let stalled = [0, 1, 2].map(|page| {
            machine
                .model
                .dma(3, 0x8000_0000 + (page << 12), true)
                .unwrap_err()
        });
        let tickets = stalled.map(|blocked| blocked.stalled.unwrap());
        assert_eq!(
            machine.model.dma(1, IPA, true).unwrap().address,
            PA & !0x3fff_ffff
        );
        assert_eq!(machine.model.dma(2, IPA, true).unwrap().address, IPA);
        let report = machine.shut(false);
        assert_eq!(
            (report.found, report.bypassing, report.translating),
            (Found::Open, 1, 2)
        );
        for ticket in tickets {
            let ended = machine.model.take_resumed(ticket).unwrap().unwrap_err();
            assert_eq!(ended.kind, FaultKind::Terminated);
        }
        machine.model.violations().assert_none();
    }
}

/// Without an opening from the start, none is ever there: banks go off only when nothing leads to them.
#[test]
fn what_translates_is_never_in_bypass_on_the_way() {
    for params in presets() {
        let machine = running(params);
        for frame in machine.frames() {
            machine.set_group(frame, 2, VALID | 2, FAULT);
        }
        machine.model.violations().take();
        machine.model.forbid_bypass();
        assert_eq!(machine.shut(params.frames == 1).found, Found::Translating);
        machine.model.violations().assert_none();
    }
}

#[test]
fn a_synchronization_that_does_not_end_leaves_the_banks_on_and_every_stream_faulting() {
    let machine = running(Params::generic());
    machine.model.inject(Defect::SyncStuck);
    machine.clock.set_step(1000);
    machine.watch(true);
    let error = shut_v2(&machine.identify(), &machine.clock).unwrap_err();
    assert!(matches!(error, GateError::SyncStuck(_)), "{error}");
    machine.model.on_every_change(|_| ());
    machine.model.forbid_bypass();
    assert_eq!(reached(&machine.model), STREAMS.map(|_| None));
    assert_eq!(machine.model.read32(machine.bank(1, 0)) & 1, 1);
    machine.model.repair();
    machine.shut(true);
    machine.model.violations().assert_none();
}

/// The control: with a bank switched off first, what it translated passes, and this test would see it.
#[test]
fn another_order_would_be_noticed() {
    let machine = running(Params::generic());
    machine.set_group(0, 2, VALID | 2, FAULT);
    machine.model.violations().take();
    machine.model.forbid_bypass();
    machine.model.write32(machine.bank(1, 0), 0);
    machine.model.violations().expect(Rule::Bypass);
    assert_eq!(machine.model.dma(1, IPA, true).unwrap().address, IPA);
}

/// One register set as firmware may have left it: of a group, and of a bank.
#[derive(Debug, Clone)]
struct Left {
    cr0: u32,
    /// All groups were written, and no two match one stream.
    apart: bool,
    groups: Vec<Option<(u32, u32)>>,
    banks: Vec<(u32, u32, bool)>,
}

fn left() -> impl Strategy<Value = Left> {
    let id = prop_oneof![4 => 0_u32..0x20, 1 => any::<u32>()];
    let mask = prop_oneof![6 => Just(0), 2 => 0_u32..0x20, 1 => any::<u32>()];
    let smr = (id, mask, any::<bool>())
        .prop_map(|(id, mask, valid)| u32::from(valid) << 31 | (mask & 0x7fff) << 16 | id & 0xffff);
    let s2cr = (
        0_u32..4,
        0_u32..8,
        any::<bool>(),
        prop_oneof![4 => Just(0), 1 => any::<u32>()],
    );
    let s2cr = s2cr.prop_map(|(kind, bank, exidvalid, rest)| {
        rest & 0x00f0_0300 | kind << 16 | if exidvalid { EXIDVALID } else { 0 } | bank
    });
    let cr0 = (any::<u32>(), any::<bool>()).prop_map(
        |(cr0, usfcfg)| {
            if usfcfg { cr0 | USFCFG | SMCFCFG } else { cr0 }
        },
    );
    let bank = (
        prop_oneof![3 => Just(0_u32), 1 => 0_u32..4],
        any::<u32>(),
        any::<bool>(),
    );
    (
        cr0,
        any::<bool>(),
        prop::collection::vec(prop::option::weighted(0.8, (smr, s2cr)), 200),
        prop::collection::vec(bank, 16),
    )
        .prop_map(|(cr0, apart, groups, banks)| Left {
            cr0,
            apart,
            groups,
            banks,
        })
}

fn set_groups(machine: &Machine, frame: usize, left: &Left) {
    for (group, value) in (0..machine.groups()).zip(&left.groups) {
        match (value, left.apart) {
            (Some((smr, s2cr)), false) => machine.set_group(frame, group, *smr, *s2cr),
            (Some((smr, s2cr)), true) => machine.set_group(frame, group, smr & VALID | group, *s2cr),
            (None, true) => machine.set_group(frame, group, 0, FAULT),
            (None, false) => {}
        }
    }
}

/// Puts a frame into that state; whether its banks are all for stage 2.
fn leave(machine: &Machine, frame: usize, left: &Left) -> bool {
    let root = machine.tables();
    let bus = machine.model.frame(frame);
    set_groups(machine, frame, left);
    let mut stage2 = true;
    for (bank, (kind, sctlr, same)) in (0..machine.banks()).zip(&left.banks) {
        let sctlr = if *same { ON } else { *sctlr & 0x0fff_e1ef };
        machine.set_bank(frame, bank, root, sctlr);
        if *kind != 0 {
            stage2 = false;
            let cbar = machine.page() + 4 * bank;
            bus.write32(cbar, kind << 16 | 1);
        }
    }
    machine.write_cr0(frame, left.cr0);
    // The extended format is chosen before the groups are written, in firmware that is right.
    if left.cr0 & EXIDENABLE != 0 {
        set_groups(machine, frame, left);
    }
    stage2
}

/// The rules that firmware breaks itself, as long as it goes on: several groups match, or some were never written.
fn own_faults(machine: &Machine) -> Vec<Rule> {
    machine.model.violations().take();
    for frame in machine.frames() {
        // Any write of the global space makes the model look.
        machine.model.frame(frame).write32(0x6c, 0);
    }
    let found = machine.model.violations().take();
    found.into_iter().map(|violation| violation.rule).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::default() })]

    /// Any content of any register, in each of two instances another one.
    #[test]
    fn no_state_of_firmware_is_opened_on_the_way(preset in 0_usize..11, first in left(), second in left(), accesses in
        prop::collection::vec((prop::sample::select(STREAMS.to_vec()), any::<bool>()), 0..8)) {
        let machine = Machine::new(presets()[preset]);
        let mut stage2 = true;
        for (frame, left) in machine.frames().zip([first, second]) {
            stage2 &= leave(&machine, frame, &left);
        }
        for (stream, mapped) in accesses {
            let _ = machine.model.dma(stream, if mapped { IPA } else { 0x8000_0000 }, true);
        }
        let excused = own_faults(&machine);
        machine.shut(stage2 && machine.params.frames == 1 && excused.is_empty());
        let mut broken = machine.model.violations().take();
        broken.retain(|violation| !excused.contains(&violation.rule));
        prop_assert!(broken.is_empty(), "{broken:?}");
    }
}
