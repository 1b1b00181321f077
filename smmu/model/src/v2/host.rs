//! What lies around an SMMU.

use crate::Violation;

/// The memory that an SMMU walks, and who is told of broken rules.
pub trait Host: Clone {
    /// Reads the word at `address`, a multiple of 8, as hardware does; `None` is a bus error.
    fn read(&self, address: u64) -> Option<u64>;
    /// A driver broke a rule.
    fn violation(&self, violation: Violation);
    /// What hardware would read, for questions of the model itself: nothing may follow from it.
    fn peek(&self, address: u64) -> Option<u64> {
        self.read(address)
    }
    /// The first descriptor in `[address, address + size)` that was written and may not be visible yet, if that makes a
    /// difference.
    fn first_unpublished(&self, _address: u64, _size: u64) -> Option<u64> {
        None
    }
    /// Whether all of `[address, address + size)` is memory that a driver may point hardware to.
    fn is_allocated(&self, _address: u64, _size: u64) -> bool {
        true
    }
}

#[cfg(feature = "std")]
impl Host for crate::Memory {
    fn read(&self, address: u64) -> Option<u64> {
        self.device_read(address)
    }
    fn violation(&self, violation: Violation) {
        self.violations().push(violation);
    }
    fn peek(&self, address: u64) -> Option<u64> {
        crate::Memory::peek(self, address)
    }
    fn first_unpublished(&self, address: u64, size: u64) -> Option<u64> {
        self.first_unpublished_descriptor(address, size)
    }
    fn is_allocated(&self, address: u64, size: u64) -> bool {
        crate::Memory::is_allocated(self, address, size)
    }
}
