//! A machine with an SMMUv2 and an SMMUv3, a master behind each, and one page table for both.
//!
//! The scenarios `bench-v2-attacks-v3` and `bench-v3-attacks-v2` boot the whole hypervisor on such a machine.

use crate::machine::{Machine, ModelDriver, kinds};
use smmu_gate::shut_v3;
use smmu_model::v2::How;
use smmu_model::v3::{Config, DmaOutcome, Smmu as ModelV3};
use smmu_model::{Clock, Memory};
use smmu_v2::{Domain, IpaRange, Stream};
use smmu_v3::Driver as DriverV3;
use stage2::{AddressSpace, Attributes, Geometry, Invalidate, InvalidateError, Walker, WalkerLimits};

const MASTER_V2: [Stream; 1] = [Stream { id: 0x10, mask: 0 }];
const MASTER_V3: u32 = 0x20;
const VMID: u16 = 7;
const IPA: u64 = 0x4000_0000;
const PA: u64 = 0x1_2345_6000;

/// Both drivers, which have to forget together.
struct Both {
    v2: ModelDriver,
    v3: DriverV3<ModelV3, Memory, Clock>,
}

impl Invalidate for Both {
    fn invalidate(&mut self, vmid: u16, ipa: u64, size: u64) -> Result<(), InvalidateError> {
        let failed = |number| InvalidateError {
            walker: Walker::Smmu(number),
            status: 1,
        };
        let range = IpaRange { vmid, ipa, size };
        self.v2.invalidate(&range).map_err(|_| failed(0))?;
        self.v3.invalidate(&range).map_err(|_| failed(1))
    }
}

struct Pair {
    machine: Machine,
    model_v3: ModelV3,
    both: Both,
    tables: AddressSpace,
}

impl Pair {
    fn new() -> Self {
        let mut machine = Machine::new(kinds()[0]);
        let model_v3 = ModelV3::new(Config::qemu10(), &machine.memory, &machine.clock);
        let v2 = machine.start();
        shut_v3(&model_v3, &machine.clock).unwrap();
        model_v3.forbid_bypass();
        let setup = smmu_v3::Setup {
            max_stream: 0xff,
            coherent: true,
        };
        let (memory, clock) = (machine.memory.clone(), machine.clock.clone());
        let v3 = DriverV3::probe(model_v3.clone(), memory, clock, &setup).unwrap();
        let walkers = [
            WalkerLimits {
                name: "v2",
                input_bits: v2.features().input_bits,
                output_bits: v2.features().output_bits,
                granule_4k: true,
            },
            WalkerLimits::smmu("v3", 44, true),
        ];
        let geometry = Geometry::choose(&walkers).unwrap();
        let tables = AddressSpace::new(&mut machine.memory, geometry, VMID).unwrap();
        Pair {
            machine,
            model_v3,
            both: Both { v2, v3 },
            tables,
        }
    }

    fn domain(&self) -> Domain {
        Domain {
            root: self.tables.root(),
            vmid: VMID,
            ipa_bits: self.tables.geometry().ipa_bits(),
            pa_bits: self.tables.geometry().pa_bits(),
            start_level: self.tables.geometry().start_level(),
        }
    }

    /// Where a write of each master gets to.
    fn reached(&self, ipa: u64) -> (Option<u64>, Option<u64>) {
        let v2 = self.machine.model.dma(MASTER_V2[0].id, ipa, true);
        let v2 = v2.ok().map(|passed| match passed.how {
            How::Translated { .. } => passed.address,
            How::Bypassed(reason) => panic!("{reason:?}"),
        });
        let v3 = match self.model_v3.dma(MASTER_V3, ipa, true) {
            DmaOutcome::Translated { pa, .. } => Some(pa),
            DmaOutcome::Aborted { .. } => None,
            other => panic!("{other:?}"),
        };
        (v2, v3)
    }

    fn map(&mut self, size: u64) {
        let memory = &mut self.machine.memory;
        self.tables.map(memory, IPA, PA, size, Attributes::RAM).unwrap();
    }

    fn attach(&mut self) {
        let domain = self.domain();
        self.both.v2.attach(&MASTER_V2, &domain).unwrap();
        self.both.v3.attach(MASTER_V3, &domain).unwrap();
    }

    #[track_caller]
    fn assert_settled(&self) {
        assert_eq!(self.machine.model.unsettled(), Vec::<String>::new());
        assert_eq!(self.model_v3.unsettled(), Vec::<String>::new());
        self.machine.model.violations().assert_none();
    }
}

#[test]
fn both_translate_through_one_table_and_lose_a_page_together() {
    let mut pair = Pair::new();
    assert_eq!(pair.reached(IPA), (None, None));
    pair.map(0x3000);
    pair.attach();
    assert_eq!(pair.reached(IPA + 0x2008), (Some(PA + 0x2008), Some(PA + 0x2008)));
    let memory = &mut pair.machine.memory;
    pair.tables
        .unmap(memory, &mut pair.both, IPA + 0x2000, 0x1000)
        .unwrap();
    assert_eq!(pair.reached(IPA + 0x2008), (None, None));
    assert_eq!(pair.reached(IPA), (Some(PA), Some(PA)));
    pair.assert_settled();
}

#[test]
fn detaching_one_leaves_the_other() {
    let mut pair = Pair::new();
    pair.map(0x1000);
    pair.attach();
    assert_eq!(pair.reached(IPA), (Some(PA), Some(PA)));
    pair.both.v2.detach(&MASTER_V2).unwrap();
    assert_eq!(pair.reached(IPA), (None, Some(PA)));
    let domain = pair.domain();
    pair.both.v2.attach(&MASTER_V2, &domain).unwrap();
    pair.both.v3.detach(MASTER_V3).unwrap();
    assert_eq!(pair.reached(IPA), (Some(PA), None));
    pair.both.v2.quiesce().unwrap();
    assert_eq!(pair.reached(IPA), (None, None));
    pair.assert_settled();
}

/// Each driver is told of one SMMU: releasing it shuts that one.
#[test]
fn releasing_one_leaves_the_other() {
    let mut pair = Pair::new();
    pair.map(0x1000);
    pair.attach();
    let Pair {
        both: Both { v2, v3 },
        ..
    } = pair;
    v2.release().unwrap();
    let reached = |model: &ModelV3| match model.dma(MASTER_V3, IPA, false) {
        DmaOutcome::Translated { pa, .. } => Some(pa),
        _ => None,
    };
    assert_eq!(reached(&pair.model_v3), Some(PA));
    assert!(pair.machine.model.dma(MASTER_V2[0].id, IPA, false).is_err());
    let Ok(_) = v3.release() else {
        panic!("not released")
    };
    assert_eq!(reached(&pair.model_v3), None);
    pair.machine.model.violations().assert_none();
}

/// The control: what only one of them forgets, the other still reaches.
#[test]
fn a_page_that_one_was_not_told_of_is_still_reached() {
    let mut pair = Pair::new();
    pair.map(0x1000);
    pair.attach();
    assert_eq!(pair.reached(IPA), (Some(PA), Some(PA)));
    let mut only = crate::world::Caches(&mut pair.both.v2);
    let memory = &mut pair.machine.memory;
    pair.tables.unmap(memory, &mut only, IPA, 0x1000).unwrap();
    assert_eq!(pair.reached(IPA), (None, Some(PA)));
    pair.machine.model.violations().take();
}
