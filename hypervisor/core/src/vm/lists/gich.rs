//! The virtual interface of a GICv2: registers in memory (IHI 0048 5.3). Each CPU sees its own.

use mmio::{Bus, Region};
use vdev::vgic::ListRegister;

const HCR: usize = 0x000;
const VTR: usize = 0x004;
const VMCR: usize = 0x008;
const APR: usize = 0x0f0;
const LR: usize = 0x100;

/// `GICH_VTR.ListRegs` plus one.
pub(super) fn count(registers: &Region) -> usize {
    (registers.read32(VTR) & 0x3f) as usize + 1
}

pub(super) fn reset(registers: &Region) {
    registers.write32(HCR, 0);
    registers.write32(VMCR, 0);
    registers.write32(APR, 0);
    for index in 0..count(registers) {
        registers.write32(LR + 4 * index, 0);
    }
}

/// Writes list registers from the first one on, and `GICH_HCR`.
pub(super) fn load(registers: &Region, entries: &[ListRegister], control: u32) {
    for (index, entry) in entries.iter().enumerate() {
        registers.write32(LR + 4 * index, entry.to_v2());
    }
    registers.write32(HCR, control);
}

/// Turns the virtual interface off and reads list registers from the first one on. Returns what `GICH_HCR` was.
pub(super) fn store(registers: &Region, entries: &mut [ListRegister]) -> u32 {
    let control = registers.read32(HCR);
    registers.write32(HCR, 0);
    for (index, entry) in entries.iter_mut().enumerate() {
        *entry = ListRegister::from_v2(registers.read32(LR + 4 * index));
    }
    control
}
