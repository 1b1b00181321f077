//! Controls: with the gate, or one step of the driver, left out, the property does not hold.

use crate::machine::{Kind, Machine, Sabotage, kinds};
use crate::operations::{Operation, Part};
use crate::properties::{Done, case, run, runner};
use proptest::strategy::{Strategy, ValueTree};
use smmu_gate::v2::shut_v2;
use smmu_model::v2::{Bypass, How, Params};
use smmu_v2::{Driver, Error, Missing, Setup};

/// Sequences in which a control must be noticed.
const TRIES: usize = 40;

const SETUP: Setup = Setup {
    coherent: true,
    vmid_base: 0,
};

/// What is noticed of a sabotage in random sequences, if anything is.
fn noticed(sabotage: Sabotage, kind: impl Fn(usize) -> Kind) -> Option<String> {
    let mut runner = runner(1, 1);
    let done = Done::default();
    (0..TRIES).find_map(|_| {
        let (index, width, mut operations) = case().new_tree(&mut runner).unwrap().current();
        // On sound hardware: that a step is left out must show in what devices reach.
        operations.retain(|operation| !matches!(operation, Operation::Stick { .. }));
        run(kind(index), width, sabotage, &operations, &done).err()
    })
}

#[track_caller]
fn assert_noticed(sabotage: Sabotage, expected: &[&str]) {
    let what = noticed(sabotage, |index| kinds()[index]);
    let what = what.unwrap_or_else(|| panic!("{sabotage:?} is not noticed"));
    assert!(
        expected.iter().any(|words| what.contains(words)),
        "{sabotage:?}: {what}"
    );
}

/// The same sequences without sabotage show nothing: what the others notice is the sabotage.
#[test]
fn without_sabotage_nothing_is_noticed() {
    assert_eq!(noticed(Sabotage::None, |index| kinds()[index]), None);
}

#[test]
fn without_the_gate_every_stream_passes_and_the_driver_refuses() {
    for kind in kinds() {
        let machine = Machine::new(kind);
        let passed = machine.model.dma(5, 0x4000_0000, true).unwrap();
        let how = How::Bypassed(Bypass::ClientPortDisabled);
        assert_eq!((passed.address, passed.how), (0x4000_0000, how));
        let refused = Driver::probe(machine.identify(), machine.clock.clone(), &SETUP);
        assert!(matches!(refused, Err(Error::GateOpen(_))));
    }
}

#[test]
fn an_smmu_without_stage_2_is_shut_and_refused() {
    let kind = Kind {
        params: Params::stage1_only(),
        ..kinds()[1]
    };
    let machine = Machine::new(kind);
    let smmu = machine.identify();
    shut_v2(&smmu, &machine.clock).unwrap();
    machine.model.forbid_bypass();
    let refused = Driver::probe(smmu, machine.clock.clone(), &SETUP);
    assert!(matches!(refused, Err(Error::Unsupported(Missing::Stage2))));
    assert!(machine.model.dma(5, 0x4000_0000, true).is_err());
    machine.model.violations().assert_none();
}

#[test]
fn groups_left_in_bypass_are_noticed() {
    assert_noticed(Sabotage::BypassForFault, &["Bypass"]);
}

#[test]
fn groups_that_do_not_change_are_noticed() {
    assert_noticed(Sabotage::NoGroupChange, &["instead of", "Reserved"]);
}

#[test]
fn groups_that_stay_valid_are_noticed() {
    assert_noticed(
        Sabotage::NoGroupInvalidation,
        &["StreamMatchConflict", "instead of"],
    );
}

/// By the driver itself, which reads back what it wrote.
#[test]
fn banks_left_off_are_noticed() {
    assert_noticed(Sabotage::NoBankEnable, &["SCTLR"]);
}

/// By the driver itself.
#[test]
fn banks_with_old_tables_are_noticed() {
    assert_noticed(Sabotage::NoRoot, &["TTBR0"]);
}

/// Old translations are used: the stage-2 tables say one thing, the TLB another.
const STALE: [&str; 4] = ["instead of", "cached", "VmidReuse", "NotAllocated"];

#[test]
fn vmids_that_are_not_invalidated_are_noticed() {
    assert_noticed(Sabotage::NoVmidInvalidation, &STALE);
}

#[test]
fn pages_that_are_not_invalidated_are_noticed() {
    // Where pages are invalidated one by one at all.
    let what = noticed(Sabotage::NoPageInvalidation, |_| kinds()[1]).unwrap();
    assert!(STALE.iter().any(|words| what.contains(words)), "{what}");
}

#[test]
fn invalidations_that_nothing_waits_for_are_noticed() {
    assert_noticed(Sabotage::NoSynchronization, &STALE);
}

#[test]
fn faults_that_are_not_cleared_are_noticed() {
    assert_noticed(
        Sabotage::NoFaultClear,
        &["never happened", "lost", "does not end", "more: true"],
    );
}

/// The least that shows a stale translation: one page, used and then taken away.
#[test]
fn a_page_that_is_taken_away_is_used_without_invalidation() {
    let operations = [
        Operation::Attach { device: 0, space: 0 },
        Operation::Map {
            space: 0,
            area: 1,
            access: stage2::Access::ReadWrite,
        },
        Operation::Unmap {
            space: 0,
            area: 1,
            part: Part { first: 0, count: 1 },
        },
    ];
    let result = |sabotage| run(kinds()[1], 39, sabotage, &operations, &Done::default());
    assert_eq!(result(Sabotage::None), Ok(()));
    let what = result(Sabotage::NoPageInvalidation).unwrap_err();
    assert!(what.contains("instead of"), "{what}");
}
