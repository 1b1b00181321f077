//! The transitions, one by one and at random.

use super::*;
use driver_abi::{FaultKind, Stream};
use partition::{Dma, OnFault};
use proptest::prelude::*;

/// The tree of a source text.
pub(crate) fn tree(source: &str) -> devicetree::Tree {
    let blob = crate::source::compile(source).unwrap();
    devicetree::Tree::new(devicetree::Blob::new(&blob).unwrap()).unwrap()
}

pub(crate) fn stream(id: u32) -> Stream {
    Stream { id, mask: 0 }
}

pub(crate) fn given(guest: usize) -> Option<Assignment> {
    Some(Assignment {
        guest: GuestId(guest),
        dma: Dma::Isolated,
        on_fault: OnFault::Log,
    })
}

pub(crate) fn covered(name: &str, streams: &[(SmmuId, u32)], assignment: Option<Assignment>) -> MasterSpec {
    let streams: Vec<_> = streams.iter().map(|(smmu, id)| (*smmu, stream(*id))).collect();
    MasterSpec {
        name: name.into(),
        matches: streams.clone(),
        streams,
        coverage: Coverage::Covered,
        assignment,
    }
}

pub(crate) fn registry() -> (Registry, SmmuId, SmmuId) {
    let mut registry = Registry::new(vec!["alice".into(), "mallory".into()]);
    let a = registry.add_smmu("/smmu@1".into(), None);
    let b = registry.add_smmu("/smmu@2".into(), None);
    (registry, a, b)
}

#[test]
fn a_master_waits_for_its_driver_and_then_goes_live() {
    let (mut registry, smmu, _) = registry();
    let id = registry.add_master(covered("dev", &[(smmu, 8)], given(0)), 10);
    assert_eq!(registry.master(id).unwrap().state(), State::Pending);
    assert_eq!(registry.attach_plan(id), Err(NotNow::State(State::Pending)));
    assert_eq!(registry.attached(id, 11), None);

    let changes = registry.driver_live(smmu, "smmu-v3", 2_000_010);
    assert_eq!(changes.len(), 1);
    assert_eq!((changes[0].from, changes[0].to), (State::Pending, State::Held));

    assert_eq!(registry.attach_plan(id).unwrap().guest, GuestId(0));
    let change = registry.attached(id, 2_000_020).unwrap();
    assert_eq!(change.to, State::Live(GuestId(0)));
    assert_eq!(registry.master(id).unwrap().waited_us(), 2_000_010);
    assert_eq!(
        registry.why(id).unwrap().to_string(),
        "pending at 0.000010 s (/smmu@1 has no driver yet) → held at 2.000010 s (smmu-v3 drives its SMMU) \
         → live(alice) at 2.000020 s (attached to its guest's stage 2)"
    );
}

#[test]
fn a_master_behind_two_smmus_waits_for_both() {
    let (mut registry, a, b) = registry();
    let id = registry.add_master(covered("dev", &[(a, 1), (b, 1)], given(0)), 0);
    assert_eq!(registry.driver_live(a, "v3", 1), vec![]);
    assert_eq!(registry.master(id).unwrap().state(), State::Pending);
    assert_eq!(registry.attach_plan(id), Err(NotNow::State(State::Pending)));
    assert_eq!(registry.driver_live(b, "v2", 2).len(), 1);
    assert_eq!(registry.master(id).unwrap().state(), State::Held);
    let plan = registry.attach_plan(id).unwrap();
    let smmus = plan.matches.iter().map(|(smmu, _)| *smmu);
    assert_eq!(smmus.collect::<Vec<_>>(), [a, b]);
}

#[test]
fn a_driver_that_fails_takes_only_what_is_behind_its_smmu() {
    let (mut registry, a, b) = registry();
    let behind_a = registry.add_master(covered("a", &[(a, 1)], given(0)), 0);
    let behind_b = registry.add_master(covered("b", &[(b, 1)], given(1)), 0);
    let behind_both = registry.add_master(covered("both", &[(a, 2), (b, 2)], given(1)), 0);
    registry.driver_live(a, "v3", 1);
    registry.driver_live(b, "v2", 1);
    for id in [behind_a, behind_b, behind_both] {
        registry.attached(id, 2);
    }
    assert_eq!(registry.driver_failed(b, "timeout", 3).len(), 2);
    assert_eq!(
        registry.master(behind_a).unwrap().state(),
        State::Live(GuestId(0))
    );
    assert_eq!(registry.master(behind_b).unwrap().state(), State::Pending);
    assert_eq!(registry.master(behind_both).unwrap().state(), State::Pending);
}

#[test]
fn a_plan_has_the_matches_of_each_smmu_once() {
    let (mut registry, a, b) = registry();
    let wide = Stream { id: 0x10, mask: 0xf };
    let spec = MasterSpec {
        streams: vec![(b, stream(7)), (a, stream(0x12)), (a, stream(3))],
        matches: vec![(b, stream(7)), (a, wide), (a, stream(3)), (a, wide)],
        ..covered("dev", &[], given(0))
    };
    let id = registry.add_master(spec, 0);
    registry.driver_live(a, "v2", 1);
    registry.driver_live(b, "v2", 2);
    let plan = registry.attach_plan(id).unwrap();
    assert_eq!(plan.matches, [(a, vec![stream(3), wide]), (b, vec![stream(7)])]);
}

#[test]
fn sealing_turns_late_into_never() {
    let (mut registry, a, b) = registry();
    let waiting = registry.add_master(covered("w", &[(a, 1)], given(0)), 0);
    let held = registry.add_master(covered("h", &[(b, 1)], given(0)), 0);
    registry.driver_live(b, "v3", 1);
    let changes = registry.seal(5);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].reason, Reason::Sealed("/smmu@1".into()));
    assert_eq!(registry.master(waiting).unwrap().state(), State::Refused);
    assert_eq!(registry.master(held).unwrap().state(), State::Held);
    // A driver that comes after all does not revive a refused master.
    assert_eq!(registry.driver_live(a, "v3", 6), vec![]);
    assert_eq!(registry.attach_plan(waiting), Err(NotNow::State(State::Refused)));
}

#[test]
fn a_failing_driver_leaves_its_masters_pending_and_says_why() {
    let (mut registry, a, b) = registry();
    let behind = registry.add_master(covered("x", &[(a, 1)], given(0)), 0);
    let elsewhere = registry.add_master(covered("y", &[(b, 1)], given(1)), 0);
    registry.driver_live(b, "v3", 1);
    registry.attached(elsewhere, 1);
    let changes = registry.driver_failed(a, "probe: timeout", 2);
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].reason, Reason::DriverFailed("probe: timeout".into()));
    assert_eq!(registry.master(behind).unwrap().state(), State::Pending);
    assert_eq!(
        registry.master(elsewhere).unwrap().state(),
        State::Live(GuestId(1))
    );
    // A driver that fails while live cuts its masters off.
    registry.driver_failed(b, "panic", 3);
    assert_eq!(registry.master(elsewhere).unwrap().state(), State::Pending);
    // After the seal nothing can come any more.
    registry.seal(4);
    assert_eq!(registry.master(elsewhere).unwrap().state(), State::Refused);
}

#[test]
fn a_driver_that_failed_does_not_count_for_a_master_behind_two() {
    let (mut registry, a, b) = registry();
    let id = registry.add_master(covered("dev", &[(a, 1), (b, 1)], given(0)), 0);
    registry.driver_live(a, "v3", 1);
    registry.driver_failed(a, "panic", 2);
    assert_eq!(registry.smmu(a).unwrap().driver, None);
    assert_eq!(registry.driver_live(b, "v3", 3), vec![]);
    assert_eq!(registry.master(id).unwrap().state(), State::Pending);
}

#[test]
fn a_driver_that_fails_after_the_seal_is_the_last() {
    let (mut registry, smmu, _) = registry();
    let id = registry.add_master(covered("dev", &[(smmu, 1)], given(0)), 0);
    registry.driver_live(smmu, "v3", 1);
    registry.attached(id, 2);
    registry.seal(3);
    assert!(registry.is_sealed());
    registry.driver_failed(smmu, "panic", 4);
    assert_eq!(registry.master(id).unwrap().state(), State::Refused);
}

#[test]
fn a_quarantine_outlives_its_driver() {
    let (mut registry, smmu, _) = registry();
    let id = registry.add_master(covered("dev", &[(smmu, 1)], given(1)), 0);
    registry.driver_live(smmu, "v3", 1);
    registry.attached(id, 2);
    registry.quarantined(id, "x", &[], 3);
    assert_eq!(registry.driver_failed(smmu, "panic", 4).len(), 1);
    assert_eq!(registry.driver_live(smmu, "v3", 5), vec![]);
    assert_eq!(registry.attach_plan(id), Err(NotNow::State(State::Refused)));
}

#[test]
fn what_could_not_be_attached_is_not_tried_again() {
    let (mut registry, smmu, _) = registry();
    let id = registry.add_master(covered("dev", &[(smmu, 1)], given(0)), 0);
    registry.driver_live(smmu, "v3", 1);
    let change = registry.attach_failed(id, "VMID taken".into(), 2).unwrap();
    assert_eq!((change.from, change.to), (State::Held, State::Refused));
    assert_eq!(registry.attach_plan(id), Err(NotNow::State(State::Refused)));
}

#[test]
fn uncovered_masters_need_the_partition_files_consent() {
    let (mut registry, _, _) = registry();
    let spec = |assignment| MasterSpec {
        name: "dma".into(),
        streams: vec![],
        matches: vec![],
        coverage: Coverage::Uncovered,
        assignment,
    };
    let nobody = registry.add_master(spec(None), 0);
    let untrusted = registry.add_master(spec(given(0)), 0);
    let trusted = given(0).map(|assignment| Assignment {
        dma: Dma::Trusted,
        ..assignment
    });
    let trusted = registry.add_master(spec(trusted), 0);
    assert_eq!(registry.master(nobody).unwrap().state(), State::Uncovered);
    assert_eq!(registry.master(untrusted).unwrap().state(), State::Refused);
    assert_eq!(
        registry.master(untrusted).unwrap().reason(),
        Some(&Reason::NotTrusted)
    );
    assert_eq!(registry.master(trusted).unwrap().state(), State::Uncovered);
    assert_eq!(registry.master(trusted).unwrap().reason(), Some(&Reason::Trusted));
}

#[test]
fn trust_does_not_open_a_covered_master() {
    let (mut registry, smmu, _) = registry();
    let trusted = given(0).map(|assignment| Assignment {
        dma: Dma::Trusted,
        ..assignment
    });
    let id = registry.add_master(covered("dev", &[(smmu, 1)], trusted), 0);
    assert_eq!(registry.master(id).unwrap().state(), State::Pending);
}

#[test]
fn a_covered_master_without_streams_or_with_a_dead_smmu_is_refused() {
    let (mut registry, _, _) = registry();
    let dead = registry.add_smmu("/smmu@3".into(), Some("reads as zero".into()));
    let none = registry.add_master(covered("none", &[], given(0)), 0);
    let behind = registry.add_master(covered("behind", &[(dead, 1)], given(0)), 0);
    let unknown = registry.add_master(covered("unknown", &[(SmmuId(9), 1)], given(0)), 0);
    for id in [none, behind, unknown] {
        assert_eq!(registry.master(id).unwrap().state(), State::Refused);
    }
}

#[test]
fn a_master_of_which_a_stream_cannot_be_attached_is_refused() {
    let (mut registry, a, b) = registry();
    let wide = |id, mask| Stream { id, mask };
    let mut state = |streams: &[_], matches: &[_]| {
        let spec = MasterSpec {
            streams: streams.to_vec(),
            matches: matches.to_vec(),
            ..covered("dev", &[], given(0))
        };
        let id = registry.add_master(spec, 0);
        registry.master(id).unwrap().state()
    };
    let one = [(a, stream(0x12))];
    assert_eq!(state(&one, &[]), State::Refused);
    assert_eq!(state(&one, &[(b, stream(0x12))]), State::Refused);
    assert_eq!(state(&one, &[(a, wide(0x20, 0xf))]), State::Refused);
    assert_eq!(state(&one, &[(a, wide(0x10, 0xf))]), State::Pending);
    assert_eq!(
        state(&[(a, wide(0x10, 0x1f))], &[(a, wide(0x10, 0xf))]),
        State::Refused
    );
    assert_eq!(
        state(&[(a, stream(1)), (b, stream(1))], &[(a, stream(1))]),
        State::Refused
    );
}

#[test]
fn a_group_has_one_owner() {
    let (mut registry, smmu, other) = registry();
    let a = registry.add_master(covered("a", &[(smmu, 1), (smmu, 2)], given(0)), 0);
    let b = registry.add_master(covered("b", &[(smmu, 2), (smmu, 3)], given(0)), 0);
    let c = registry.add_master(covered("c", &[(smmu, 3)], given(1)), 0);
    let d = registry.add_master(covered("d", &[(other, 3)], given(1)), 0);
    let groups = [group(&[a, b, c], &[]), group(&[d], &[])];
    let changes = registry.settle_groups(&groups, 1);
    for id in [a, b, c] {
        assert_eq!(registry.master(id).unwrap().state(), State::Refused);
    }
    let said: Vec<String> = changes.iter().map(|change| change.reason.to_string()).collect();
    // Each names one with another owner, and what they share: a and c have a stream in common with b only.
    let end = "; give the whole group to one guest";
    let both = |other: &str, owner: &str, shared: &str| {
        format!("it cannot be kept apart from {other}, which {owner} was given: {shared}{end}")
    };
    assert_eq!(
        said,
        [
            both("c", "mallory", "others of their group share streams with both"),
            both("c", "mallory", "both emit stream 0x3 at /smmu@1"),
            both("b", "alice", "both emit stream 0x3 at /smmu@1"),
        ]
    );
    assert_eq!(registry.master(d).unwrap().state(), State::Pending);
}

#[test]
fn a_group_shared_with_nobodys_device_is_split_too() {
    let (mut registry, smmu, _) = registry();
    let mine = registry.add_master(covered("mine", &[(smmu, 2)], given(0)), 0);
    let nobodys = registry.add_master(covered("nobodys", &[(smmu, 2)], None), 0);
    let changes = registry.settle_groups(&[group(&[mine, nobodys], &[])], 1);
    let said: Vec<String> = changes.iter().map(|change| change.reason.to_string()).collect();
    let [first, second] = said.as_slice() else {
        unreachable!()
    };
    assert!(
        first.contains("from nobodys, which nobody was given: both emit stream 0x2 at"),
        "{first}"
    );
    assert!(
        second.contains("from mine, which alice was given: both emit"),
        "{second}"
    );
}

#[test]
fn peers_that_are_split_say_where_they_meet() {
    let (mut registry, smmu, _) = registry();
    let a = registry.add_master(covered("a", &[(smmu, 1)], given(0)), 0);
    let b = registry.add_master(covered("b", &[(smmu, 2)], given(1)), 0);
    let changes = registry.settle_groups(&[group(&[a, b], &["0000:00:04.0"])], 1);
    let said = changes[0].reason.to_string();
    assert!(
        said.contains("their group may meet at 0000:00:04.0 without passing an SMMU"),
        "{said}"
    );
}

fn group(masters: &[MasterId], peers_at: &[&str]) -> Group {
    Group {
        masters: masters.to_vec(),
        peers_at: peers_at.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn quarantine_and_guest_stop() {
    let (mut registry, smmu, _) = registry();
    let id = registry.add_master(covered("dev", &[(smmu, 1)], given(1)), 0);
    assert_eq!(registry.quarantined(id, "x", &[], 0), []);
    registry.driver_live(smmu, "v3", 1);
    registry.attached(id, 2);
    assert_eq!(
        registry.quarantined(id, "x", &[], 3)[0].to,
        State::Faulted(GuestId(1))
    );
    assert_eq!(
        registry.attach_plan(id),
        Err(NotNow::State(State::Faulted(GuestId(1))))
    );
    assert_eq!(registry.detached(id, 4).unwrap().to, State::Held);
}

#[test]
fn the_owner_of_a_stream_is_found_under_its_mask() {
    let (mut registry, smmu, other) = registry();
    let spec = MasterSpec {
        name: "wide".into(),
        streams: vec![(smmu, Stream { id: 0x40, mask: 0xf })],
        matches: vec![],
        coverage: Coverage::Covered,
        assignment: given(0),
    };
    let id = registry.add_master(spec, 0);
    assert_eq!(registry.owner_of(smmu, 0x4c), Some(id));
    assert_eq!(registry.owner_of(smmu, 0x50), None);
    assert_eq!(registry.owner_of(other, 0x40), None);
}

#[test]
fn a_shared_stream_is_its_owners_and_not_nobodys() {
    let (mut registry, smmu, _) = registry();
    let nobodys = registry.add_master(covered("bridge", &[(smmu, 1), (smmu, 2)], None), 0);
    let owned = registry.add_master(covered("card", &[(smmu, 1)], given(1)), 0);
    assert_eq!(registry.owner_of(smmu, 1), Some(owned));
    assert_eq!(registry.owner_of(smmu, 2), Some(nobodys));
}

#[test]
fn a_storm_of_faults_is_a_few_lines_and_loses_no_count() {
    let mut log = FaultLog::new();
    let fault = Fault {
        master: Some(MasterId(3)),
        guest: Some(GuestId(1)),
        kind: FaultKind::TRANSLATION,
        ipa: Some(0x4800_0000),
        write: true,
        count: 64,
    };
    let lines = (0..100)
        .filter(|at| log.record(&fault, OnFault::Log, *at).0.is_some())
        .count();
    assert_eq!(lines, 8);
    let (line, _) = log.record(&fault, OnFault::Log, 200_000);
    assert_eq!(
        line,
        Some(FaultLine {
            events: 64,
            unsaid: 92 * 64
        })
    );
    assert_eq!(log.total(Some(MasterId(3))), 101 * 64);
    let (_, action) = log.record(&fault, OnFault::Quarantine, 0);
    assert_eq!(action, FaultAction::Quarantine(MasterId(3)));
    let (_, action) = log.record(&fault, OnFault::StopGuest, 0);
    assert_eq!(action, FaultAction::StopGuest(GuestId(1)));
}

#[test]
fn what_came_before_the_attachment_is_reported_and_not_punished() {
    let mut log = FaultLog::new();
    let fault = Fault {
        master: Some(MasterId(3)),
        guest: Some(GuestId(1)),
        kind: FaultKind::NOT_ATTACHED,
        ipa: None,
        write: false,
        count: 16,
    };
    for policy in [OnFault::Log, OnFault::Quarantine, OnFault::StopGuest] {
        let (line, action) = log.record(&fault, policy, 0);
        assert!(line.is_some());
        assert_eq!(action, FaultAction::None);
    }
}

#[derive(Debug, Clone)]
enum Event {
    Live(usize),
    Failed(usize),
    Attach(usize),
    Detach(usize),
    Quarantine(usize),
    Seal,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..2_usize).prop_map(Event::Live),
        (0..2_usize).prop_map(Event::Failed),
        (0..4_usize).prop_map(Event::Attach),
        (0..4_usize).prop_map(Event::Detach),
        (0..4_usize).prop_map(Event::Quarantine),
        Just(Event::Seal),
    ]
}

proptest! {
    /// Whatever happens in whatever order: a live master has all its drivers, a refused one stays refused, and
    /// nothing is pending once loading is sealed.
    #[test]
    fn no_order_of_events_opens_a_master_it_should_not(events in prop::collection::vec(event(), 0..64)) {
        let (mut registry, a, b) = registry();
        let masters = [
            registry.add_master(covered("one", &[(a, 1)], given(0)), 0),
            registry.add_master(covered("two", &[(a, 2), (b, 2)], given(1)), 0),
            registry.add_master(covered("three", &[(b, 3)], None), 0),
            registry.add_master(MasterSpec {
                name: "bad".into(), streams: vec![], matches: vec![], assignment: given(0),
                coverage: Coverage::Refused("bad".into()),
            }, 0),
        ];
        let mut refused_before = [false; 4];
        for (now, event) in (1..).zip(events) {
            match event {
                Event::Live(i) => drop(registry.driver_live([a, b][i], "v3", now)),
                Event::Failed(i) => drop(registry.driver_failed([a, b][i], "x", now)),
                Event::Attach(i) => drop(registry.attached(masters[i], now)),
                Event::Detach(i) => drop(registry.detached(masters[i], now)),
                Event::Quarantine(i) => drop(registry.quarantined(masters[i], "f", &[], now)),
                Event::Seal => drop(registry.seal(now)),
            }
            for (i, id) in masters.iter().enumerate() {
                let master = registry.master(*id).unwrap();
                if let State::Live(guest) = master.state() {
                    prop_assert_eq!(Some(guest), master.assignment.map(|given| given.guest));
                    for (smmu, _) in &master.streams {
                        prop_assert!(registry.smmu(*smmu).unwrap().driver.is_some());
                    }
                }
                prop_assert!(!(refused_before[i] && master.state() != State::Refused));
                refused_before[i] = master.state() == State::Refused;
                prop_assert!(!(registry.is_sealed() && master.state() == State::Pending));
                prop_assert!(registry.why(*id).unwrap().to_string().len() < 4096);
            }
        }
    }
}
