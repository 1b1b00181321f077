//! Platform devices of guests: what is said of them.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devicetree::{DmaWindow, Tree};
use dma::PlatformDevice;

/// Says what goes with the device, and what of it does not.
pub fn announce(device: &PlatformDevice, tree: &Tree, guest: &partition::Guest) {
    let node = tree.node(device.node);
    let windows = node.dma_windows().unwrap_or_else(|error| {
        log::warn!(target: "device", "{node}: where it finds memory is not known: {error}");
        Vec::new()
    });
    let pages: Vec<String> = device
        .pages
        .iter()
        .map(|pages| format!("{:#x}", pages.start))
        .collect();
    let sees: Vec<String> = windows.iter().map(describe).collect();
    log::info!(target: "device", "{node}: registers at {}, {} interrupts; its DMA sees {}",
        pages.join(", "), device.interrupts.len(), if sees.is_empty() { "no memory".to_string() } else { sees.join(", ") });
    let reached = |region: &&partition::MemoryRegion| {
        let mut windows = windows.iter();
        windows.any(|window| window.to_bus(region.ipa, region.size).is_some())
    };
    for region in guest.memory.iter().filter(|region| !reached(region)) {
        log::warn!(target: "device", "{node}: its DMA does not reach all of {}'s memory of {:#x} bytes at {:#x}: place that where it does",
            guest.name, region.size, region.ipa);
    }
    if let Err(error) = node.gic_interrupts() {
        log::warn!(target: "device", "{node}: its interrupts do not come to a guest: {error}");
    }
    let left_out: Vec<&str> = vdev::left_out(&node).collect();
    if !left_out.is_empty() {
        log::info!(target: "device", "{node}: {} names nodes that {} does not have, and is left out for it", left_out.join(", "), guest.name);
    }
}

/// What a device sees through a window.
fn describe(window: &DmaWindow) -> String {
    let DmaWindow { bus, cpu, size } = *window;
    match (bus == cpu, size == u64::MAX) {
        (true, true) => "all memory".to_string(),
        (true, false) => format!("{cpu:#x}+{size:#x}"),
        (false, _) => format!("{cpu:#x}+{size:#x} as {bus:#x}"),
    }
}
