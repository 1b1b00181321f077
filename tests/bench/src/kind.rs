//! Which SMMU the board has: one table of data.

use core::ops::Range;

use smmu_model::v2::Params;

use crate::map::{SMMU, SMMU_CONTEXT_INTERRUPTS, SMMU_GLOBAL_INTERRUPT, SMMU_SECOND_GLOBAL_INTERRUPT};

/// A kind of SMMU.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name, for the firmware's first line.
    pub title: &'static str,
    /// Its name in a board's file.
    pub name: &'static str,
    /// Its `compatible` property.
    pub compatible: &'static [u8],
    /// Bytes of a register frame; frames lie one behind the other.
    pub frame: u64,
    /// How many frames it has.
    pub frames: usize,
    /// Whether there is another one beside it, with a defect: see [`Two`](crate::Two).
    pub beside: bool,
    /// Nothing mends that defect: the gate cannot shut that SMMU any more, either.
    pub stays_stuck: bool,
    /// How many context interrupts it has.
    pub context_interrupts: u32,
    /// Its context interrupts are one wire on this board. An SMMUv1 has each bank choose among a few
    /// (SMMU_CBARn.IRPTNDX), and the model does not tell which chose what.
    pub one_wire: bool,
    /// What the model is told.
    pub(crate) params: Params,
}

/// All kinds. The firmware's image has the number of one of them, from 1.
pub static KINDS: [Kind; 5] = [
    Kind {
        title: "an SMMUv2",
        name: "mmu-500",
        compatible: b"arm,mmu-500\0",
        frame: 0x2_0000,
        frames: 1,
        beside: false,
        stays_stuck: false,
        context_interrupts: SMMU_CONTEXT_INTERRUPTS,
        one_wire: false,
        params: Params::mmu500(),
    },
    Kind {
        title: "an SMMUv1",
        name: "mmu-401",
        compatible: b"arm,mmu-401\0arm,smmu-v1\0",
        frame: 0x1_0000,
        frames: 1,
        beside: false,
        stays_stuck: false,
        context_interrupts: 2,
        one_wire: true,
        params: Params::mmu401(),
    },
    Kind {
        title: "two SMMUv2 that are programmed as one",
        name: "mmu-500-pair",
        compatible: b"nvidia,smmu-500\0arm,mmu-500\0",
        frame: 0x20_0000,
        frames: 2,
        beside: false,
        stays_stuck: false,
        context_interrupts: SMMU_CONTEXT_INTERRUPTS,
        one_wire: false,
        params: Params::pair(),
    },
    Kind {
        title: "two SMMUv2, one of them broken",
        name: "mmu-500-two",
        compatible: b"arm,mmu-500\0",
        frame: 0x2_0000,
        frames: 1,
        beside: true,
        stays_stuck: false,
        context_interrupts: SMMU_CONTEXT_INTERRUPTS,
        one_wire: false,
        params: Params::mmu500(),
    },
    Kind {
        title: "two SMMUv2, one of them broken for good",
        name: "mmu-500-stuck",
        compatible: b"arm,mmu-500\0",
        frame: 0x2_0000,
        frames: 1,
        beside: true,
        stays_stuck: true,
        context_interrupts: SMMU_CONTEXT_INTERRUPTS,
        one_wire: false,
        params: Params::mmu500(),
    },
];

impl Kind {
    /// The kind of that name, and its number.
    pub fn named(name: &str) -> Option<(u64, &'static Kind)> {
        (1..).zip(&KINDS).find(|(_, kind)| kind.name == name)
    }

    /// The kind of that number; none is 0.
    pub fn numbered(number: u64) -> Option<&'static Kind> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        KINDS.get(index)
    }

    /// Where the registers of its SMMUs begin, and the global interrupt of each.
    pub fn smmus(&self) -> impl Iterator<Item = (u64, u32)> {
        let second = (SMMU.start + self.size(), SMMU_SECOND_GLOBAL_INTERRUPT);
        let first = (SMMU.start, SMMU_GLOBAL_INTERRUPT);
        [Some(first), self.beside.then_some(second)].into_iter().flatten()
    }

    /// Where the register frames of an SMMU are that begins at `start`.
    pub fn windows(&self, start: u64) -> impl Iterator<Item = Range<u64>> {
        let size = self.frame;
        (0..).take(self.frames).map(move |frame| {
            let from = start + frame * size;
            from..from + size
        })
    }

    /// Bytes of an SMMU's register frames.
    pub(crate) fn size(&self) -> u64 {
        (0..).take(self.frames).map(|_: u64| self.frame).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::fake::Ram;
    use crate::{Iommu, Smmu};

    #[test]
    fn frames_are_as_large_as_their_registers_say_and_fit_the_board() {
        for kind in &KINDS {
            // SMMU_IDR1: PAGESIZE, NUMPAGENDXB.
            let idr1 = Smmu::new(kind, Ram::new(0)).read(0x24, 4);
            let page = if idr1 >> 31 & 1 != 0 { 0x1_0000 } else { 0x1000 };
            let half = 2 << (idr1 >> 28 & 7);
            assert_eq!(kind.frame, 2 * half * page, "{}", kind.name);
            let (last, _) = kind.smmus().last().unwrap();
            let end = kind.windows(last).last().unwrap().end;
            assert!(end <= SMMU.end, "{}", kind.name);
        }
    }

    #[test]
    fn kinds_are_found_by_name_and_number() {
        let (number, kind) = Kind::named("mmu-401").unwrap();
        assert_eq!(Kind::numbered(number).unwrap().name, kind.name);
        assert!(Kind::named("mmu-9").is_none());
        assert!(Kind::numbered(0).is_none());
        assert!(Kind::numbered(9).is_none());
    }
}
