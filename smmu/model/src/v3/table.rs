//! The stream table's geometry (IHI 0070 3.3.1, 5.1, 6.3.23, 6.3.24).

use crate::bits::{field, low32, mask};

/// Bytes of a stream table entry.
pub(super) const STE_BYTES: u64 = 64;

/// A stream table as its registers describe it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    pub base: u64,
    /// Bits of stream ID that it covers.
    pub log2size: u32,
    /// Bits of stream ID that the second level resolves; `None`: linear.
    pub split: Option<u32>,
}

/// A stretch of consecutive entries in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// Stream ID of the first entry.
    pub first: u32,
    pub base: u64,
    pub count: u32,
}

impl Stretch {
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.count) * STE_BYTES
    }

    /// Where the entry of a stream lies.
    pub(super) fn entry(&self, stream: u32) -> Option<u64> {
        let index = stream
            .checked_sub(self.first)
            .filter(|&index| index < self.count)?;
        Some(self.base + u64::from(index) * STE_BYTES)
    }

    /// Whose entry the word at `address` belongs to.
    pub(super) fn stream_at(&self, address: u64) -> Option<u32> {
        let offset = address
            .checked_sub(self.base)
            .filter(|&offset| offset < self.bytes())?;
        Some(self.first + low32(offset / STE_BYTES))
    }
}

/// What is wrong with a table or descriptor.
pub(super) type Complaint = (&'static str, u64, &'static str);

impl Table {
    /// The table that the registers describe, with what is wrong with it.
    pub(super) fn from_registers(
        base: u64,
        cfg: u32,
        stream_bits: u64,
        two_level: bool,
    ) -> (Table, Vec<Complaint>) {
        let cfg = u64::from(cfg);
        let mut complaints = Vec::new();
        let mut log2size = field(cfg, 5, 0);
        if log2size > stream_bits {
            complaints.push(("STRTAB_BASE_CFG.LOG2SIZE", log2size, "larger than IDR1.SIDSIZE"));
            log2size = stream_bits;
        }
        let split = match field(cfg, 17, 16) {
            0 => None,
            1 if two_level => {
                let split = field(cfg, 10, 6);
                if !matches!(split, 6 | 8 | 10) {
                    complaints.push(("STRTAB_BASE_CFG.SPLIT", split, "not 6, 8 or 10"));
                }
                Some(if matches!(split, 8 | 10) { low32(split) } else { 6 })
            }
            format => {
                complaints.push((
                    "STRTAB_BASE_CFG.FMT",
                    format,
                    "a format that IDR0.ST_LEVEL does not offer",
                ));
                None
            }
        };
        let table = Table {
            base: base & mask(51, 6),
            log2size: low32(log2size),
            split,
        };
        let align = table.level1_bytes().next_power_of_two().max(64);
        if table.base & (align - 1) != 0 {
            complaints.push((
                "STRTAB_BASE.ADDR",
                table.base,
                "not aligned to the size of the table",
            ));
        }
        (table, complaints)
    }

    /// Bytes of the array that STRTAB_BASE points to.
    pub(super) fn level1_bytes(&self) -> u64 {
        match self.split {
            None => STE_BYTES << self.log2size,
            Some(split) => 8 << self.log2size.saturating_sub(split),
        }
    }

    pub(super) fn covers(&self, stream: u32) -> bool {
        u64::from(stream) >> self.log2size == 0
    }

    /// The entries of a linear table.
    pub(super) fn linear(&self) -> Option<Stretch> {
        let count = u32::try_from(1u64 << self.log2size).unwrap_or(u32::MAX);
        self.split.is_none().then_some(Stretch {
            first: 0,
            base: self.base,
            count,
        })
    }

    /// Index and address of the level-1 descriptor of a stream in a 2-level table.
    pub(super) fn descriptor_of(&self, stream: u32) -> Option<(u32, u64)> {
        let index = stream >> self.split?;
        Some((index, self.base + u64::from(index) * 8))
    }

    /// The index of the level-1 descriptor at `address`.
    pub(super) fn descriptor_at(&self, address: u64) -> Option<u32> {
        self.split?;
        let offset = address
            .checked_sub(self.base)
            .filter(|&offset| offset < self.level1_bytes())?;
        Some(low32(offset / 8))
    }

    /// How many level-1 descriptors there are.
    pub(super) fn descriptors(&self) -> u32 {
        if self.split.is_some() {
            low32(self.level1_bytes() / 8)
        } else {
            0
        }
    }

    /// What a level-1 descriptor leads to (5.1), with what is wrong with it.
    pub(super) fn follow(&self, index: u32, descriptor: u64) -> (Option<Stretch>, Vec<Complaint>) {
        let split = self.split.unwrap_or(0);
        let span = field(descriptor, 4, 0);
        if span == 0 {
            return (None, Vec::new());
        }
        let mut complaints = Vec::new();
        if span > u64::from(split) + 1 {
            complaints.push(("L1STD.Span", span, "more entries than SPLIT resolves"));
            return (None, complaints);
        }
        if descriptor & (mask(63, 52) | mask(5, 5)) != 0 {
            complaints.push(("L1STD", descriptor, "reserved bits"));
        }
        let base = descriptor & mask(51, 6);
        let stretch = Stretch {
            first: index << split,
            base,
            count: 1 << (span - 1),
        };
        if base & (stretch.bytes() - 1) != 0 {
            complaints.push((
                "L1STD.L2Ptr",
                base,
                "not aligned to the size of the level-2 table",
            ));
        }
        (Some(stretch), complaints)
    }
}
