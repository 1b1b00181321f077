//! Time that moves when somebody looks at it.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

/// A device that does something as time passes.
pub trait Ticker {
    /// One step of time.
    fn tick(self: Rc<Self>);
}

#[derive(Default)]
struct Inner {
    now_us: Cell<u64>,
    step_us: Cell<u64>,
    tickers: RefCell<Vec<Weak<dyn Ticker>>>,
}

/// A clock that moves by one step whenever it is read, and lets every device do one step of its work.
///
/// A driver that polls with the clock therefore sees hardware advance; one that spins without it never does.
#[derive(Clone)]
pub struct Clock(Rc<Inner>);

impl Clock {
    /// A clock that starts at 0 and moves by one microsecond a step.
    pub fn new() -> Self {
        Clock::with_step(1)
    }

    /// A clock that moves by `step_us` microseconds a step: large steps make tests of timeouts short.
    pub fn with_step(step_us: u64) -> Self {
        let inner = Inner::default();
        inner.step_us.set(step_us);
        Clock(Rc::new(inner))
    }

    /// Changes the microseconds of a step.
    pub fn set_step(&self, step_us: u64) {
        self.0.step_us.set(step_us);
    }

    /// Lets `steps` steps pass.
    pub fn advance(&self, steps: u32) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Microseconds since the start, without a step.
    pub fn peek_us(&self) -> u64 {
        self.0.now_us.get()
    }

    pub(crate) fn attach(&self, ticker: Weak<dyn Ticker>) {
        self.0.tickers.borrow_mut().push(ticker);
    }

    fn step(&self) {
        self.0.now_us.set(self.0.now_us.get() + self.0.step_us.get());
        let tickers = self.0.tickers.borrow().clone();
        for ticker in tickers.iter().filter_map(Weak::upgrade) {
            ticker.tick();
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Clock::new()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Clock({} us)", self.peek_us())
    }
}

impl mmio::Clock for Clock {
    fn now_us(&self) -> u64 {
        self.step();
        self.peek_us()
    }
}
