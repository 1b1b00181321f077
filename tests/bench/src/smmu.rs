//! The SMMUv2: the strict model of `smmu/model`, on this board.

use alloc::string::String;
use alloc::vec::Vec;

use smmu_model::Violation;
use smmu_model::v2::{Device, Host, Params, Route};

use crate::map::{SLOTS, SMMU_CONTEXT_INTERRUPTS, SMMU_GLOBAL_INTERRUPT};
use crate::{Iommu, Memory};

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

/// An MMU-500 with one register frame and 16 context banks.
#[derive(Debug)]
pub struct Smmu<M> {
    device: Device<Walked<M>>,
    /// Its interrupts, which only accesses and transactions change.
    interrupts: Vec<(u32, bool)>,
    /// Every function of the board was once stopped or translated: from then on, none may bypass it.
    shut: bool,
}

impl<M: Memory> Smmu<M> {
    /// An SMMU after reset, which lets everything pass.
    pub fn new(memory: M) -> Self {
        let device = Device::new(Params::mmu500(), Walked(memory));
        Smmu {
            interrupts: interrupts(&device),
            device,
            shut: false,
        }
    }

    /// After the first moment in which no function bypasses it, no bypass is forgiven.
    fn watch(&mut self) {
        let stopped = |slot: &u8| !matches!(self.device.route(u32::from(*slot) << 3), Route::Bypass(_));
        if !self.shut && SLOTS.iter().all(stopped) {
            self.shut = true;
            self.device.forbid_bypass();
        }
    }
}

impl<M: Memory> Iommu for Smmu<M> {
    fn read(&mut self, offset: usize, size: usize) -> u64 {
        // Time passes for it from access to access.
        self.device.tick();
        match size {
            4 => self.device.read32(0, offset).into(),
            8 => self.device.read64(0, offset),
            _ => {
                self.device.wrong_width(0, offset, size);
                u64::MAX
            }
        }
    }

    fn write(&mut self, offset: usize, size: usize, value: u64) {
        // Time passes for it from access to access.
        self.device.tick();
        match size {
            4 => self.device.write32(0, offset, (value & 0xffff_ffff) as u32),
            8 => self.device.write64(0, offset, value),
            _ => self.device.wrong_width(0, offset, size),
        }
        self.interrupts = interrupts(&self.device);
        self.watch();
    }

    fn translate(&mut self, stream: u32, address: u64, write: bool) -> Option<u64> {
        let outcome = self.device.dma(stream, address, write);
        self.interrupts = interrupts(&self.device);
        outcome.ok().map(|passed| passed.address)
    }

    fn interrupts(&self) -> &[(u32, bool)] {
        &self.interrupts
    }

    fn unsettled(&self) -> Vec<String> {
        self.device.unsettled()
    }
}

fn interrupts<M: Memory>(device: &Device<Walked<M>>) -> Vec<(u32, bool)> {
    let global = [(SMMU_GLOBAL_INTERRUPT, device.global_interrupt())];
    let context = (0..SMMU_CONTEXT_INTERRUPTS).map(|bank| {
        let asserted = device.context_interrupt(bank as usize);
        (SMMU_GLOBAL_INTERRUPT + 1 + bank, asserted)
    });
    global.into_iter().chain(context).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::fake::Ram;

    const STREAM: u32 = 0x8;

    fn shut(memory: &Ram) -> Smmu<Ram> {
        let mut smmu = Smmu::new(memory.clone());
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
            Smmu::new(memory.clone()).translate(STREAM, 0x4000_0123, true),
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
        assert_eq!(Smmu::new(memory.clone()).read(0, 2), u64::MAX);
        assert_eq!(memory.violations.borrow().len(), 1);
    }
}
