//! Base address registers as a guest sees them: like a function's own, but for the size of a page at least.

use alloc::vec::Vec;
use pci::{Bar, Space};

/// Stage 2 cannot give out less, so that two BARs must not share what is shorter.
const PAGE: u64 = 4096;

/// One register.
#[derive(Debug, Clone, Copy, Default)]
struct Register {
    /// What the address bits hold.
    value: u32,
    /// What they hold at first: the function's own address.
    assigned: u32,
    /// The bits that are an address.
    mask: u32,
    /// The others: kind and prefetchability.
    flags: u32,
}

/// One BAR, of one register or two.
#[derive(Debug, Clone, Copy)]
struct Shape {
    index: u8,
    wide: bool,
}

/// All memory BARs of a function. I/O BARs, and those without an address, are not there.
#[derive(Debug, Clone, Default)]
pub(super) struct Bars {
    registers: [Register; 6],
    bars: Vec<Shape>,
}

impl Bars {
    pub(super) fn new(bars: &[Bar]) -> Bars {
        let mut new = Bars::default();
        for bar in bars
            .iter()
            .filter(|bar| bar.space != Space::Io && bar.address != 0)
        {
            let wide = bar.space == Space::Memory64;
            let [low, high] = halves(bar.address);
            let [low_mask, high_mask] = halves(!(bar.size.max(PAGE) - 1));
            let low = Register {
                value: low & low_mask,
                assigned: low & low_mask,
                mask: low_mask,
                flags: bar.flags(),
            };
            let high = Register {
                value: high,
                assigned: high,
                mask: high_mask,
                flags: 0,
            };
            let count = if wide { 2 } else { 1 };
            let own = new.registers.iter_mut().skip(usize::from(bar.index)).take(count);
            for (register, half) in own.zip([low, high]) {
                *register = half;
            }
            new.bars.push(Shape {
                index: bar.index,
                wide,
            });
        }
        new
    }

    /// Register `index`.
    pub(super) fn read(&self, index: usize) -> u32 {
        let register = self.registers.get(index).copied().unwrap_or_default();
        register.value | register.flags
    }

    /// Writes register `index`.
    pub(super) fn write(&mut self, index: usize, value: u32) {
        if let Some(register) = self.registers.get_mut(index) {
            register.value = value & register.mask;
        }
    }

    /// All BARs are where they were at first.
    pub(super) fn reset(&mut self) {
        for register in &mut self.registers {
            register.value = register.assigned;
        }
    }

    /// Places all BARs one behind the other from `first` on, the largest ones first, so that each is aligned. They are there
    /// after a reset as well.
    pub(super) fn place(&mut self, first: u64) {
        let mut sized: Vec<(u64, Shape)> = self.bars.iter().map(|bar| (self.size(bar), *bar)).collect();
        sized.sort_by_key(|(size, _)| core::cmp::Reverse(*size));
        let mut next = first;
        for (size, bar) in sized {
            for (half, register) in halves(next).into_iter().zip(self.registers_of(bar)) {
                register.assigned = half & register.mask;
            }
            next = next.saturating_add(size);
        }
        self.reset();
    }

    /// Bytes of a BAR: its lowest address bit.
    fn size(&self, bar: &Shape) -> u64 {
        let mask = |index: usize| u64::from(self.registers.get(index).map_or(0, |register| register.mask));
        let index = usize::from(bar.index);
        let high = if bar.wide { mask(index + 1) } else { 0 };
        let mask = high << 32 | mask(index);
        mask & mask.wrapping_neg()
    }

    fn registers_of(&mut self, bar: Shape) -> impl Iterator<Item = &mut Register> {
        let count = if bar.wide { 2 } else { 1 };
        self.registers.iter_mut().skip(usize::from(bar.index)).take(count)
    }

    /// Index and address of each BAR.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (u8, u64)> {
        let value = |index: usize| u64::from(self.registers.get(index).map_or(0, |register| register.value));
        self.bars.iter().map(move |bar| {
            let index = usize::from(bar.index);
            let high = if bar.wide { value(index + 1) } else { 0 };
            (bar.index, high << 32 | value(index))
        })
    }
}

/// Low and high half.
fn halves(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
}
