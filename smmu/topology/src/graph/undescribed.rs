//! Devices that no binding describes: masters, if it is known that they do DMA.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use devicetree::{NodeId, Tree};

use super::Graph;
use crate::bus::Bus;
use crate::capability::{self, Capability, Device};
use crate::claims::{Builder, Claim, Subject};

impl Graph {
    /// Makes masters of the nodes that do DMA and that nothing describes, and counts those that may do it or not. Returns how
    /// it is known of those masters.
    pub(super) fn add_undescribed(
        &mut self,
        builder: &Builder<'_>,
        devices: Vec<Device>,
        buses: &[Bus],
        claims: &mut BTreeMap<Subject, Vec<Claim>>,
    ) -> BTreeMap<NodeId, Capability> {
        let mut found = BTreeMap::new();
        for Device { node, capability } in devices {
            let node = builder.tree.node(node);
            // Functions may be behind a node that does not say that it is a host bridge.
            let is_described =
                claims.contains_key(&Subject::Node(node.id())) || super::bus_at(buses, node.id()).is_some();
            if is_described || node.ancestors().any(|above| builder.is_walked(above.id())) {
                continue;
            }
            match capability {
                Some(capability) => {
                    claims.insert(Subject::Node(node.id()), Vec::new());
                    found.insert(node.id(), capability);
                }
                None if capability::is_unknown(node) && node.is_enabled() => self.unknown_devices += 1,
                None => {}
            }
        }
        found
    }

    /// How many enabled devices with registers there are of which nothing says whether they do DMA. They are no masters, and
    /// count as uncovered.
    pub fn unknown_devices(&self) -> usize {
        self.unknown_devices
    }

    /// What a node is, if it is none that a guest could be given as a device: an SMMU above all, whose registers decide who
    /// is isolated.
    pub fn never_given(&self, tree: &Tree, node: NodeId) -> Option<&'static str> {
        let node = tree.node(node);
        if self.smmus().iter().any(|smmu| smmu.node == node.id()) {
            return Some("an SMMU, which no guest is ever given");
        }
        match self.buses().iter().find(|bus| bus.node == node.id()) {
            Some(bus) if bus.is_pci => Some("a PCI host bridge: a guest is given functions behind it"),
            Some(_) => Some("a bus whose devices only its own driver can tell apart"),
            None => capability::never_given(node),
        }
    }
}
