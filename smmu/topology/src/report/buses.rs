//! What is said of a bus whose devices are not known one by one.

use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::{self, Display};

use devicetree::NodeId;

use crate::bus::Bus;
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::graph::Graph;
use crate::master::{Identity, Refusal};

impl Graph {
    /// Why all devices on a bus are refused, whichever there are, if that is so.
    pub fn refusal_of_bus(&self, bus: &Bus) -> Option<Refusal> {
        if let Some(Err(refusal)) = &bus.streams {
            return Some(refusal.clone());
        }
        if let Some(refusal) = contradicted(bus) {
            return Some(refusal.clone());
        }
        let mut listing = bus.legacy.iter().filter_map(|index| self.smmu(*index));
        let because = listing.find_map(|smmu| {
            let (node, defect) = (smmu.path.clone(), smmu.reference_defect()?);
            Some(Diagnostic::at_node(
                node,
                "mmu-masters",
                defect,
                Effect::Unblocked,
            ))
        })?;
        Some(Refusal {
            because,
            blocked: false,
        })
    }

    /// Which requester IDs the `iommu-map` of a bus gives to nobody, in words, and why if it says anything of them.
    pub fn refused_requesters<'b>(&self, bus: &'b Bus) -> Vec<(String, Option<&'b Refusal>)> {
        let map = match &bus.streams {
            None => return Vec::new(),
            Some(Err(refusal)) => {
                let text = alloc::format!("all requester IDs {}", refusal_word(refusal));
                return [(text, Some(refusal))].into();
            }
            Some(Ok(map)) => map,
        };
        if map.windows.is_empty() {
            return [("no requester ID is in its map, all are refused".to_string(), None)].into();
        }
        let refused = map.windows.iter().filter_map(|window| {
            let refusal = window.target.as_ref().err()?;
            let ids = Requesters(window.first, window.last);
            Some((
                alloc::format!("requester ID {ids} {}", refusal_word(refusal)),
                Some(refusal),
            ))
        });
        refused.collect()
    }

    /// The PCI host bridges of whose functions none is known: who reads a tree and no machine knows of none.
    pub fn unwalked_hosts(&self) -> BTreeSet<NodeId> {
        let buses = self.buses().iter().filter(|bus| bus.is_pci);
        let mut hosts: BTreeSet<NodeId> = buses.map(|bus| bus.node).collect();
        for master in self.masters() {
            if let Identity::Pci { host_bridge, .. } = &master.identity {
                hosts.remove(host_bridge);
            }
        }
        hosts
    }

    /// The host bridges of whose functions none is known and nothing said, and what that means for their functions.
    pub fn hosts_behind_nothing(&self) -> (Vec<&Bus>, &'static str) {
        let unwalked = self.unwalked_hosts();
        let buses = self.buses().iter();
        let hosts = buses
            .filter(|bus| bus.streams.is_none() && bus.legacy.is_empty() && unwalked.contains(&bus.node));
        // A list that is broken may have meant any of them.
        let mut found = self.diagnostics().iter();
        let in_doubt = self.omitted_diagnostics() > 0
            || found.any(|found| found.property == "mmu-masters" && found.effect > Effect::Nothing);
        let word = if in_doubt {
            "nothing that is understood describes them"
        } else {
            "uncovered"
        };
        (hosts.collect(), word)
    }
}

/// Why the bindings contradict each other about all requester IDs that a bus has, if they do.
fn contradicted(bus: &Bus) -> Option<&Refusal> {
    let windows = &bus.streams.as_ref()?.as_ref().ok()?.windows;
    let mut refusals = windows.iter().map(|window| window.target.as_ref().err());
    let is_contradicted = |refusal: Option<&Refusal>| {
        refusal.is_some_and(|refusal| matches!(refusal.because.defect, Defect::BindingsDisagree { .. }))
    };
    let first = refusals.clone().next()??;
    refusals.all(is_contradicted).then_some(first)
}

/// What a table says of what is refused.
pub(super) fn refusal_word(refusal: &Refusal) -> &'static str {
    if refusal.blocked {
        "refused"
    } else {
        "REFUSED, not blocked"
    }
}

/// The first and the last of requester IDs that follow each other.
pub(super) struct Requesters(pub(super) u32, pub(super) u32);

impl Display for Requesters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Requesters(first, last) = self;
        match last - first {
            0 => write!(f, "{first:#x}"),
            _ => write!(f, "{first:#x}..={last:#x}"),
        }
    }
}
