//! Interrupt lines with a level, at an interrupt controller that can only be told "pending".

use alloc::collections::BTreeSet;

/// An interrupt controller, as far as software can play hardware at it.
pub trait Gic {
    /// Whether the interrupt is pending, and whether it is active.
    fn state(&self, interrupt: u32) -> (bool, bool);
    /// Makes it pending.
    fn pend(&self, interrupt: u32);
    /// Makes it not pending.
    fn unpend(&self, interrupt: u32);
}

/// The lines that were asserted last.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    asserted: BTreeSet<u32>,
}

impl Lines {
    /// No line is asserted.
    pub const fn new() -> Self {
        Lines {
            asserted: BTreeSet::new(),
        }
    }

    /// Brings the interrupt controller up to date with the levels of the lines, and says whether any is asserted.
    ///
    /// A line that stays asserted while its interrupt is handled makes the interrupt pending again after the handling, as
    /// IHI 0069 4.1.2 has it for level-sensitive interrupts; whoever calls this has to call it again for that.
    pub fn settle(&mut self, lines: impl IntoIterator<Item = (u32, bool)>, gic: &impl Gic) -> bool {
        for (interrupt, asserted) in lines {
            if asserted {
                self.asserted.insert(interrupt);
                if gic.state(interrupt) == (false, false) {
                    gic.pend(interrupt);
                }
            } else if self.asserted.remove(&interrupt) && gic.state(interrupt).0 {
                gic.unpend(interrupt);
            }
        }
        !self.asserted.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[derive(Default)]
    struct One {
        pending: Cell<bool>,
        active: Cell<bool>,
        looked: Cell<usize>,
    }

    impl Gic for One {
        fn state(&self, _interrupt: u32) -> (bool, bool) {
            self.looked.set(self.looked.get() + 1);
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
        let (mut lines, gic) = (Lines::new(), One::default());
        assert!(!lines.settle([(40, false)], &gic));
        assert!(!gic.pending.get());
        assert!(lines.settle([(40, true)], &gic));
        assert!(gic.pending.get(), "asserted");
        gic.pending.set(false);
        gic.active.set(true);
        lines.settle([(40, true)], &gic);
        assert!(!gic.pending.get(), "still asserted, and being handled");
        gic.active.set(false);
        lines.settle([(40, true)], &gic);
        assert!(gic.pending.get(), "still asserted after it was handled");
        assert!(!lines.settle([(40, false)], &gic));
        assert!(!gic.pending.get(), "no longer asserted");
    }

    #[test]
    fn what_others_made_pending_is_not_looked_at() {
        let (mut lines, gic) = (Lines::new(), One::default());
        gic.pend(40);
        lines.settle([(40, false)], &gic);
        assert!(gic.pending.get());
        assert_eq!(gic.looked.get(), 0);
    }
}
