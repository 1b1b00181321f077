//! Which streams one group can match, and how few groups are enough for those of a device.

use crate::error::Error;
use arrayvec::ArrayVec;
use core::fmt;
use smmu_gate::v2::MOST_GROUPS;

/// The most groups that the architecture has.
const MOST: usize = MOST_GROUPS as usize;

/// Streams as a device tree gives them: those whose ID is `id`, in all bits but the ones of `mask`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream {
    /// The stream ID.
    pub id: u32,
    /// Bits of it that are not compared.
    pub mask: u32,
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {:#x}", self.id)?;
        if self.mask == 0 {
            return Ok(());
        }
        write!(f, " with mask {:#x}", self.mask)
    }
}

/// What an SMMU can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bits of stream ID that it compares.
    pub id_bits: u16,
    /// Bits of them that it can leave out.
    pub mask_bits: u16,
}

/// What one group matches. Bits of the ID under the mask are 0, so that equal sets are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    id: u16,
    mask: u16,
}

/// Matches that have no stream in common.
pub type Packed = ArrayVec<Match, MOST>;

impl Match {
    /// The match of `stream`, if the SMMU has one.
    pub fn new(stream: &Stream, limits: &Limits) -> Result<Self, Error> {
        let Limits { id_bits, mask_bits } = *limits;
        let mask = u16::try_from(stream.mask)
            .ok()
            .filter(|mask| mask & !mask_bits == 0);
        // What is under the mask is not compared, and may be anything: hardware need not even keep it.
        let id = u16::try_from(stream.id & !stream.mask)
            .ok()
            .filter(|id| id & !id_bits == 0);
        match (id, mask) {
            (Some(id), Some(mask)) => Ok(Match { id, mask }),
            _ => Err(Error::StreamRange {
                stream: *stream,
                id_bits,
                mask_bits,
            }),
        }
    }

    /// The stream ID to compare.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// Bits of it that are not compared.
    pub fn mask(&self) -> u16 {
        self.mask
    }

    /// The streams, for messages.
    pub fn stream(&self) -> Stream {
        Stream {
            id: self.id.into(),
            mask: self.mask.into(),
        }
    }

    /// How many streams it matches.
    pub fn count(&self) -> u32 {
        1 << self.mask.count_ones()
    }

    /// How many streams both match: as many as there are bits that neither compares.
    pub fn common(&self, other: &Match) -> u32 {
        if (self.id ^ other.id) & !(self.mask | other.mask) == 0 {
            1 << (self.mask & other.mask).count_ones()
        } else {
            0
        }
    }

    /// Whether it matches everything that `other` does.
    fn holds(&self, other: &Match) -> bool {
        self.common(other) == other.count()
    }

    /// The match of exactly what both match, if there is one: they compare the same bits, and differ in one of them.
    fn union(&self, other: &Match, limits: &Limits) -> Option<Match> {
        let bit = self.id ^ other.id;
        let mask = self.mask | bit;
        (self.mask == other.mask && bit.is_power_of_two() && mask & !limits.mask_bits == 0).then_some(Match {
            id: self.id & other.id,
            mask,
        })
    }
}

/// Calls `each` with the matches of `streams` that none of the others holds: together they match the same. They have
/// nothing in common; two that overlap otherwise are an error.
pub fn each_apart(
    streams: &[Stream],
    limits: &Limits,
    mut each: impl FnMut(Match) -> Result<(), Error>,
) -> Result<(), Error> {
    for (index, stream) in streams.iter().enumerate() {
        let this = Match::new(stream, limits)?;
        let mut held = false;
        for (other_index, other) in streams.iter().enumerate() {
            let that = Match::new(other, limits)?;
            // Of equal ones the first stays.
            let holds = that.holds(&this) && (!this.holds(&that) || other_index < index);
            held |= holds;
            if this.common(&that) != 0 && !this.holds(&that) && !that.holds(&this) {
                return Err(Error::Overlap {
                    first: *stream,
                    second: *other,
                });
            }
        }
        if !held {
            each(this)?;
        }
    }
    Ok(())
}

/// The streams of one device in as few groups as its order of streams allows: two matches become one where that matches
/// exactly what they did.
///
/// Groups are shared only within the streams that are packed together, because these come and go together: a group
/// that holds streams of two devices could not let one of them go without stopping the other for a moment.
pub fn pack(streams: &[Stream], limits: &Limits) -> Result<Packed, Error> {
    let mut packed = Packed::new();
    each_apart(streams, limits, |next| {
        let mut next = next;
        while let Some((index, union)) = packed
            .iter()
            .enumerate()
            .find_map(|(index, other)| Some((index, next.union(other, limits)?)))
        {
            packed.swap_remove(index);
            next = union;
        }
        packed.try_push(next).map_err(|_| Error::Groups {
            demand: MOST + 1,
            free: MOST,
            capacity: MOST,
        })
    })?;
    Ok(packed)
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
