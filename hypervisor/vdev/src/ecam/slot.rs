//! A hot-plug slot: a PCI Express root port of ours, behind which a function appears while the guest runs.
//!
//! The port's bus numbers are fixed: what a guest writes there is dropped. Its windows decide nothing: a function's BARs are
//! where the guest has put them, as far as the host bridge's windows go. Its presence and link state are those of the
//! function behind it. A change raises the port's interrupt until the guest has cleared the
//! event, as PCI Express Base 6.7.3 has it; there is no power, no attention button and no lock that a guest could
//! operate.

use pci::{Bdf, Pin, command, offset};

/// A generic root port, as systems know it from other virtual machines.
const ID: u32 = 0x000c_1b36;
/// PCI-to-PCI bridge.
const CLASS: u32 = 0x0604_0000;
/// Header type 1, in its register.
const BRIDGE_HEADER: u32 = 1 << 16;
/// Offsets in a header of type 1 (PCI-to-PCI Bridge 3.2).
const BUS_NUMBERS: u16 = 0x18;
const IO_WINDOW: u16 = 0x1c;
const MEMORY_WINDOW: u16 = 0x20;
const PREFETCHABLE_WINDOW: u16 = 0x24;
/// A window whose end lies before its start, which is how one is closed.
const CLOSED_IO: u32 = 0x00f0;
const CLOSED_MEMORY: u32 = 0x0000_fff0;
/// The bits of a memory window that are an address: megabytes.
const WINDOW_WRITABLE: u32 = 0xfff0_fff0;
/// Status, beside the command: there is a capabilities list.
const CAPABILITIES_LIST: u32 = 1 << 20;
const COMMAND_WRITABLE: u32 = command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;

/// Where the one capability is, PCI Express (PCI Express Base 7.5.3), and its registers.
const EXPRESS: u16 = 0x40;
const DEVICE_CAPABILITIES: u16 = EXPRESS + 0x04;
const DEVICE_CONTROL: u16 = EXPRESS + 0x08;
const LINK_CAPABILITIES: u16 = EXPRESS + 0x0c;
const LINK_CONTROL: u16 = EXPRESS + 0x10;
const SLOT_CAPABILITIES: u16 = EXPRESS + 0x14;
const SLOT_CONTROL: u16 = EXPRESS + 0x18;
const LINK_CAPABILITIES_2: u16 = EXPRESS + 0x2c;

/// Capability 0x10, the last one; version 2, root port, with a slot.
const EXPRESS_HEADER: u32 = (2 | 4 << 4 | 1 << 8) << 16 | 0x10;
/// Role-based error reporting, which every port has.
const DEVICE: u32 = 1 << 15;
/// 2.5 GT/s, one lane, and it tells whether the link is active.
const LINK: u32 = 1 | 1 << 4 | 1 << 20;
/// Link status, beside the control: 2.5 GT/s, one lane, active.
const LINK_UP: u32 = (1 | 1 << 4 | 1 << 13) << 16;
/// 2.5 GT/s.
const LINK_SPEEDS: u32 = 1 << 1;
/// Hot-plug capable, surprise removal possible, commands take no time.
const SLOT: u32 = 1 << 6 | 1 << 5 | 1 << 18;
const SLOT_NUMBER_SHIFT: u32 = 19;
/// Slot control: presence and link state changes may interrupt, and hot-plug interrupts are on.
const PRESENCE_ENABLE: u32 = 1 << 3;
const INTERRUPT_ENABLE: u32 = 1 << 5;
const LINK_ENABLE: u32 = 1 << 12;
const SLOT_CONTROL_WRITABLE: u32 = 0x1fff;
/// Slot status, beside the control: presence and link state changed, something is there.
const PRESENCE_CHANGED: u32 = 1 << (16 + 3);
const PRESENT: u32 = 1 << (16 + 6);
const LINK_CHANGED: u32 = 1 << (16 + 8);

/// Which slot, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The root port, on bus 0.
    pub port: Bdf,
    /// The bus behind it.
    pub bus: u8,
    /// First address and size of the memory window behind it at first, in whole MiB, below 4 GiB.
    pub window: (u32, u32),
    /// The pin that its own interrupt has.
    pub pin: Pin,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) place: Place,
    present: bool,
    command: u32,
    line: u8,
    memory_window: u32,
    prefetchable_window: u32,
    device_control: u32,
    link_control: u32,
    slot_control: u32,
    /// What changed, and was not cleared.
    events: u32,
}

impl Slot {
    pub(super) fn new(place: Place) -> Slot {
        let (first, size) = place.window;
        let last = first.saturating_add(size.saturating_sub(1));
        Slot {
            place,
            present: false,
            command: 0,
            line: 0,
            memory_window: last & 0xfff0_0000 | first >> 16 & 0xfff0,
            prefetchable_window: CLOSED_MEMORY,
            device_control: 0,
            link_control: 0,
            slot_control: 0,
            events: 0,
        }
    }

    /// The function behind it came or went.
    pub(super) fn set_present(&mut self, present: bool) {
        if self.present != present {
            self.present = present;
            self.events |= PRESENCE_CHANGED | LINK_CHANGED;
        }
    }

    /// The level of the port's interrupt.
    pub(super) fn interrupt(&self) -> bool {
        let presence = self.slot_control & PRESENCE_ENABLE != 0 && self.events & PRESENCE_CHANGED != 0;
        let link = self.slot_control & LINK_ENABLE != 0 && self.events & LINK_CHANGED != 0;
        self.slot_control & INTERRUPT_ENABLE != 0
            && self.command & command::INTX_DISABLE == 0
            && (presence || link)
    }

    pub(super) fn read(&self, at: u16) -> u32 {
        let Place { bus, pin, .. } = self.place;
        match at {
            offset::ID => ID,
            offset::COMMAND => self.command | CAPABILITIES_LIST,
            offset::CLASS => CLASS,
            offset::HEADER => BRIDGE_HEADER,
            BUS_NUMBERS => u32::from_le_bytes([0, bus, bus, 0]),
            IO_WINDOW => CLOSED_IO,
            MEMORY_WINDOW => self.memory_window,
            PREFETCHABLE_WINDOW => self.prefetchable_window,
            offset::CAPABILITIES => EXPRESS.into(),
            offset::INTERRUPT => u32::from_le_bytes([self.line, pin as u8, 0, 0]),
            EXPRESS => EXPRESS_HEADER,
            DEVICE_CAPABILITIES => DEVICE,
            DEVICE_CONTROL => self.device_control,
            LINK_CAPABILITIES => LINK,
            LINK_CONTROL => self.link_control | if self.present { LINK_UP } else { 0 },
            SLOT_CAPABILITIES => SLOT | u32::from(bus) << SLOT_NUMBER_SHIFT,
            SLOT_CONTROL => self.slot_control | self.events | if self.present { PRESENT } else { 0 },
            LINK_CAPABILITIES_2 => LINK_SPEEDS,
            _ => 0,
        }
    }

    /// Writes the bits of `value` that `mask` selects.
    pub(super) fn write(&mut self, at: u16, value: u32, mask: u32) {
        let merged = |old: u32| old & !mask | value & mask;
        match at {
            offset::COMMAND => self.command = merged(self.command) & COMMAND_WRITABLE,
            offset::INTERRUPT => [self.line, ..] = merged(self.line.into()).to_le_bytes(),
            MEMORY_WINDOW => self.memory_window = merged(self.memory_window) & WINDOW_WRITABLE,
            PREFETCHABLE_WINDOW => {
                self.prefetchable_window = merged(self.prefetchable_window) & WINDOW_WRITABLE;
            }
            DEVICE_CONTROL => self.device_control = merged(self.device_control) & 0xffff,
            LINK_CONTROL => self.link_control = merged(self.link_control) & 0xffff,
            SLOT_CONTROL => {
                self.slot_control = merged(self.slot_control) & SLOT_CONTROL_WRITABLE;
                // Writing 1 clears.
                self.events &= !(value & mask);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot::new(Place {
            port: Bdf::from_requester_id(0x10 << 3),
            bus: 1,
            window: (0x3ee0_0000, 1 << 20),
            pin: Pin::D,
        })
    }

    #[test]
    fn it_is_a_root_port_with_an_empty_slot() {
        let slot = slot();
        assert_eq!(slot.read(offset::CLASS) >> 8, 0x06_0400);
        assert_eq!(slot.read(offset::HEADER) >> 16, 1);
        assert_eq!(slot.read(BUS_NUMBERS), 0x0001_0100);
        assert_eq!(slot.read(MEMORY_WINDOW), 0x3ee0_3ee0);
        assert_eq!(slot.read(EXPRESS) & 0xff, 0x10);
        assert_eq!(slot.read(SLOT_CAPABILITIES) >> SLOT_NUMBER_SHIFT, 1);
        assert_eq!(slot.read(SLOT_CONTROL) & PRESENT, 0);
        assert_eq!(slot.read(LINK_CONTROL), 0);
        assert!(!slot.interrupt());
    }

    #[test]
    fn who_wants_to_know_is_told_of_a_change_until_it_was_seen() {
        let mut slot = slot();
        slot.write(SLOT_CONTROL, PRESENCE_ENABLE | INTERRUPT_ENABLE, 0xffff);
        slot.set_present(false);
        assert!(!slot.interrupt(), "nothing changed");
        slot.set_present(true);
        assert!(slot.interrupt());
        assert_eq!(slot.read(LINK_CONTROL), LINK_UP);
        let status = slot.read(SLOT_CONTROL);
        assert_eq!(
            status & (PRESENT | PRESENCE_CHANGED | LINK_CHANGED),
            PRESENT | PRESENCE_CHANGED | LINK_CHANGED
        );
        // Only the upper half is written: the control stays.
        slot.write(SLOT_CONTROL, PRESENCE_CHANGED, 0xffff_0000);
        assert!(!slot.interrupt(), "the link may not interrupt");
        slot.write(SLOT_CONTROL, LINK_ENABLE | INTERRUPT_ENABLE, 0xffff);
        assert!(slot.interrupt());
        slot.write(offset::COMMAND, command::INTX_DISABLE, 0xffff);
        assert!(!slot.interrupt());
        slot.write(offset::COMMAND, 0, 0xffff);
        slot.write(SLOT_CONTROL, LINK_CHANGED, 0xffff_0000);
        assert!(!slot.interrupt());
        slot.set_present(false);
        assert!(slot.interrupt(), "it went");
    }

    #[test]
    fn what_is_fixed_stays() {
        let mut slot = slot();
        for at in (0..256)
            .step_by(4)
            .filter(|at| ![offset::COMMAND, offset::INTERRUPT].contains(at))
        {
            let before = slot.read(at);
            slot.write(at, u32::MAX, u32::MAX);
            let changed = slot.read(at) ^ before;
            let allowed = match at {
                DEVICE_CONTROL | LINK_CONTROL => 0xffff,
                SLOT_CONTROL => SLOT_CONTROL_WRITABLE,
                MEMORY_WINDOW | PREFETCHABLE_WINDOW => WINDOW_WRITABLE,
                _ => 0,
            };
            assert_eq!(changed & !allowed, 0, "{at:#x}");
        }
    }
}
