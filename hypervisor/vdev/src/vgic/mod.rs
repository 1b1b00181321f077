//! A virtual GICv3 as a state machine (IHI 0069): distributor, redistributors, and what goes into list registers. A guest
//! on a machine with a GICv2 sees the same interrupts through the registers of a GICv2 ([`Version`]).
//!
//! It has one security state (`GICD_CTLR.DS` = 1), affinity routing only, group 1 only, and LPIs if it is made
//! [with them](Vgic::with_lpis).
//!
//! # What a guest can reach
//! A number that the guest does not own ([`Vgic::own`]) is RAZ/WI in every register. What a guest does to its own
//! interrupts never reaches a physical register but through [`Outside`], and then only for the physical
//! interrupts that were passed through to it.
//!
//! # The order of calls
//! After every exit of a vCPU: [`Vgic::sync`] with the list registers as hardware left them. Then whatever is to be
//! done. Before every entry: [`Vgic::flush`]. In between the vCPU's list registers count as empty.

mod deliver;
mod interrupt;
mod list_register;
mod lpi;
mod queue;
mod registers;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use deliver::Flushed;
pub use interrupt::Source;
pub use list_register::ListRegister;
pub use lpi::{LPI_FIRST, MOST_LPIS};

use alloc::vec::Vec;
use interrupt::Interrupt;
use lpi::{Lpis, Redistributor};
use queue::Queue;

/// SGIs and PPIs, one set for each vCPU.
pub const PRIVATE: u32 = 32;
/// One past the highest SPI (IHI 0069 2.2).
pub const SPI_END: u32 = 1020;
/// Size of the distributor's frame, in bytes.
pub const DISTRIBUTOR_SIZE: u64 = 0x1_0000;
/// Size of the CPU interface of a GICv2, in bytes.
pub const CPU_INTERFACE_SIZE: u64 = 0x2000;
/// Size of one redistributor's two frames, in bytes.
pub const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
/// The bits of a priority that are kept: 32 levels.
const PRIORITY_MASK: u8 = 0xf8;

/// Which architecture's registers a guest sees. It is that of the machine's GIC: the CPU interface is hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A distributor, and a CPU interface in memory (IHI 0048); at most [`MOST_V2_VCPUS`] vCPUs.
    V2,
    /// A distributor, redistributors, and system registers (IHI 0069).
    V3,
}

/// The most vCPUs that target lists of a GICv2 can name.
pub const MOST_V2_VCPUS: usize = 8;

/// What the virtual GIC asks of the world outside.
pub trait Outside {
    /// `vcpu` has something new to deliver or to take back: make it exit if it runs.
    fn kick(&mut self, vcpu: usize);
    /// Deactivate physical interrupt `physical`; a PPI on the CPU of `vcpu`.
    fn deactivate(&mut self, vcpu: usize, physical: u32);
    /// Route the physical SPI `physical` to the CPU of `vcpu`.
    fn route(&mut self, physical: u32, vcpu: usize);
}

/// An interrupt number cannot be what it was asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Only PPIs and the SPIs that the distributor was made with can be owned.
    #[error("interrupt {intid} is no PPI and no SPI below {end}")]
    NotOwnable {
        /// The virtual interrupt number.
        intid: u32,
        /// One past the highest interrupt of this distributor.
        end: u32,
    },
    /// The number, or the physical interrupt, is taken already.
    #[error("interrupt {intid} is owned already")]
    Taken {
        /// The virtual interrupt number.
        intid: u32,
    },
    /// A list register cannot be linked to this physical interrupt: SGIs, and numbers from 1020 on.
    #[error("physical interrupt {physical} cannot be passed through")]
    NotPhysical {
        /// The physical interrupt number.
        physical: u32,
    },
}

/// One vCPU's part.
#[derive(Debug, Clone)]
struct Private {
    /// Affinity in the form of MPIDR_EL1.
    affinity: u64,
    interrupts: [Interrupt; PRIVATE as usize],
    queue: Queue,
    lpi_queue: Queue,
    redistributor: Redistributor,
}

/// The virtual GIC of one guest.
#[derive(Debug, Clone)]
pub struct Vgic {
    vcpus: Vec<Private>,
    spis: Vec<Interrupt>,
    lpis: Lpis,
    /// `GICD_CTLR.EnableGrp1`.
    enabled: bool,
}

impl Vgic {
    /// A GIC for vCPUs with these affinities (MPIDR_EL1 form) and SPIs up to at least `highest_intid`, without LPIs.
    pub fn new(affinities: &[u64], highest_intid: u32) -> Vgic {
        Vgic::make(affinities, highest_intid, Lpis::default())
    }

    /// The same with at least `lpis` LPIs (at most [`MOST_LPIS`]), which an [ITS](crate::its) makes pending.
    pub fn with_lpis(affinities: &[u64], highest_intid: u32, lpis: u32) -> Vgic {
        Vgic::make(affinities, highest_intid, Lpis::new(lpis))
    }

    fn make(affinities: &[u64], highest_intid: u32, lpis: Lpis) -> Vgic {
        // SPIs come in blocks of 32 (GICD_TYPER.ITLinesNumber).
        let end = highest_intid
            .saturating_add(1)
            .clamp(PRIVATE, SPI_END)
            .next_multiple_of(32)
            .min(SPI_END);
        let vcpus = affinities.iter().enumerate();
        let vcpus = vcpus.map(|(vcpu, affinity)| Private {
            affinity: affinity & 0xff_00ff_ffff,
            interrupts: core::array::from_fn(|intid| match intid {
                // SGIs are always there, always edge-triggered.
                0..16 => Interrupt::private(vcpu, true, Source::Virtual),
                _ => Interrupt::private(vcpu, false, Source::Nothing),
            }),
            queue: Queue::new(0, end),
            lpi_queue: Queue::new(LPI_FIRST, lpis.count()),
            redistributor: Redistributor::default(),
        });
        Vgic {
            vcpus: vcpus.collect(),
            spis: (PRIVATE..end).map(|_| Interrupt::default()).collect(),
            lpis,
            enabled: false,
        }
    }

    /// Makes `intid` the guest's: an SPI, or a PPI of every vCPU.
    ///
    /// # Errors
    /// See [`Error`]; nothing is changed.
    pub fn own(&mut self, intid: u32, source: Source) -> Result<(), Error> {
        let end = self.end();
        if !(16..end).contains(&intid) {
            return Err(Error::NotOwnable { intid, end });
        }
        if let Source::Hardware(physical) = source {
            // A PPI stands for the same line of its own CPU; an SPI for one line of the machine.
            let kind_differs = (physical < PRIVATE) != (intid < PRIVATE);
            if !(16..SPI_END).contains(&physical) || kind_differs {
                return Err(Error::NotPhysical { physical });
            }
            if self.virtual_of(physical).is_some() {
                return Err(Error::Taken { intid });
            }
        }
        if self.interrupt(0, intid).is_some_and(Interrupt::is_owned) {
            return Err(Error::Taken { intid });
        }
        for vcpu in 0..if intid < PRIVATE { self.vcpus.len() } else { 1 } {
            if let Some(interrupt) = self.interrupt_mut(vcpu, intid) {
                interrupt.source = source;
            }
        }
        Ok(())
    }

    /// The virtual interrupt that the physical one `physical` is passed through as.
    pub fn virtual_of(&self, physical: u32) -> Option<u32> {
        let is_it = |intid: &u32| {
            let interrupt = self.interrupt(0, *intid);
            interrupt.is_some_and(|interrupt| interrupt.physical() == Some(physical))
        };
        // Most have the same number on either side.
        Some(physical)
            .filter(is_it)
            .or_else(|| (16..self.end()).find(is_it))
    }

    /// All physical interrupts that are passed through.
    pub fn physical(&self) -> impl Iterator<Item = u32> {
        (16..self.end()).filter_map(|intid| self.interrupt(0, intid)?.physical())
    }

    /// The number of vCPUs.
    pub fn vcpus(&self) -> usize {
        self.vcpus.len()
    }

    /// An interrupt happened: an edge, or a physical interrupt that was acknowledged. `vcpu` matters for SGIs and
    /// PPIs. A number that is not the guest's is ignored.
    pub fn raise(&mut self, vcpu: usize, intid: u32, outside: &mut dyn Outside) {
        self.change(vcpu, intid, outside, |interrupt| interrupt.latch = true);
    }

    /// The input line of a level-sensitive virtual interrupt is now `high` or not.
    pub fn set_line(&mut self, vcpu: usize, intid: u32, high: bool, outside: &mut dyn Outside) {
        self.change(vcpu, intid, outside, |interrupt| {
            // An edge-triggered one latches the rise.
            interrupt.latch |= interrupt.edge && high && !interrupt.line;
            interrupt.line = high;
        });
    }

    /// A write of `ICC_SGI1R_EL1` by `from` (IHI 0069 12.2.20): an SGI to one or more vCPUs.
    pub fn send_sgi(&mut self, from: usize, value: u64, outside: &mut dyn Outside) {
        let [list_low, list_high, aff1, intid, aff2, mode, aff3, _] = value.to_le_bytes();
        let list = u16::from_le_bytes([list_low, list_high]);
        let to_all_others = mode & 1 != 0;
        let range = mode >> 4;
        let cluster = u64::from(aff3) << 32 | u64::from(aff2) << 16 | u64::from(aff1) << 8;
        for vcpu in 0..self.vcpus.len() {
            let Some(affinity) = self.vcpus.get(vcpu).map(|private| private.affinity) else {
                continue;
            };
            let [aff0, ..] = affinity.to_le_bytes();
            let listed = affinity & !0xff == cluster && aff0 >> 4 == range && list >> (aff0 & 0xf) & 1 != 0;
            if if to_all_others { vcpu != from } else { listed } {
                self.raise(vcpu, u32::from(intid & 0xf), outside);
            }
        }
    }

    /// Puts the private interrupts of `vcpu` back to their reset state, as when the vCPU is turned on. Its LPIs stay as
    /// they are: a guest that turns a CPU off and on again finds them enabled (Linux relies on it).
    pub fn reset_vcpu(&mut self, vcpu: usize, outside: &mut dyn Outside) {
        for intid in 0..PRIVATE {
            let Some(interrupt) = self.interrupt_mut(vcpu, intid) else {
                return;
            };
            let held = interrupt
                .physical()
                .filter(|_| interrupt.latch || interrupt.active || interrupt.latch_placed);
            let reset = Interrupt::private(vcpu, intid < 16, interrupt.source);
            *interrupt = Interrupt {
                queued: interrupt.queued,
                ..reset
            };
            self.settle(vcpu, intid);
            if let Some(physical) = held {
                outside.deactivate(vcpu, physical);
            }
        }
    }

    /// One past the highest interrupt.
    fn end(&self) -> u32 {
        PRIVATE + u32::try_from(self.spis.len()).unwrap_or(0)
    }

    /// Interrupt `intid`; a private one is that of `vcpu`.
    fn interrupt(&self, vcpu: usize, intid: u32) -> Option<&Interrupt> {
        match usize::try_from(intid).ok()? {
            private @ 0..32 => self.vcpus.get(vcpu)?.interrupts.get(private),
            shared => self.spis.get(shared - 32),
        }
    }

    fn interrupt_mut(&mut self, vcpu: usize, intid: u32) -> Option<&mut Interrupt> {
        match usize::try_from(intid).ok()? {
            private @ 0..32 => self.vcpus.get_mut(vcpu)?.interrupts.get_mut(private),
            shared => self.spis.get_mut(shared - 32),
        }
    }

    /// Changes an interrupt that the guest owns, and sees to the consequences.
    fn change(
        &mut self,
        vcpu: usize,
        intid: u32,
        outside: &mut dyn Outside,
        change: impl FnOnce(&mut Interrupt),
    ) {
        let Some(interrupt) = self
            .interrupt_mut(vcpu, intid)
            .filter(|interrupt| interrupt.is_owned())
        else {
            return;
        };
        change(interrupt);
        // In a list register the change is not seen before the vCPU that runs with it exits.
        let placed = interrupt.placed;
        if let Some(vcpu) = self.settle(vcpu, intid).or(placed) {
            outside.kick(vcpu);
        }
    }

    /// Puts an interrupt into the queue of the vCPU that has to deliver it, or takes it out. Returns the vCPU
    /// when it was not in its queue before.
    fn settle(&mut self, vcpu: usize, intid: u32) -> Option<usize> {
        let interrupt = self.interrupt_mut(vcpu, intid)?;
        let wanted = interrupt.needs_delivery().then(|| interrupt.home());
        let before = core::mem::replace(&mut interrupt.queued, wanted);
        if before == wanted {
            return None;
        }
        if let Some(private) = before.and_then(|vcpu| self.vcpus.get_mut(vcpu)) {
            private.queue.remove(intid);
        }
        if let Some(private) = wanted.and_then(|vcpu| self.vcpus.get_mut(vcpu)) {
            private.queue.insert(intid);
        }
        wanted
    }
}
