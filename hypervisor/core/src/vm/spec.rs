//! What a guest is built from: its part of the partition file, and its devices as the machine has them.

use crate::arch::gic::messages::Messages;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::{GicInterrupt, Node};
use pci::{Bdf, Function, Window};
use stage2::Geometry;
use vdev::ecam::Place;
use vdev::layout;
use vdev::vgic;

/// A memory BAR where the CPU finds it.
#[derive(Debug, Clone, Copy)]
pub struct PhysicalBar {
    /// Number of its (first) register.
    pub index: u8,
    /// The CPU's address.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A PCI function for a guest.
#[derive(Debug)]
pub struct PassedFunction<'a> {
    /// The function.
    pub function: &'a Function,
    /// Where the guest finds it: on bus 0, or alone on the bus of a slot.
    pub at: Bdf,
    /// Its memory BARs.
    pub bars: Vec<PhysicalBar>,
    /// Where its INTx pin goes.
    pub interrupt: Option<GicInterrupt>,
    /// Its messages, if an ITS takes them; the page is the same for all functions of a guest.
    pub messages: Option<Messages>,
}

/// A platform device for a guest, which finds its registers where the machine has them.
#[derive(Debug)]
pub struct PassedDevice<'a> {
    /// Its node in the machine's tree.
    pub node: Node<'a>,
    /// The pages of its registers.
    pub pages: &'a [Range<u64>],
    /// Its interrupts.
    pub interrupts: &'a [GicInterrupt],
}

/// What a guest is built from.
#[derive(Debug)]
pub struct Spec<'a> {
    /// Its number, in the partition's order.
    pub index: usize,
    /// What the partition says of it.
    pub guest: &'a partition::Guest,
    /// Its image: an arm64 Image, or a flat binary.
    pub image: &'static [u8],
    /// Its initial RAM disk.
    pub initrd: Option<&'static [u8]>,
    /// Random bytes for it.
    pub seed: Option<[u8; 32]>,
    /// The VMID of its CPUs and devices; no other guest has it, and it is not zero.
    pub vmid: u16,
    /// The shape of stage 2.
    pub geometry: Geometry,
    /// Its PCI functions.
    pub functions: &'a [PassedFunction<'a>],
    /// Its platform devices.
    pub platform: &'a [PassedDevice<'a>],
    /// The host bridge's windows.
    pub windows: &'a [Window],
    /// The guest's hot-plug slots, by rising bus number from 1 on.
    pub slots: &'a [Place],
}

impl Spec<'_> {
    /// Physical address of the page that its functions' messages go to.
    pub(super) fn doorbell(&self) -> Option<u64> {
        let mut messages = self
            .functions
            .iter()
            .filter_map(|passed| passed.messages.as_ref());
        messages.next().map(|messages| messages.page)
    }

    /// The highest bus of the guest's segment: bus 0, and one for each slot.
    pub(super) fn last_bus(&self) -> u8 {
        self.slots.iter().map(|slot| slot.bus).max().unwrap_or(0)
    }

    /// The device on bus 0 where a function's INTx pin comes out.
    pub(super) fn pin_at(&self, at: Bdf) -> Bdf {
        let slot = self.slots.iter().find(|slot| slot.bus == at.bus());
        slot.map_or(at, |slot| slot.port)
    }

    /// The interrupt of the guest's slots: one that no function has.
    pub(super) fn slot_interrupt(&self) -> Option<u32> {
        let is_free = |intid: &u32| self.lines().all(|(_, interrupt)| interrupt.intid != *intid);
        let mut free = (layout::UART_INTERRUPT + 1..vgic::SPI_END).filter(is_free);
        free.next().filter(|_| !self.slots.is_empty())
    }

    /// The functions that send messages: the device ID that the guest knows, which is the requester ID, and the LPIs.
    pub(super) fn senders(&self) -> impl Iterator<Item = (u32, Range<u32>)> {
        self.functions.iter().filter_map(|passed| {
            let messages = passed.messages.as_ref()?;
            Some((passed.at.requester_id().into(), messages.lpis.clone()))
        })
    }

    /// The interrupt lines of all its devices, with the device.
    pub(super) fn lines(&self) -> impl Iterator<Item = (String, GicInterrupt)> {
        let functions = self
            .functions
            .iter()
            .filter_map(|passed| Some((passed.at.to_string(), passed.interrupt?)));
        let platform = self.platform.iter().flat_map(|device| {
            let lines = device.interrupts.iter();
            lines.map(|interrupt| (device.node.path(), *interrupt))
        });
        functions.chain(platform)
    }
}
