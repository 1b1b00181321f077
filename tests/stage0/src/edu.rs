//! QEMU's edu device (QEMU, docs/specs/edu.rst), found on bus 0.

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTPCT_EL0};
use mmio::{Bus, Clock, Region, wait_until};
use tock_registers::interfaces::Readable;

/// How much of the ECAM bus 0 takes.
const ECAM_SIZE: usize = 1 << 20;
const SLOTS: usize = 32;
/// The first address of `virt`'s window for 32-bit BARs, and the size of edu's.
const BAR: u32 = 0x1000_0000;
const BAR_SIZE: usize = 1 << 20;
/// PCI configuration space: vendor and device, command (memory, bus master), first BAR.
const ID: usize = 0x00;
const COMMAND: usize = 0x04;
const MEMORY_AND_BUS_MASTER: u32 = 1 << 1 | 1 << 2;
const BAR0: usize = 0x10;
const EDU: u32 = 0x11e8_1234;
/// Where the device sees its own buffer.
const BUFFER: u64 = 0x4_0000;
/// Registers, and bits of the command.
const SOURCE: usize = 0x80;
const DESTINATION: usize = 0x88;
const COUNT: usize = 0x90;
const TRANSFER: usize = 0x98;
const START: u32 = 1 << 0;
const TO_MEMORY: u32 = 1 << 1;
/// A transfer takes 100 ms.
const LIMIT_US: u64 = 1_000_000;

/// The first edu device.
pub(crate) struct Edu {
    pub(crate) slot: usize,
    registers: Region,
}

impl Edu {
    /// Finds it, and lets it answer at its BAR and do DMA.
    pub(crate) fn open(ecam: usize) -> Option<Edu> {
        // SAFETY: the board has its ECAM there; with the MMU off every address is device memory.
        let ecam = unsafe { Region::new(ecam, ECAM_SIZE) };
        let slot = (0..SLOTS).find(|slot| ecam.read32(slot << 15 | ID) == EDU)?;
        ecam.write32(slot << 15 | BAR0, BAR);
        ecam.write32(slot << 15 | COMMAND, MEMORY_AND_BUS_MASTER);
        // SAFETY: the device's registers were just put there.
        let registers = unsafe { Region::new(BAR as usize, BAR_SIZE) };
        Some(Edu { slot, registers })
    }

    /// Moves `size` bytes from memory into the device's buffer.
    pub(crate) fn fetch(&self, memory: u64, size: u64) -> bool {
        self.start(memory, BUFFER, size, 0);
        self.finish()
    }

    /// Moves `size` bytes from the device's buffer to memory.
    pub(crate) fn store(&self, memory: u64, size: u64) -> bool {
        self.arm(memory, size);
        self.finish()
    }

    /// Starts to move `size` bytes from the device's buffer to memory.
    pub(crate) fn arm(&self, memory: u64, size: u64) {
        self.start(BUFFER, memory, size, TO_MEMORY);
    }

    fn start(&self, source: u64, destination: u64, size: u64, way: u32) {
        barrier::dsb(barrier::SY);
        self.registers.write64(SOURCE, source);
        self.registers.write64(DESTINATION, destination);
        self.registers.write64(COUNT, size);
        self.registers.write32(TRANSFER, START | way);
    }

    fn finish(&self) -> bool {
        let idle = || self.registers.read32(TRANSFER) & START == 0;
        wait_until(&Counter, LIMIT_US, idle).is_ok()
    }
}

struct Counter;

impl Clock for Counter {
    fn now_us(&self) -> u64 {
        barrier::isb(barrier::SY);
        (CNTPCT_EL0.get() * 1_000_000)
            .checked_div(CNTFRQ_EL0.get())
            .unwrap_or(0)
    }
}
