//! How much of a CPU's time a console may have.

/// Lets work have a quarter of the time at most: after each turn it rests for three times as long.
///
/// Whoever sends without a pause, or asks for much on a slow line, must not keep the CPU from what is due.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pace {
    /// When it has rested, in microseconds.
    rested_us: u64,
}

impl Pace {
    /// How long the next turn has to wait yet, in microseconds; nothing if it may begin.
    pub const fn wait_us(&self, now_us: u64) -> Option<u64> {
        match self.rested_us.saturating_sub(now_us) {
            0 => None,
            left => Some(left),
        }
    }

    /// Notes that a turn took from one time to another, in microseconds.
    pub const fn worked(&mut self, from_us: u64, to_us: u64) {
        let rest = to_us.saturating_sub(from_us).saturating_mul(3);
        let until = to_us.saturating_add(rest);
        if until > self.rested_us {
            self.rested_us = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_followed_by_three_times_as_much_rest() {
        let mut pace = Pace::default();
        assert_eq!(pace.wait_us(0), None);
        pace.worked(1000, 1100);
        assert_eq!(pace.wait_us(1100), Some(300));
        assert_eq!(pace.wait_us(1399), Some(1));
        assert_eq!(pace.wait_us(1400), None);
        pace.worked(2000, 2000);
        assert_eq!(pace.wait_us(2000), None, "no time, no rest");
    }

    #[test]
    fn a_short_turn_does_not_shorten_the_rest_of_a_long_one() {
        let mut pace = Pace::default();
        pace.worked(0, 1000);
        pace.worked(1000, 1001);
        assert_eq!(pace.wait_us(1001), Some(2999));
    }

    #[test]
    fn a_clock_that_goes_back_or_ends_does_no_harm() {
        let mut pace = Pace::default();
        pace.worked(10, 5);
        assert_eq!(pace.wait_us(5), None);
        pace.worked(0, u64::MAX);
        assert_eq!(pace.wait_us(u64::MAX), None);
    }

    /// Whatever turns take, and however eager they are, they get no more than a quarter.
    #[test]
    fn a_quarter_is_the_most() {
        let (mut pace, mut now, mut worked) = (Pace::default(), 0, 0);
        for length in (1..200).map(|turn| turn * 7919 % 503) {
            now += pace.wait_us(now).unwrap_or(0);
            pace.worked(now, now + length);
            now += length;
            worked += length;
        }
        now += pace.wait_us(now).unwrap_or(0);
        assert!(worked * 4 <= now, "{worked} of {now}");
    }
}
