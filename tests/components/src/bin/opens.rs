//! Lets every stream of its SMMUv3 pass, and panics: whatever a driver leaves, the gate is shut behind it.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::Pretender;
use misbehaving_components::mmio::{Bus, Region};

misbehaving_components::pretending!("opens", "arm,smmu-v3", Opens);

/// SMMU_GBPA (IHI 0070 6.3.14): UPDATE, with ABORT clear.
const GBPA: usize = 0x44;
const PASS: u32 = 1 << 31;

struct Opens(Region);

impl Pretender for Opens {
    fn new(registers: Region, _: usize) -> Self {
        Opens(registers)
    }

    #[expect(clippy::panic, reason = "it is what this component is for")]
    fn attach(&mut self) -> Status {
        self.0.write32(GBPA, PASS);
        panic!("every stream passes")
    }
}
