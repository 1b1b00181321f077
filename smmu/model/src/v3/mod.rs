//! A strict model of an SMMUv3 (IHI 0070G), non-secure side, stage 2.

mod access;
mod cache;
mod commands;
mod config;
mod control;
mod effects;
mod events;
mod fates;
mod inject;
mod mixtures;
mod queue;
mod registers;
mod state;
mod ste;
mod streams;
mod table;
#[cfg(test)]
mod tests;
mod translate;

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use mmio::{Block, Bus};

pub use crate::stage2::Attributes;
pub use config::{Config, Delays, Overflow};
pub use events::{Event, Line};
pub use fates::Fates;
pub use inject::Fault;
pub use translate::DmaOutcome;

use crate::{Clock, Memory, Ticker, Violations, Watcher};
use state::State;

type Hook = Box<dyn FnMut(&Smmu)>;

struct Shared {
    state: RefCell<State>,
    hook: RefCell<Option<Hook>>,
}

/// The model. A handle: clones share the device.
#[derive(Clone)]
pub struct Smmu(Rc<Shared>);

impl Smmu {
    /// An SMMU after reset, on `memory` and in the time of `clock`.
    pub fn new(config: Config, memory: &Memory, clock: &Clock) -> Self {
        let shared = Rc::new(Shared {
            state: RefCell::new(State::new(config, memory.clone())),
            hook: RefCell::new(None),
        });
        let ticker: Weak<Shared> = Rc::downgrade(&shared);
        clock.attach(ticker);
        let watcher: Weak<Shared> = Rc::downgrade(&shared);
        memory.attach(watcher);
        Smmu(shared)
    }

    /// The violations of everything on the same memory.
    pub fn violations(&self) -> Violations {
        self.0.state.borrow().log.clone()
    }

    /// A device access: what becomes of it, with the caches as they are and the event recorded.
    pub fn dma(&self, stream: u32, address: u64, write: bool) -> DmaOutcome {
        self.change(|state| state.dma(stream, address, write))
    }

    /// What became of a stalled access after CMD_RESUME or CMD_STALL_TERM; told once.
    pub fn take_resumed(&self, tag: u16) -> Option<DmaOutcome> {
        self.0.state.borrow_mut().take_resumed(tag)
    }

    /// Whether `line` fired since it was last asked; an edge is delivered once.
    pub fn take_irq(&self, line: Line) -> bool {
        self.0.state.borrow_mut().interrupts.take(line)
    }

    /// The events in the queue that the driver did not consume, oldest first.
    pub fn queued_events(&self) -> Vec<Event> {
        self.0.state.borrow().queued_events()
    }

    /// What may happen to a transaction of `stream` at this moment, over every order in which writes may become visible.
    pub fn fates(&self, stream: u32) -> Fates {
        self.0.state.borrow().fates(stream)
    }

    /// From now on, records a violation as soon as any stream might be in bypass: through GBPA while translation
    /// is disabled, or through a stream table entry.
    pub fn forbid_bypass(&self) {
        self.change(|state| state.bypass_forbidden = true);
    }

    /// Calls `hook` after every register write, memory write and tick that reached this SMMU. The hook gets the
    /// handle; it must not keep one, or the model is never dropped.
    pub fn on_every_change(&self, hook: impl FnMut(&Smmu) + 'static) {
        self.0.hook.replace(Some(Box::new(hook)));
    }

    /// What is not settled: unacknowledged changes, unconsumed commands, unpublished writes to live structures,
    /// cached configuration and translations that differ from memory. Empty after every finished driver operation.
    pub fn unsettled(&self) -> Vec<String> {
        self.0.state.borrow().unsettled()
    }

    /// Makes the hardware faulty from now on.
    pub fn inject(&self, fault: Fault) {
        self.change(|state| state.inject(fault));
    }

    /// Ends all injected faults; what was stuck goes on.
    pub fn repair(&self) {
        self.change(|state| state.faults = inject::Faults::default());
    }

    /// The commands that were consumed so far, as raw words, oldest first.
    pub fn consumed(&self) -> Vec<[u64; 2]> {
        self.0.state.borrow().commands.consumed.clone()
    }

    fn change<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.0.state.borrow_mut();
            let result = act(&mut state);
            state.check_bypass();
            result
        };
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

impl Bus for Smmu {
    fn read32(&self, offset: usize) -> u32 {
        self.0.state.borrow_mut().read32(offset)
    }
    fn write32(&self, offset: usize, value: u32) {
        self.change(|state| state.write32(offset, value));
    }
    fn read64(&self, offset: usize) -> u64 {
        self.0.state.borrow_mut().read64(offset)
    }
    fn write64(&self, offset: usize, value: u64) {
        self.change(|state| state.write64(offset, value));
    }
}

impl Ticker for Shared {
    fn tick(self: Rc<Self>) {
        Smmu(self).change(State::tick);
    }
}

impl Watcher for Shared {
    fn written(self: Rc<Self>, address: u64, before: u64) {
        Smmu(self).change(|state| state.memory_written(address, before));
    }
    fn freed(self: Rc<Self>, block: Block) {
        Smmu(self).change(|state| state.memory_freed(block));
    }
}
