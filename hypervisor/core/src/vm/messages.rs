//! Messages of a guest's functions, and the virtual ITS that says what becomes of them.
//!
//! The physical ITS makes an LPI of every event of a function ([`Messages`]), whatever the guest wants. When one comes, the
//! virtual ITS is asked which LPI of the guest it is, if it is any.
//!
//! # The page of `GITS_TRANSLATER`
//! It is mapped in the guest's stage 2, for its functions' messages go through that. So its CPUs can write there too, and
//! its functions by ordinary DMA. What comes of a write is decided by the device ID that the system puts beside it:
//! - a message of a function comes with that function's own ID, which is mapped to LPIs of this guest only;
//! - ordinary DMA comes with the same ID, or as on QEMU with 0;
//! - a CPU has no device ID of its own (IHI 0069 leaves open what comes instead). QEMU's writes come with 0. An Arm GIC-600
//!   gets it as a signal of the interconnect, which the CPUs' ports do not have.
//!
//! The ID 0 is never mapped, so nothing comes of it. A guest may raise events of its own functions, as it can by INT. The
//! page of an MSI-64 encapsulator, where the writer itself says which device it is, is elsewhere and never mapped. A
//! machine on which a CPU's write comes with the ID of a function would have no isolation of messages under any
//! hypervisor that lets a guest use them.

use super::guest::{Devices, Guest};
use super::interrupts::Board;
use super::memory::Memory;
use vdev::its::{GuestMemory, Its, NotRam};
use vdev::vgic::Vgic;

/// A guest's RAM, as its ITS reads commands and tables there.
struct Ram<'m>(&'m Memory);

impl GuestMemory for Ram<'_> {
    fn read(&mut self, ipa: u64, into: &mut [u8]) -> Result<(), NotRam> {
        self.0.read(ipa, into).map_err(|_| NotRam)
    }
}

impl Guest {
    /// Lends the ITS to `work`, if there is one. The order of locks is that of everybody who takes both.
    fn with_its<R>(
        &self,
        vcpu: usize,
        work: impl FnOnce(&mut Its, &mut Vgic, &mut Ram<'_>, &mut Board<'_>) -> R,
    ) -> Option<R> {
        let memory = self.memory.lock();
        let mut devices = self.devices.lock();
        let Devices { gic, its, .. } = &mut *devices;
        let mut board = Board {
            guest: self,
            vcpu: Some(vcpu),
        };
        Some(work(its.as_mut()?, gic, &mut Ram(&memory), &mut board))
    }

    pub(super) fn read_its(&self, vcpu: usize, offset: u64, size: u8) -> u64 {
        let read = self.with_its(vcpu, |its, gic, ram, board| {
            // A guest that looks how far it is with its commands gets them done.
            its.run(gic, ram, board);
            its.read(offset, size)
        });
        read.unwrap_or(0)
    }

    pub(super) fn write_its(&self, vcpu: usize, offset: u64, size: u8, value: u64) {
        self.with_its(vcpu, |its, gic, ram, board| {
            its.write(offset, size, value, gic, ram, board);
        });
    }

    /// Has the ITS carry out more of the commands that wait.
    pub(super) fn run_its(&self, vcpu: usize) {
        self.with_its(vcpu, |its, gic, ram, board| its.run(gic, ram, board));
    }

    /// The function that the guest sees as `device` has signalled `event`.
    pub(super) fn take_message(&self, device: u32, event: u32) {
        if !self.is_running() {
            return;
        }
        let mut devices = self.devices.lock();
        let Devices { gic, its, .. } = &mut *devices;
        if let Some(its) = its {
            let mut board = Board {
                guest: self,
                vcpu: None,
            };
            its.signal(device, event, gic, &mut board);
        }
    }
}
