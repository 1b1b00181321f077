//! Portcullis' core: what runs at EL2 from the first instruction on.
//!
//! The story of a boot is [`rust_main`]. It runs on the CPU that the boot loader entered; the others arrive in
//! [`secondary_main`].
#![no_std]
#![no_main]
#![deny(unsafe_code)]
#![expect(
    unreachable_pub,
    reason = "in a binary `pub` says what a module offers to its siblings"
)]

extern crate alloc;

#[expect(
    unsafe_code,
    reason = "system registers, exception entry and translation tables are what this folder is for"
)]
mod arch;
mod console;
mod memory;
mod panic;

use arch::PhysicalAddress;

/// Entered by `entry.S` on the boot CPU, with the MMU on (first map), caches on, interrupts masked, on a stack of its own.
extern "C" fn rust_main(device_tree: PhysicalAddress) -> ! {
    arch::timer::start_clock();
    arch::cpu::init_traps();
    memory::init_heap();
    arch::percpu::this().set_identity(0, arch::percpu::own_affinity());
    let _ = arch::mmu::init();
    if let Ok(uart) = arch::mmu::map_device(0x0900_0000, 0x1000) {
        console::init(uart);
    }
    log::info!(target: "", "portcullis {} at EL2, device tree at {device_tree:#x}", env!("CARGO_PKG_VERSION"));
    arch::psci::set_available();
    arch::psci::power_off()
}

/// Entered by `entry.S` on every other CPU, with the MMU on (final map).
extern "C" fn secondary_main() -> ! {
    arch::cpu::park()
}
