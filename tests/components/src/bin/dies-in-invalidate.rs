//! Panics when a translation is to be forgotten, on whichever CPU that is.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::Pretender;
use misbehaving_components::mmio::Region;

misbehaving_components::pretending!("dies-in-invalidate", "arm,smmu-v3\0arm,mmu-500", Dies);

struct Dies;

impl Pretender for Dies {
    fn new(_: Region, _: usize) -> Self {
        Dies
    }

    #[expect(clippy::panic, reason = "it is what this component is for")]
    fn invalidate(&mut self) -> Status {
        panic!("a translation is to be forgotten")
    }
}
