//! Moving a device's BAR to where it may be, and to where it may not.

use crate::edu::{Edu, LIVENESS};
use crate::pci::{Function, Pci};
use crate::{println, probe_read32};

/// What the device is marked with.
const MARK: u32 = 0x5ca1_ab1e;
/// The interrupt controller's distributor, which is no place for a BAR: its control register and that offset.
const DISTRIBUTOR: u64 = 0x0800_0000;

/// Moves the first BAR of `edu`, which is `function`, inside the host bridge's window, onto `other`, where another guest's device is for the
/// CPU, onto RAM at `ram`, and onto the interrupt controller; then back.
pub fn try_places(pci: &Pci, function: Function, edu: &Edu, other: u64, ram: u64) {
    let first = edu.base();
    edu.mark(MARK);
    let is_here = |address: u64| probe_read32(address + LIVENESS) == Some(MARK);
    let mut last = first;
    for (what, address) in [("free", first + 0x0800_0000), ("another guest's", other)] {
        pci.move_bar0(function, address);
        match (is_here(address), probe_read32(last + LIVENESS)) {
            (true, None) => println!("bar to a place that is {what}: it is there, and only there"),
            (here, there) => {
                println!("bar to a place that is {what}: WRONG: {here}, and {there:x?} where it was")
            }
        }
        last = address;
    }
    for (what, address) in [("RAM", ram), ("the interrupt controller's", DISTRIBUTOR)] {
        let before = probe_read32(address + LIVENESS);
        pci.move_bar0(function, address);
        let same = !is_here(address) && probe_read32(address + LIVENESS) == before && before.is_some();
        match (same, probe_read32(last + LIVENESS)) {
            (true, None) => println!("bar to a place that is {what}: it is nowhere"),
            (same, there) => {
                println!("bar to a place that is {what}: WRONG: {same}, and {there:x?} where it was")
            }
        }
    }
    pci.move_bar0(function, first);
    println!(
        "bar back: {}",
        if is_here(first) { "it is there" } else { "WRONG" }
    );
}
