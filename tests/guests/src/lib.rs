//! What the bare-metal guests share: start-up, console, time, interrupts, PCI, the edu device.
//!
//! A guest runs at EL1 with the MMU off, on one CPU, and with interrupts masked: it takes them by polling the GIC
//! after `WFI`. There is no heap. On the host this crate is empty.
#![cfg_attr(target_os = "none", no_std)]
#![cfg(target_os = "none")]

pub mod bars;
pub mod clock;
pub mod console;
mod cpu;
pub mod dma;
pub mod edu;
pub mod hypervisor;
pub mod interrupts;
pub mod machine;
pub mod messages;
pub mod pci;
pub mod ram;
mod registers;
mod start;

pub use cpu::probe_read32;
pub use machine::Machine;
pub use start::start;

/// Names the function that a guest's program is, `fn(Machine)`. Afterwards the guest is off.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        /// Entered by `entry.S`.
        #[unsafe(no_mangle)]
        extern "C" fn guest_start(device_tree: usize) -> ! {
            $crate::start(device_tree, $main)
        }
    };
}
