//! Two SMMUs, each with masters of its own. The second has a defect: after an invalidation by VMID its synchronisation does
//! not end before everything is forgotten, so a driver cannot attach anybody there, and the gate can shut it. Of one kind it never
//! ends: the gate cannot shut that.

use alloc::string::String;
use alloc::vec::Vec;

use smmu_model::v2::Defect;

use crate::map::SLOTS;
use crate::{Iommu, Kind, Memory, Smmu};

/// SMMU_TLBIVMID and SMMU_TLBIALLNSNH (IHI 0062 9.6.1).
const TLBIVMID: usize = 0x64;
const TLBIALLNSNH: usize = 0x6c;

/// The SMMU of the first function, and that of all others.
#[derive(Debug)]
pub struct Two<M> {
    first: Smmu<M>,
    second: Smmu<M>,
    /// Where the second's registers begin.
    beside: usize,
    stays_stuck: bool,
    interrupts: Vec<(u32, bool)>,
}

impl<M: Memory + Clone> Two<M> {
    /// Both after reset.
    pub fn new(kind: &'static Kind, memory: M) -> Self {
        let first = Smmu::new(kind, memory.clone());
        let second = Smmu::beside(kind, memory);
        let interrupts = [first.interrupts(), second.interrupts()].concat();
        Two {
            first,
            second,
            beside: usize::try_from(kind.size()).unwrap_or(usize::MAX),
            stays_stuck: kind.stays_stuck,
            interrupts,
        }
    }
}

impl<M> Two<M> {
    fn of_second(stream: u32) -> bool {
        let [first, ..] = SLOTS;
        stream != u32::from(first) << 3
    }
}

impl<M: Memory> Two<M> {
    fn follow(&mut self) {
        let both = self.first.interrupts().iter().chain(self.second.interrupts());
        for (line, now) in self.interrupts.iter_mut().zip(both) {
            *line = *now;
        }
    }
}

impl<M: Memory> Iommu for Two<M> {
    fn read(&mut self, offset: usize, size: usize) -> u64 {
        match offset.checked_sub(self.beside) {
            None => self.first.read(offset, size),
            Some(offset) => self.second.read(offset, size),
        }
    }

    fn write(&mut self, offset: usize, size: usize, value: u64) {
        match offset.checked_sub(self.beside) {
            None => self.first.write(offset, size, value),
            Some(offset) => {
                match offset {
                    TLBIVMID => self.second.inject(Defect::SyncStuck),
                    TLBIALLNSNH if !self.stays_stuck => self.second.repair(),
                    _ => {}
                }
                self.second.write(offset, size, value);
            }
        }
        self.follow();
    }

    fn translate(&mut self, stream: u32, address: u64, write: bool) -> Option<u64> {
        let output = if Self::of_second(stream) {
            self.second.translate(stream, address, write)
        } else {
            self.first.translate(stream, address, write)
        };
        self.follow();
        output
    }

    fn interrupts(&self) -> &[(u32, bool)] {
        &self.interrupts
    }

    fn unsettled(&self) -> Vec<String> {
        let mut unsettled = self.first.unsettled();
        unsettled.extend(self.second.unsettled());
        unsettled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::fake::Ram;

    /// SMMU_sCR0: USFCFG, GFIE, GFRE, and CLIENTPD clear.
    const SHUT: u64 = 1 << 10 | 1 << 2 | 1 << 1;
    const TLBGSYNC: usize = 0x70;
    const TLBGSTATUS: usize = 0x74;

    fn two() -> (Two<Ram>, usize) {
        named("mmu-500-two")
    }

    fn named(name: &str) -> (Two<Ram>, usize) {
        let (_, kind) = Kind::named(name).unwrap();
        let two = Two::new(kind, Ram::new(0x1000));
        let beside = two.beside;
        (two, beside)
    }

    /// Every stream of the SMMU whose registers begin there is stopped.
    fn shut(two: &mut Two<Ram>, at: usize) {
        for index in 0..48 {
            two.write(at + 0x800 + 4 * index, 4, 0);
            two.write(at + 0xc00 + 4 * index, 4, 2 << 16);
        }
        two.write(at, 4, SHUT);
    }

    #[test]
    fn each_stops_its_own_masters() {
        let (mut two, beside) = two();
        shut(&mut two, 0);
        assert_eq!(two.translate(0x08, 0x4000_0000, true), None);
        assert_eq!(two.translate(0x10, 0x4000_0000, true), Some(0x4000_0000));
        shut(&mut two, beside);
        assert_eq!(two.translate(0x18, 0x4000_0000, true), None);
        let asserted = two.interrupts().iter().filter(|(_, asserted)| *asserted);
        assert_eq!(asserted.count(), 2);
    }

    #[test]
    fn no_interrupt_is_both() {
        let (two, _) = two();
        let mut lines: Vec<u32> = two.interrupts().iter().map(|(line, _)| *line).collect();
        let all = lines.len();
        lines.dedup();
        assert_eq!(lines.len(), all);
        assert!(lines.iter().all(|line| *line < crate::map::INTERRUPTS));
    }

    fn is_stuck(two: &mut Two<Ram>, at: usize, invalidation: usize) -> bool {
        two.write(at + invalidation, 4, 1);
        two.write(at + TLBGSYNC, 4, 0);
        (0..100).all(|_| two.read(at + TLBGSTATUS, 4) & 1 != 0)
    }

    #[test]
    fn only_the_second_gets_stuck_until_everything_is_forgotten() {
        let (mut two, beside) = two();
        assert!(!is_stuck(&mut two, 0, TLBIVMID));
        assert!(is_stuck(&mut two, beside, TLBIVMID));
        assert!(!is_stuck(&mut two, beside, TLBIALLNSNH));
    }

    #[test]
    fn one_kind_is_not_mended() {
        let (mut two, beside) = named("mmu-500-stuck");
        assert!(!is_stuck(&mut two, beside, TLBIALLNSNH));
        assert!(is_stuck(&mut two, beside, TLBIVMID));
        assert!(is_stuck(&mut two, beside, TLBIALLNSNH));
        assert!(!is_stuck(&mut two, 0, TLBIVMID));
    }
}
