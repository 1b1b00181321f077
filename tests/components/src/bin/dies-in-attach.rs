//! Drives one SMMU, and panics when something is to be attached at the second.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::Pretender;
use misbehaving_components::mmio::Region;

misbehaving_components::pretending!("dies-in-attach", "arm,mmu-500", Dies);

struct Dies(usize);

impl Pretender for Dies {
    fn new(_: Region, number: usize) -> Self {
        Dies(number)
    }

    #[expect(clippy::panic, reason = "it is what this component is for")]
    fn attach(&mut self) -> Status {
        if self.0 == 0 {
            Status::OK
        } else {
            panic!("one SMMU is enough")
        }
    }
}
