//! Which devices do DMA although no binding describes them, and how that is known: by the table of [`known`], or by what
//! stands at the node itself.
//!
//! `memory-region` is no evidence: the region may be RAM on the chip, of which a device knows without doing DMA. Nor is
//! `dma-ranges`, which is about the devices below a bus, or `dmas`, which names the controller that does it for the device.

mod known;

use alloc::vec::Vec;
use core::fmt;

use devicetree::{Node, NodeId, Tree};

use crate::limits::{LONGEST_COMPATIBLE, MOST_COMPATIBLES};
use crate::smmu::kind_of;

/// How it is known that a device does DMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Capability {
    /// Devices with this `compatible` do.
    Known {
        /// The `compatible`.
        compatible: &'static str,
        /// What such a device does with memory.
        does: &'static str,
    },
    /// It has `#dma-cells`: other devices ask it to copy for them.
    Controller,
    /// It has a property of this name, which says how its DMA and the CPU's caches go together.
    Coherence(&'static str),
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Capability::Known { compatible, does } => write!(f, "{compatible}: {does}"),
            Capability::Controller => {
                f.write_str("#dma-cells: copies for other devices, between any addresses")
            }
            Capability::Coherence(property) => {
                write!(f, "{property}: says how its DMA and the CPU's caches go together")
            }
        }
    }
}

/// The device trees' properties about the coherence of a device's DMA.
const COHERENCE: [&str; 2] = ["dma-coherent", "dma-noncoherent"];

/// How it is known that the device of a node does DMA, as far as the node itself tells.
fn of(node: Node<'_>) -> Option<Capability> {
    // Nothing depends on the texts behind those that real nodes have: a device that is not known is not trusted for it.
    let texts = node.compatibles().take(MOST_COMPATIBLES);
    let mut texts = texts.filter(|text| text.len() <= LONGEST_COMPATIBLE);
    if let Some((compatible, does)) = texts.find_map(known::find) {
        return Some(Capability::Known { compatible, does });
    }
    // A bus says it for the devices on it.
    if node.has("ranges") {
        return None;
    }
    if node.has("#dma-cells") {
        return Some(Capability::Controller);
    }
    let mut properties = COHERENCE.into_iter();
    properties.find(|name| node.has(name)).map(Capability::Coherence)
}

/// Whether a node takes interrupts or messages for others, and does nothing else: a GPIO block is a device all the same.
fn is_interrupt_controller(node: Node<'_>) -> bool {
    node.has("msi-controller") || node.has("interrupt-controller") && !node.has("gpio-controller")
}

/// What a node is, if that is no device that a guest could be given, whatever binding describes it.
pub(crate) fn never_given(node: Node<'_>) -> Option<&'static str> {
    let mut around = node.ancestors();
    is_no_device(node).or_else(|| around.find_map(holds_no_devices))
}

/// The same, as far as the node itself tells.
fn is_no_device(node: Node<'_>) -> Option<&'static str> {
    if node.has("#iommu-cells") || kind_of(&node).is_some() {
        Some("an IOMMU: who has its registers decides what devices reach")
    } else if is_interrupt_controller(node) {
        Some("an interrupt controller, which the guests share")
    } else if matches!(node.text("device_type"), Ok(Some("memory" | "cpu"))) {
        Some("memory or a CPU, which the partition file gives otherwise")
    } else {
        None
    }
}

/// What a node is, if neither it nor what is below it is a device that a guest could be given as a node.
fn holds_no_devices(node: Node<'_>) -> Option<&'static str> {
    if node.name() == "reserved-memory" {
        Some("reserved memory")
    } else if node.is_pci() {
        Some("on a PCI bus: a guest is given functions, and not nodes")
    } else {
        None
    }
}

/// All devices with registers at addresses of the CPU, which could be given to a guest as such, in the order of the tree.
pub(crate) fn devices(tree: &Tree) -> Vec<Device> {
    walk(tree).collect()
}

/// A device with registers.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) node: NodeId,
    /// How it is known that it does DMA, if it is.
    pub(crate) capability: Option<Capability>,
}

fn walk(tree: &Tree) -> impl Iterator<Item = Device> {
    let mut buses = Vec::from([tree.root().children()]);
    core::iter::from_fn(move || {
        loop {
            let Some(node) = buses.last_mut()?.next() else {
                buses.pop();
                continue;
            };
            let (is_bus, has_registers) = (node.has("ranges"), node.has("reg"));
            // Below a node without `ranges` a `reg` is a number on that bus: nothing there is asked for.
            if !is_bus && !has_registers || holds_no_devices(node).is_some() {
                continue;
            }
            if is_bus {
                buses.push(node.children());
            }
            if has_registers && is_no_device(node).is_none() {
                return Some(Device {
                    node: node.id(),
                    capability: of(node),
                });
            }
        }
    })
}

/// Whether a node may be a device that does DMA or none, and not only the bus to others.
pub(crate) fn is_unknown(node: Node<'_>) -> bool {
    !node.is_compatible(&["simple-bus"])
}
