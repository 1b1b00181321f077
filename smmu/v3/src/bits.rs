//! Fields of 64-bit words in memory: stream table entries, commands, events.

/// A field of `width` bits (1 to 63) from bit `shift` of a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field {
    shift: u32,
    width: u32,
}

impl Field {
    /// The field with the bits `high` down to `low`, as the manual writes it.
    pub(crate) const fn new(high: u32, low: u32) -> Self {
        assert!(low <= high && high - low < 63);
        Field {
            shift: low,
            width: high - low + 1,
        }
    }

    /// The field's bits in place.
    pub(crate) const fn mask(self) -> u64 {
        ((1 << self.width) - 1) << self.shift
    }

    /// `value` in place; bits that do not fit are cut off.
    pub(crate) const fn put(self, value: u64) -> u64 {
        (value << self.shift) & self.mask()
    }

    /// The field's value in `word`.
    pub(crate) const fn get(self, word: u64) -> u64 {
        (word & self.mask()) >> self.shift
    }

    /// The value of a field of at most 8 bits.
    pub(crate) const fn get8(self, word: u64) -> u8 {
        self.get(word).to_le_bytes()[0]
    }

    /// The value of a field of at most 16 bits.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "callers use it on fields of at most 16 bits"
    )]
    pub(crate) const fn get16(self, word: u64) -> u16 {
        self.get(word) as u16
    }

    /// The value of a field of at most 32 bits.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "callers use it on fields of at most 32 bits"
    )]
    pub(crate) const fn get32(self, word: u64) -> u32 {
        self.get(word) as u32
    }

    /// Whether any bit of the field is set.
    pub(crate) const fn is_set(self, word: u64) -> bool {
        word & self.mask() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_put_and_got_in_place() {
        let field = Field::new(47, 32);
        assert_eq!(field.mask(), 0xffff_0000_0000);
        assert_eq!(field.put(0x1_beef), 0xbeef_0000_0000);
        assert_eq!(field.get16(0x1234_beef_5678_9abc), 0xbeef);
        assert!(!field.is_set(!field.mask()));
    }
}
