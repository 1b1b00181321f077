//! The arithmetic of a queue shared with the SMMU (IHI 0070 3.5.1).

use mmio::Block;

/// A ring of a power-of-two number of entries.
///
/// A position is an index with a wrap bit above it. Two equal positions mean empty; two that differ in the wrap
/// bit only mean full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ring {
    block: Block,
    bits: u8,
    entry_bytes: u32,
}

impl Ring {
    /// The ring of `1 << bits` entries of `entry_bytes` each that lies in `block`. Position fields have 20 bits, so
    /// `bits` is at most 19.
    pub(crate) fn new(block: Block, bits: u8, entry_bytes: u32) -> Self {
        Ring {
            block,
            bits: bits.min(19),
            entry_bytes,
        }
    }

    /// The memory it lies in.
    pub(crate) fn block(&self) -> Block {
        self.block
    }

    /// The number of entries, as a power of two.
    pub(crate) fn bits(&self) -> u8 {
        self.bits
    }

    /// The number of entries.
    pub(crate) fn entries(&self) -> u32 {
        1 << self.bits
    }

    /// A position as read from a register: bits above the wrap bit are not part of it.
    pub(crate) fn position(&self, register: u32) -> u32 {
        register & (2 * self.entries() - 1)
    }

    /// The index part of a position.
    pub(crate) fn index(&self, position: u32) -> u32 {
        position & (self.entries() - 1)
    }

    /// The position after `position`.
    pub(crate) fn next(&self, position: u32) -> u32 {
        self.position(position + 1)
    }

    /// The number of entries in use.
    pub(crate) fn used(&self, produced: u32, consumed: u32) -> u32 {
        self.position(produced.wrapping_sub(consumed))
    }

    /// The address of the entry at `position`.
    pub(crate) fn address(&self, position: u32) -> u64 {
        self.block.address + u64::from(self.index(position)) * u64::from(self.entry_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(bits: u8) -> Ring {
        Ring::new(
            Block {
                address: 0x1000,
                size: 16 << bits,
            },
            bits,
            16,
        )
    }

    proptest! {
        /// The wrap bit agrees with plain counting, at any number of entries and any number of laps.
        #[test]
        fn positions_count_modulo_two_laps(bits in 0_u8..=6, consumed in 0_u32..300, used in 0_u32..=64) {
            let ring = ring(bits);
            let used = used % (ring.entries() + 1);
            let walk = |steps| (0..steps).fold(0, |position, _| ring.next(position));
            let (cons, prod) = (walk(consumed), walk(consumed + used));
            prop_assert_eq!(ring.used(prod, cons), used);
            prop_assert_eq!(ring.index(prod), (consumed + used) % ring.entries());
            prop_assert_eq!(ring.address(prod), 0x1000 + 16 * u64::from(ring.index(prod)));
        }
    }

    #[test]
    fn bits_that_are_not_part_of_a_position_are_dropped() {
        assert_eq!(ring(3).position(0x8000_0019), 9);
        assert_eq!(ring(3).index(9), 1);
    }
}
