//! Generated device trees, each of a shape that could hide work or memory which grows faster than the tree.

#![forbid(unsafe_code)]

mod devices;
mod hosts;
mod shapes;
mod smmus;
mod write;

use devicetree::{NodeId, Tree};
use topology::PciFunction;

pub use shapes::{Input, SHAPES, Shape, names};
use write::HOST;

impl Input {
    /// The functions behind the host bridge, once its tree was read.
    pub fn functions(&self, tree: &Tree) -> Vec<PciFunction> {
        let host = tree.find(HOST).map_or(NodeId::ROOT, |node| node.id());
        (0..self.functions).map(|id| function(host, id)).collect()
    }
}

/// A function with this requester ID. The eight functions of a device may reach each other.
fn function(host_bridge: NodeId, requester: u16) -> PciFunction {
    let [bus, slot] = requester.to_be_bytes();
    PciFunction {
        host_bridge,
        segment: 0,
        bus,
        device: slot >> 3,
        function: slot & 7,
        requester_ids: Vec::new(),
        peers_at: Some(requester & !7),
    }
}
