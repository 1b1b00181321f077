//! Devices of the machine in a guest's tree: their nodes, and the buses above, which say where they find memory.
//!
//! The guest finds their registers where the machine has them, and so do they find the guest's memory: what `reg`, `ranges`
//! and `dma-ranges` say of the machine is true for the guest.

use super::{Error, PPI, SPI};
use crate::vgic::PRIVATE;
use alloc::vec::Vec;
use devicetree::{GicInterrupt, Node, Trigger};
use vm_fdt::FdtWriter;

#[cfg(test)]
mod tests;

/// A device of the machine.
#[derive(Debug, Clone, Copy)]
pub struct Copied<'a> {
    /// Its node in the machine's tree.
    pub node: Node<'a>,
    /// Its interrupts, at the machine's GIC as at the guest's.
    pub interrupts: &'a [GicInterrupt],
}

/// What the machine's buses are below, in the guest's tree: the root may count cells in another way.
const PLACE: &str = "machine";

/// What a bus keeps of its properties.
const OF_A_BUS: [&str; 6] = [
    "#address-cells",
    "#size-cells",
    "ranges",
    "dma-ranges",
    "dma-coherent",
    "dma-noncoherent",
];

/// What a device does not keep, and that goes without saying: it is written anew, or has no meaning for the guest.
const REPLACED: [&str; 7] = [
    "interrupt-parent",
    "interrupts",
    "interrupts-extended",
    "linux,phandle",
    "name",
    "phandle",
    "status",
];

/// Properties that name other nodes, which the guest does not have, and those that go with them.
const REFERENCES: [&str; 33] = [
    "assigned-clock-parents",
    "assigned-clock-rates",
    "assigned-clocks",
    "clock-names",
    "clocks",
    "ddc",
    "dma-names",
    "dmas",
    "firmware",
    "hwlocks",
    "interconnect-names",
    "interconnects",
    "iommu-map",
    "iommus",
    "mbox-names",
    "mboxes",
    "memory-region",
    "mmc-pwrseq",
    "msi-map",
    "msi-parent",
    "nvmem-cell-names",
    "nvmem-cells",
    "operating-points-v2",
    "phy-handle",
    "phy-names",
    "phys",
    "pinctrl-names",
    "power-domain-names",
    "power-domains",
    "reset-names",
    "resets",
    "sound-dai",
    "thermal-sensors",
];

/// What a device's node loses because it names nodes that the guest does not have. Who drives the device has to do without.
pub fn left_out<'t>(node: &Node<'t>) -> impl Iterator<Item = &'t str> {
    node.properties()
        .map(|property| property.name())
        .filter(|name| is_reference(name))
}

fn is_reference(name: &str) -> bool {
    let numbered = name.strip_prefix("pinctrl-").unwrap_or_default();
    REFERENCES.contains(&name)
        || ["-supply", "-gpio", "-gpios"]
            .iter()
            .any(|end| name.ends_with(end))
        || numbered.parse::<u32>().is_ok()
}

/// Writes the nodes of devices, with the buses above them.
pub(super) fn write(fdt: &mut FdtWriter, devices: &[Copied<'_>]) -> Result<(), Error> {
    let Some(first) = devices.first() else {
        return Ok(());
    };
    let root = first.node.tree().root();
    let place = fdt.begin_node(PLACE)?;
    fdt.property_string("compatible", "simple-bus")?;
    // The addresses of the machine are those of the guest.
    keep(fdt, root, |name| {
        OF_A_BUS.contains(&name) && !name.ends_with("ranges")
    })?;
    fdt.property_null("ranges")?;
    below(fdt, root, devices)?;
    Ok(fdt.end_node(place)?)
}

/// Writes those nodes below `parent` that are devices, or buses on the way to one. The gate of the tree bounds the depth.
fn below(fdt: &mut FdtWriter, parent: Node<'_>, devices: &[Copied<'_>]) -> Result<(), Error> {
    for node in parent.children() {
        let device = devices.iter().find(|device| device.node == node);
        let is_above = |device: &Copied<'_>| device.node.ancestors().any(|above| above == node);
        if device.is_none() && !devices.iter().any(is_above) {
            continue;
        }
        let written = fdt.begin_node(node.name())?;
        match device {
            Some(device) => device_properties(fdt, device)?,
            None => {
                fdt.property_string("compatible", "simple-bus")?;
                keep(fdt, node, |name| OF_A_BUS.contains(&name))?;
            }
        }
        below(fdt, node, devices)?;
        fdt.end_node(written)?;
    }
    Ok(())
}

fn keep(fdt: &mut FdtWriter, node: Node<'_>, which: impl Fn(&str) -> bool) -> Result<(), Error> {
    for property in node.properties().filter(|property| which(property.name())) {
        fdt.property(property.name(), property.bytes())?;
    }
    Ok(())
}

fn device_properties(fdt: &mut FdtWriter, device: &Copied<'_>) -> Result<(), Error> {
    keep(fdt, device.node, |name| {
        !REPLACED.contains(&name) && !is_reference(name)
    })?;
    if !device.interrupts.is_empty() {
        let cells: Vec<u32> = device.interrupts.iter().flat_map(specifier).collect();
        fdt.property_array_u32("interrupts", &cells)?;
    }
    Ok(())
}

/// An interrupt as the guest's GIC has it (`arm,gic.yaml`): kind, number, trigger.
fn specifier(interrupt: &GicInterrupt) -> [u32; 3] {
    let trigger = match interrupt.trigger {
        Trigger::Edge => 1,
        Trigger::Level => super::LEVEL_HIGH,
    };
    match interrupt.intid.checked_sub(PRIVATE) {
        Some(shared) => [SPI, shared, trigger],
        None => [PPI, interrupt.intid.saturating_sub(16), trigger],
    }
}
