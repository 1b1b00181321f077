//! Physical interrupts and whose they are.

use super::Guest;
use crate::arch::gic::messages::is_message;
use crate::arch::gic::{self, GicError};
use crate::arch::percpu::{self, MAX_CPUS};
use alloc::vec::Vec;
use core::ops::Range;
use spin::Mutex;
use vdev::layout::TIMER_INTERRUPT;
use vdev::vgic::{Outside, PRIVATE, Version};

/// Shared interrupts that are taken: by a guest, or by the core itself.
static OWNERS: Mutex<Vec<(u32, Option<&'static Guest>)>> = Mutex::new(Vec::new());
/// LPIs of guests' functions.
static SENDERS: Mutex<Vec<Sender>> = Mutex::new(Vec::new());
/// The vCPU that each CPU is loaded with.
static HERE: [Mutex<Option<(&'static Guest, usize)>>; MAX_CPUS] = [const { Mutex::new(None) }; MAX_CPUS];

/// A function whose messages come as LPIs, one for each event from 0 on.
#[derive(Debug)]
struct Sender {
    lpis: Range<u32>,
    guest: &'static Guest,
    /// The device ID as the guest knows it.
    device: u32,
}

/// A guest's interrupt controller is of the machine's kind.
pub fn gic_version() -> Version {
    match gic::virtual_interface() {
        Some(_) => Version::V2,
        None => Version::V3,
    }
}

/// Takes a shared interrupt for the core, or for a guest that is being built. Whether it was free.
pub fn claim_interrupt(intid: u32) -> bool {
    let mut owners = OWNERS.lock();
    let free = !owners.iter().any(|(taken, _)| *taken == intid);
    if free {
        owners.push((intid, None));
    }
    free
}

/// Gives an interrupt back that [`claim_interrupt`] took.
pub fn release_interrupt(intid: u32) {
    OWNERS.lock().retain(|(taken, _)| *taken != intid);
}

/// Says which guest a claimed interrupt goes to.
pub fn give_interrupt(intid: u32, guest: &'static Guest) {
    if let Some((_, owner)) = OWNERS.lock().iter_mut().find(|(taken, _)| *taken == intid) {
        *owner = Some(guest);
    }
}

/// Says whose LPIs these are, and of which function, by the device ID that the guest knows.
pub fn give_messages(lpis: Range<u32>, guest: &'static Guest, device: u32) {
    SENDERS.lock().push(Sender { lpis, guest, device });
}

/// Says which vCPU this CPU is loaded with.
pub fn set_here(here: Option<(&'static Guest, usize)>) -> Result<(), GicError> {
    if let Some(slot) = HERE.get(percpu::this().index()) {
        *slot.lock() = here;
    }
    for intid in [TIMER_INTERRUPT, gic::maintenance_interrupt()] {
        if here.is_some() {
            gic::set_trigger(intid, devicetree::Trigger::Level)?;
            gic::enable(intid)?;
        } else {
            gic::disable(intid)?;
            gic::clear(intid)?;
        }
    }
    Ok(())
}

/// Hands an interrupt that was acknowledged, and whose priority was dropped, to the guest that owns it. If it returns
/// `true`, nobody else deactivates it: the guest will, or it is an LPI, which is not active.
pub fn forward(intid: u32) -> bool {
    if is_message(intid) {
        forward_message(intid);
        return true;
    }
    let owner = if intid == TIMER_INTERRUPT {
        HERE.get(percpu::this().index()).and_then(|slot| *slot.lock())
    } else if intid >= PRIVATE {
        let owners = OWNERS.lock();
        owners
            .iter()
            .find(|(taken, _)| *taken == intid)
            .and_then(|(_, owner)| *owner)
            .map(|guest| (guest, 0))
    } else {
        None
    };
    owner.is_some_and(|(guest, vcpu)| guest.take_interrupt(vcpu, intid))
}

fn forward_message(intid: u32) {
    let senders = SENDERS.lock();
    let sender = senders.iter().find(|sender| sender.lpis.contains(&intid));
    let target = sender.map(|sender| (sender.guest, sender.device, intid - sender.lpis.start));
    drop(senders);
    if let Some((guest, device, event)) = target {
        guest.take_message(device, event);
    }
}

/// The machine as a guest's virtual GIC sees it, while `vcpu` is being served on its own CPU (or none is).
pub struct Board<'g> {
    pub guest: &'g Guest,
    pub vcpu: Option<usize>,
}

impl Outside for Board<'_> {
    fn kick(&mut self, vcpu: usize) {
        if self.vcpu != Some(vcpu) {
            self.guest.kick(vcpu);
        }
    }

    fn deactivate(&mut self, vcpu: usize, physical: u32) {
        if physical >= PRIVATE || self.vcpu == Some(vcpu) {
            gic::deactivate(physical);
        } else {
            self.guest.deactivate_on(vcpu, physical);
        }
    }

    fn route(&mut self, physical: u32, vcpu: usize) {
        if let Some(cpu) = self.guest.cpu_of(vcpu).and_then(percpu::of)
            && let Err(error) = gic::route(physical, cpu)
        {
            log::warn!(target: "guest", "{}: interrupt {physical} stays where it is: {error}", self.guest.name());
        }
    }
}
