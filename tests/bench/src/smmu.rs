//! The SMMU: the strict model of `smmu/model`, on this board.

use alloc::string::String;
use alloc::vec::Vec;

use smmu_model::Violation;
use smmu_model::v2::{Defect, Device, Host, Route};

use crate::map::{SMMU_GLOBAL_INTERRUPT, SMMU_SECOND_GLOBAL_INTERRUPT, streams};
use crate::{Iommu, Kind, Memory};

/// SMMU_sCR0, and its bit that lets everything pass.
const CR0: usize = 0;
const CLIENTPD: u32 = 1 << 0;
/// No kind has more context banks.
const BANKS: usize = 16;

/// The model needs a name of our own for the memory that it walks.
#[derive(Debug, Clone)]
struct Walked<M>(M);

impl<M: Memory> Host for Walked<M> {
    fn read(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.0.read(address, &mut word).then(|| u64::from_le_bytes(word))
    }
    fn violation(&self, violation: Violation) {
        self.0.violation(&violation);
    }
}

/// An SMMU of one of the kinds.
#[derive(Debug)]
pub struct Smmu<M> {
    kind: &'static Kind,
    /// Its first interrupt.
    global: u32,
    device: Device<Walked<M>>,
    /// Its interrupts, which only accesses and transactions change.
    interrupts: Vec<(u32, bool)>,
    /// Every device of the board was once stopped or translated: from then on, none may bypass it.
    shut: bool,
}

impl<M: Memory> Smmu<M> {
    /// An SMMU after reset, which lets everything pass.
    pub fn new(kind: &'static Kind, memory: M) -> Self {
        Smmu::with_interrupts(kind, memory, SMMU_GLOBAL_INTERRUPT)
    }

    /// A second one, with interrupts of its own.
    pub(crate) fn beside(kind: &'static Kind, memory: M) -> Self {
        Smmu::with_interrupts(kind, memory, SMMU_SECOND_GLOBAL_INTERRUPT)
    }

    fn with_interrupts(kind: &'static Kind, memory: M, global: u32) -> Self {
        let device = Device::new(kind.params, Walked(memory));
        Smmu {
            kind,
            global,
            interrupts: interrupts(kind, global, &device),
            device,
            shut: false,
        }
    }

    /// Makes it faulty from now on.
    pub(crate) fn inject(&mut self, defect: Defect) {
        self.device.inject(defect);
    }

    /// Ends that; what was stuck goes on.
    pub(crate) fn repair(&mut self) {
        self.device.repair();
    }

    /// Frame, and offset in it.
    fn place(&self, offset: usize) -> (usize, usize) {
        let size = usize::try_from(self.kind.frame).unwrap_or(usize::MAX);
        (offset / size, offset % size)
    }

    /// After the first moment in which no device bypasses it, no bypass is forgiven. The model tells of the routes
    /// through the first instance only; the others count as shut when their client ports are on.
    fn watch(&mut self) {
        let stopped = |stream| !matches!(self.device.route(stream), Route::Bypass(_));
        let mut frames = (0..).take(self.kind.frames);
        let ports_on = frames.all(|frame| self.device.read32(frame, CR0) & CLIENTPD == 0);
        if !self.shut && ports_on && streams().all(stopped) {
            self.shut = true;
            self.device.forbid_bypass();
        }
    }
}

impl<M: Memory> Iommu for Smmu<M> {
    fn read(&mut self, offset: usize, size: usize) -> u64 {
        // Time passes for it from access to access.
        self.device.tick();
        let (frame, offset) = self.place(offset);
        match size {
            4 => self.device.read32(frame, offset).into(),
            8 => self.device.read64(frame, offset),
            _ => {
                self.device.wrong_width(frame, offset, size);
                u64::MAX
            }
        }
    }

    fn write(&mut self, offset: usize, size: usize, value: u64) {
        // Time passes for it from access to access.
        self.device.tick();
        let (frame, offset) = self.place(offset);
        match size {
            4 => self.device.write32(frame, offset, (value & 0xffff_ffff) as u32),
            8 => self.device.write64(frame, offset, value),
            _ => self.device.wrong_width(frame, offset, size),
        }
        self.interrupts = interrupts(self.kind, self.global, &self.device);
        self.watch();
    }

    fn translate(&mut self, stream: u32, address: u64, write: bool) -> Option<u64> {
        let outcome = self.device.dma(stream, address, write);
        self.interrupts = interrupts(self.kind, self.global, &self.device);
        outcome.ok().map(|passed| passed.address)
    }

    fn interrupts(&self) -> &[(u32, bool)] {
        &self.interrupts
    }

    fn unsettled(&self) -> Vec<String> {
        self.device.unsettled()
    }
}

fn interrupts<M: Memory>(kind: &Kind, global: u32, device: &Device<Walked<M>>) -> Vec<(u32, bool)> {
    let mut lines = Vec::from([(global, device.global_interrupt())]);
    let first = global + 1;
    if kind.one_wire {
        let any = (0..BANKS).any(|bank| device.context_interrupt(bank));
        lines.push((first, any));
    } else {
        let banks = (0..kind.context_interrupts).zip(0..BANKS);
        lines.extend(banks.map(|(line, bank)| (first + line, device.context_interrupt(bank))));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KINDS;
    use crate::memory::fake::Ram;

    const STREAM: u32 = 0x8;

    fn shut(memory: &Ram) -> Smmu<Ram> {
        let mut smmu = Smmu::new(&KINDS[0], memory.clone());
        for index in 0..48 {
            smmu.write(0x800 + 4 * index, 4, 0);
            smmu.write(0xc00 + 4 * index, 4, 2 << 16);
        }
        // SMMU_sCR0: USFCFG, GFIE, GFRE, and CLIENTPD clear.
        smmu.write(0, 4, 1 << 10 | 1 << 2 | 1 << 1);
        smmu
    }

    #[test]
    fn it_lets_pass_after_reset_and_stops_once_it_is_shut() {
        let memory = Ram::new(0x1000);
        assert_eq!(
            Smmu::new(&KINDS[0], memory.clone()).translate(STREAM, 0x4000_0123, true),
            Some(0x4000_0123)
        );
        let mut smmu = shut(&memory);
        assert_eq!(smmu.translate(STREAM, 0x4000_0123, true), None);
        assert!(smmu.interrupts().contains(&(SMMU_GLOBAL_INTERRUPT, true)));
        assert!(memory.violations.borrow().is_empty());
    }

    #[test]
    fn a_bypass_after_it_was_shut_is_told() {
        let memory = Ram::new(0x1000);
        let mut smmu = shut(&memory);
        smmu.write(0, 4, 1);
        assert!(!memory.violations.borrow().is_empty());
    }

    #[test]
    fn a_pair_is_shut_when_both_are() {
        let memory = Ram::new(0x1000);
        let (_, kind) = Kind::named("mmu-500-pair").unwrap();
        let mut smmu = Smmu::new(kind, memory.clone());
        for frame in [0, 0x20_0000] {
            assert!(!smmu.shut);
            for index in 0..48 {
                smmu.write(frame + 0x800 + 4 * index, 4, 0);
                smmu.write(frame + 0xc00 + 4 * index, 4, 2 << 16);
            }
            smmu.write(frame, 4, 1 << 10 | 1 << 2 | 1 << 1);
        }
        assert!(smmu.shut);
        assert!(memory.violations.borrow().is_empty());
    }

    #[test]
    fn an_invalidation_that_nobody_waited_for_is_unsettled() {
        let memory = Ram::new(0x1000);
        let mut smmu = shut(&memory);
        assert!(smmu.unsettled().is_empty());
        smmu.write(0x6c, 4, 0);
        assert_eq!(smmu.unsettled().len(), 1);
    }

    #[test]
    fn an_access_of_a_width_that_no_register_has_is_told() {
        let memory = Ram::new(0x1000);
        assert_eq!(Smmu::new(&KINDS[0], memory.clone()).read(0, 2), u64::MAX);
        assert_eq!(memory.violations.borrow().len(), 1);
    }
}
