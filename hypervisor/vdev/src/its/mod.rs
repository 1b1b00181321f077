//! A virtual interrupt translation service (IHI 0069, chapter 5): what makes an LPI of a device's message.
//!
//! The guest's commands never reach the physical ITS. The core sets that one up once and for all, and asks this one
//! what the guest has made of the event that came: [`Its::signal`].
//!
//! # What a guest can reach
//! Devices and events are those that the ITS was made with, and room for all of them is taken then: no command makes
//! anything grow. There are no tables in guest memory (`GITS_BASER<n>` are zero) and a fixed number of collections
//! (`GITS_TYPER.HCC`). Guest memory is only read: commands, and the LPIs' configuration.
//!
//! # Wrong commands
//! A command that names a device, event, collection, LPI or redistributor that is not there, or that is none, is
//! ignored and the next one is carried out, which is one of the choices that the architecture leaves ("The ITS command
//! interface", command errors). The queue stalls (`GITS_CREADR.Stalled`) where it cannot be read.
//!
//! # Bounded work
//! A write carries out at most [`BUDGET`] commands, fewer if long ones are among them. What is left waits:
//! `GITS_CREADR` says so to the guest, [`Its::has_work`] to the core, which calls [`Its::run`] again.

mod command;
mod queue;
mod registers;
mod translation;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use crate::vgic::{MOST_LPIS, Outside, Vgic};
use command::Command;
use queue::CommandQueue;
use translation::Tables;

/// Size of the control frame, in bytes.
pub const CONTROL_SIZE: u64 = 0x1_0000;
/// Size of both frames: registers, and `GITS_TRANSLATER`.
pub const SIZE: u64 = 0x2_0000;
/// Commands that are carried out at once.
pub const BUDGET: u32 = 64;
/// Linux takes so many LPIs for a device at least.
const LEAST_LPIS_OF_DEVICE: u32 = 32;

/// Guest memory, to be read.
pub trait GuestMemory {
    /// Copies what lies at `ipa` to `into`.
    ///
    /// # Errors
    /// A part of it is no RAM of the guest; `into` may hold anything.
    fn read(&mut self, ipa: u64, into: &mut [u8]) -> Result<(), NotRam>;
}

/// An address is not in the guest's RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the guest's RAM")]
pub struct NotRam;

/// Where an event goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The vCPU.
    pub vcpu: usize,
    /// The LPI.
    pub intid: u32,
}

/// The virtual ITS of one guest.
#[derive(Debug, Clone)]
pub struct Its {
    tables: Tables,
    queue: CommandQueue,
    /// `GITS_CTLR.Enabled`.
    enabled: bool,
}

impl Its {
    /// An ITS for these devices: the ID that the guest sees (its requester ID), and the number of its events. Linux takes
    /// no messages from a device with ID 0 where the ITS wants no table of devices.
    pub fn new(devices: &[(u32, u32)]) -> Its {
        Its {
            tables: Tables::new(devices),
            queue: CommandQueue::default(),
            enabled: false,
        }
    }

    /// How many LPIs a guest may want for these devices, for [`Vgic::with_lpis`].
    pub fn lpis(devices: &[(u32, u32)]) -> u32 {
        let of_device = |(_, events): &(u32, u32)| {
            let events = (*events).clamp(LEAST_LPIS_OF_DEVICE, MOST_LPIS);
            events.next_power_of_two()
        };
        devices.iter().map(of_device).fold(0, u32::saturating_add)
    }

    /// Where the guest has `event` of `device` go.
    pub fn translate(&self, device: u32, event: u32) -> Option<Target> {
        self.tables.translate(device, event).filter(|_| self.enabled)
    }

    /// `device` signalled `event`: its LPI becomes pending, if the guest has set up one.
    pub fn signal(&self, device: u32, event: u32, gic: &mut Vgic, outside: &mut dyn Outside) {
        if let Some(target) = self.translate(device, event) {
            gic.raise_lpi(target.vcpu, target.intid, outside);
        }
    }

    /// Whether commands wait that [`Its::run`] can carry out.
    pub fn has_work(&self) -> bool {
        self.enabled && self.queue.has_commands()
    }

    /// Carries out commands that wait, a bounded number of them. To be called before a read, and as long as there is
    /// work and the vCPU has come out anyway.
    pub fn run(&mut self, gic: &mut Vgic, memory: &mut dyn GuestMemory, outside: &mut dyn Outside) {
        let mut budget = BUDGET;
        while budget > 0 && self.has_work() {
            let Some(raw) = self.queue.next(memory) else {
                return;
            };
            let command = Command::decode(&raw);
            budget = budget.saturating_sub(command.cost());
            self.tables.carry_out(command, gic, memory, outside);
        }
    }
}
