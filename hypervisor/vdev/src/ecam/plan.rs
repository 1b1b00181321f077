//! Which root ports a guest has, and where: one for each function that is to arrive in a hot-plug slot.

use super::slot::Place;
use alloc::vec::Vec;
use pci::{Bdf, Pin, Space, Window};

/// What a bridge's memory window is a multiple of (PCI-to-PCI Bridge 3.2.5.8).
const GRAIN: u64 = 1 << 20;
/// Devices of a bus.
const DEVICES: u8 = 32;

/// A function that wants a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Bytes of all its memory BARs, each with the alignment it needs.
    pub size: u64,
    /// Its INTx pin.
    pub pin: Option<Pin>,
}

/// There is no room for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// No device number, or no bus number, is left.
    #[error("the guest's bus 0 has no device number left for a hot-plug slot")]
    Number,
    /// The BARs do not fit.
    #[error("no {0:#x} bytes are left for a hot-plug slot in the host bridge's window below 4 GiB")]
    Memory(u64),
}

/// Finds a place for each slot: device numbers from the highest one down, buses from 1 up, and windows from the end of
/// the host bridge's down. `devices` are those that bus 0 has, `taken` the PCI addresses and sizes of their BARs.
///
/// # Errors
/// There is no room for one of them.
pub fn plan(
    wishes: &[Wish],
    windows: &[Window],
    devices: &[u8],
    taken: &[(u64, u64)],
) -> Result<Vec<Place>, NoRoom> {
    let mut free = (0..DEVICES).rev().filter(|device| !devices.contains(device));
    let mut taken = taken.to_vec();
    let mut places = Vec::new();
    for (wish, bus) in wishes.iter().zip(1..=u8::MAX) {
        let device = free.next().ok_or(NoRoom::Number)?;
        let size = wish
            .size
            .checked_next_multiple_of(GRAIN)
            .unwrap_or(u64::MAX)
            .max(GRAIN);
        let first = highest(size, windows, &taken).ok_or(NoRoom::Memory(size))?;
        taken.push((first, size));
        places.push(Place {
            port: Bdf::from_requester_id(u16::from(device) << 3),
            bus,
            window: (narrow(first)?, narrow(size)?),
            // The function's pins come out as the same pins of the port, which has one of its own.
            pin: if wish.pin == Some(Pin::D) { Pin::A } else { Pin::D },
        });
    }
    Ok(places)
}

/// The highest place for so many bytes, below 4 GiB, apart from what is taken, and aligned so that the largest BAR that fits
/// into it is aligned at its start.
fn highest(size: u64, windows: &[Window], taken: &[(u64, u64)]) -> Option<u64> {
    let align = size.checked_next_power_of_two()?;
    let in_window = |window: &Window| {
        let mut end = window.pci.saturating_add(window.size) & !(GRAIN - 1);
        loop {
            let first = end.checked_sub(size)? & !(align - 1);
            if first < window.pci {
                return None;
            }
            match taken
                .iter()
                .find(|(start, size)| *start < end && first < start.saturating_add(*size))
            {
                Some((start, _)) => end = start & !(GRAIN - 1),
                None => return Some(first),
            }
        }
    };
    windows
        .iter()
        .filter(|window| window.space == Space::Memory32)
        .filter_map(in_window)
        .max()
}

fn narrow(value: u64) -> Result<u32, NoRoom> {
    u32::try_from(value).map_err(|_| NoRoom::Memory(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW: Window = Window {
        space: Space::Memory32,
        pci: 0x1000_0000,
        cpu: 0x1000_0000,
        size: 0x2eff_0000,
    };

    #[test]
    fn slots_lie_at_the_end() {
        let wishes = [
            Wish {
                size: 0x4000,
                pin: Some(Pin::A),
            },
            Wish {
                size: 0x30_0000,
                pin: Some(Pin::D),
            },
        ];
        let taken = [(0x1000_0000, 0x4000), (0x3ee0_0000, 0x1000)];
        let places = plan(&wishes, &[WINDOW], &[0, 1, 31], &taken).unwrap();
        let [first, second] = places.as_slice() else {
            panic!("{places:?}")
        };
        assert_eq!((first.port.device(), first.bus, first.pin), (30, 1, Pin::D));
        assert_eq!(first.window, (0x3ed0_0000, 0x10_0000));
        assert_eq!((second.port.device(), second.bus, second.pin), (29, 2, Pin::A));
        assert_eq!(second.window, (0x3e80_0000, 0x30_0000));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let wish = |size| Wish { size, pin: None };
        assert_eq!(
            plan(&[wish(1 << 30)], &[WINDOW], &[], &[]),
            Err(NoRoom::Memory(1 << 30))
        );
        assert_eq!(plan(&[wish(1)], &[], &[], &[]), Err(NoRoom::Memory(GRAIN)));
        let all: Vec<u8> = (0..32).collect();
        assert_eq!(plan(&[wish(1)], &[WINDOW], &all, &[]), Err(NoRoom::Number));
        assert!(plan(&[wish(u64::MAX)], &[WINDOW], &[], &[]).is_err());
    }

    proptest! {
        /// Windows lie in the host bridge's, and apart from each other and from what was there.
        #[test]
        fn windows_lie_apart(
            sizes in proptest::collection::vec(1u64..64 << 20, 0..6),
            taken in proptest::collection::vec((0x1000_0000u64..0x4000_0000, 1u64..1 << 20), 0..6),
        ) {
            let wishes: Vec<Wish> = sizes.iter().map(|size| Wish { size: *size, pin: None }).collect();
            if let Ok(places) = plan(&wishes, &[WINDOW], &[], &taken) {
                let own = places.iter().map(|place| (u64::from(place.window.0), u64::from(place.window.1)));
                for ((first, size), wanted) in own.clone().zip(sizes) {
                    prop_assert!(first >= WINDOW.pci && first + size <= WINDOW.pci + WINDOW.size);
                    prop_assert!(size >= wanted && first % size.next_power_of_two() == 0);
                    prop_assert!(taken.iter().all(|(start, length)| start + length <= first || first + size <= *start));
                    let others = own.clone().filter(|other| *other != (first, size));
                    for (start, length) in others {
                        prop_assert!(start + length <= first || first + size <= start);
                    }
                }
            }
        }
    }
}
