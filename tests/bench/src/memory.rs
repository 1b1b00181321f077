//! What the board's devices see of the machine around them.

use core::fmt;

/// Physical memory, and somebody to tell what a driver did wrong.
pub trait Memory: Clone {
    /// Reads bytes; false, and nothing read, where nobody answers.
    fn read(&self, address: u64, into: &mut [u8]) -> bool;
    /// Writes bytes; false, and nothing written, where nobody answers.
    fn write(&self, address: u64, from: &[u8]) -> bool;
    /// Tells that software broke a rule of the hardware.
    fn violation(&self, text: &dyn fmt::Display);
}

/// Memory for tests: some pages from the start of RAM on.
#[cfg(test)]
pub(crate) mod fake {
    use super::*;
    use crate::map::RAM;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Clones share the bytes.
    #[derive(Clone)]
    pub(crate) struct Ram {
        bytes: Rc<RefCell<Vec<u8>>>,
        pub(crate) violations: Rc<RefCell<Vec<String>>>,
    }

    impl Ram {
        pub(crate) fn new(size: usize) -> Ram {
            Ram {
                bytes: Rc::new(RefCell::new(vec![0; size])),
                violations: Rc::default(),
            }
        }

        fn range(&self, address: u64, size: usize) -> Option<std::ops::Range<usize>> {
            let start = usize::try_from(address.checked_sub(RAM.start)?).ok()?;
            let end = start.checked_add(size)?;
            (end <= self.bytes.borrow().len()).then_some(start..end)
        }
    }

    impl Memory for Ram {
        fn read(&self, address: u64, into: &mut [u8]) -> bool {
            let range = self.range(address, into.len());
            range.is_some_and(|range| {
                into.copy_from_slice(&self.bytes.borrow()[range]);
                true
            })
        }
        fn write(&self, address: u64, from: &[u8]) -> bool {
            let range = self.range(address, from.len());
            range.is_some_and(|range| {
                self.bytes.borrow_mut()[range].copy_from_slice(from);
                true
            })
        }
        fn violation(&self, text: &dyn fmt::Display) {
            self.violations.borrow_mut().push(text.to_string());
        }
    }
}
