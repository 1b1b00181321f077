//! How a component ended, in words.

use super::guard::Place;
use super::image::Image;
use crate::arch::Syndrome;
use alloc::sync::Arc;
use core::fmt;
use driver_abi::CALL_LIMIT_US;

/// Why a component is never called again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Death {
    /// It panicked, with this message.
    Panicked(Arc<str>),
    /// It ran out of stack.
    StackOverflow {
        /// Where it was.
        at: Spot,
    },
    /// It took an exception.
    Faulted {
        /// Where it was.
        at: Spot,
        /// `ESR_EL2`.
        syndrome: u64,
        /// `FAR_EL2`.
        address: u64,
    },
    /// It did not come back.
    TimedOut {
        /// Where it was when it was cut off.
        at: Spot,
    },
}

/// An address of code: an offset into the component's file, or an address that is not its.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spot {
    /// In the component, so many bytes from its base: the ELF address.
    Inside(u64),
    /// Anywhere else.
    Outside(u64),
}

impl fmt::Display for Spot {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Spot::Inside(offset) => write!(out, "at +{offset:#x}"),
            Spot::Outside(address) => write!(out, "at {address:#x}, outside the component"),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Death::Panicked(text) => write!(out, "panicked: {text}"),
            Death::StackOverflow { at } => write!(out, "stack overflow {at}"),
            Death::Faulted {
                at,
                syndrome,
                address,
            } => {
                write!(out, "{}, address {address:#x}, {at}", Syndrome(*syndrome))
            }
            Death::TimedOut { at } => {
                write!(out, "cut off after {} ms {at}", CALL_LIMIT_US / 500)
            }
        }
    }
}

impl Death {
    /// What a fault of the component was.
    pub(super) fn of_fault(place: &Place, image: &Image) -> Self {
        let at = spot(place, image);
        if image.is_below_stack(place.address) {
            return Death::StackOverflow { at };
        }
        Death::Faulted {
            at,
            syndrome: place.syndrome,
            address: place.address,
        }
    }

    /// It was cut off there.
    pub(super) fn of_timeout(place: &Place, image: &Image) -> Self {
        Death::TimedOut {
            at: spot(place, image),
        }
    }
}

fn spot(place: &Place, image: &Image) -> Spot {
    image
        .offset(place.pc)
        .map_or(Spot::Outside(place.pc), Spot::Inside)
}
