//! Giving addresses to BARs that firmware left without, and keeping those it gave where they make sense.
//!
//! The unit is a function on a root bus together with everything behind it. A unit whose memory BARs all lie in host
//! windows, inside the windows of the bridges above them, and apart from all others, is kept as it is. Any other unit
//! is placed as a whole in what is left (`place.rs`). A unit that does not fit gets no addresses and does not decode.
//! I/O space is not used at all: no function decodes it.

use crate::config::{change_command, command, offset};
use crate::function::{Fabric, Function};
use crate::place::{self, Tree};
use crate::window::{PAGE, Range};
use crate::{Bdf, ConfigSpace, Space, Window};
use alloc::vec::Vec;

/// What [`assign`] did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assigned {
    /// Root-bus functions whose unit kept firmware's addresses (or has none to give).
    pub kept: Vec<Bdf>,
    /// Root-bus functions whose unit was given addresses.
    pub placed: Vec<Bdf>,
    /// Root-bus functions whose unit found no room: they and what is behind them decode nothing.
    pub unplaced: Vec<Bdf>,
}

/// Gives every memory BAR of `fabric` an address in `windows`, writes the registers, and switches memory decoding on
/// where it succeeded. `fabric` is brought up to date.
pub fn assign(config: &impl ConfigSpace, fabric: &mut Fabric, windows: &[Window]) -> Assigned {
    let mut assigned = Assigned::default();
    let mut taken = Vec::new();
    let units: Vec<Bdf> = fabric
        .functions
        .iter()
        .filter(|function| function.parent.is_none())
        .map(|root| root.bdf)
        .collect();
    let mut homeless = Vec::new();
    for root in units {
        match keep(config, fabric, root, windows, &taken) {
            Some(mut ranges) => {
                taken.append(&mut ranges);
                assigned.kept.push(root);
            }
            None => homeless.push(root),
        }
    }
    for root in homeless {
        let tree = Tree::of(fabric, root);
        for function in &tree.members {
            change_command(config, *function, command::IO | command::MEMORY, 0);
        }
        let placed = place::place(config, fabric, &tree, windows, &taken);
        match placed {
            Some(mut ranges) => {
                taken.append(&mut ranges);
                assigned.placed.push(root);
            }
            None => {
                clear(fabric, &tree);
                assigned.unplaced.push(root);
            }
        }
    }
    let unplaced: Vec<Bdf> = assigned
        .unplaced
        .iter()
        .flat_map(|root| Tree::of(fabric, *root).members)
        .collect();
    for function in &fabric.functions {
        let memory = if unplaced.contains(&function.bdf) {
            0
        } else {
            command::MEMORY
        };
        change_command(config, function.bdf, command::IO | command::MEMORY, memory);
    }
    assigned
}

/// Forgets the addresses of a unit that found no room.
fn clear(fabric: &mut Fabric, tree: &Tree) {
    let members = fabric
        .functions
        .iter_mut()
        .filter(|function| tree.members.contains(&function.bdf));
    for bar in members.flat_map(|function| function.bars.iter_mut()) {
        bar.address = 0;
    }
}

/// The ranges that the unit of `root` occupies on the root bus, if it can stay as it is.
fn keep(
    config: &impl ConfigSpace,
    fabric: &Fabric,
    root: Bdf,
    windows: &[Window],
    taken: &[Range],
) -> Option<Vec<Range>> {
    let host = windows.iter().filter(|window| window.space != Space::Io);
    let host: Vec<Range> = host.map(Window::range).collect();
    let own = decoded(config, fabric.get(root)?)?;
    let mut all = taken.to_vec();
    all.extend(&own);
    (apart(&all) && inside(&own, &host) && behind_is_sound(config, fabric, fabric.get(root)?)).then_some(own)
}

/// Whether everything behind `bridge` lies in the bridge's windows and apart from each other.
fn behind_is_sound(config: &impl ConfigSpace, fabric: &Fabric, bridge: &Function) -> bool {
    if bridge.bridge.is_none() {
        return true;
    }
    let forwarded = bridge_windows(config, bridge);
    let mut all = Vec::new();
    for function in fabric
        .functions
        .iter()
        .filter(|function| function.parent == Some(bridge.bdf))
    {
        match decoded(config, function) {
            Some(own) => all.extend(own),
            None => return false,
        }
        if !behind_is_sound(config, fabric, function) {
            return false;
        }
    }
    apart(&all) && inside(&all, &forwarded)
}

/// What `function` answers to: its BARs, and a bridge's windows. `None` when a BAR has no usable address.
fn decoded(config: &impl ConfigSpace, function: &Function) -> Option<Vec<Range>> {
    let mut own = Vec::new();
    for bar in function.bars.iter().filter(|bar| bar.space != Space::Io) {
        if bar.address == 0 || !bar.address.is_multiple_of(bar.size) {
            return None;
        }
        // A page that two BARs share cannot be given to one guest alone.
        own.push(Range::new(bar.address & !(PAGE - 1), bar.size.max(PAGE))?);
    }
    if function.bridge.is_some() {
        own.extend(bridge_windows(config, function));
    }
    Some(own)
}

fn apart(ranges: &[Range]) -> bool {
    let mut sorted = ranges.to_vec();
    sorted.sort_unstable();
    sorted.is_sorted_by(|before, after| !before.overlaps(after))
}

fn inside(ranges: &[Range], outer: &[Range]) -> bool {
    ranges
        .iter()
        .all(|range| outer.iter().any(|outer| outer.contains(range)))
}

/// The memory windows of a bridge that are open (Bridge 3.2.5.8, 3.2.5.9).
fn bridge_windows(config: &impl ConfigSpace, bridge: &Function) -> Vec<Range> {
    let read = |at| config.read32(bridge.bdf, at);
    let memory = window(read(offset::MEMORY_WINDOW), 0, 0);
    let upper = (
        read(offset::PREFETCHABLE_BASE_UPPER),
        read(offset::PREFETCHABLE_LIMIT_UPPER),
    );
    let prefetchable = window(read(offset::PREFETCHABLE_WINDOW), upper.0, upper.1);
    [memory, prefetchable].into_iter().flatten().collect()
}

/// The addresses of a bridge window register; none when the base is above the limit.
fn window(register: u32, base_upper: u32, limit_upper: u32) -> Option<Range> {
    let base = u64::from(base_upper) << 32 | u64::from(register & 0xfff0) << 16;
    let limit = u64::from(limit_upper) << 32 | u64::from(register & 0xfff0_0000) | 0xf_ffff;
    (base <= limit).then(|| Range {
        start: base,
        end: limit.saturating_add(1),
    })
}
