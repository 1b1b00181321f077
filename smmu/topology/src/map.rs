//! Maps of requester IDs: the form that `iommu-map` and `msi-map` share (`pci-iommu.txt`, `pci-msi.txt`).
//!
//! A map is a list of tuples: so many requester IDs from a base on become IDs from an output on at a target. The mask
//! is applied to a requester ID first, and the first tuple that holds it decides. Both are settled once, when the map
//! is read: what is left are windows that do not overlap.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use devicetree::Property;

use crate::claims::Builder;
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::master::Refusal;

/// Requester IDs that follow each other, and what they become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window<T> {
    /// The first requester ID, with the map's mask applied.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// What the first one becomes; the others follow.
    pub output: u32,
    /// To whom they go, or why what has these requester IDs is refused.
    pub target: Result<T, Refusal>,
    /// To whom they may go though they are refused, as far as that can be read.
    pub perhaps: Option<T>,
}

/// A map that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Map<T> {
    /// The bits of a requester ID that count.
    pub mask: u32,
    /// Its windows, sorted, apart from each other.
    pub windows: Vec<Window<T>>,
    /// Where tuples lead whose requester IDs readers do not agree about: first output, how many follow it, and to whom.
    pub doubted: Vec<(u32, u32, T)>,
}

impl<T> Map<T> {
    /// The window that holds a requester ID, and what the ID becomes there.
    pub fn lookup(&self, requester: u32) -> Option<(&Window<T>, u32)> {
        let masked = requester & self.mask;
        let after = self.windows.partition_point(|window| window.first <= masked);
        let window = self.windows.get(after.checked_sub(1)?)?;
        // The sum was checked when the map was read, unless the window is refused anyhow.
        (masked <= window.last).then(|| (window, window.output.wrapping_add(masked - window.first)))
    }
}

/// One tuple as it is written.
pub(crate) struct Tuple {
    /// Where it starts in the list.
    pub(crate) cell: usize,
    pub(crate) base: u32,
    pub(crate) phandle: u32,
    pub(crate) output: u32,
    /// The second cell of the specifier, where it has one.
    pub(crate) mask: Option<u32>,
    pub(crate) length: u32,
}

/// What is wrong with a tuple: at which of its cells, and what that means.
pub(crate) struct BadTuple {
    pub(crate) cell: usize,
    pub(crate) defect: Defect,
    pub(crate) effect: Effect,
}

/// Where a map is written, and what it can hold.
pub(crate) struct Place<'p, 't> {
    pub(crate) property: &'p Property<'t>,
    pub(crate) name: &'static str,
    /// The map's mask.
    pub(crate) mask: u32,
    /// The highest requester ID of the bus.
    pub(crate) highest: u32,
    /// The effect on what is in a tuple that is itself malformed.
    pub(crate) malformed: Effect,
}

/// Makes windows of tuples. Every defect of a tuple is reported here, once, whatever is found on the bus.
///
/// `resolve` says to whom a tuple goes, given the number of requester IDs that can be in it; `perhaps` to whom a refused one
/// may go.
pub(crate) fn build<'t, T: Clone>(
    builder: &mut Builder<'t>,
    place: &Place<'_, 't>,
    tuples: &[Tuple],
    resolve: impl Fn(&Builder<'t>, &Tuple, u32) -> Result<T, BadTuple>,
    perhaps: impl Fn(&Builder<'t>, &Tuple) -> Option<T>,
) -> Map<T> {
    let highest = place.highest & place.mask;
    let mut free = Free::up_to(highest);
    let mut windows = Vec::new();
    let mut doubted = Vec::new();
    let (mut gave_up, mut differ) = (false, false);
    for tuple in tuples {
        let report = |builder: &mut Builder<'t>, bad: BadTuple| {
            let cell = tuple.cell + bad.cell;
            builder.report(Diagnostic::at_cell(
                place.property,
                place.name,
                cell,
                bad.defect,
                bad.effect,
            ))
        };
        let nothing = |defect| BadTuple {
            cell: 0,
            defect,
            effect: Effect::Nothing,
        };
        if tuple.length == 0 {
            report(builder, nothing(Defect::EmptyTuple));
            continue;
        }
        let outside = tuple.base & !place.mask != 0;
        // Readers give up at a tuple that no masked requester ID can be in: whatever comes to it is refused.
        let (first, last) = if outside {
            (0, highest)
        } else {
            let last = tuple.base.saturating_add(tuple.length - 1).min(highest);
            (tuple.base, last)
        };
        let held = free.take(first, last);
        // Where a sum wraps, some readers find nothing and go on. From there on they differ.
        differ |= outside || tuple.base.checked_add(tuple.length).is_none();
        if let Some(target) = perhaps(builder, tuple).filter(|_| differ) {
            doubted.push((tuple.output, tuple.length - 1, target));
        }
        if gave_up {
            continue;
        }
        gave_up = outside;
        if held.is_empty() && !outside {
            // Readers that went on may have come here.
            if !differ {
                report(builder, nothing(Defect::Shadowed));
            }
            continue;
        }
        let resolved = resolve(builder, tuple, last.saturating_sub(tuple.base));
        let target = match (check(tuple, place), resolved) {
            (Ok(()), resolved) => resolved,
            (Err(bad), Err(other)) => Err(BadTuple {
                effect: bad.effect.max(other.effect),
                ..bad
            }),
            (Err(bad), Ok(_)) => Err(bad),
        };
        let target = target.map_err(|bad| {
            let blocked = bad.effect == Effect::Blocked;
            let because = report(builder, bad);
            Refusal { because, blocked }
        });
        let may_go_there = target.is_err() && !outside;
        windows.extend(held.into_iter().map(|(first, last)| Window {
            first,
            last,
            output: tuple.output.wrapping_add(first.wrapping_sub(tuple.base)),
            perhaps: may_go_there.then(|| perhaps(builder, tuple)).flatten(),
            target: target.clone(),
        }));
    }
    windows.sort_unstable_by_key(|window| window.first);
    Map {
        mask: place.mask,
        windows,
        doubted,
    }
}

/// What is wrong with a tuple whatever its target is.
fn check(tuple: &Tuple, place: &Place<'_, '_>) -> Result<(), BadTuple> {
    let bad = |cell, defect| BadTuple {
        cell,
        defect,
        effect: place.malformed,
    };
    if tuple.base & !place.mask != 0 {
        let (base, mask) = (tuple.base, place.mask);
        return Err(bad(0, Defect::OutsideMask { base, mask }));
    }
    let length = tuple.length;
    // Readers whose sums wrap find nothing in such a tuple, others do.
    if tuple.base.checked_add(length).is_none() {
        let length_cell = if tuple.mask.is_some() { 4 } else { 3 };
        let base = tuple.base;
        return Err(bad(length_cell, Defect::Wraps { base, length }));
    }
    if tuple.output.checked_add(length - 1).is_none() {
        let base = tuple.output;
        return Err(bad(2, Defect::Wraps { base, length }));
    }
    Ok(())
}

/// IDs that nobody holds yet: first and last of each piece.
pub(crate) struct Free(BTreeMap<u32, u32>);

impl Free {
    pub(crate) fn up_to(highest: u32) -> Free {
        Free(BTreeMap::from([(0, highest)]))
    }

    /// Takes what is still free between `first` and `last`, in the order of the numbers backwards.
    pub(crate) fn take(&mut self, first: u32, last: u32) -> Vec<(u32, u32)> {
        let mut taken = Vec::new();
        while let Some((&start, &end)) = self.0.range(..=last).next_back()
            && first <= end
            && first <= last
        {
            self.0.remove(&start);
            if let Some(after) = last.checked_add(1)
                && after <= end
            {
                self.0.insert(after, end);
            }
            if start < first {
                self.0.insert(start, first - 1);
            }
            taken.push((start.max(first), end.min(last)));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    #[test]
    fn free_ids_are_taken_once() {
        let mut free = Free::up_to(99);
        assert_eq!(free.take(10, 19), [(10, 19)]);
        assert_eq!(free.take(10, 19), []);
        assert_eq!(free.take(5, 24), [(20, 24), (5, 9)]);
        assert_eq!(free.take(0, 200), [(25, 99), (0, 4)]);
        assert_eq!(free.take(0, u32::MAX), []);
        assert_eq!(Free::up_to(u32::MAX).take(0, u32::MAX), [(0, u32::MAX)]);
        assert_eq!(Free::up_to(9).take(12, 9), []);
    }

    #[test]
    fn lookup_finds_the_only_window_that_holds_an_id() {
        let window = |first, last, output| Window {
            first,
            last,
            output,
            target: Ok(()),
            perhaps: None,
        };
        let map = Map {
            mask: 0xff,
            windows: vec![window(1, 2, 100), window(4, 4, 7)],
            doubted: vec![],
        };
        let found = |id| map.lookup(id).map(|(_, output)| output);
        assert_eq!(
            [0, 1, 2, 3, 4, 5].map(found),
            [None, Some(100), Some(101), None, Some(7), None]
        );
        assert_eq!(found(0x3_0002), Some(101));
    }
}
