//! All of a call's streams or none, on the strict model of an SMMUv3.

use super::*;
use smmu_gate::shut_v3;
use smmu_model::v3::{Config, Fates, Fault, Smmu};
use smmu_model::{Clock as Time, Memory, Rule};
use smmu_v3::Setup;

/// An SMMUv3 whose gate is shut, and its driver.
struct Machine {
    memory: Memory,
    time: Time,
    smmu: Smmu,
    driver: Driver<Smmu, Memory, Time>,
}

impl Machine {
    fn new(config: Config) -> Self {
        let memory = Memory::coherent();
        let time = Time::new();
        let smmu = Smmu::new(config, &memory, &time);
        shut_v3(&smmu, &time).unwrap();
        smmu.forbid_bypass();
        let setup = Setup {
            max_stream: 0x3f,
            coherent: true,
        };
        let driver = Driver::probe(smmu.clone(), memory.clone(), time.clone(), &setup).unwrap();
        Machine {
            memory,
            time,
            smmu,
            driver,
        }
    }

    /// A domain with a root table of its own.
    fn domain(&mut self, vmid: u16) -> Domain {
        Domain {
            root: self.memory.allocate(4096, 4096).unwrap().address,
            vmid,
            ipa_bits: 36,
            pa_bits: 36,
            start_level: 1,
            reserved: [0; 3],
        }
    }

    /// Those streams that translate.
    fn translating(&self) -> Vec<u32> {
        let translates = |id: &u32| match self.smmu.fates(*id) {
            Fates {
                abort: true,
                bypass: false,
                translate: false,
            } => false,
            Fates {
                abort: false,
                bypass: false,
                translate: true,
            } => true,
            other => panic!("stream {id:#x}: {other:?}"),
        };
        (0..0x40).filter(translates).collect()
    }
}

fn exact(ids: impl IntoIterator<Item = u32>) -> Vec<Stream> {
    ids.into_iter().map(|id| Stream { id, mask: 0 }).collect()
}

#[test]
fn all_streams_of_a_call_are_attached_and_detached() {
    let mut machine = Machine::new(Config::small());
    let domain = machine.domain(1);
    attach(&mut machine.driver, &exact([1, 5, 9]), &domain).unwrap();
    assert_eq!(machine.translating(), [1, 5, 9]);
    detach(&mut machine.driver, &exact([1, 9])).unwrap();
    assert_eq!(machine.translating(), [5]);
    machine.smmu.violations().assert_none();
}

#[test]
fn after_an_error_no_stream_of_the_call_is_attached() {
    let mut machine = Machine::new(Config::small());
    let (domain, other, wide) = (machine.domain(1), machine.domain(1), machine.domain(0x100));
    attach(&mut machine.driver, &exact([5]), &domain).unwrap();
    let masked = Stream { id: 8, mask: 7 };
    let cases = [
        // Attached already, outside the table, not exact, a VMID that is taken, and one that is too wide.
        (exact([1, 2, 5]), domain, Status::BUSY),
        (exact([1, 2, 0x40]), domain, Status::STREAM_RANGE),
        ([exact([1, 2]), vec![masked]].concat(), domain, Status::INVALID),
        (exact([1, 2]), other, Status::BUSY),
        (exact([1, 2]), wide, Status::NO_ROOM),
    ];
    for (streams, domain, status) in cases {
        assert_eq!(attach(&mut machine.driver, &streams, &domain), Err(status));
        assert_eq!(machine.translating(), [5], "{streams:?}");
    }
    machine.smmu.violations().assert_none();
}

#[test]
fn a_command_that_is_refused_undoes_the_call() {
    // Each stream takes at least eight commands: the refused one is in every step of both.
    for after in 0..16 {
        let mut machine = Machine::new(Config::small());
        let domain = machine.domain(1);
        machine.smmu.inject(Fault::CommandIllegal { after });
        let attached = attach(&mut machine.driver, &exact([1, 2]), &domain);
        let expected: &[u32] = if attached.is_ok() { &[1, 2] } else { &[] };
        assert_eq!(machine.translating(), expected, "after {after}: {attached:?}");
        assert!(matches!(attached, Ok(()) | Err(Status::DEVICE_ERROR)));
        // Where the refused command was to make the SMMU forget, it may see the old and the new entry mixed: both are of
        // this call, and abort in the end.
        let broken = machine.smmu.violations().take();
        assert!(
            broken.iter().all(|found| found.rule == Rule::HalfWritten),
            "{broken:?}"
        );
    }
}

#[test]
fn an_smmu_that_does_not_answer_is_not_waited_for_stream_by_stream() {
    let mut machine = Machine::new(Config::small());
    let domain = machine.domain(1);
    let streams = exact(0..0x30);
    attach(&mut machine.driver, &streams, &domain).unwrap();
    machine.time.set_step(100);
    machine.smmu.inject(Fault::CommandsStuck);
    let start = machine.time.peek_us();
    assert_eq!(detach(&mut machine.driver, &streams), Err(Status::TIMEOUT));
    assert_eq!(
        attach(&mut machine.driver, &exact(0x30..0x40), &domain),
        Err(Status::TIMEOUT)
    );
    let waited = machine.time.peek_us() - start;
    assert!(waited < driver_abi::CALL_LIMIT_US, "took {waited} us");
}
