//! What a guest starts from: its image, RAM disk and device tree, and putting them into its memory.

use super::memory::Bank;
use crate::arch::mmu::{self, MapError};
use crate::arch::{bulk, cpu, native};
use alloc::vec::Vec;
use sha2::{Digest, Sha512};
use spin::Mutex;
use vdev::image::{Image, Placement};

/// See the module. Addresses are offsets in the guest's first bank.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) image: Image<'static>,
    pub(super) initrd: &'static [u8],
    pub(super) device_tree: Mutex<Vec<u8>>,
    /// The random bytes in the device tree, as the guest's next life finds them.
    pub(super) seed: Mutex<Option<[u8; 32]>>,
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

    /// Gives the guest's next life other random bytes, which nobody learns from those of the last one.
    pub(super) fn change_seed(&self) {
        let mut seed = self.seed.lock();
        let Some(old) = *seed else { return };
        let mut hash = Sha512::new();
        hash.update(b"the next life");
        hash.update(old);
        let Some(new) = hash.finalize().first_chunk::<32>().copied() else {
            return;
        };
        vdev::change_seed(&mut self.device_tree.lock(), &old, &new);
        *seed = Some(new);
    }

    fn copy(&self, bytes: &mut [u8]) {
        let device_tree = self.device_tree.lock();
        let place = &self.place;
        let contents = [
            (place.image, self.image.bytes()),
            (place.initrd, self.initrd),
            (place.device_tree, device_tree.as_slice()),
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
