//! Devices and their guests: shown and hidden; PCI functions switched, and reset in between.

use super::System;
use super::given::{Given, Left};
use dma::{GuestId, MasterId, State};
use pci::Bdf;
use vdev::ecam::Action;

impl System {
    /// Makes a device visible to its guest, and lets it master the bus when the guest says so. One that the guest had before
    /// is reset first.
    pub fn show(&self, id: MasterId) {
        if let Some(given) = self.given(id)
            && let (Some(guest), Some(_)) = (self.guest(given.guest), given.place)
            && self.clean(given)
        {
            *given.left.lock() = Left::InUse;
            guest.show_device(given.at, self);
        }
        self.show_registers(id, true);
        self.start_ready_guests();
    }

    /// Takes a device from its guest's sight; it does not master the bus any more.
    pub fn hide(&self, id: MasterId) {
        if let Some(given) = self.given(id)
            && let Some((bridge, bdf)) = given.place
        {
            if let Some(guest) = self.guest(given.guest) {
                guest.hide_device(given.at, self);
            }
            let mut left = given.left.lock();
            // Whatever the guest's virtual machine made of it.
            if let Some(bridge) = self.bridges.get(bridge) {
                bridge.fabric.set_bus_master(&bridge.config, bdf, false);
            }
            if *left == Left::InUse {
                *left = Left::Traces;
            }
        }
        self.show_registers(id, false);
        self.start_ready_guests();
    }

    /// Gives a guest the registers of a platform device, or takes them. Nothing resets the device then, so that what it does
    /// goes on, which is said where nothing isolates it.
    fn show_registers(&self, id: MasterId, shown: bool) {
        let Some(given) = self.given(id) else { return };
        let (Some(guest), Some(device)) = (self.guest(given.guest), &given.platform) else {
            return;
        };
        let is_taken = guest.show_registers(device.node, shown) && !shown;
        let registry = self.registry.lock();
        let exposed = registry.master(id).filter(|_| registry.is_exposed(id));
        if let Some(master) = exposed.filter(|_| is_taken) {
            log::warn!(target: "device", "{}: it has no reset that the core knows: DMA that {} began goes on",
                master.name, guest.name());
        }
    }

    /// Says what a guest's reset does not end: what an isolated platform device does in its guest's memory. Of one that nothing
    /// isolates it is said wherever it is hidden.
    pub fn warn_of_reset(&self, given: &Given) {
        let registry = self.registry.lock();
        let live = registry
            .master(given.master)
            .filter(|master| matches!(master.state(), State::Live(_)));
        if let Some(master) = live.filter(|_| given.platform.is_some()) {
            let guest = registry.guest_name(given.guest);
            log::warn!(target: "device", "{}: it has no reset that the core knows: DMA that {guest} began goes on in its next life", master.name);
        }
    }

    /// Resets a function if a guest had it, and has it no more. Whether nothing is left in it, or a guest has it still.
    pub fn clean(&self, given: &Given) -> bool {
        let mut left = given.left.lock();
        if *left == Left::Traces && self.reset(given) {
            *left = Left::Nothing;
        }
        *left != Left::Traces
    }

    fn reset(&self, given: &Given) -> bool {
        let Some((bridge, bdf)) = given.place else {
            return true;
        };
        let result = self.bridges.get(bridge).map(|bridge| bridge.reset(bdf));
        if let Some(Err(error)) = &result {
            log::error!(target: "pci", "{bdf}: {error}; nobody gets it any more");
        }
        matches!(result, Some(Ok(_)))
    }

    /// Carries out what a guest's access to configuration space led to.
    pub fn switch(&self, guest: GuestId, action: Action) {
        if let Some((given, bridge, bdf)) = self.function_of(guest, action) {
            let _left = given.left.lock();
            if let Some(bridge) = self.bridges.get(bridge) {
                bridge.switch(bdf, &action.switches);
            }
        }
    }

    /// Resets a function that a guest has, because it wants that. Whether it can go on using it.
    pub fn reset_function(&self, guest: GuestId, action: Action) -> bool {
        self.function_of(guest, action).is_some_and(|(given, ..)| {
            let _left = given.left.lock();
            self.reset(given)
        })
    }

    /// The function that an action is about: one of the guest's.
    fn function_of(&self, guest: GuestId, action: Action) -> Option<(&Given, usize, Bdf)> {
        let mut mine = self.given.iter().filter(|given| given.guest == guest);
        mine.find_map(|given| {
            let (bridge, bdf) = given.place.filter(|(_, bdf)| *bdf == action.physical)?;
            Some((given, bridge, bdf))
        })
    }
}
