//! From `entry.S` to the guest's program, and to the end.

use crate::{hypervisor, machine::Machine, println};
use core::panic::PanicInfo;

/// Reads the device tree at `device_tree`, runs `main` and turns the guest off.
pub fn start(device_tree: usize, main: fn(Machine)) -> ! {
    match Machine::from_device_tree(device_tree) {
        Ok(machine) => main(machine),
        Err(missing) => println!("guest: no {missing} in the device tree"),
    }
    hypervisor::power_off()
}

/// Entered by `entry.S` on an exception that nobody waits for.
#[unsafe(no_mangle)]
extern "C" fn guest_exception(syndrome: u64, address: u64, fault: u64) -> ! {
    println!("guest: unexpected exception, ESR {syndrome:#x}, ELR {address:#x}, FAR {fault:#x}");
    hypervisor::power_off()
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    println!("guest: {info}");
    hypervisor::power_off()
}
