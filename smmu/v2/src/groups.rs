//! The stream mapping groups: which streams lead to which context bank (IHI 0062 2.3).

use crate::error::Error;
use crate::streams::{Limits, Match, Packed, Stream, each_apart};
use mmio::Bus;
use smmu_gate::v2::registers::{EXSMR, S2CR, SMR};
use smmu_gate::v2::{MOST_GROUPS, Smmu};
use tock_registers::interfaces::Writeable;

/// What a group in use was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    matched: Match,
    bank: u16,
    /// It was told to fault, and is to be given up once the SMMU has forgotten what it translated.
    leaving: bool,
}

/// The groups, as they were told.
#[derive(Debug)]
pub(crate) struct Groups {
    entries: [Option<Entry>; MOST_GROUPS as usize],
    /// How many are used: those that the SMMU has, up to what the architecture allows. The others fault, as the gate left
    /// them.
    count: u16,
    /// Whether a group is chosen by matching; otherwise the stream ID is its number.
    matching: bool,
    /// Whether stream IDs have 16 bits, and S2CR says whether a group matches.
    extended: bool,
    limits: Limits,
}

impl Groups {
    /// All groups of a shut SMMU: none is in use.
    pub(crate) fn new(count: u16, matching: bool, extended: bool, limits: Limits) -> Self {
        Groups {
            entries: [None; MOST_GROUPS as usize],
            count: count.min(MOST_GROUPS),
            matching,
            extended,
            limits,
        }
    }

    /// How many are used.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// What the SMMU can tell apart.
    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether any group leads to `bank`.
    pub(crate) fn uses(&self, bank: u16) -> bool {
        self.entries.iter().flatten().any(|entry| entry.bank == bank)
    }

    /// Whether a group that led to `bank` was made to fault, and is not given up yet.
    pub(crate) fn is_leaving(&self, bank: u16) -> bool {
        let mut entries = self.entries.iter().flatten();
        entries.any(|entry| entry.bank == bank && entry.leaving)
    }

    /// Checks that there are groups for `packed`, and that none of its streams has one.
    pub(crate) fn check(&self, packed: &Packed) -> Result<(), Error> {
        let taken = |one: &&Match| {
            let mut entries = self.entries.iter().flatten();
            entries.any(|entry| entry.matched.common(one) != 0)
        };
        if let Some(one) = packed.iter().find(taken) {
            return Err(Error::Attached { stream: one.stream() });
        }
        let capacity = usize::from(self.count);
        let free = capacity.saturating_sub(self.entries.iter().flatten().count());
        // Where the stream ID is the number, its group is there for it alone.
        if self.matching && packed.len() > free {
            let demand = packed.len();
            return Err(Error::Groups {
                demand,
                free,
                capacity,
            });
        }
        Ok(())
    }

    /// Leads the streams of `packed`, which was checked, to `bank`. From the one write on that makes a group valid its
    /// streams translate.
    pub(crate) fn lead<B: Bus>(&mut self, smmu: &Smmu<B>, packed: &Packed, bank: u16) {
        for &matched in packed {
            let group = if self.matching {
                (0..self.count).find(|&group| self.entry(group).is_none())
            } else {
                Some(matched.id())
            };
            // There is one: that was checked.
            let Some(group) = group else { return };
            self.set(
                group,
                Entry {
                    matched,
                    bank,
                    leaving: false,
                },
            );
            let to_bank = S2CR::TYPE::Translate + S2CR::CBNDX.val(bank.into());
            if self.extended {
                write_match(smmu, group, &matched, true);
                smmu.s2cr(group).write(to_bank + S2CR::EXIDVALID::SET);
            } else {
                smmu.s2cr(group).write(to_bank);
                if self.matching {
                    write_match(smmu, group, &matched, false);
                }
            }
        }
    }

    /// Makes the groups of `streams` fault. They have to be all streams that these groups match; otherwise nothing is
    /// done.
    pub(crate) fn fault<B: Bus>(&mut self, smmu: &Smmu<B>, streams: &[Stream]) -> Result<(), Error> {
        let common = self.common(streams)?;
        for (entry, &common) in self.entries.iter().zip(&common) {
            if let Some(Entry { matched, .. }) = entry
                && common != 0
                && common != matched.count()
            {
                let stream = matched.stream();
                return Err(Error::PartOfGroup { stream });
            }
        }
        for (group, common) in (0..self.count).zip(common) {
            if let Some(entry) = self.entry(group).filter(|_| common != 0) {
                self.fault_one(smmu, group, entry);
            }
        }
        Ok(())
    }

    /// Makes every group fault.
    pub(crate) fn fault_all<B: Bus>(&mut self, smmu: &Smmu<B>) {
        for group in 0..self.count {
            if let Some(entry) = self.entry(group) {
                self.fault_one(smmu, group, entry);
            }
        }
    }

    /// Gives up the groups that fault. The SMMU must have forgotten what they translated.
    pub(crate) fn give_up<B: Bus>(&mut self, smmu: &Smmu<B>) {
        for (group, entry) in (0_u16..).zip(&mut self.entries) {
            if !entry.is_some_and(|entry| entry.leaving) {
                continue;
            }
            *entry = None;
            // In either format the group faults until it is invalid.
            smmu.s2cr(group).write(S2CR::TYPE::Fault);
            if self.matching {
                smmu.smr(group).set(0);
            }
        }
    }

    fn entry(&self, group: u16) -> Option<Entry> {
        self.entries.get(usize::from(group)).copied().flatten()
    }

    /// How many of each group's streams are among `streams`. These are compared with each other once for all groups: there
    /// may be as many as there are groups.
    fn common(&self, streams: &[Stream]) -> Result<[u32; MOST_GROUPS as usize], Error> {
        let mut all = [0; MOST_GROUPS as usize];
        each_apart(streams, &self.limits, |apart| {
            for (common, entry) in all.iter_mut().zip(&self.entries) {
                *common += entry.map_or(0, |entry| apart.common(&entry.matched));
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Makes a group fault, as valid as it is: its streams are not unmatched for a moment.
    fn fault_one<B: Bus>(&mut self, smmu: &Smmu<B>, group: u16, entry: Entry) {
        let valid = S2CR::EXIDVALID.val(self.extended.into());
        smmu.s2cr(group).write(S2CR::TYPE::Fault + valid);
        self.set(
            group,
            Entry {
                leaving: true,
                ..entry
            },
        );
    }

    fn set(&mut self, group: u16, entry: Entry) {
        if let Some(slot) = self.entries.get_mut(usize::from(group)) {
            *slot = Some(entry);
        }
    }
}

/// Says which streams a group matches. In the format for 15-bit IDs that makes it valid as well.
fn write_match<B: Bus>(smmu: &Smmu<B>, group: u16, matched: &Match, extended: bool) {
    let (id, mask) = (u32::from(matched.id()), u32::from(matched.mask()));
    let value = if extended {
        (EXSMR::ID.val(id) + EXSMR::MASK.val(mask)).value
    } else {
        (SMR::VALID::SET + SMR::ID.val(id) + SMR::MASK.val(mask)).value
    };
    smmu.smr(group).set(value);
}
