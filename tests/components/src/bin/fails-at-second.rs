//! Drives two SMMUs, and cannot make the second forget anything. It does not die of that.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::Pretender;
use misbehaving_components::mmio::Region;

misbehaving_components::pretending!("fails-at-second", "arm,mmu-500", Fails);

struct Fails(usize);

impl Pretender for Fails {
    fn new(_: Region, number: usize) -> Self {
        Fails(number)
    }

    fn invalidate(&mut self) -> Status {
        if self.0 == 0 { Status::OK } else { Status::TIMEOUT }
    }
}
