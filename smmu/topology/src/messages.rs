//! Message-signalled interrupts: who takes a device's messages, and under which number.
//!
//! A message is a write, so it passes the device's SMMU like any other: the graph says where it has to arrive.

use alloc::string::String;
use alloc::vec::Vec;

use devicetree::NodeId;

/// The position of an MSI controller in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MsiIndex(pub usize);

/// An MSI controller that some device names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MsiController {
    /// Its node.
    pub node: NodeId,
    /// Its path.
    pub path: String,
    /// Its whole `compatible`, most specific first.
    pub compatible: Vec<String>,
}

/// Where messages of a device go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MsiRoute {
    /// To which controller.
    pub controller: MsiIndex,
    /// Under which device ID, where the controller tells devices apart.
    pub device_id: Option<u32>,
}
