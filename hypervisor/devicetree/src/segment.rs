//! PCI segments: the numbers that tell the functions behind one host bridge from those behind another.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::error::{Problem, ReadError};
use crate::node::{Node, NodeId};
use crate::tree::Tree;

const DOMAIN: &str = "linux,pci-domain";

impl Tree {
    /// The enabled PCI host bridges, in the order of the tree, with their segments.
    ///
    /// `linux,pci-domain` is the segment of a host bridge that has one (`pci-host-bridge.yaml`). The others have the lowest
    /// numbers that no such property takes, as Linux gives them.
    ///
    /// # Errors
    /// For a host bridge whose number cannot be read, is no segment, or is another one's, too.
    pub fn pci_segments(&self) -> Vec<(NodeId, Result<u16, ReadError>)> {
        let hosts: Vec<Node<'_>> = self.nodes().filter(is_host).collect();
        let (mut taken, mut shared) = (BTreeSet::new(), BTreeSet::new());
        for segment in hosts.iter().filter_map(|host| own_segment(host).ok().flatten()) {
            if !taken.insert(segment) {
                shared.insert(segment);
            }
        }
        let mut left = (0..=u16::MAX).filter(|segment| !taken.contains(segment));
        let mut segment_of = |host: &Node<'_>| match own_segment(host)? {
            Some(segment) if shared.contains(&segment) => Err(out_of_range(
                host,
                segment.into(),
                "the segment of another host bridge, too",
            )),
            Some(segment) => Ok(segment),
            None => left.next().ok_or_else(|| host.error(DOMAIN, Problem::Missing)),
        };
        hosts.iter().map(|host| (host.id(), segment_of(host))).collect()
    }
}

impl Node<'_> {
    /// Whether it is a PCI host bridge, or a bridge behind one: those have the same `device_type`.
    pub fn is_pci(&self) -> bool {
        matches!(self.text("device_type"), Ok(Some("pci"))) || self.is_compatible(&["pci-host-ecam-generic"])
    }
}

/// Whether a node is an enabled host bridge, and not a bridge behind one.
fn is_host(node: &Node<'_>) -> bool {
    let is_below = || node.parent().is_some_and(|parent| parent.is_pci());
    node.is_pci() && !is_below() && node.is_enabled()
}

/// The segment that a host bridge says it has.
fn own_segment(host: &Node<'_>) -> Result<Option<u16>, ReadError> {
    let Some(domain) = host.u32(DOMAIN)? else {
        return Ok(None);
    };
    let too_large = |_| out_of_range(host, domain.into(), "no number of 16 bits");
    u16::try_from(domain).map(Some).map_err(too_large)
}

fn out_of_range(host: &Node<'_>, value: u64, meaning: &'static str) -> ReadError {
    host.error(DOMAIN, Problem::OutOfRange { value, meaning })
}
