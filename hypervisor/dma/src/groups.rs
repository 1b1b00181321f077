//! Groups: masters that no SMMU can tell apart have one owner, or none of them is given to anybody.

use crate::registry::{Change, Master, Registry};
use crate::{GuestId, MasterId, Reason, State};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Masters that no SMMU can tell apart: the stream graph knows them. What one may reach, all may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// All of them.
    pub masters: Vec<MasterId>,
    /// Where some of them may reach each other without passing an SMMU.
    pub peers_at: Vec<String>,
}

impl Registry {
    /// Refuses groups that the partition file would split between owners.
    pub fn settle_groups(&mut self, groups: &[Group], now_us: u64) -> Vec<Change> {
        let mut refused = Vec::new();
        for group in groups {
            for id in &group.masters {
                refused.extend(self.split(group, *id).map(|reason| (*id, reason)));
            }
        }
        refused
            .into_iter()
            .filter_map(|(id, reason)| self.step(id, State::Refused, reason, now_us))
            .collect()
    }

    /// Why a master cannot go to its owner, if another one of its group has another owner, or none: the one that shares a
    /// stream with it, if there is one.
    fn split(&self, group: &Group, id: MasterId) -> Option<Reason> {
        let owner = |id: MasterId| -> Option<GuestId> { Some(self.master(id)?.assignment?.guest) };
        let own = self.master(id)?;
        let others = group.masters.iter().filter(|other| owner(**other) != owner(id));
        let others: Vec<(MasterId, &Master)> = others
            .filter_map(|other| Some((*other, self.master(*other)?)))
            .collect();
        let shared = others
            .iter()
            .find_map(|(id, other)| Some((*id, *other, self.shared_stream(own, other)?)));
        let (culprit, other, shared) = shared.or_else(|| {
            let (id, other) = *others.first()?;
            let shared = match group.peers_at.as_slice() {
                [] => "others of their group share streams with both".to_string(),
                places => format!(
                    "their group may meet at {} without passing an SMMU",
                    places.join(", ")
                ),
            };
            Some((id, other, shared))
        })?;
        Some(Reason::GroupSplit {
            other: other.name.clone(),
            owner: owner(culprit).map(|guest| self.guest_name(guest).to_string()),
            shared,
        })
    }

    /// A stream that both emit, in words.
    fn shared_stream(&self, one: &Master, other: &Master) -> Option<String> {
        one.streams.iter().find_map(|(smmu, own)| {
            let is_shared = |(at, stream): &(_, driver_abi::Stream)| {
                at == smmu && (stream.id ^ own.id) & !(stream.mask | own.mask) == 0
            };
            let (_, stream) = other.streams.iter().find(|stream| is_shared(stream))?;
            // The one with the fewer IDs says more.
            let shown = if stream.mask.count_ones() < own.mask.count_ones() {
                stream
            } else {
                own
            };
            let path = &self.smmu(*smmu)?.path;
            Some(format!("both emit stream {:#x} at {path}", shown.id))
        })
    }
}
