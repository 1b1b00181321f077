//! What a guest starts from: its image, RAM disk and device tree, and putting them into its memory.

use super::memory::Bank;
use crate::arch::mmu::{self, MapError};
use crate::arch::{bulk, cpu, native};
use alloc::vec::Vec;
use vdev::image::{Image, Placement};

/// See the module. Addresses are offsets in the guest's first bank.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) image: Image<'static>,
    pub(super) initrd: &'static [u8],
    pub(super) device_tree: Vec<u8>,
    pub(super) place: Placement,
}

impl Load {
    /// Makes a guest's memory what it is at its start: zero but for what it starts from. No vCPU of it may run.
    pub(super) fn fill(&self, banks: &[Bank]) -> Result<(), MapError> {
        for (index, bank) in banks.iter().enumerate() {
            mmu::with_mapped(bank.pa..bank.pa + bank.size, |bytes| {
                bulk::clear(bytes);
                if index == 0 {
                    self.copy(bytes);
                }
            })?;
        }
        Ok(())
    }

    fn copy(&self, bytes: &mut [u8]) {
        let place = &self.place;
        let contents = [
            (place.image, self.image.bytes()),
            (place.initrd, self.initrd),
            (place.device_tree, &self.device_tree),
        ];
        for (at, content) in contents {
            let at = native(at);
            if let Some(target) = bytes.get_mut(at..at.saturating_add(content.len())) {
                bulk::copy(target, content);
            }
        }
        let start = bytes.as_ptr_range().start.addr() + native(place.image);
        cpu::publish_instructions(start..start + self.image.bytes().len());
    }
}
