//! Groups: masters that no SMMU can tell apart or keep apart. They share a stream, or reach each other on their own bus.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use devicetree::{NodeId, Tree};

use crate::claims::at_master;
use crate::diagnostic::{Defect, Diagnostics, Effect};
use crate::master::{Address, Coverage, Identity, Master, MasterIndex, Refusal, Stream};
use crate::smmu::{Smmu, SmmuIndex};

/// How many different matches with masks are compared. SMMUv2 has at most 128 registers for them.
pub(crate) const MAX_MASKED: usize = 1024;

/// Masters that have one owner, because no SMMU stands between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its masters, in the order of the graph.
    pub masters: Vec<MasterIndex>,
    /// Its stream matches without those that another one holds: each is to be programmed once.
    pub streams: Vec<Stream>,
    /// Where some of its PCI functions may reach each other without passing an SMMU.
    pub peers_at: Vec<String>,
}

impl Group {
    /// The group's matches that hold streams of one of its masters: what is programmed for that. A match that another one
    /// holds is not: hardware must not find two for one ID.
    pub fn matches_of(&self, master: &Master) -> Vec<Stream> {
        let holds_one = |wide: &&Stream| master.streams.iter().any(|stream| wide.holds(stream));
        self.streams.iter().filter(holds_one).copied().collect()
    }
}

/// A place at which PCI functions may reach each other: its host bridge, and its requester ID.
pub(crate) type Meeting = (NodeId, u16);

/// A match, and the masters that have it.
type Owned<'o> = (Stream, &'o [usize]);

/// Every match once, with the masters that have it.
type Owners = BTreeMap<Stream, Vec<usize>>;

/// Finds the groups. Masters of a group with a refused one are refused, as are those whose matches overlap partly.
pub(crate) fn settle(
    tree: &Tree,
    smmus: &[Smmu],
    masters: &mut [Master],
    meetings: &[Option<Meeting>],
    diagnostics: &mut Diagnostics,
) -> Vec<Group> {
    let mut owners = Owners::new();
    for (index, master) in masters.iter().enumerate() {
        for stream in &master.streams {
            owners.entry(*stream).or_default().push(index);
        }
    }
    let sets = (0..masters.len()).collect();
    let mut peers: BTreeMap<Meeting, Vec<usize>> = BTreeMap::new();
    for (index, meeting) in meetings.iter().enumerate() {
        if let Some(meeting) = meeting {
            peers.entry(*meeting).or_default().push(index);
        }
    }
    peers.retain(|_, members| members.len() > 1);
    let mut settling = Settling {
        tree,
        smmus,
        masters,
        diagnostics,
        meetings,
        sets,
        held: BTreeSet::new(),
        overlapping: BTreeSet::new(),
    };
    for sharers in owners.values().chain(peers.values()) {
        settling.join_all(sharers);
    }
    settling.compare_masked(&owners);
    settling.refuse_groups(&owners);
    settling.groups(&peers)
}

struct Settling<'a> {
    tree: &'a Tree,
    smmus: &'a [Smmu],
    masters: &'a mut [Master],
    diagnostics: &'a mut Diagnostics,
    meetings: &'a [Option<Meeting>],
    /// For each master, another one of its group with a smaller index, or itself.
    sets: Vec<usize>,
    /// Matches that another match holds.
    held: BTreeSet<Stream>,
    /// Matches whose owners were refused because it overlaps another one partly.
    overlapping: BTreeSet<Stream>,
}

impl Settling<'_> {
    /// The first master of the group, as far as groups are joined.
    fn first_of(&mut self, index: usize) -> usize {
        let mut first = index;
        while let Some(&next) = self.sets.get(first)
            && next != first
        {
            first = next;
        }
        // Shortens the way for the next search.
        let mut at = index;
        while let Some(entry) = self.sets.get_mut(at)
            && *entry != first
        {
            at = core::mem::replace(entry, first);
        }
        first
    }

    fn join_all(&mut self, masters: &[usize]) {
        for pair in masters.windows(2) {
            if let [one, other] = *pair {
                let (one, other) = (self.first_of(one), self.first_of(other));
                if let Some(entry) = self.sets.get_mut(one.max(other)) {
                    *entry = one.min(other);
                }
            }
        }
    }

    /// Compares each match that has a mask with every other one at its SMMU.
    fn compare_masked(&mut self, owners: &Owners) {
        for smmu in (0..self.smmus.len()).map(SmmuIndex) {
            let lowest = Stream { smmu, id: 0, mask: 0 };
            let highest = Stream {
                smmu,
                id: u32::MAX,
                mask: u32::MAX,
            };
            let all: Vec<Owned<'_>> = owners
                .range(lowest..=highest)
                .map(|(stream, owners)| (*stream, owners.as_slice()))
                .collect();
            let masked: Vec<Owned<'_>> = all
                .iter()
                .copied()
                .filter(|(stream, _)| stream.mask != 0)
                .collect();
            if masked.len() > MAX_MASKED {
                self.refuse_smmu(smmu, masked.len());
                continue;
            }
            let reach = masked.iter().map(|(stream, _)| stream.mask).max().unwrap_or(0);
            for &(wide, owners) in &masked {
                // Of the matches with lower IDs only those with a mask reach up to this one, and none with a higher ID
                // reaches down.
                let from = wide.id.saturating_sub(reach);
                let below = masked
                    .iter()
                    .skip(masked.partition_point(|(other, _)| other.id < from));
                let start = all.partition_point(|(other, _)| other.id < wide.id);
                let others: Vec<Owned<'_>> = below
                    .take_while(|(other, _)| other.id < wide.id)
                    .chain(
                        all.iter()
                            .skip(start)
                            .take_while(|(other, _)| other.id <= wide.highest()),
                    )
                    .copied()
                    .filter(|(other, _)| *other != wide && wide.overlaps(other))
                    .collect();
                self.compare((wide, owners), &others);
            }
        }
    }

    fn compare(&mut self, wide: Owned<'_>, others: &[Owned<'_>]) {
        let mut partial = None;
        for other in others {
            // The owners of one match are joined already, so that one of each will do.
            if let (Some(&one), Some(&two)) = (wide.1.first(), other.1.first()) {
                self.join_all(&[one, two]);
            }
            if wide.0.holds(&other.0) {
                self.held.insert(other.0);
            } else if !other.0.holds(&wide.0) {
                partial = Some(*other);
                self.refuse_overlap(*other, wide);
            }
        }
        if let Some(other) = partial {
            self.refuse_overlap(wide, other);
        }
    }

    fn refuse_overlap(&mut self, (stream, masters): Owned<'_>, (other_stream, others): Owned<'_>) {
        // All owners were refused the first time.
        if !self.overlapping.insert(stream) {
            return;
        }
        let other = others.first().map(|&other| self.name(other)).unwrap_or_default();
        for &index in masters {
            let (master, other) = (self.name(index), other.clone());
            self.refuse(
                index,
                Defect::PartialOverlap {
                    master,
                    stream,
                    other,
                    other_stream,
                },
            );
        }
    }

    fn refuse_smmu(&mut self, smmu: SmmuIndex, matches: usize) {
        for index in 0..self.masters.len() {
            let behind = |master: &Master| master.streams.iter().any(|stream| stream.smmu == smmu);
            if self.masters.get(index).is_some_and(behind) {
                self.refuse(
                    index,
                    Defect::TooManyMatches {
                        matches,
                        limit: MAX_MASKED,
                    },
                );
            }
        }
    }

    /// Refuses all masters of a group that has a refused one.
    fn refuse_groups(&mut self, owners: &Owners) {
        let mut refused = BTreeMap::new();
        for index in 0..self.masters.len() {
            if self
                .masters
                .get(index)
                .is_some_and(|master| master.coverage.is_refused())
            {
                let first = self.first_of(index);
                refused.entry(first).or_insert(index);
            }
        }
        for index in 0..self.masters.len() {
            let Some(&culprit) = refused.get(&self.first_of(index)) else {
                continue;
            };
            if let Some(defect) = self.refused_with(index, culprit, owners) {
                self.refuse(index, defect);
            }
        }
    }

    /// What a master has in common with a refused one of its group.
    fn refused_with(&self, index: usize, culprit: usize, owners: &Owners) -> Option<Defect> {
        let master = self.masters.get(index)?;
        let meeting = |index: usize| self.meetings.get(index).copied().flatten();
        let (name, other) = (self.name(index), self.name(culprit));
        let shared = |stream: &&Stream| owners.get(stream).is_some_and(|owners| owners.len() > 1);
        let meets_it = meeting(index).filter(|own| meeting(culprit) == Some(*own));
        let stream = master.streams.iter().find(shared).copied();
        let stream = if meets_it.is_some() { None } else { stream };
        Some(match (stream, meeting(index), &master.identity) {
            (None, Some((_, place)), Identity::Pci { segment, .. }) => Defect::PeerRefused {
                master: name,
                other,
                at: Address(*segment, place).to_string(),
            },
            // Without a stream of its own that others have, one of another width joins it to them.
            _ => Defect::GroupRefused {
                master: name,
                stream: stream.or(master.streams.first().copied())?,
                other,
            },
        })
    }

    /// The groups in the order of their first masters; a master that shares nothing is a group of its own.
    fn groups(&mut self, peers: &BTreeMap<Meeting, Vec<usize>>) -> Vec<Group> {
        let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
        for index in 0..self.masters.len() {
            let first = self.first_of(index);
            let Some(master) = self.masters.get(index) else {
                continue;
            };
            let group = groups.entry(first).or_insert(Group {
                masters: Vec::new(),
                streams: Vec::new(),
                peers_at: Vec::new(),
            });
            group.masters.push(MasterIndex(index));
            let widest = master.streams.iter().filter(|stream| !self.held.contains(stream));
            group.streams.extend(widest);
        }
        for ((_, place), members) in peers {
            let Some(&member) = members.first() else { continue };
            let first = self.first_of(member);
            if let Some(Identity::Pci { segment, .. }) =
                self.masters.get(member).map(|master| &master.identity)
                && let Some(group) = groups.get_mut(&first)
            {
                group.peers_at.push(Address(*segment, *place).to_string());
            }
        }
        let mut groups: Vec<Group> = groups.into_values().collect();
        for group in &mut groups {
            group.streams.sort_unstable();
            group.streams.dedup();
        }
        groups
    }

    fn name(&self, index: usize) -> String {
        self.masters
            .get(index)
            .map(|master| master.identity.to_string())
            .unwrap_or_default()
    }

    /// Refuses a master that is not refused already.
    fn refuse(&mut self, index: usize, defect: Defect) {
        if let Some(master) = self.masters.get_mut(index)
            && !master.coverage.is_refused()
        {
            // Only PCI functions get here without being covered: as peers of a refused one.
            let blocked = master.coverage == Coverage::Covered;
            let effect = if blocked {
                Effect::Blocked
            } else {
                Effect::NoMastering
            };
            let because = at_master(self.tree, &master.identity, defect, effect);
            self.diagnostics.push(because.clone());
            master.coverage = Coverage::Refused(Refusal { because, blocked });
        }
    }
}
