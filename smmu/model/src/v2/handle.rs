//! The model among simulated memory and time, for host tests.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use mmio::{Block, Bus};

use super::device::{Defect, Device};
use super::params::Params;
use super::route::{Outcome, Route};
use crate::{Clock, Memory, Ticker, Violations, Watcher};

type Hook = Box<dyn FnMut(&Smmu)>;

struct Shared {
    device: RefCell<Device<Memory>>,
    log: Violations,
    hook: RefCell<Option<Hook>>,
}

/// The model. A handle: clones share the device. As a [`Bus`], it is the first register frame.
#[derive(Clone)]
pub struct Smmu(Rc<Shared>);

/// One register frame of an SMMU that may have two.
#[derive(Debug, Clone)]
pub struct Frame {
    smmu: Smmu,
    index: usize,
}

impl Smmu {
    /// An SMMU after reset, on `memory` and in the time of `clock`.
    pub fn new(params: Params, memory: &Memory, clock: &Clock) -> Self {
        let shared = Rc::new(Shared {
            device: RefCell::new(Device::new(params, memory.clone())),
            log: memory.violations().clone(),
            hook: RefCell::new(None),
        });
        let ticker: Weak<Shared> = Rc::downgrade(&shared);
        clock.attach(ticker);
        let watcher: Weak<Shared> = Rc::downgrade(&shared);
        memory.attach(watcher);
        Smmu(shared)
    }

    /// A register frame; one that does not exist reads all ones.
    pub fn frame(&self, index: usize) -> Frame {
        Frame {
            smmu: self.clone(),
            index,
        }
    }

    /// The violations of everything on the same memory.
    pub fn violations(&self) -> Violations {
        self.0.log.clone()
    }

    /// A device access: what becomes of it, with the TLB as it is and the fault recorded.
    ///
    /// # Errors
    /// When it is stopped or stalled.
    pub fn dma(&self, stream: u32, address: u64, write: bool) -> Outcome {
        self.change(|device| device.dma(stream, address, write))
    }

    /// A device access through one of two instances.
    ///
    /// # Errors
    /// When it is stopped or stalled.
    pub fn dma_through(&self, instance: usize, stream: u32, address: u64, write: bool) -> Outcome {
        self.change(|device| device.dma_through(instance, stream, address, write))
    }

    /// What became of a stalled access after SMMU_CBn_RESUME; told once.
    pub fn take_resumed(&self, ticket: u32) -> Option<Outcome> {
        self.0.device.borrow_mut().take_resumed(ticket)
    }

    /// What becomes of a stream's transactions at this moment.
    pub fn route(&self, stream: u32) -> Route {
        self.0.device.borrow().route(stream)
    }

    /// The same in one of two instances.
    pub fn route_in(&self, instance: usize, stream: u32) -> Route {
        self.0.device.borrow().route_in(instance, stream)
    }

    /// The level of the global fault interrupt.
    pub fn global_interrupt(&self) -> bool {
        self.0.device.borrow().global_interrupt()
    }

    /// The level of the interrupt that serves a context bank.
    pub fn context_interrupt(&self, bank: usize) -> bool {
        self.0.device.borrow().context_interrupt(bank)
    }

    /// See [`Device::unsettled`].
    pub fn unsettled(&self) -> Vec<String> {
        self.0.device.borrow().unsettled()
    }

    /// From now on, records a violation as soon as any stream might be in bypass: through SMMU_sCR0, through a
    /// stream mapping, or through a context bank that is not enabled.
    pub fn forbid_bypass(&self) {
        self.0.device.borrow_mut().forbid_bypass();
    }

    /// Calls `hook` after every register write, memory write, transaction and tick that reached this SMMU.
    /// The hook gets the handle; it must not keep one, or the model is never dropped.
    pub fn on_every_change(&self, hook: impl FnMut(&Smmu) + 'static) {
        self.0.hook.replace(Some(Box::new(hook)));
    }

    /// Makes the hardware faulty from now on.
    pub fn inject(&self, defect: Defect) {
        self.0.device.borrow_mut().inject(defect);
    }

    /// Ends all injected faults; what was stuck goes on.
    pub fn repair(&self) {
        self.0.device.borrow_mut().repair();
    }

    fn change<T>(&self, act: impl FnOnce(&mut Device<Memory>) -> T) -> T {
        let result = act(&mut self.0.device.borrow_mut());
        self.run_hook();
        result
    }

    /// Taken out while it runs, so that what the hook does is not reported to the hook.
    fn run_hook(&self) {
        let hook = self.0.hook.take();
        if let Some(mut hook) = hook {
            hook(self);
            self.0.hook.replace(Some(hook));
        }
    }
}

impl std::fmt::Debug for Smmu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Smmu")
    }
}

impl Bus for Frame {
    fn read32(&self, offset: usize) -> u32 {
        self.smmu.0.device.borrow().read32(self.index, offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.smmu
            .change(|device| device.write32(self.index, offset, value));
    }
    fn read64(&self, offset: usize) -> u64 {
        self.smmu.0.device.borrow().read64(self.index, offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.smmu
            .change(|device| device.write64(self.index, offset, value));
    }
}

impl Bus for Smmu {
    fn read32(&self, offset: usize) -> u32 {
        self.0.device.borrow().read32(0, offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.change(|device| device.write32(0, offset, value));
    }
    fn read64(&self, offset: usize) -> u64 {
        self.0.device.borrow().read64(0, offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.change(|device| device.write64(0, offset, value));
    }
}

impl Ticker for Shared {
    fn tick(self: Rc<Self>) {
        self.device.borrow_mut().tick();
        Smmu(self).run_hook();
    }
}

impl Watcher for Shared {
    fn written(self: Rc<Self>, _address: u64, _before: u64) {
        Smmu(self).run_hook();
    }
    fn freed(self: Rc<Self>, block: Block) {
        self.device
            .borrow_mut()
            .memory_freed(block.address, block.size as u64);
    }
}
