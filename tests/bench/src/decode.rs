//! Loads and stores of A64 (DDI 0487 C4.1.94): what a granule protection fault leaves to be read from the instruction.

/// How a loaded value fills its register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extension {
    /// With zeroes.
    Zero,
    /// With the sign, up to bit 31.
    Sign32,
    /// With the sign, up to bit 63.
    Sign64,
}

/// A load or store of one general-purpose register or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instruction {
    /// Whether it loads.
    pub load: bool,
    /// Bytes of each register's transfer: 1, 2, 4 or 8.
    pub size: usize,
    /// How a loaded value fills its register.
    pub extension: Extension,
    /// The register; 31 is zero.
    pub register: u8,
    /// The second register, whose bytes follow.
    pub second: Option<u8>,
    /// The base register and what is added to it, before or after the access.
    pub writeback: Option<(u8, i64)>,
}

/// Reads an instruction; nothing if it is no plain load or store of general-purpose registers, or one that writes the
/// stack pointer back.
pub fn decode(word: u32) -> Option<Instruction> {
    let vector = word >> 26 & 1 != 0;
    let instruction = match (word >> 27 & 7, word >> 24 & 3, vector) {
        (0b111, 0b01, false) => single(word, None),
        (0b111, 0b00, false) => {
            let offset = signed(word >> 12, 9);
            match (word >> 21 & 1, word >> 10 & 3) {
                (0, 0b01 | 0b11) => single(word, Some(offset)),
                (0, 0b00 | 0b10) | (1, 0b10) => single(word, None),
                _ => None,
            }
        }
        (0b101, 0b00 | 0b01, false) => pair(word),
        _ => None,
    }?;
    let to_stack_pointer = instruction.writeback.is_some_and(|(base, _)| base == 31);
    (!to_stack_pointer).then_some(instruction)
}

fn single(word: u32, writeback: Option<i64>) -> Option<Instruction> {
    let log_size = word >> 30;
    let (load, extension) = match (word >> 22 & 3, log_size) {
        (0b00, _) => (false, Extension::Zero),
        (0b01, _) => (true, Extension::Zero),
        (0b10, 0..=2) => (true, Extension::Sign64),
        (0b11, 0..=1) => (true, Extension::Sign32),
        // A prefetch, or nothing.
        _ => return None,
    };
    Some(Instruction {
        load,
        size: 1 << log_size,
        extension,
        register: register(word),
        second: None,
        writeback: writeback.map(|offset| (register(word >> 5), offset)),
    })
}

fn pair(word: u32) -> Option<Instruction> {
    let load = word >> 22 & 1 != 0;
    let (size, extension) = match (word >> 30, load) {
        (0b00, _) => (4, Extension::Zero),
        (0b10, _) => (8, Extension::Zero),
        (0b01, true) => (4, Extension::Sign64),
        _ => return None,
    };
    let offset = signed(word >> 15, 7) * i64::from(size);
    // Post-index and pre-index; the others leave the base alone.
    let writes_back = matches!(word >> 23 & 3, 0b01 | 0b11);
    Some(Instruction {
        load,
        size: size as usize,
        extension,
        register: register(word),
        second: Some(register(word >> 10)),
        writeback: writes_back.then(|| (register(word >> 5), offset)),
    })
}

fn register(field: u32) -> u8 {
    (field & 0x1f) as u8
}

/// The lowest `width` bits as a signed number.
fn signed(field: u32, width: u32) -> i64 {
    let shift = 64 - width;
    (u64::from(field) << shift).cast_signed() >> shift
}

impl Instruction {
    /// Does it: `registers` are x0 to x30, and `access` takes an offset from the address, a size in bytes and, for a store,
    /// the value, and returns what a load brings.
    pub fn execute(&self, registers: &mut [u64; 31], mut access: impl FnMut(u64, usize, Option<u64>) -> u64) {
        let parts = [Some(self.register), self.second];
        for (part, register) in (0..).zip(parts.into_iter().flatten()) {
            let slot = registers.get_mut(usize::from(register));
            let offset = part * self.size as u64;
            if self.load {
                let value = self.extend(access(offset, self.size, None));
                if let Some(slot) = slot {
                    *slot = value;
                }
            } else {
                let value = slot.map_or(0, |slot| *slot);
                access(offset, self.size, Some(self.truncate(value)));
            }
        }
        if let Some((base, offset)) = self.writeback
            && let Some(slot) = registers.get_mut(usize::from(base))
        {
            *slot = slot.wrapping_add_signed(offset);
        }
    }

    fn unused_bits(&self) -> usize {
        64 - 8 * self.size
    }

    fn truncate(&self, value: u64) -> u64 {
        value << self.unused_bits() >> self.unused_bits()
    }

    fn extend(&self, value: u64) -> u64 {
        let unused = self.unused_bits();
        let with_sign = ((value << unused).cast_signed() >> unused).cast_unsigned();
        match self.extension {
            Extension::Zero => self.truncate(value),
            Extension::Sign32 => with_sign & 0xffff_ffff,
            Extension::Sign64 => with_sign,
        }
    }
}

#[cfg(test)]
mod tests;
