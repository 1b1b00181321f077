//! Panics when it is asked for faults.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::Pretender;
use misbehaving_components::mmio::Region;

misbehaving_components::pretending!("dies-in-interrupt", "arm,smmu-v3", Dies);

struct Dies;

impl Pretender for Dies {
    fn new(_: Region, _: usize) -> Self {
        Dies
    }

    #[expect(clippy::panic, reason = "it is what this component is for")]
    fn interrupt(&mut self) -> Status {
        panic!("asked for faults")
    }
}
