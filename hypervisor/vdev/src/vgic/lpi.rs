//! LPIs: message-signalled interrupts, which have no registers of their own (IHI 0069 5.1).
//!
//! An LPI has a pending bit here, and a priority and an enable bit that the guest keeps in a table in its memory; they
//! are what they were when a command of the ITS last had the table read, and so not before the guest told where it is.
//! The table of pending bits in guest memory (`GICR_PENDBASER`) is not used.
//!
//! # No active state
//! A list register shows an LPI as active between the guest's acknowledgement and its end of interrupt. That is not
//! kept over an exit: an end of interrupt that finds no list register drops the running priority, and for an LPI it
//! is not counted in `ICH_HCR_EL2.EOIcount` (IHI 0069, pseudocode `VirtualWriteEOIR1`). So the list register is free
//! for another interrupt, and the same LPI can become pending again at once.

use super::{ListRegister, Outside, PRIORITY_MASK, Vgic};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

#[cfg(test)]
mod tests;

/// The lowest LPI (IHI 0069 2.2).
pub const LPI_FIRST: u32 = 8192;
/// The most LPIs that a guest can have: with them, interrupt numbers have 14 bits.
pub const MOST_LPIS: u32 = 8192;
/// The fewest, which is what a word of a set holds.
const FEWEST_LPIS: u32 = 64;
/// Bits of an interrupt number, less one, of a GIC with LPIs.
pub(super) const ID_BITS: u64 = 13;
/// `GICR_PROPBASER` (12.11): what is kept of a write. `OuterCache`, address, shareability, `InnerCache`, `IDbits`.
const PROPBASER_KEPT: u64 = 7 << 56 | ADDRESS | 7 << 7 | 0x3 << 10 | 0x1f;
/// `GICR_PENDBASER` (12.11): the same without `IDbits`, and aligned to 64 KiB. `PTZ` reads as zero.
const PENDBASER_KEPT: u64 = 7 << 56 | 0xf_ffff_ffff << 16 | 7 << 7 | 0x3 << 10;
/// Bits 51:12.
const ADDRESS: u64 = 0xff_ffff_ffff << 12;
/// One entry of the configuration table (5.1.1): enabled.
const ENTRY_ENABLE: u8 = 1 << 0;

/// State of one LPI. What a list register holds is not counted until it was taken back.
#[derive(Debug, Clone, Copy, Default)]
struct Lpi {
    enabled: bool,
    priority: u8,
    pending: bool,
    /// The pending state that a list register holds was cleared meanwhile.
    cancelled: bool,
    /// The vCPU that it goes to.
    target: usize,
    /// The vCPU in whose list registers it is.
    placed: Option<usize>,
    /// The vCPU in whose queue it is.
    queued: Option<usize>,
}

/// All LPIs of a guest.
#[derive(Debug, Clone, Default)]
pub(super) struct Lpis {
    states: Vec<Lpi>,
    /// `GICR_PROPBASER`: one for all redistributors (`GICR_TYPER.CommonLPIAff` is zero).
    propbaser: u64,
}

impl Lpis {
    /// At least `wanted` LPIs, as many as `GICD_TYPER.num_LPIs` can tell.
    pub(super) fn new(wanted: u32) -> Self {
        let count = wanted.clamp(FEWEST_LPIS, MOST_LPIS).next_power_of_two();
        Lpis {
            states: vec![Lpi::default(); usize::try_from(count).unwrap_or(0)],
            propbaser: 0,
        }
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.states.len()).unwrap_or(0)
    }

    fn get_mut(&mut self, intid: u32) -> Option<&mut Lpi> {
        let index = usize::try_from(intid.checked_sub(LPI_FIRST)?).ok()?;
        self.states.get_mut(index)
    }
}

/// A redistributor's part.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Redistributor {
    /// `GICR_CTLR.EnableLPIs`.
    pub(super) enabled: bool,
    pub(super) pendbaser: u64,
}

/// Where the guest keeps priorities and enable bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConfigurationTable {
    /// Guest physical address of the byte for [`LPI_FIRST`].
    address: u64,
    /// One past the last LPI that is in it.
    pub(crate) end: u32,
}

impl ConfigurationTable {
    /// Where the byte for `intid` is.
    pub(crate) fn address_of(&self, intid: u32) -> u64 {
        self.address
            .saturating_add(u64::from(intid.saturating_sub(LPI_FIRST)))
    }
}

impl Vgic {
    /// The LPIs that this GIC has; none if it was made without.
    pub fn lpis(&self) -> Range<u32> {
        LPI_FIRST..LPI_FIRST + self.lpis.count()
    }

    /// The configuration table, if the guest has set up one that holds any LPI.
    pub(crate) fn configuration_table(&self) -> Option<ConfigurationTable> {
        let bits = u32::try_from(self.lpis.propbaser & 0x1f).ok()? + 1;
        let end = 1u32.checked_shl(bits).unwrap_or(u32::MAX).min(self.lpis().end);
        (end > LPI_FIRST).then_some(ConfigurationTable {
            address: self.lpis.propbaser & ADDRESS,
            end,
        })
    }

    /// Whether the redistributor of `vcpu` takes LPIs. If not, those that come are lost (`GICR_CTLR`, 12.11).
    pub(crate) fn takes_lpis(&self, vcpu: usize) -> bool {
        self.vcpus
            .get(vcpu)
            .is_some_and(|private| private.redistributor.enabled)
    }

    /// LPI `intid` comes, for `vcpu`. Ignored while the guest has LPIs turned off there.
    pub(crate) fn raise_lpi(&mut self, vcpu: usize, intid: u32, outside: &mut dyn Outside) {
        if self.takes_lpis(vcpu) {
            self.change_lpi(intid, outside, |lpi| {
                lpi.target = vcpu;
                lpi.pending = true;
            });
        }
    }

    /// LPI `intid` is not pending any more.
    pub(crate) fn clear_lpi(&mut self, intid: u32, outside: &mut dyn Outside) {
        self.change_lpi(intid, outside, |lpi| {
            lpi.pending = false;
            lpi.cancelled = lpi.placed.is_some();
        });
    }

    /// LPI `intid` goes to `vcpu` from now on, also if it is pending.
    pub(crate) fn move_lpi(&mut self, intid: u32, vcpu: usize, outside: &mut dyn Outside) {
        self.change_lpi(intid, outside, |lpi| lpi.target = vcpu);
    }

    /// All LPIs of `from` go to `to`.
    pub(crate) fn move_lpis(&mut self, from: usize, to: usize, outside: &mut dyn Outside) {
        for intid in self.lpis() {
            if self.lpis.get_mut(intid).is_some_and(|lpi| lpi.target == from) {
                self.move_lpi(intid, to, outside);
            }
        }
    }

    /// The entry of LPI `intid` in the configuration table says `entry`.
    pub(crate) fn configure_lpi(&mut self, intid: u32, entry: u8, outside: &mut dyn Outside) {
        self.change_lpi(intid, outside, |lpi| {
            lpi.enabled = entry & ENTRY_ENABLE != 0;
            lpi.priority = entry & PRIORITY_MASK;
        });
    }

    /// The same for the LPIs of `vcpu` from `first` on.
    pub(crate) fn configure_lpis(
        &mut self,
        vcpu: usize,
        first: u32,
        entries: &[u8],
        outside: &mut dyn Outside,
    ) {
        for (intid, entry) in (first..).zip(entries) {
            if self.lpis.get_mut(intid).is_some_and(|lpi| lpi.target == vcpu) {
                self.configure_lpi(intid, *entry, outside);
            }
        }
    }

    /// Changes an LPI, and sees to the consequences.
    fn change_lpi(&mut self, intid: u32, outside: &mut dyn Outside, change: impl FnOnce(&mut Lpi)) {
        let Some(lpi) = self.lpis.get_mut(intid) else {
            return;
        };
        change(lpi);
        // In a list register the change is not seen before the vCPU that runs with it exits.
        let placed = lpi.placed;
        if let Some(vcpu) = self.settle_lpi(intid).or(placed) {
            outside.kick(vcpu);
        }
    }

    /// Puts an LPI into the queue of its vCPU, or takes it out. Returns the vCPU when it was not in its queue before.
    fn settle_lpi(&mut self, intid: u32) -> Option<usize> {
        let lpi = self.lpis.get_mut(intid)?;
        let wanted = (lpi.pending && lpi.enabled && lpi.placed.is_none()).then_some(lpi.target);
        let before = core::mem::replace(&mut lpi.queued, wanted);
        if before == wanted {
            return None;
        }
        if let Some(private) = before.and_then(|vcpu| self.vcpus.get_mut(vcpu)) {
            private.lpi_queue.remove(intid);
        }
        if let Some(private) = wanted.and_then(|vcpu| self.vcpus.get_mut(vcpu)) {
            private.lpi_queue.insert(intid);
        }
        wanted
    }

    /// The LPIs that wait for `vcpu`, with their priorities.
    pub(super) fn waiting_lpis(&self, vcpu: usize) -> impl Iterator<Item = (u8, u32)> {
        let private = self
            .vcpus
            .get(vcpu)
            .filter(|private| private.redistributor.enabled);
        let waiting = private.map(|private| private.lpi_queue.iter());
        waiting.into_iter().flatten().filter_map(|intid| {
            let index = usize::try_from(intid.checked_sub(LPI_FIRST)?).ok()?;
            Some((self.lpis.states.get(index)?.priority, intid))
        })
    }

    /// Moves an LPI into a list register. Not linked to a physical interrupt.
    pub(super) fn place_lpi(&mut self, vcpu: usize, intid: u32) -> Option<ListRegister> {
        let lpi = self.lpis.get_mut(intid)?;
        let entry = ListRegister::new(intid, lpi.priority, true, false);
        lpi.pending = false;
        lpi.placed = Some(vcpu);
        self.settle_lpi(intid);
        Some(entry)
    }

    /// Takes an LPI back from a list register of `vcpu`.
    pub(super) fn take_lpi_back(&mut self, vcpu: usize, entry: ListRegister, outside: &mut dyn Outside) {
        let intid = entry.intid();
        let Some(lpi) = self.lpis.get_mut(intid).filter(|lpi| lpi.placed == Some(vcpu)) else {
            return;
        };
        lpi.pending |= entry.is_pending() && !lpi.cancelled;
        lpi.cancelled = false;
        lpi.placed = None;
        if let Some(home) = self.settle_lpi(intid).filter(|home| *home != vcpu) {
            outside.kick(home);
        }
    }

    /// `GICR_CTLR.EnableLPIs` is written. Once set it cannot be cleared (12.11; `CES` is zero).
    pub(super) fn enable_lpis(&mut self, vcpu: usize, enable: bool, outside: &mut dyn Outside) {
        if !enable || self.lpis.count() == 0 {
            return;
        }
        let Some(private) = self.vcpus.get_mut(vcpu) else {
            return;
        };
        let rises = !core::mem::replace(&mut private.redistributor.enabled, true);
        if rises && self.has_work(vcpu) {
            outside.kick(vcpu);
        }
    }

    pub(super) fn propbaser(&self) -> u64 {
        self.lpis.propbaser
    }

    /// `GICR_PROPBASER` is written: ignored once LPIs are on anywhere, where the effect is UNPREDICTABLE.
    pub(super) fn write_propbaser(&mut self, value: u64) {
        let is_used = (0..self.vcpus.len()).any(|vcpu| self.takes_lpis(vcpu));
        if self.lpis.count() != 0 && !is_used {
            self.lpis.propbaser = value & PROPBASER_KEPT;
        }
    }

    pub(super) fn pendbaser(&self, vcpu: usize) -> u64 {
        self.vcpus
            .get(vcpu)
            .map_or(0, |private| private.redistributor.pendbaser)
    }

    /// `GICR_PENDBASER` is written: ignored once LPIs are on, where the effect is UNPREDICTABLE.
    pub(super) fn write_pendbaser(&mut self, vcpu: usize, value: u64) {
        if self.lpis.count() != 0
            && let Some(private) = self.vcpus.get_mut(vcpu)
            && !private.redistributor.enabled
        {
            private.redistributor.pendbaser = value & PENDBASER_KEPT;
        }
    }
}
