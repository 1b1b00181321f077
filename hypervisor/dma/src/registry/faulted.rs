//! Faults: whose they are, and who is cut off for them.

use super::{Change, Master, Registry};
use crate::attachments::each;
use crate::{AtSmmu, MasterId, Reason, SmmuId, State};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use driver_abi::Stream;
use partition::OnFault;

impl Master {
    fn emits(&self, smmu: SmmuId, stream: u32) -> bool {
        let mut streams = self.streams.iter();
        streams.any(|(at, own)| *at == smmu && (own.id ^ stream) & !own.mask == 0)
    }

    fn uses(&self, streams: &[AtSmmu]) -> bool {
        each(&self.matches).any(|own: (SmmuId, Stream)| each(streams).any(|other| other == own))
    }
}

impl Registry {
    /// The master that emits a stream, for fault reports and policies. Nobody can tell which of several did: it is one that is
    /// live, or was given to someone at least, and of these the one with the strictest policy.
    pub fn owner_of(&self, smmu: SmmuId, stream: u32) -> Option<MasterId> {
        let emitters = self.ids().filter_map(|id| Some((id, self.master(id)?)));
        let rank = |master: &Master| {
            let is_live = matches!(master.state, State::Live(_));
            let policy = master
                .assignment
                .map(|assignment| strictness(assignment.on_fault));
            Reverse((is_live, policy))
        };
        emitters
            .filter(|(_, master)| master.emits(smmu, stream))
            .min_by_key(|(_, master)| rank(master))
            .map(|(id, _)| id)
    }

    /// What a fault of a master leads to; a master that nobody was given is only logged.
    pub fn on_fault(&self, id: MasterId) -> OnFault {
        let assignment = self.master(id).and_then(|master| master.assignment);
        assignment.map_or(OnFault::Log, |assignment| assignment.on_fault)
    }

    /// The fault policy cut a live master off, and with it whoever shares what the core detached: `cut`.
    pub fn quarantined(&mut self, id: MasterId, fault: &str, cut: &[AtSmmu], now_us: u64) -> Vec<Change> {
        let Some(culprit) = self.master(id) else {
            return Vec::new();
        };
        let State::Live(guest) = culprit.state else {
            return Vec::new();
        };
        let name = culprit.name.clone();
        let own = culprit.matches.clone();
        let peers: Vec<_> = self
            .ids()
            .filter(|peer| *peer != id)
            .filter_map(|peer| {
                let master = self.master(peer)?;
                match master.state {
                    State::Live(guest) if master.uses(&own) || master.uses(cut) => Some((peer, guest)),
                    _ => None,
                }
            })
            .collect();
        let reason = Reason::FaultPolicy(String::from(fault));
        let first = self.step(id, State::Faulted(guest), reason, now_us);
        let with = |(peer, guest)| {
            let reason = Reason::PeerFault(name.clone(), String::from(fault));
            self.step(peer, State::Faulted(guest), reason, now_us)
        };
        first
            .into_iter()
            .chain(peers.into_iter().filter_map(with))
            .collect()
    }
}

fn strictness(policy: OnFault) -> u8 {
    match policy {
        OnFault::Log => 0,
        OnFault::Quarantine => 1,
        OnFault::StopGuest => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{covered, given, registry, stream};
    use crate::{Assignment, Attachments, GuestId, NotNow};

    fn with_policy(on_fault: OnFault) -> Option<Assignment> {
        given(1).map(|assignment| Assignment {
            on_fault,
            ..assignment
        })
    }

    #[test]
    fn the_strictest_policy_of_those_that_share_a_stream_and_are_live_applies() {
        let (mut registry, smmu, other) = registry();
        let add = |registry: &mut Registry, name, streams: &[_], on_fault| {
            registry.add_master(covered(name, streams, with_policy(on_fault)), 0)
        };
        let lax = add(&mut registry, "lax", &[(smmu, 1)], OnFault::Log);
        let strict = add(&mut registry, "strict", &[(smmu, 1)], OnFault::Quarantine);
        let stopping = add(
            &mut registry,
            "stopping",
            &[(smmu, 1), (other, 1)],
            OnFault::StopGuest,
        );
        registry.driver_live(smmu, "v3", 1);
        registry.attached(lax, 2);
        assert_eq!(registry.owner_of(smmu, 1), Some(lax));
        registry.attached(strict, 2);
        assert_eq!(registry.owner_of(smmu, 1), Some(strict));
        registry.driver_live(other, "v3", 3);
        registry.attached(stopping, 3);
        assert_eq!(registry.owner_of(smmu, 1), Some(stopping));
        assert_eq!(registry.on_fault(stopping), OnFault::StopGuest);
    }

    #[test]
    fn who_shares_what_was_cut_is_not_live_any_more() {
        let (mut registry, smmu, other) = registry();
        let first = registry.add_master(covered("first", &[(smmu, 2), (smmu, 3)], given(1)), 0);
        let bad = registry.add_master(covered("bad", &[(smmu, 1), (smmu, 2)], given(1)), 0);
        let packed = registry.add_master(covered("packed", &[(smmu, 3)], given(1)), 0);
        let elsewhere = registry.add_master(covered("elsewhere", &[(other, 3)], given(1)), 0);
        let mut attachments = Attachments::new();
        registry.driver_live(smmu, "v3", 1);
        registry.driver_live(other, "v3", 1);
        for id in [first, bad, packed, elsewhere] {
            for (smmu, streams) in registry.attach_plan(id).unwrap().matches {
                let missing = attachments.claim(id, smmu, &streams).unwrap();
                if !missing.is_empty() {
                    attachments.add(id, smmu, &missing);
                }
            }
            registry.attached(id, 2);
        }
        let cut = attachments.cut(bad, &[(smmu, vec![stream(1), stream(2)])]);
        let changes = registry.quarantined(bad, "read at IPA 0x0: not mapped", &cut, 3);
        assert_eq!(changes.len(), 3);
        for id in [bad, first, packed] {
            let state = registry.master(id).unwrap().state();
            assert_eq!(state, State::Faulted(GuestId(1)));
            assert_eq!(registry.attach_plan(id), Err(NotNow::State(state)));
        }
        let why = registry.why(packed).unwrap().to_string();
        assert!(
            why.ends_with(
                "quarantined with bad, which shares its streams and faulted: read at IPA 0x0: not mapped)"
            ),
            "{why}"
        );
        let state = registry.master(elsewhere).unwrap().state();
        assert_eq!(state, State::Live(GuestId(1)));
        assert_eq!(registry.quarantined(bad, "again", &cut, 4), []);
    }
}
