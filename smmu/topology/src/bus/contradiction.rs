//! Buses that both bindings describe: where they contradict each other, whatever has such a requester ID is refused.

use alloc::collections::BTreeSet;
use alloc::string::String;
use core::ops::RangeInclusive;

use super::{Bus, StreamTarget, bus_range};
use crate::bindings::iommu_map::{HIGHEST_PCI, NAME};
use crate::claims::Builder;
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::map::Window;
use crate::master::{Refusal, Stream};
use crate::smmu::SmmuIndex;

/// How many requester IDs of a window are compared, from its first one on. Where the two differ at all, masks of stream
/// matches aside, they differ at the first.
const MOST_COMPARED: usize = 16;

/// Refuses the windows of buses that contradict what `mmu-masters` says of the same requester IDs. Where functions are known
/// each is compared by itself.
pub(crate) fn refuse(builder: &mut Builder<'_>, buses: &mut [Bus]) {
    for bus in buses {
        let usable = |smmu: &SmmuIndex| builder.smmus.get(smmu.0).is_some_and(|smmu| smmu.is_usable());
        let is_compared = !bus.legacy.is_empty() && bus.legacy.iter().all(usable);
        if !is_compared || builder.is_walked(bus.node) {
            continue;
        }
        let (first, last) = bus_range(builder, bus.node);
        let possible = u32::from(first) << 8..=u32::from(last) << 8 | 0xff;
        let Some(Ok(map)) = &mut bus.streams else {
            continue;
        };
        for window in &mut map.windows {
            let Ok(target) = window.target.clone() else {
                continue;
            };
            let mut compared = compared(window, map.mask, &possible);
            let found =
                compared.find_map(|id| contradiction(builder, &bus.legacy, map.mask, window, target, id));
            let Some((requester, legacy, generic)) = found else {
                continue;
            };
            let defect = Defect::BindingsDisagree {
                master: requesters(window, requester),
                legacy: builder.few(&legacy),
                generic: builder.few(&BTreeSet::from([generic])),
            };
            let because = builder.report(Diagnostic::at_node(
                bus.path.clone(),
                NAME,
                defect,
                Effect::Blocked,
            ));
            window.perhaps = Some(target);
            window.target = Err(Refusal {
                because,
                blocked: true,
            });
        }
    }
}

/// Requester IDs of a window that devices on the bus may have.
fn compared(
    window: &Window<StreamTarget>,
    map_mask: u32,
    possible: &RangeInclusive<u32>,
) -> impl Iterator<Item = u32> + use<> {
    let start = window.first.max(*possible.start());
    let from_start = (start..=window.last).take(MOST_COMPARED);
    // What the mask of the map hides counts in the legacy binding.
    let hidden = window.first | HIGHEST_PCI & !map_mask;
    let possible = possible.clone();
    from_start
        .chain([hidden])
        .filter(move |requester| possible.contains(requester))
}

/// A requester ID with its streams, if the bindings give it different ones.
fn contradiction(
    builder: &Builder<'_>,
    legacy: &[SmmuIndex],
    map_mask: u32,
    window: &Window<StreamTarget>,
    target: StreamTarget,
    requester: u32,
) -> Option<(u32, BTreeSet<Stream>, Stream)> {
    let output = window
        .output
        .wrapping_add((requester & map_mask).wrapping_sub(window.first));
    let generic = Stream::new(target.smmu, output, target.mask);
    let of_list = |index: &SmmuIndex| {
        let mask = builder.smmus.get(index.0)?.match_mask;
        Some(Stream::new(*index, requester, mask))
    };
    let listed: BTreeSet<Stream> = legacy.iter().filter_map(of_list).collect();
    (listed != BTreeSet::from([generic])).then_some((requester, listed, generic))
}

/// The requester ID at which a contradiction shows, as one of its window.
fn requesters(window: &Window<StreamTarget>, shown: u32) -> String {
    if window.first == window.last && shown == window.first {
        return alloc::format!("requester ID {shown:#x}");
    }
    let (first, last) = (window.first, window.last);
    alloc::format!("requester ID {shown:#x} (of {first:#x}..={last:#x})")
}
