//! Platform devices: which nodes of the tree can be given to a guest, and what of the machine goes with them.
//!
//! Stage 2 maps pages: who gets a device gets all that is in its pages.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::{AddressRange, GicInterrupt, Node, NodeId, ReadError, Tree};
use partition::PAGE;

/// No device has more registers in one piece; it bounds the time.
const LARGEST: u64 = 256 << 20;
/// Interrupts below this are each CPU's own (IHI 0069 2.2.1).
const FIRST_SHARED: u32 = 32;

/// A platform device that can be given to a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformDevice {
    /// Its node.
    pub node: NodeId,
    /// The pages that its registers lie in, in the order of the tree; none twice.
    pub pages: Vec<Range<u64>>,
    /// Its interrupts.
    pub interrupts: Vec<GicInterrupt>,
}

/// Why a node cannot be given to a guest.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It is not in use.
    #[error("the status of {0} disables it")]
    Disabled(String),
    /// Its registers cannot be read, or do not reach the CPU.
    #[error(transparent)]
    Tree(#[from] ReadError),
    /// There is nothing to give.
    #[error("it has no registers")]
    NoRegisters,
    /// They are somebody else's.
    #[error("its registers at {0} lie in memory, or in one page with what no guest may have")]
    Taken(AddressRange),
    /// A page holds those of two devices.
    #[error(
        "its registers at {registers} lie in one page with those of {other}, and stage 2 gives whole pages"
    )]
    SharedPage {
        /// Which.
        registers: AddressRange,
        /// The other device.
        other: String,
    },
    /// It interrupts each CPU by itself.
    #[error("its interrupt {0} is one that each CPU has for itself")]
    PrivateInterrupt(u32),
}

impl PlatformDevice {
    /// Looks at a node. `is_taken` says which pages are memory, or have registers that no guest may have; `is_apart` which
    /// nodes below a device are judged by themselves, and so are no part of it.
    ///
    /// # Errors
    /// It cannot be given.
    pub fn inspect(
        tree: &Tree,
        node: NodeId,
        is_taken: &dyn Fn(&Range<u64>) -> bool,
        is_apart: &dyn Fn(NodeId) -> bool,
    ) -> Result<PlatformDevice, Unfit> {
        let node = tree.node(node);
        if let Some(by) = node.disabled_by() {
            return Err(Unfit::Disabled(by.path()));
        }
        let mut registers = node.regs()?;
        registers.retain(|range| !range.is_empty());
        if registers.is_empty() {
            return Err(Unfit::NoRegisters);
        }
        let mut pages: Vec<Range<u64>> = Vec::new();
        for range in registers {
            if range.size() > LARGEST {
                return Err(Unfit::Taken(range));
            }
            let page = pages_of(&range).ok_or(Unfit::Taken(range))?;
            if is_taken(&page) {
                return Err(Unfit::Taken(range));
            }
            if let Some(other) = neighbour(tree, node, &page, is_apart) {
                let (registers, other) = (range, other.path());
                return Err(Unfit::SharedPage { registers, other });
            }
            add(&mut pages, page);
        }
        Ok(PlatformDevice {
            node: node.id(),
            pages,
            interrupts: interrupts(&node)?,
        })
    }
}

/// The whole pages around a range.
fn pages_of(range: &AddressRange) -> Option<Range<u64>> {
    Some(range.address() & !(PAGE - 1)..range.end().checked_next_multiple_of(PAGE)?)
}

fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end
}

/// Adds pages to a list that has none twice.
fn add(pages: &mut Vec<Range<u64>>, new: Range<u64>) {
    let mut next = new.start;
    while next < new.end {
        let page = next..next + PAGE;
        next = page.end;
        if pages.iter().any(|known| overlaps(known, &page)) {
            continue;
        }
        match pages.last_mut().filter(|last| last.end == page.start) {
            Some(last) => last.end = page.end,
            None => pages.push(page),
        }
    }
}

/// Another node, whether enabled or not, that has registers in these pages. What is below the device is a part of it, unless it
/// is judged by itself.
fn neighbour<'t>(
    tree: &'t Tree,
    node: Node<'t>,
    page: &Range<u64>,
    is_apart: &dyn Fn(NodeId) -> bool,
) -> Option<Node<'t>> {
    let is_part = |other: &Node<'_>| {
        let mut between = other.ancestors().take_while(|above| *above != node);
        other.ancestors().any(|above| above == node) && !between.any(|part| is_apart(part.id()))
    };
    let is_there = |other: &Node<'_>| {
        let registers = other.regs().unwrap_or_default();
        let mut registers = registers.iter().filter(|range| !range.is_empty());
        registers.any(|range| overlaps(page, &(range.address()..range.end())))
    };
    let mut others = tree.nodes().filter(|other| *other != node && other.has("reg"));
    others.find(|other| !is_part(other) && is_there(other))
}

/// Its interrupts, as far as they come to the GIC; those of another controller do not come to a guest.
fn interrupts(node: &Node<'_>) -> Result<Vec<GicInterrupt>, Unfit> {
    let interrupts = node.gic_interrupts().unwrap_or_default();
    match interrupts.iter().find(|interrupt| interrupt.intid < FIRST_SHARED) {
        Some(private) => Err(Unfit::PrivateInterrupt(private.intid)),
        None => Ok(interrupts),
    }
}

#[cfg(test)]
mod tests;
