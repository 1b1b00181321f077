//! Base address registers as a guest sees them.

use pci::{Bar, Space};

/// One BAR register as the guest sees it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BarRegister {
    value: u32,
    mask: u32,
    /// The guest wrote all ones last.
    pub(super) sizing: bool,
}

impl BarRegister {
    pub(super) fn read(&self) -> u32 {
        if self.sizing { self.mask } else { self.value }
    }
}

pub(super) fn bar_registers(bars: &[Bar]) -> [BarRegister; 6] {
    let mut registers = [BarRegister::default(); 6];
    for bar in bars
        .iter()
        .filter(|bar| bar.space != Space::Io && bar.address != 0)
    {
        let words = |value: u64| {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
        };
        let count = if bar.space == Space::Memory64 { 2 } else { 1 };
        let [mut value, mut mask] = [words(bar.address), words(!(bar.size - 1))];
        for low in [&mut value, &mut mask] {
            low[0] |= bar.flags();
        }
        let own = registers.iter_mut().skip(usize::from(bar.index)).take(count);
        for (register, (value, mask)) in own.zip(value.into_iter().zip(mask)) {
            *register = BarRegister {
                value,
                mask,
                sizing: false,
            };
        }
    }
    registers
}
