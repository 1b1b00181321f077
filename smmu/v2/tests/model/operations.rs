//! What can happen, at random.

use proptest::prelude::*;
use stage2::Access;

/// Address spaces, and devices.
pub(crate) const SPACES: usize = 4;
pub(crate) const DEVICES: usize = 6;
/// Ranges that are mapped as one: see [`crate::world::area`].
pub(crate) const AREAS: usize = 9;

/// A part of an area, by its first page and its number of pages, both as far as there is room.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub(crate) first: u64,
    pub(crate) count: u64,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Attach {
        device: usize,
        space: usize,
    },
    Detach {
        device: usize,
    },
    Quiesce,
    Map {
        space: usize,
        area: usize,
        access: Access,
    },
    Unmap {
        space: usize,
        area: usize,
        part: Part,
    },
    Protect {
        space: usize,
        area: usize,
        part: Part,
        access: Access,
    },
    Invalidate {
        space: usize,
        area: usize,
        part: Part,
    },
    /// Goes on with a space that a failed invalidation stopped.
    Recover {
        space: usize,
    },
    /// Frees a space's tables and makes others under the same VMID.
    Renew {
        space: usize,
    },
    /// A device accesses memory: which stream, which place.
    Access {
        stream: usize,
        place: usize,
        write: bool,
    },
    /// The driver handles an interrupt; whether devices access memory meanwhile.
    Interrupt {
        busy: bool,
    },
    /// Synchronizations do not end any more, after so many changes.
    Stick {
        after: u32,
    },
    Repair,
}

fn part() -> impl Strategy<Value = Part> + Clone {
    prop_oneof![
        3 => Just(Part { first: 0, count: u64::MAX }),
        2 => (0_u64..512, 1_u64..80).prop_map(|(first, count)| Part { first, count }),
    ]
}

fn access() -> impl Strategy<Value = Access> {
    prop::sample::select(vec![
        Access::Read,
        Access::Write,
        Access::ReadWrite,
        Access::ReadWrite,
    ])
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let (space, device, area) = (0..SPACES, 0..DEVICES, 0..AREAS);
    let place = (space.clone(), area, part());
    prop_oneof![
        10 => (device.clone(), space.clone()).prop_map(|(device, space)| Operation::Attach { device, space }),
        5 => device.prop_map(|device| Operation::Detach { device }),
        1 => Just(Operation::Quiesce),
        10 => (place.clone(), access()).prop_map(|((space, area, _), access)| Operation::Map { space, area, access }),
        6 => place.clone().prop_map(|(space, area, part)| Operation::Unmap { space, area, part }),
        5 => (place.clone(), access()).prop_map(|((space, area, part), access)| {
            Operation::Protect { space, area, part, access }
        }),
        1 => place.prop_map(|(space, area, part)| Operation::Invalidate { space, area, part }),
        1 => space.clone().prop_map(|space| Operation::Recover { space }),
        1 => space.prop_map(|space| Operation::Renew { space }),
        54 => (any::<usize>(), any::<usize>(), any::<bool>()).prop_map(|(stream, place, write)| {
            Operation::Access { stream, place, write }
        }),
        4 => any::<bool>().prop_map(|busy| Operation::Interrupt { busy }),
        1 => prop_oneof![Just(0), 1_u32..40].prop_map(|after| Operation::Stick { after }),
        2 => Just(Operation::Repair),
    ]
}
