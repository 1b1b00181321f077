//! Bit fields of raw words.

/// The mask of bits `high..=low`.
pub(crate) const fn mask(high: u32, low: u32) -> u64 {
    (u64::MAX >> (63 - high)) & (u64::MAX << low)
}

/// The field of bits `high..=low`.
pub(crate) const fn field(value: u64, high: u32, low: u32) -> u64 {
    (value & mask(high, low)) >> low
}

/// Bit `n`.
pub(crate) const fn bit(value: u64, n: u32) -> bool {
    value >> n & 1 == 1
}

/// The low half.
pub(crate) const fn low32(value: u64) -> u32 {
    (value & 0xffff_ffff) as u32
}

/// The low 16 bits.
pub(crate) const fn low16(value: u64) -> u16 {
    (value & 0xffff) as u16
}

/// Whether `value` is a multiple of `align`, a power of two.
pub(crate) const fn aligned(value: u64, align: u64) -> bool {
    value & (align - 1) == 0
}
