//! Masters: what emits streams, and whether an SMMU stands between it and memory.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use devicetree::{AddressRange, NodeId};

use crate::capability::Capability;
use crate::diagnostic::Diagnostic;
use crate::messages::MsiRoute;
use crate::smmu::SmmuIndex;

/// A PCI function as the walk over the configuration space found it. Plain data from the core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciFunction {
    /// The node of the host bridge that it is behind.
    pub host_bridge: NodeId,
    /// The segment of the host bridge.
    pub segment: u16,
    /// Its bus.
    pub bus: u8,
    /// Its device number, below 32.
    pub device: u8,
    /// Its function number, below 8.
    pub function: u8,
    /// Every requester ID that its transactions may arrive with at the host bridge. Its own counts even if it
    /// is not listed.
    pub requester_ids: Vec<u16>,
    /// Requester ID of the place, a bridge or a device, at which its transactions may turn round to another function
    /// without passing the host bridge, and so without passing an SMMU. Functions behind one host bridge with the
    /// same place may reach each other. Nothing if access control sends everything up.
    pub peers_at: Option<u16>,
}

impl PciFunction {
    /// Its own requester ID.
    pub fn requester_id(&self) -> u16 {
        u16::from(self.bus) << 8 | u16::from(self.device & 0x1f) << 3 | u16::from(self.function & 7)
    }

    /// All requester IDs, its own included, each once.
    pub(crate) fn all_requester_ids(&self) -> Vec<u16> {
        let mut all = self.requester_ids.clone();
        all.push(self.requester_id());
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The position of a master in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterIndex(pub usize);

/// What a master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A node of the tree.
    Platform {
        /// The node.
        node: NodeId,
        /// Its path.
        path: String,
    },
    /// A PCI function.
    Pci {
        /// The node of its host bridge.
        host_bridge: NodeId,
        /// Path of the host bridge.
        host_path: String,
        /// Segment.
        segment: u16,
        /// Own requester ID: bus, device and function.
        requester_id: u16,
    },
}

/// The usual name of a PCI function.
pub(crate) struct Address(pub(crate) u16, pub(crate) u16);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address(segment, requester_id) = self;
        let [bus, slot] = requester_id.to_be_bytes();
        write!(f, "{segment:04x}:{bus:02x}:{:02x}.{}", slot >> 3, slot & 7)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Identity::Platform { path, .. } => f.write_str(path),
            Identity::Pci {
                segment,
                requester_id,
                ..
            } => Address(*segment, *requester_id).fmt(f),
        }
    }
}

/// One stream match at one SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// The SMMU.
    pub smmu: SmmuIndex,
    /// The stream ID; bits under the mask are zero.
    pub id: u32,
    /// Bits of the ID that are not compared.
    pub mask: u32,
}

impl Stream {
    /// A match, with the bits that are not compared cleared: equal matches are equal values.
    pub const fn new(smmu: SmmuIndex, id: u32, mask: u32) -> Stream {
        Stream {
            smmu,
            id: id & !mask,
            mask,
        }
    }

    /// The highest ID that it matches.
    pub const fn highest(&self) -> u32 {
        self.id | self.mask
    }

    /// Whether some ID matches both.
    pub fn overlaps(&self, other: &Stream) -> bool {
        self.smmu == other.smmu && (self.id ^ other.id) & !(self.mask | other.mask) == 0
    }

    /// Whether every ID that matches `other` matches this as well.
    pub fn holds(&self, other: &Stream) -> bool {
        self.overlaps(other) && other.mask & !self.mask == 0
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {:#x}", self.id)?;
        if self.mask == 0 {
            Ok(())
        } else {
            write!(f, " mask {:#x}", self.mask)
        }
    }
}

/// Why a master is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The first defect found.
    pub because: Diagnostic,
    /// Whether the shut gate of an SMMU stops its DMA. If not, nothing does, apart from the bus master enable bit of
    /// a PCI function: nobody may be given its registers.
    pub blocked: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.because.fmt(f)
    }
}

/// Whether an SMMU stands between a master and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coverage {
    /// All its streams are known, on SMMUs that can be used.
    Covered,
    /// No SMMU describes it: its DMA goes to memory untranslated.
    Uncovered,
    /// It is described in a way that is not understood or contradicts itself.
    Refused(Refusal),
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Coverage::Covered => f.write_str("covered"),
            Coverage::Uncovered => f.write_str("uncovered"),
            Coverage::Refused(refusal) => write!(f, "refused: {refusal}"),
        }
    }
}

impl Coverage {
    /// Whether it is refused.
    pub fn is_refused(&self) -> bool {
        matches!(self, Coverage::Refused(_))
    }
}

/// Which way of describing a master is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Binding {
    /// `mmu-masters`.
    Legacy,
    /// `iommus` or `iommu-map`.
    Generic,
}

/// A property that describes a master, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which binding it is of.
    pub binding: Binding,
    /// Path of the node that has it.
    pub node: String,
    /// Its name.
    pub property: &'static str,
    /// The streams that it gives the master.
    pub streams: Vec<Stream>,
    /// Why the master is refused for it, if it is.
    pub refusal: Option<Refusal>,
}

/// How a device has to see a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionKind {
    /// At the addresses that it has in memory: DMA may be under way there.
    Identity,
    /// Not at all: the addresses have another meaning for the device.
    Reserved,
}

/// A part of a device's address space that is spoken for (`iommu-addresses`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Region {
    /// Path of its node.
    pub path: String,
    /// Where the device sees it.
    pub range: AddressRange,
    /// How.
    pub kind: RegionKind,
}

/// A master.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Master {
    /// What it is.
    pub identity: Identity,
    /// The streams that it emits, sorted; of a refused one, those that are known.
    pub streams: Vec<Stream>,
    /// Whether an SMMU stands between it and memory.
    pub coverage: Coverage,
    /// Whether its node, or that of its host bridge, is enabled. A disabled master's streams count all the same.
    pub enabled: bool,
    /// Whether its DMA snoops the CPU's caches.
    pub coherent: bool,
    /// What describes it, in the order of reading.
    pub sources: Vec<Source>,
    /// How it is known that it does DMA, of a node that nothing describes.
    pub capability: Option<Capability>,
    /// Where its messages go.
    pub messages: Vec<MsiRoute>,
    /// What is spoken for of its address space.
    pub regions: Vec<Region>,
}
