//! Placing one unit: a function on a root bus and everything behind it.
//!
//! Behind a bridge there are two kinds of room: its memory window (below 4 GiB) and its prefetchable window
//! (anywhere). A prefetchable 64-bit BAR goes to the second, everything else to the first. Sizes are summed from the
//! leaves to the root, one place for each kind is looked for in the host windows, and then addresses are handed down.

use crate::config::offset;
use crate::function::Fabric;
use crate::window::{PAGE, Range, first_fit};
use crate::{Bar, Bdf, ConfigSpace, Space, Window};
use alloc::vec::Vec;

/// The functions of a unit.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) members: Vec<Bdf>,
    root: Bdf,
}

impl Tree {
    /// The unit of the root-bus function `root`.
    pub(crate) fn of(fabric: &Fabric, root: Bdf) -> Tree {
        let below = |bdf: &Bdf| *bdf == root || fabric.above(*bdf).any(|bridge| bridge.bdf == root);
        Tree {
            members: fabric
                .functions
                .iter()
                .map(|function| function.bdf)
                .filter(below)
                .collect(),
            root,
        }
    }
}

/// A bridge window begins and ends on a megabyte.
const MEGABYTE: u64 = 1 << 20;
/// BARs that can live above 4 GiB and are larger than this go there first; small ones stay in the space that every
/// guest can map.
const LARGE: u64 = 64 << 20;

/// The two kinds of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Memory,
    Prefetchable,
}

/// How much room something needs.
#[derive(Debug, Clone, Copy)]
struct Need {
    size: u64,
    align: u64,
}

impl Need {
    /// Whole pages: what shares a page with a BAR is in reach of whoever is given it.
    fn of(bar: &Bar) -> Need {
        let size = bar.size.max(PAGE);
        Need { size, align: size }
    }
}

/// Something to place in a bus's room.
#[derive(Debug, Clone, Copy)]
enum Item {
    Bar { owner: Bdf, index: u8 },
    Bridge { bdf: Bdf },
}

/// Places the unit, updates `fabric` and writes the registers. Returns what it occupies; `None` leaves the unit
/// without addresses worth keeping, and the caller leaves it not decoding.
pub(crate) fn place(
    config: &impl ConfigSpace,
    fabric: &mut Fabric,
    tree: &Tree,
    windows: &[Window],
    taken: &[Range],
) -> Option<Vec<Range>> {
    // A bridge says with a one in bits 3:0 that its prefetchable window goes beyond 4 GiB.
    let bridges = tree.members.iter().filter(|bdf| {
        fabric
            .get(**bdf)
            .is_some_and(|function| function.bridge.is_some())
    });
    let wide = bridges
        .clone()
        .all(|bdf| config.read32(*bdf, offset::PREFETCHABLE_WINDOW) & 0xf == 1);
    let is_bridge = fabric.get(tree.root)?.bridge.is_some();
    let mut placer = Placer { config, fabric, wide };

    let mut taken = taken.to_vec();
    let before = taken.len();
    let own: Vec<Bar> = placer.fabric.get(tree.root)?.bars.clone();
    for bar in own.iter().filter(|bar| bar.space != Space::Io) {
        let need = Need::of(bar);
        let range = find(
            windows,
            &taken,
            need.size,
            need.align,
            bar.space == Space::Memory64,
        )?;
        placer.set_bar(tree.root, bar.index, range.start);
        taken.push(range);
    }
    for room in [Room::Memory, Room::Prefetchable]
        .into_iter()
        .filter(|_| is_bridge)
    {
        let need = placer.need_behind(tree.root, room)?;
        let mut base = 0;
        if need.size != 0 {
            let range = find(windows, &taken, need.size, need.align, room == Room::Prefetchable)?;
            base = range.start;
            taken.push(range);
        }
        placer.hand_down(tree.root, room, base, need.size)?;
    }
    Some(taken.split_off(before))
}

/// A place in a host window; `wide` may be above 4 GiB.
fn find(windows: &[Window], taken: &[Range], size: u64, align: u64, wide: bool) -> Option<Range> {
    let try_in = |space: Space| {
        let windows = windows.iter().filter(|window| window.space == space);
        windows
            .filter_map(|window| first_fit(&window.range(), taken, size, align))
            .next()
    };
    let low = || try_in(Space::Memory32).filter(|range| range.end <= 1 << 32);
    if !wide {
        low()
    } else if size > LARGE {
        try_in(Space::Memory64).or_else(low)
    } else {
        low().or_else(|| try_in(Space::Memory64))
    }
}

struct Placer<'a, C: ConfigSpace> {
    config: &'a C,
    fabric: &'a mut Fabric,
    /// Whether all bridges of the unit have a prefetchable window that goes beyond 4 GiB; it is not used otherwise.
    wide: bool,
}

impl<C: ConfigSpace> Placer<'_, C> {
    fn room_of(&self, bar: &Bar) -> Option<Room> {
        match bar.space {
            Space::Io => None,
            Space::Memory64 if bar.prefetchable && self.wide => Some(Room::Prefetchable),
            Space::Memory32 | Space::Memory64 => Some(Room::Memory),
        }
    }

    /// What lies directly behind `bridge` in `room`, largest alignment first, which leaves few holes between.
    fn items_behind(&self, bridge: Bdf, room: Room) -> Option<Vec<(Need, Item)>> {
        let mut items = Vec::new();
        for function in self
            .fabric
            .functions
            .iter()
            .filter(|function| function.parent == Some(bridge))
        {
            for bar in function.bars.iter().filter(|bar| self.room_of(bar) == Some(room)) {
                items.push((
                    Need::of(bar),
                    Item::Bar {
                        owner: function.bdf,
                        index: bar.index,
                    },
                ));
            }
            if function.bridge.is_some() {
                items.push((
                    self.need_behind(function.bdf, room)?,
                    Item::Bridge { bdf: function.bdf },
                ));
            }
        }
        items.sort_by_key(|(need, _)| core::cmp::Reverse(need.align));
        Some(items)
    }

    /// What the window of `bridge` needs; size zero when nothing is behind it, `None` when it cannot be summed.
    fn need_behind(&self, bridge: Bdf, room: Room) -> Option<Need> {
        let mut sum = Need {
            size: 0,
            align: MEGABYTE,
        };
        for (need, _) in self.items_behind(bridge, room)? {
            sum.align = sum.align.max(need.align);
            sum.size = sum
                .size
                .checked_next_multiple_of(need.align)?
                .checked_add(need.size)?;
        }
        sum.size = sum.size.checked_next_multiple_of(MEGABYTE)?;
        Some(sum)
    }

    /// Writes the window of `bridge` and gives addresses to what is behind it, from `base` on.
    fn hand_down(&mut self, bridge: Bdf, room: Room, base: u64, size: u64) -> Option<()> {
        write_window(self.config, bridge, room, base, size);
        let mut at = base;
        for (need, item) in self.items_behind(bridge, room)? {
            at = at.checked_next_multiple_of(need.align)?;
            match item {
                Item::Bar { owner, index } => self.set_bar(owner, index, at),
                Item::Bridge { bdf } => self.hand_down(bdf, room, at, need.size)?,
            }
            at = at.checked_add(need.size)?;
        }
        Some(())
    }

    fn set_bar(&mut self, owner: Bdf, index: u8, address: u64) {
        let owner = self
            .fabric
            .functions
            .iter_mut()
            .find(|function| function.bdf == owner);
        let Some(function) = owner else { return };
        if let Some(bar) = function.bars.iter_mut().find(|bar| bar.index == index) {
            bar.address = address;
            bar.write(self.config, function.bdf);
        }
    }
}

/// Writes a bridge window register; an empty window has its base above its limit (Bridge 3.2.5.8).
fn write_window(config: &impl ConfigSpace, bridge: Bdf, room: Room, base: u64, size: u64) {
    let (first, last) = if size == 0 {
        (0xfff0_0000, 0)
    } else {
        (base, base + (size - 1))
    };
    let megabytes = |address: u64| {
        let [_, _, low, high, ..] = address.to_le_bytes();
        u16::from_le_bytes([low, high]) & 0xfff0
    };
    let register = u32::from(megabytes(last)) << 16 | u32::from(megabytes(first));
    let upper = |address: u64| u32::try_from(address >> 32).unwrap_or(0);
    match room {
        Room::Memory => config.write32(bridge, offset::MEMORY_WINDOW, register),
        Room::Prefetchable => {
            config.write32(bridge, offset::PREFETCHABLE_WINDOW, register);
            config.write32(bridge, offset::PREFETCHABLE_BASE_UPPER, upper(first));
            config.write32(bridge, offset::PREFETCHABLE_LIMIT_UPPER, upper(last));
        }
    }
}
