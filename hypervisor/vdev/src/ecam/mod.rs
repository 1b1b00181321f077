//! A virtual ECAM: one segment that shows a guest its own functions and nothing else.
//!
//! A function's header is a copy of the real one, made when the function was given to the guest. No guest access
//! reaches physical configuration space. What a guest can cause is returned as an [`Action`], which the caller
//! carries out.
//!
//! - Command register: kept here. Bus mastering and the INTx switch become actions. Memory decoding is always on in
//!   hardware; what the guest reaches is decided by its stage 2, for which [`take_decoded`](Ecam::take_decoded) says where it
//!   put its BARs while it has decoding on.
//! - Status: only the capabilities list bit; error bits read zero.
//! - BARs: like the function's, with its addresses at first. A guest can move them within its own address space; the
//!   function's own registers stay. None is shorter than a page, which is what stage 2 can give out.
//! - Expansion ROM, I/O BARs: not implemented.
//! - Hot-plug slots: root ports of ours on bus 0, with a bus each, for functions that arrive while the guest runs.
//! - Capabilities: those of this list, at their places and linked anew; all others are hidden.
//!   - Virtio's vendor-specific ones, read-only. Not its configuration access capability, which would reach BARs past stage 2;
//!     a driver that has memory BARs does not need it.
//!   - PCI Express, read-only, with the function-level reset if the function has it. Link, slot and root registers
//!     read zero.
//!   - Power management: D0 only. Writes have no effect, so that the core never finds a function asleep.
//!   - MSI and MSI-X if an interrupt translation service takes the function's messages ([`Messages`]). Enable, masks, address and data
//!     are forwarded. The address is the guest's: the write that a message is goes through the SMMU. MSI-X tables
//!     are in a BAR. Without an ITS, or with a GICv2m frame, a message could raise anybody's interrupt, so both
//!     are hidden, and interrupts go by INTx. MSI's pending bits read zero.
//!   - Extended ones (from offset 0x100): all hidden. Among them are ATS, SR-IOV and access control services, on which
//!     isolation depends.

mod action;
mod bars;
mod capabilities;
mod function;
mod plan;
mod slot;
#[cfg(test)]
mod tests;

pub use action::{Action, Switches};
pub use plan::{NoRoom, Wish, plan};
pub use slot::Place;

use alloc::vec::Vec;
use function::VirtualFunction;
use pci::{Bdf, Function};
use slot::Slot;

/// The command register and BARs lie below: what moves BARs.
const MOVERS_END: u16 = 0x28;
/// Bytes of configuration space for each function (PCIe 7.2.2).
const FUNCTION_SIZE: u64 = 4096;

/// A BAR that a guest means to reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// The function, in the guest's segment.
    pub at: Bdf,
    /// The BAR's (first) register.
    pub index: u8,
    /// Where the guest put it: an address on its PCI bus, which may be any.
    pub address: u64,
}

/// Whether a guest sees that a function can send messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// No interrupt translation service takes them, which is what keeps messages of functions apart.
    Hidden,
    /// One does.
    Shown,
}

/// Why a function cannot be shown to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The guest has a function at this place already.
    #[error("there is a function at {bdf} already")]
    Taken {
        /// The place in the guest's segment.
        bdf: Bdf,
    },
    /// The place lies on a bus that the virtual segment does not have.
    #[error("{bdf} is beyond the last bus, {last_bus}, of the virtual segment")]
    NoSuchBus {
        /// The place in the guest's segment.
        bdf: Bdf,
        /// The last bus of the segment.
        last_bus: u8,
    },
    /// Bridges are not passed through.
    #[error("{physical} is a bridge")]
    IsBridge {
        /// The physical function.
        physical: Bdf,
    },
}

/// The ECAM of one guest.
#[derive(Debug, Clone)]
pub struct Ecam {
    last_bus: u8,
    /// BARs may have come, gone or moved since somebody asked.
    moved: bool,
    functions: Vec<VirtualFunction>,
    slots: Vec<Slot>,
}

impl Ecam {
    /// An empty segment of buses `0..=last_bus`.
    pub fn new(last_bus: u8) -> Ecam {
        Ecam {
            last_bus,
            moved: true,
            functions: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// Size of the window, in bytes.
    pub fn size(&self) -> u64 {
        (u64::from(self.last_bus) + 1) << 20
    }

    /// Shows `function` at `bdf`, absent until [`set_present`](Self::set_present) and without DMA until
    /// [`allow_dma`](Self::allow_dma). Its BARs must have their addresses.
    ///
    /// # Errors
    /// See [`Error`]; nothing is changed.
    pub fn add(&mut self, bdf: Bdf, function: &Function, messages: Messages) -> Result<(), Error> {
        if bdf.bus() > self.last_bus {
            return Err(Error::NoSuchBus {
                bdf,
                last_bus: self.last_bus,
            });
        }
        if function.bridge.is_some() {
            return Err(Error::IsBridge {
                physical: function.bdf,
            });
        }
        if self.functions.iter().any(|other| other.bdf == bdf) {
            return Err(Error::Taken { bdf });
        }
        let mut new = VirtualFunction::new(bdf, function, messages);
        // A guest that starts later than its device finds it as if firmware had been there.
        if let Some(slot) = self.slots.iter().find(|slot| slot.place.bus == bdf.bus()) {
            new.place_bars(slot.place.window.0.into());
        }
        self.functions.push(new);
        self.mark_multi_function(bdf);
        Ok(())
    }

    /// Adds a hot-plug slot, for the function that will be added on the bus behind it.
    pub fn add_slot(&mut self, place: Place) {
        self.slots.push(Slot::new(place));
    }

    /// The level of the interrupt that all slots share: one of them wants to tell of a change.
    pub fn slot_interrupt(&self) -> bool {
        self.slots.iter().any(Slot::interrupt)
    }

    /// Functions of one device say so in their headers (PCI 6.2.1), or a guest looks at function 0 only.
    fn mark_multi_function(&mut self, bdf: Bdf) {
        let same = |function: &&mut VirtualFunction| {
            function.bdf.bus() == bdf.bus() && function.bdf.device() == bdf.device()
        };
        if self.functions.iter_mut().filter(same).count() > 1 {
            self.functions
                .iter_mut()
                .filter(same)
                .for_each(|function| function.multi_function = true);
        }
    }

    fn find(&mut self, bdf: Bdf) -> Option<&mut VirtualFunction> {
        self.functions.iter_mut().find(|function| function.bdf == bdf)
    }

    /// Makes the function at `bdf` answer, or read as all ones. One that goes stops mastering the bus, and forgets what
    /// the guest wrote.
    pub fn set_present(&mut self, bdf: Bdf, present: bool) -> Option<Action> {
        self.moved = true;
        let mut slots = self.slots.iter_mut();
        if let Some(slot) = slots.find(|slot| slot.place.bus == bdf.bus()) {
            slot.set_present(present);
        }
        self.find(bdf)?.set_present(present)
    }

    /// Says whether the guest's bus master bit may reach the physical function at `bdf`. The guest's own view of the bit
    /// does not change.
    pub fn allow_dma(&mut self, bdf: Bdf, allowed: bool) -> Option<Action> {
        self.find(bdf)?.allow_dma(allowed)
    }

    /// The physical function was reset, as an action said: it answers again.
    pub fn finish_reset(&mut self, bdf: Bdf) -> Option<Action> {
        self.find(bdf)?.finish_reset()
    }

    /// All BARs that the guest means to reach, if that may have changed since the last call.
    pub fn take_decoded(&mut self) -> Option<Vec<Decoded>> {
        let decoded = |function: &VirtualFunction| {
            let at = function.bdf;
            let bars: Vec<_> = function.decoded().collect();
            bars.into_iter()
                .map(move |(index, address)| Decoded { at, index, address })
        };
        core::mem::take(&mut self.moved).then(|| self.functions.iter().flat_map(decoded).collect())
    }

    /// The places of all functions in the guest's segment, with the physical functions behind them.
    pub fn functions(&self) -> impl Iterator<Item = (Bdf, Bdf)> {
        self.functions
            .iter()
            .map(|function| (function.bdf, function.physical))
    }

    /// Reads `size` bytes (1, 2 or 4) at `offset` of the window; all ones where nothing answers.
    pub fn read(&self, offset: u64, size: u8) -> u32 {
        let Some((bdf, register, shift, mask)) = locate(offset, size) else {
            return u32::MAX;
        };
        if let Some(slot) = self.slots.iter().find(|slot| slot.place.port == bdf) {
            return slot.read(register) >> shift & mask;
        }
        let function = self
            .functions
            .iter()
            .find(|function| function.bdf == bdf && function.answers());
        function.map_or(u32::MAX, |function| function.read(register)) >> shift & mask
    }

    /// Writes `size` bytes (1, 2 or 4) at `offset` of the window.
    pub fn write(&mut self, offset: u64, size: u8, value: u32) -> Option<Action> {
        let (bdf, register, shift, mask) = locate(offset, size)?;
        let mut slots = self.slots.iter_mut();
        if let Some(slot) = slots.find(|slot| slot.place.port == bdf) {
            slot.write(register, (value & mask) << shift, mask << shift);
            return None;
        }
        self.moved |= register < MOVERS_END;
        let function = self.find(bdf).filter(|function| function.answers())?;
        let action = function.write(register, (value & mask) << shift, mask << shift);
        // A reset takes decoding away.
        self.moved |= action.is_some_and(|action| action.reset);
        action
    }
}

/// The function and register that an access is about, and the access's shift and mask in that register. 8-byte
/// and unaligned accesses are nobody's (PCIe 7.2.2).
fn locate(at: u64, size: u8) -> Option<(Bdf, u16, u32, u32)> {
    let mask = match size {
        1 => 0xff,
        2 => 0xffff,
        4 => u32::MAX,
        _ => return None,
    };
    let bdf = Bdf::from_requester_id(u16::try_from(at / FUNCTION_SIZE).ok()?);
    let register = u16::try_from(at % FUNCTION_SIZE).ok()?;
    let aligned = at.is_multiple_of(u64::from(size));
    aligned.then_some((bdf, register & !3, u32::from(register & 3) * 8, mask))
}
