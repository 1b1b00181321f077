//! Interrupt lines with a level, at an interrupt controller that can only be told "pending".

/// An interrupt controller, as far as software can play hardware at it.
pub trait Gic {
    /// Whether the interrupt is pending, and whether it is active.
    fn state(&self, interrupt: u32) -> (bool, bool);
    /// Makes it pending.
    fn pend(&self, interrupt: u32);
    /// Makes it not pending.
    fn unpend(&self, interrupt: u32);
}

/// Brings the interrupt controller up to date with the levels of the lines, and says whether any is asserted.
///
/// A line that stays asserted while its interrupt is handled makes the interrupt pending again after the handling, as
/// IHI 0069 4.1.2 has it for level-sensitive interrupts; whoever calls this has to call it again for that.
pub fn settle(lines: impl IntoIterator<Item = (u32, bool)>, gic: &impl Gic) -> bool {
    let mut any = false;
    for (interrupt, asserted) in lines {
        any |= asserted;
        match (asserted, gic.state(interrupt)) {
            (true, (false, false)) => gic.pend(interrupt),
            (false, (true, _)) => gic.unpend(interrupt),
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    struct One {
        pending: Cell<bool>,
        active: Cell<bool>,
    }

    impl Gic for One {
        fn state(&self, _interrupt: u32) -> (bool, bool) {
            (self.pending.get(), self.active.get())
        }
        fn pend(&self, _interrupt: u32) {
            self.pending.set(true);
        }
        fn unpend(&self, _interrupt: u32) {
            self.pending.set(false);
        }
    }

    #[test]
    fn a_line_is_followed_through_an_interrupts_life() {
        let gic = One {
            pending: Cell::new(false),
            active: Cell::new(false),
        };
        assert!(!settle([(40, false)], &gic));
        assert!(!gic.pending.get());
        assert!(settle([(40, true)], &gic));
        assert!(gic.pending.get(), "asserted");
        gic.pending.set(false);
        gic.active.set(true);
        settle([(40, true)], &gic);
        assert!(!gic.pending.get(), "still asserted, and being handled");
        gic.active.set(false);
        settle([(40, true)], &gic);
        assert!(gic.pending.get(), "still asserted after it was handled");
        settle([(40, false)], &gic);
        assert!(!gic.pending.get(), "no longer asserted");
    }
}
