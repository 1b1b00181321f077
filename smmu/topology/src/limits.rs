//! How much a tree may describe. A hypervisor's heap is small, and a tree is not to be trusted with it.

use devicetree::Tree;

use crate::capability::Device;
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::master::PciFunction;
use crate::smmu::kind_of;

/// How much a tree may describe. One that describes more is refused as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// What the graph may take, in bytes, as it is estimated from the lengths of properties.
    pub bytes: usize,
    /// How many SMMUs there may be: what further ones list would not be known.
    pub smmus: usize,
}

impl Room {
    /// A hypervisor's. The largest real trees take some 250 KiB, and have ten SMMUs.
    pub const CORE: Room = Room {
        bytes: 6 << 20,
        smmus: 128,
    };
    /// No limit, for who measures.
    pub const ENDLESS: Room = Room {
        bytes: usize::MAX,
        smmus: usize::MAX,
    };
}

/// Interrupts of one SMMU that are read. An SMMUv2 has at most 128 context banks, and a few global ones.
pub(crate) const MOST_INTERRUPTS: usize = 256;
/// Register frames of one SMMU. Real ones have three at most.
pub(crate) const MOST_FRAMES: usize = 16;
/// What a frame takes in `reg`, at most: two cells for the address and two for the size.
pub(crate) const BYTES_PER_FRAME: usize = 16;
/// Texts of one `compatible` that are kept, and how long they may be. Real ones have three, of some 30 bytes.
pub(crate) const MOST_COMPATIBLES: usize = 16;
pub(crate) const LONGEST_COMPATIBLE: usize = 64;
/// SMMUs that may list one host bridge in their `mmu-masters`.
pub(crate) const MOST_LEGACY_SMMUS: usize = 8;

/// Functions that are listed, if everything is refused.
pub(crate) const MOST_REFUSED: usize = 1024;

/// What a node that is described takes, apart from its lists: texts of its defects above all.
const BYTES_PER_NODE: usize = 4096;
/// Texts hold the path of a node several times.
const COPIES_OF_PATH: usize = 6;
/// The properties whose values become something, and how many bytes one of theirs becomes.
const LISTS: [(&str, usize); 8] = [
    ("iommus", 16),
    ("mmu-masters", 32),
    ("#stream-id-cells", 1),
    ("iommu-map", 24),
    ("msi-map", 24),
    ("msi-parent", 8),
    ("iommu-addresses", 16),
    ("memory-region", 16),
];

/// What a device takes that no binding describes and that does DMA: its path, and a group of its own.
const BYTES_PER_CAPABLE: usize = 2048;

/// The first property that takes the graph over its limit, if one does.
pub(crate) fn too_large(
    tree: &Tree,
    devices: &[Device],
    functions: &[PciFunction],
    room: Room,
) -> Option<Diagnostic> {
    let mut bytes = functions.len() * BYTES_PER_NODE;
    let mut smmus = 0;
    let too_large = || Defect::TooLarge {
        limit_kib: room.bytes >> 10,
    };
    for node in tree.nodes() {
        smmus += usize::from(kind_of(&node).is_some());
        if smmus > room.smmus {
            let (what, limit) = ("SMMUs", room.smmus);
            let defect = Defect::TooMany { what, limit };
            return Some(Diagnostic::at_node(
                node.path(),
                "compatible",
                defect,
                Effect::Unblocked,
            ));
        }
        let mut lists = LISTS
            .iter()
            .filter_map(|(name, factor)| Some((node.property(name)?, name, factor)))
            .peekable();
        if lists.peek().is_some() {
            bytes += BYTES_PER_NODE + COPIES_OF_PATH * node.path().len();
        }
        for (property, name, factor) in lists {
            bytes += property.bytes().len() * factor;
            if bytes > room.bytes {
                return Some(Diagnostic::at_property(
                    &property,
                    name,
                    too_large(),
                    Effect::Unblocked,
                ));
            }
        }
    }
    let capable = devices.iter().filter(|device| device.capability.is_some());
    let mut paths = capable.map(|device| tree.path(device.node));
    let last = paths.find(|path| {
        bytes += BYTES_PER_CAPABLE + COPIES_OF_PATH * path.len();
        bytes > room.bytes
    });
    last.map(|path| Diagnostic::at_node(path, "reg", too_large(), Effect::Unblocked))
}
