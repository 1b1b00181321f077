//! The registry as the machine and the partition fill it: which device is there, and who is given it.

use super::fabric::HostBridge;
use crate::arch::{mmu, timer};
use crate::smmus::Unit;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::Tree;
use dma::{GuestId, Machine, MasterId, PlatformDevice, Registry, State};
use partition::{PciName, Wait};
use pci::{Bdf, Window};
use spin::Mutex;
use topology::{Graph, Identity};

/// What a guest may have left in a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: no guest has seen it since its reset.
    Nothing,
    /// A guest has it.
    InUse,
    /// A guest had it.
    Traces,
}

/// A device of a guest: which master it is, and where it sits.
#[derive(Debug)]
pub struct Given {
    /// The master.
    pub master: MasterId,
    /// Whose it is.
    pub guest: GuestId,
    /// Who waits for it.
    pub wait: Wait,
    /// The host bridge and the place behind it; nothing if there is no such device.
    pub place: Option<(usize, Bdf)>,
    /// What goes with it, if it is a platform device that can be given.
    pub platform: Option<PlatformDevice>,
    /// Where the guest finds it, if it is a PCI function.
    pub at: Bdf,
    /// Held while the physical function is switched or reset, which takes long: no other lock but a guest's devices is held
    /// then.
    pub left: Mutex<Left>,
}

impl Given {
    fn new(given: dma::Given<'_>, place: Option<(usize, Bdf)>) -> Self {
        Given {
            master: given.master,
            guest: given.guest,
            wait: given.device.wait,
            place,
            platform: given.platform,
            at: place.map_or(Bdf::from_requester_id(0), |(_, bdf)| seen_at(bdf)),
            left: Mutex::new(Left::Nothing),
        }
    }
}

/// Fills the registry with all SMMUs and masters, and with what the partition gives to whom.
pub fn register(
    tree: &Tree,
    units: &[Unit],
    graph: &Graph,
    bridges: &[HostBridge],
    guests: &[partition::Guest],
) -> (Registry, Vec<Given>) {
    let now_us = timer::now_us();
    let mut registry = Registry::new(guests.iter().map(|guest| guest.name.clone()).collect());
    for unit in units {
        let smmu = registry.add_smmu(unit.path.clone(), unit.gate.as_ref().err().cloned());
        if let Some(why) = &unit.open {
            registry.opened(smmu, why, now_us);
        }
    }
    let hardware = Hardware { bridges };
    let assigned = registry.assign(tree, graph, guests, &hardware, now_us);
    let mut given: Vec<Given> = assigned
        .into_iter()
        .map(|given| {
            let described = given.described.and_then(|index| graph.master(index));
            Given::new(
                given,
                described.and_then(|master| place(&master.identity, bridges)),
            )
        })
        .collect();
    number_slots(&mut given);
    (registry, given)
}

/// Places memory where a guest's devices see it, of those that have one which no SMMU translates for.
pub fn place_memory(guests: &mut [partition::Guest], registry: &Registry, given: &[Given]) {
    let is_untranslated =
        |given: &&Given| registry.master(given.master).map(dma::Master::state) == Some(State::Uncovered);
    for given in given.iter().filter(is_untranslated) {
        if let Some(guest) = guests.get_mut(given.guest.0) {
            for region in &mut guest.memory {
                region.pa.get_or_insert(region.ipa);
            }
        }
    }
}

/// Where a guest finds a function on its bus 0: device and function number stay, and the bus does not.
fn seen_at(bdf: Bdf) -> Bdf {
    Bdf::from_requester_id(bdf.requester_id() & 0xff)
}

/// Gives each function that arrives in a slot a bus of its guest's: from 1 on, in the order of the devices.
fn number_slots(given: &mut [Given]) {
    let mut next: Vec<(GuestId, u16)> = Vec::new();
    for given in given
        .iter_mut()
        .filter(|given| given.wait == Wait::Slot && given.place.is_some())
    {
        let known = next.iter().position(|(guest, _)| *guest == given.guest);
        let index = known.unwrap_or(next.len());
        if known.is_none() {
            next.push((given.guest, 1));
        }
        if let Some((_, bus)) = next.get_mut(index) {
            given.at = Bdf::from_requester_id(*bus << 8);
            *bus += 1;
        }
    }
}

/// What only the hardware can say.
struct Hardware<'m> {
    bridges: &'m [HostBridge],
}

impl Machine for Hardware<'_> {
    fn is_taken(&self, pages: &Range<u64>) -> bool {
        let mut windows = self.bridges.iter().flat_map(HostBridge::windows);
        let is_there =
            |window: &Window| pages.start < window.cpu.saturating_add(window.size) && window.cpu < pages.end;
        mmu::is_ours(pages.start, pages.end.saturating_sub(pages.start)) || windows.any(is_there)
    }

    fn prepare(&self, function: &Identity, isolated: bool) -> Result<(), String> {
        let Some((bridge, bdf)) = place(function, self.bridges) else {
            return Ok(());
        };
        let bridge = self.bridges.get(bridge).ok_or("there is no such host bridge")?;
        bridge.prepare(bdf, isolated).map_err(|error| error.to_string())
    }

    fn missing(&self, _: PciName) -> String {
        "there is no such PCI function".to_string()
    }
}

fn place(identity: &Identity, bridges: &[HostBridge]) -> Option<(usize, Bdf)> {
    let Identity::Pci {
        host_bridge,
        requester_id,
        ..
    } = identity
    else {
        return None;
    };
    let bridge = bridges.iter().position(|bridge| bridge.node == *host_bridge)?;
    Some((bridge, Bdf::from_requester_id(*requester_id)))
}
