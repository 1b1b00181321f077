//! What a call with several streams comes to, on the strict model of an SMMUv2.

use super::*;
use mmio::TableMemory;
use smmu_gate::v2::shut_v2;
use smmu_model::v2::{FaultKind, Params, Route, Smmu as Model};
use smmu_model::{Clock as Time, Memory};
use smmu_v2::{Frames, Setup, Smmu};

/// An SMMUv2 with few of everything, whose gate is shut, and its driver.
struct Machine {
    memory: Memory,
    model: Model,
    driver: Driver<smmu_model::v2::Frame, Time>,
}

impl Machine {
    fn new(groups: u32, banks: u32) -> Self {
        let params = Params::generic()
            .with_idr(0, 7, 0, groups)
            .with_idr(1, 7, 0, banks)
            .with_idr(1, 23, 16, 0)
            // 8 bits of VMID.
            .with_idr(2, 15, 15, 0);
        let memory = Memory::coherent();
        let time = Time::new();
        let model = Model::new(params, &memory, &time);
        let smmu = Smmu::identify(Frames::one(model.frame(0)), 0x100_0000, false).unwrap();
        shut_v2(&smmu, &time).unwrap();
        model.forbid_bypass();
        let setup = Setup {
            coherent: true,
            vmid_base: 0,
        };
        let driver = Driver::probe(smmu, time, &setup).unwrap();
        Machine {
            memory,
            model,
            driver,
        }
    }

    /// A domain with a root table of its own.
    fn domain(&mut self, vmid: u16) -> Domain {
        Domain {
            root: self.memory.allocate(4096, 4096).unwrap().address,
            vmid,
            ipa_bits: 39,
            pa_bits: 40,
            start_level: 1,
            reserved: [0; 3],
        }
    }

    /// Groups that match something.
    fn groups_in_use(&self) -> usize {
        let frame = self.model.frame(0);
        let count = usize::from(self.driver.features().groups);
        (0..count)
            .filter(|group| frame.read32(0x800 + 4 * group) >> 31 == 1)
            .count()
    }

    /// The banks that streams lead to; nothing for those that fault.
    fn banks(&self, ids: impl IntoIterator<Item = u32>) -> Vec<Option<usize>> {
        ids.into_iter()
            .map(|id| match self.model.route(id) {
                Route::Bank(bank) => Some(bank),
                Route::Fault(FaultKind::UnidentifiedStream) => None,
                other => panic!("stream {id:#x}: {other:?}"),
            })
            .collect()
    }
}

fn exact(ids: impl IntoIterator<Item = u32>) -> Vec<Stream> {
    ids.into_iter().map(|id| Stream { id, mask: 0 }).collect()
}

#[test]
fn streams_of_one_call_share_groups() {
    let mut machine = Machine::new(4, 2);
    let domain = machine.domain(1);
    let streams = exact([0x10, 0x11, 0x12, 0x13, 0x20]);
    attach(&mut machine.driver, &streams, &domain).unwrap();
    assert_eq!(machine.groups_in_use(), 2);
    assert_eq!(machine.banks([0x10, 0x11, 0x12, 0x13, 0x20]), [Some(0); 5]);
    assert_eq!(machine.banks([0x14, 0x21]), [None; 2]);

    // They leave as they came.
    assert_eq!(detach(&mut machine.driver, &streams[..1]), Err(Status::BUSY));
    detach(&mut machine.driver, &streams).unwrap();
    assert_eq!(machine.groups_in_use(), 0);
    assert_eq!(machine.banks(0x10..0x21), [None; 0x11]);
    machine.model.violations().assert_none();
}

#[test]
fn a_stream_under_the_mask_of_another_has_no_group_of_its_own() {
    let mut machine = Machine::new(4, 2);
    let domain = machine.domain(1);
    let wide = Stream { id: 0x10, mask: 0xf };
    attach(&mut machine.driver, &[wide, exact([0x12])[0]], &domain).unwrap();
    assert_eq!(machine.groups_in_use(), 1);
    assert_eq!(machine.banks(0x10..0x20), [Some(0); 16]);
    // What the core never asks for, since it would be found twice.
    let again = attach(&mut machine.driver, &exact([0x15]), &domain);
    assert_eq!(again, Err(Status::BUSY));
    machine.model.violations().assert_none();
}

#[test]
fn what_runs_short_has_a_status_and_attaches_nothing() {
    let mut machine = Machine::new(3, 1);
    let (domain, other, wide) = (machine.domain(1), machine.domain(2), machine.domain(0x100));
    attach(&mut machine.driver, &exact([1]), &domain).unwrap();
    // Three groups for streams that have none in common, of which two are free.
    let scattered = exact([0x10, 0x21, 0x42]);
    let short = [
        attach(&mut machine.driver, &scattered, &domain),
        attach(&mut machine.driver, &exact([2]), &other),
        attach(&mut machine.driver, &exact([2]), &wide),
    ];
    assert_eq!(short, [Err(Status::NO_ROOM); 3]);
    assert_eq!(
        Status::NO_ROOM.describe(),
        "no stream match, context bank or VMID is left"
    );
    assert_eq!(
        machine.banks([1, 2, 0x10, 0x21, 0x42]),
        [Some(0), None, None, None, None]
    );
    assert_eq!(machine.groups_in_use(), 1);
    attach(&mut machine.driver, &scattered[..2], &domain).unwrap();
    assert_eq!(machine.groups_in_use(), 3);
    machine.model.violations().assert_none();
}

#[test]
fn as_many_streams_as_a_call_takes_are_packed() {
    let mut machine = Machine::new(1, 1);
    let domain = machine.domain(1);
    let count = u32::try_from(MAX_STREAMS).unwrap();
    let streams = exact(0..count);
    attach(&mut machine.driver, &streams, &domain).unwrap();
    assert_eq!(machine.groups_in_use(), 1);
    detach(&mut machine.driver, &streams).unwrap();
    let more = attach(&mut machine.driver, &exact(0..=count), &domain);
    assert_eq!(more, Err(Status::INVALID));
    assert_eq!(machine.banks([0, count]), [None; 2]);
}
