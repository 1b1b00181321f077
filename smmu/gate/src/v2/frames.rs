//! One SMMU behind one register frame, or behind two that are programmed as one.

use core::marker::PhantomData;
use mmio::Bus;
use tock_registers::RegisterLongName;
use tock_registers::interfaces::{Readable, Writeable};

/// The register frames of an SMMU.
///
/// Two frames are two instances between which the system divides the transactions of every stream: what is written
/// goes to both, so that they never differ, and a status counts only when both have it.
#[derive(Debug, Clone, Copy)]
pub struct Frames<B> {
    pub(super) first: B,
    pub(super) second: Option<B>,
    pub(super) halves: bool,
}

impl<B> Frames<B> {
    /// One frame.
    pub const fn one(frame: B) -> Self {
        Frames {
            first: frame,
            second: None,
            halves: false,
        }
    }

    /// Two frames that are programmed as one.
    pub const fn two(first: B, second: B) -> Self {
        Frames {
            first,
            second: Some(second),
            halves: false,
        }
    }

    /// The same, with every 64-bit access made as two of 32 bits, the upper half first: 64-bit ones do not get to the SMMU of
    /// a Marvell AP806 (`marvell,ap806-smmu-500`, erratum 582743 in Linux, which does the same).
    #[must_use]
    pub fn in_halves(self) -> Self {
        Frames { halves: true, ..self }
    }

    /// Each of the frames.
    pub fn each(&self) -> impl Iterator<Item = &B> {
        [Some(&self.first), self.second.as_ref()].into_iter().flatten()
    }
}

/// One register, 32 or 64 bits wide (`T`), with fields `R`. It is read from the first frame and written to all of them.
#[derive(Debug)]
pub struct Register<'s, B, T, R> {
    frames: &'s Frames<B>,
    offset: usize,
    shape: PhantomData<(T, R)>,
}

impl<'s, B, T, R> Register<'s, B, T, R> {
    /// The register at `offset`.
    pub(super) fn at(frames: &'s Frames<B>, offset: usize) -> Self {
        Register {
            frames,
            offset,
            shape: PhantomData,
        }
    }
}

impl<B: Bus, R: RegisterLongName> Readable for Register<'_, B, u32, R> {
    type T = u32;
    type R = R;
    fn get(&self) -> u32 {
        self.frames.first.read32(self.offset)
    }
}

impl<B: Bus, R: RegisterLongName> Writeable for Register<'_, B, u32, R> {
    type T = u32;
    type R = R;
    fn set(&self, value: u32) {
        self.frames
            .each()
            .for_each(|frame| frame.write32(self.offset, value));
    }
}

impl<B: Bus, R: RegisterLongName> Readable for Register<'_, B, u64, R> {
    type T = u64;
    type R = R;
    fn get(&self) -> u64 {
        let frame = &self.frames.first;
        if self.frames.halves {
            let high = frame.read32(self.offset + 4);
            return u64::from(high) << 32 | u64::from(frame.read32(self.offset));
        }
        frame.read64(self.offset)
    }
}

impl<B: Bus, R: RegisterLongName> Writeable for Register<'_, B, u64, R> {
    type T = u64;
    type R = R;
    fn set(&self, value: u64) {
        let [b0, b1, b2, b3, b4, b5, b6, b7] = value.to_le_bytes();
        for frame in self.frames.each() {
            if self.frames.halves {
                frame.write32(self.offset + 4, u32::from_le_bytes([b4, b5, b6, b7]));
                frame.write32(self.offset, u32::from_le_bytes([b0, b1, b2, b3]));
            } else {
                frame.write64(self.offset, value);
            }
        }
    }
}
