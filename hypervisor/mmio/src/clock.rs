//! Time, for waits that always end.

use crate::region::order_reads;

/// A monotonic clock.
pub trait Clock {
    /// Microseconds since some fixed moment.
    fn now_us(&self) -> u64;

    /// Lets so much time pass. An implementation may rest meanwhile.
    fn pause(&self, us: u64) {
        let start = self.now_us();
        while self.now_us().saturating_sub(start) < us {
            core::hint::spin_loop();
        }
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now_us(&self) -> u64 {
        (**self).now_us()
    }
    fn pause(&self, us: u64) {
        (**self).pause(us);
    }
}

/// Hardware did not do in time what it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no answer within {waited_us} us")]
pub struct Timeout {
    /// How long was waited, in microseconds.
    pub waited_us: u64,
}

/// Polls `done` until it is true, for at most `timeout_us` microseconds; `done` is asked at least once, and
/// once more after the deadline, so that a caller that was scheduled away is not told of a false timeout.
///
/// What is read after it, of memory too, is as it was when `done` said so, or newer.
pub fn wait_until(
    clock: &(impl Clock + ?Sized),
    timeout_us: u64,
    mut done: impl FnMut() -> bool,
) -> Result<(), Timeout> {
    let start = clock.now_us();
    loop {
        if done() {
            order_reads();
            return Ok(());
        }
        let waited_us = clock.now_us().saturating_sub(start);
        if waited_us >= timeout_us {
            return if done() {
                order_reads();
                Ok(())
            } else {
                Err(Timeout { waited_us })
            };
        }
        core::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    struct Ticks(Cell<u64>);
    impl Clock for Ticks {
        fn now_us(&self) -> u64 {
            self.0.set(self.0.get() + 1);
            self.0.get()
        }
    }

    #[test]
    fn a_wait_ends_when_the_condition_holds() {
        let mut polls = 0;
        let waited = wait_until(&Ticks(Cell::new(0)), 100, || {
            polls += 1;
            polls == 5
        });
        assert_eq!(waited, Ok(()));
        assert_eq!(polls, 5);
    }

    #[test]
    fn a_wait_ends_without_the_condition() {
        assert_eq!(
            wait_until(&Ticks(Cell::new(0)), 10, || false),
            Err(Timeout { waited_us: 10 })
        );
    }

    #[test]
    fn the_condition_is_asked_once_more_after_the_deadline() {
        let mut polls = 0;
        let waited = wait_until(&Ticks(Cell::new(0)), 0, || {
            polls += 1;
            polls == 2
        });
        assert_eq!(waited, Ok(()));
    }
}
