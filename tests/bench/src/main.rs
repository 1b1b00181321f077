//! Firmware at EL3 that gives QEMU's virt machine devices which QEMU does not have.
//!
//! QEMU starts it on every CPU (`-M virt,secure=on,virtualization=on -cpu max,x-rme=on -bios`). Granule protection makes every
//! access to the pages of the emulated devices fault to EL3, which answers in the device's place; the software below
//! sees a machine with an SMMUv2. Besides, the firmware is PSCI, and it plays the devices' interrupt lines at the GIC.
//!
//! It is made for QEMU, which models no caches: memory is used with the MMU off. On the host this is an empty program.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod firmware;

/// On the host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}
