//! What the guest has mapped: devices with their events, and collections; and the commands that change it.

use super::command::Command;
use super::{GuestMemory, Target};
use crate::layout::MOST_VCPUS;
use crate::vgic::{MOST_LPIS, Outside, Vgic};
use alloc::vec;
use alloc::vec::Vec;

/// Collections: one for each redistributor that there can be, and one more (IHI 0069 5.2.1).
pub(super) const COLLECTIONS: usize = MOST_VCPUS + 1;
/// Bytes of the configuration table that are read at once: a divisor of any number of LPIs that a guest can have.
const CHUNK: u32 = 64;

/// What an event is mapped to.
#[derive(Debug, Clone, Copy)]
struct Mapping {
    intid: u32,
    collection: u16,
}

#[derive(Debug, Clone)]
struct Device {
    id: u32,
    /// How many events the guest mapped it with, in bits; none before it did.
    event_bits: Option<u32>,
    /// As many as the device has.
    events: Vec<Option<Mapping>>,
}

/// All of it. Nothing here grows.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    devices: Vec<Device>,
    /// The vCPU of each collection.
    collections: [Option<usize>; COLLECTIONS],
}

impl Tables {
    pub(super) fn new(devices: &[(u32, u32)]) -> Tables {
        let device = |(id, events): &(u32, u32)| Device {
            id: *id,
            event_bits: None,
            events: vec![None; usize::try_from((*events).min(MOST_LPIS)).unwrap_or(0)],
        };
        Tables {
            devices: devices.iter().map(device).collect(),
            collections: [None; COLLECTIONS],
        }
    }

    pub(super) fn translate(&self, device: u32, event: u32) -> Option<Target> {
        let device = self.devices.iter().find(|known| known.id == device)?;
        let bits = device.event_bits?;
        let mapping = device.events.get(usize::try_from(event).ok()?)?.as_ref()?;
        (event >> bits == 0).then_some(Target {
            vcpu: self.vcpu_of(mapping.collection)?,
            intid: mapping.intid,
        })
    }

    pub(super) fn carry_out(
        &mut self,
        command: Command,
        gic: &mut Vgic,
        memory: &mut dyn GuestMemory,
        outside: &mut dyn Outside,
    ) {
        match command {
            Command::MapDevice { device, event_bits } => self.map_device(device, event_bits, gic, outside),
            Command::MapCollection {
                collection,
                redistributor,
            } => self.map_collection(collection, redistributor, gic, outside),
            Command::MapEvent {
                device,
                event,
                intid,
                collection,
            } => {
                let is_possible = gic.lpis().contains(&intid) && usize::from(collection) < COLLECTIONS;
                let mapping = Mapping { intid, collection };
                if is_possible && self.map_event(device, event, mapping, gic, outside) {
                    invalidate(intid, gic, memory, outside);
                }
            }
            Command::Move {
                device,
                event,
                collection,
            } => self.move_event(device, event, collection, gic, outside),
            Command::MoveAll { from, to } => {
                if let (Some(from), Some(to)) = (vcpu(from, gic), vcpu(to, gic)) {
                    gic.move_lpis(from, to, outside);
                }
            }
            Command::Discard { device, event } => {
                if let Some(mapping) = self.slot(device, event).and_then(Option::take) {
                    gic.clear_lpi(mapping.intid, outside);
                }
            }
            Command::Invalidate { device, event } => {
                if let Some(mapping) = self.mapping(device, event) {
                    invalidate(mapping.intid, gic, memory, outside);
                }
            }
            Command::InvalidateAll { collection } => {
                if let Some(vcpu) = self.vcpu_of(collection) {
                    invalidate_all(vcpu, gic, memory, outside);
                }
            }
            Command::Signal { device, event } => {
                if let Some(target) = self.translate(device, event) {
                    gic.raise_lpi(target.vcpu, target.intid, outside);
                }
            }
            Command::Clear { device, event } => {
                if let Some(mapping) = self.mapping(device, event) {
                    gic.clear_lpi(mapping.intid, outside);
                }
            }
            Command::Sync | Command::Unknown => {}
        }
    }

    /// Mapping a device again forgets its events, as the guest gives it a new table of them.
    fn map_device(&mut self, id: u32, event_bits: Option<u32>, gic: &mut Vgic, outside: &mut dyn Outside) {
        let is_too_large = event_bits.is_some_and(|bits| bits > super::registers::EVENT_BITS);
        let Some(device) = self.devices.iter_mut().find(|known| known.id == id) else {
            return;
        };
        if is_too_large {
            return;
        }
        device.event_bits = event_bits;
        for mapping in device.events.iter_mut().filter_map(Option::take) {
            gic.clear_lpi(mapping.intid, outside);
        }
    }

    fn map_collection(
        &mut self,
        collection: u16,
        redistributor: Option<u64>,
        gic: &mut Vgic,
        outside: &mut dyn Outside,
    ) {
        let vcpu = match redistributor.map(|number| vcpu(number, gic)) {
            // There is no such redistributor.
            Some(None) => return,
            Some(vcpu) => vcpu,
            None => None,
        };
        let Some(slot) = self.collections.get_mut(usize::from(collection)) else {
            return;
        };
        *slot = vcpu;
        let Some(vcpu) = vcpu else {
            return;
        };
        let events = self.devices.iter().flat_map(|device| &device.events).flatten();
        for mapping in events.filter(|mapping| mapping.collection == collection) {
            gic.move_lpi(mapping.intid, vcpu, outside);
        }
    }

    /// Whether the event is one that can be mapped.
    fn map_event(
        &mut self,
        device: u32,
        event: u32,
        mapping: Mapping,
        gic: &mut Vgic,
        outside: &mut dyn Outside,
    ) -> bool {
        let vcpu = self.vcpu_of(mapping.collection);
        let Some(slot) = self.slot(device, event) else {
            return false;
        };
        if let Some(before) = slot.replace(mapping) {
            gic.clear_lpi(before.intid, outside);
        }
        if let Some(vcpu) = vcpu {
            gic.move_lpi(mapping.intid, vcpu, outside);
        }
        true
    }

    fn move_event(
        &mut self,
        device: u32,
        event: u32,
        collection: u16,
        gic: &mut Vgic,
        outside: &mut dyn Outside,
    ) {
        let Some(vcpu) = self.vcpu_of(collection) else {
            return;
        };
        if let Some(mapping) = self.slot(device, event).and_then(Option::as_mut) {
            mapping.collection = collection;
            gic.move_lpi(mapping.intid, vcpu, outside);
        }
    }

    fn vcpu_of(&self, collection: u16) -> Option<usize> {
        *self.collections.get(usize::from(collection))?
    }

    fn mapping(&mut self, device: u32, event: u32) -> Option<Mapping> {
        *self.slot(device, event)?
    }

    /// The place of an event that the device has and that the guest mapped it with.
    fn slot(&mut self, device: u32, event: u32) -> Option<&mut Option<Mapping>> {
        let device = self.devices.iter_mut().find(|known| known.id == device)?;
        let bits = device.event_bits?;
        let slot = device.events.get_mut(usize::try_from(event).ok()?)?;
        (event >> bits == 0).then_some(slot)
    }
}

/// The vCPU with this number in `GICR_TYPER`.
fn vcpu(number: u64, gic: &Vgic) -> Option<usize> {
    usize::try_from(number).ok().filter(|vcpu| *vcpu < gic.vcpus())
}

/// Reads one entry of the configuration table. An LPI whose entry cannot be read stays as it is.
fn invalidate(intid: u32, gic: &mut Vgic, memory: &mut dyn GuestMemory, outside: &mut dyn Outside) {
    let Some(table) = gic.configuration_table().filter(|table| intid < table.end) else {
        return;
    };
    let mut entry = [0];
    if memory.read(table.address_of(intid), &mut entry).is_ok() {
        let [entry] = entry;
        gic.configure_lpi(intid, entry, outside);
    }
}

/// Reads those of all LPIs that go to `vcpu`.
fn invalidate_all(vcpu: usize, gic: &mut Vgic, memory: &mut dyn GuestMemory, outside: &mut dyn Outside) {
    let Some(table) = gic.configuration_table().filter(|_| gic.takes_lpis(vcpu)) else {
        return;
    };
    let mut entries = [0; CHUNK as usize];
    for first in (gic.lpis().start..table.end).step_by(CHUNK as usize) {
        if memory.read(table.address_of(first), &mut entries).is_ok() {
            gic.configure_lpis(vcpu, first, &entries, outside);
        }
    }
}
