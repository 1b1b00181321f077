//! Firmware as it should not be: it starts the core while a device still has a DMA transfer to do.
//!
//! QEMU starts this program in the core's place. It gives the first edu device an address, lets it master the bus, and
//! fills its buffer with a marker, by DMA through an SMMU that reset has left open. Then it arms one more
//! transfer, from the device into the core's own image, and starts the core at once. The device fires 100 ms later: it is
//! for the core's gate to stop it. The core says at the end of the run whether its image is what it was.
//!
//! Addresses are those of QEMU's `virt`, but for that of configuration space, which whoever builds the image may change. On the host this is an empty program.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod edu;
#[cfg(target_os = "none")]
mod program;

/// On the host there is nothing to run.
#[cfg(not(target_os = "none"))]
fn main() {}
