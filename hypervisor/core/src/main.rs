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
mod boot;
mod component;
mod console;
mod control;
mod memory;
mod panic;
mod power;
#[cfg(any(feature = "sabotage-panic", feature = "sabotage-overflow-stack"))]
mod sabotage;
mod smmus;
mod vm;

use arch::{PhysicalAddress, cpu, percpu, smp, timer};

/// Entered by `entry.S` on the boot CPU, with the MMU on (first map), caches on, interrupts masked, on a stack of its own.
extern "C" fn rust_main(device_tree: PhysicalAddress) -> ! {
    timer::start_clock();
    percpu::this().set_identity(0, percpu::own_affinity());
    cpu::init_traps();
    memory::init_heap();
    // Before anything runs that could write there.
    let fingerprint = control::Fingerprint::take();
    match boot::bring_up(device_tree) {
        Ok(machine) => {
            #[cfg(any(feature = "sabotage-panic", feature = "sabotage-overflow-stack"))]
            sabotage::provoke();
            control::run(machine, fingerprint)
        }
        Err(error) => boot::fail(&error),
    }
}

/// Entered by `entry.S` on every other CPU, with the MMU on (final map).
extern "C" fn secondary_main() -> ! {
    match smp::arrive() {
        Ok(()) => control::cpu_loop(),
        Err(error) => {
            log::error!(target: "cpu", "{error}");
            cpu::park()
        }
    }
}
