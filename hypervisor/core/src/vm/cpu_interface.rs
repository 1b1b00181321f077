//! The CPU interface of a guest's GICv2.
//!
//! It is hardware: the GIC's virtual CPU interface (IHI 0048 5.5), of which each CPU sees its own. Yet it is not mapped in
//! stage 2, for the guest's devices go through the same stage 2, and the GIC takes what a device reads or writes there for
//! an access of some CPU, which may be another guest's. So the vCPU's accesses trap, and are made here for it.

use super::guest::Guest;
use super::interrupts::Board;
use super::lists;
use crate::arch::gic::{self, VirtualInterface};
use aarch64_cpu::asm::barrier;
use mmio::Bus;
use vdev::vgic::ListRegister;

impl Guest {
    /// Reads a register of the CPU interface, on the CPU of `vcpu`.
    pub(super) fn read_cpu_interface(&self, vcpu: usize, offset: u64, size: u8) -> u64 {
        let read = |interface: &VirtualInterface, offset| interface.cpu.read32(offset);
        self.with_virtual_interface(vcpu, offset, size, read).into()
    }

    /// Writes one.
    pub(super) fn write_cpu_interface(&self, vcpu: usize, offset: u64, size: u8, value: u32) {
        self.with_virtual_interface(vcpu, offset, size, |interface, offset| {
            interface.cpu.write32(offset, value);
            0
        });
        // A timer that is due again before the guest has ended its last interrupt is pending from the end on. QEMU's GICv2
        // notices only at the next access to a physical register, of whichever CPU; here is one that changes nothing.
        gic::set_mask(gic::Mask::Open);
    }

    /// Has the vCPU's interrupts in the list registers during an access.
    fn with_virtual_interface(
        &self,
        vcpu: usize,
        offset: u64,
        size: u8,
        access: impl FnOnce(&VirtualInterface, usize) -> u32,
    ) -> u32 {
        let Some((interface, offset)) = gic::virtual_interface().zip(register(offset, size)) else {
            return 0;
        };
        let mut entries = [ListRegister::EMPTY; lists::MOST];
        let entries = entries.get_mut(..lists::count()).unwrap_or_default();
        let board = &mut Board {
            guest: self,
            vcpu: Some(vcpu),
        };
        let mut devices = self.devices.lock();
        let flushed = devices.gic.flush(vcpu, entries);
        lists::load(entries, &flushed);
        barrier::dsb(barrier::SY);
        let value = access(interface, offset);
        barrier::dsb(barrier::SY);
        let ended_without = lists::store(entries, flushed.used);
        devices.gic.sync(vcpu, entries, ended_without, board);
        value
    }
}

/// The registers that there are, all of them words: GICV_CTLR to GICV_AHPPIR, GICV_APR<n>, GICV_IIDR and GICV_DIR.
fn register(offset: u64, size: u8) -> Option<usize> {
    let is_there = matches!(offset, 0x00..0x2c | 0xd0..0xe0 | 0xfc | 0x1000);
    let offset = usize::try_from(offset).ok()?;
    (is_there && size == 4 && offset.is_multiple_of(4)).then_some(offset)
}
