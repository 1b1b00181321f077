//! The registry as the machine and the partition fill it: which device is there, and who is given it.

use super::fabric::HostBridge;
use super::platform::PlatformDevice;
use crate::arch::timer;
use crate::smmus::Unit;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devicetree::{NodeId, Tree};
use dma::{Assignment, Coverage, GuestId, MasterId, MasterSpec, Registry, SmmuId};
use partition::{Device, DeviceName, Wait};
use pci::Bdf;
use spin::Mutex;
use topology::{Graph, Identity, MasterIndex};

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
    fn new(master: MasterId, guest: GuestId, device: &Device, place: Option<(usize, Bdf)>) -> Self {
        Given {
            master,
            guest,
            wait: device.wait,
            place,
            platform: None,
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
    let machine = Machine { tree, graph, bridges };
    let mut registry = Registry::new(guests.iter().map(|guest| guest.name.clone()).collect());
    for unit in units {
        let smmu = registry.add_smmu(unit.path.clone(), unit.gate.as_ref().err().cloned());
        if let Some(why) = &unit.open {
            registry.opened(smmu, why, now_us);
        }
    }
    let mut wishes: Vec<(GuestId, &partition::Guest, &Device)> = Vec::new();
    for (index, guest) in guests.iter().enumerate() {
        wishes.extend(guest.devices.iter().map(|device| (GuestId(index), guest, device)));
    }
    let mut given = Vec::new();
    for (index, master) in graph.masters().iter().enumerate() {
        let position = wishes
            .iter()
            .position(|(_, _, device)| is_that(&device.name, &master.identity));
        let wish = position.map(|position| wishes.remove(position));
        let mut coverage = match &master.coverage {
            topology::Coverage::Covered => Coverage::Covered,
            topology::Coverage::Uncovered => Coverage::Uncovered,
            topology::Coverage::Refused(refusal) => Coverage::Refused(refusal.to_string()),
        };
        let place = place(&master.identity, bridges);
        let mut platform = None;
        if let Some((_, guest, device)) = wish {
            coverage = dma::narrow(coverage, guest, device);
            if let Identity::Platform { node, .. } = master.identity {
                (coverage, platform) = inspect(coverage, machine, guest, node);
            }
            coverage = prepare(coverage, place, bridges);
        }
        let group = graph.group_of(MasterIndex(index));
        let matches = group.map_or_else(Vec::new, |group| group.matches_of(master));
        let id = registry.add_master(
            MasterSpec {
                name: master.identity.to_string(),
                streams: at_smmus(&master.streams),
                matches: at_smmus(&matches),
                coverage,
                assignment: wish.map(|(guest, _, device)| assignment(guest, device)),
            },
            now_us,
        );
        given.extend(wish.map(|(guest, _, device)| Given {
            platform,
            ..Given::new(id, guest, device, place)
        }));
    }
    let groups = graph.groups().iter().map(|group| dma::Group {
        masters: group.masters.iter().map(|master| MasterId(master.0)).collect(),
        peers_at: group.peers_at.clone(),
    });
    let groups: Vec<dma::Group> = groups.collect();
    registry.settle_groups(&groups, now_us);
    // What no binding describes and no bus shows.
    for (id, guest, device) in wishes {
        let (coverage, platform) = match node_of(&device.name, tree) {
            _ if graph.not_described().is_refused() => {
                (Coverage::Refused(graph.not_described().to_string()), None)
            }
            Ok(node) => inspect(
                dma::narrow(Coverage::Uncovered, guest, device),
                machine,
                guest,
                node,
            ),
            Err(why) => (Coverage::Refused(why), None),
        };
        let spec = MasterSpec {
            name: device.name.to_string(),
            streams: Vec::new(),
            matches: Vec::new(),
            coverage,
            assignment: Some(assignment(id, device)),
        };
        let master = registry.add_master(spec, now_us);
        given.push(Given {
            platform,
            ..Given::new(master, id, device, None)
        });
    }
    number_slots(&mut given);
    (registry, given)
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

/// The graph's streams as the registry and the drivers have them.
fn at_smmus(streams: &[topology::Stream]) -> Vec<(SmmuId, driver_abi::Stream)> {
    let own = |stream: &topology::Stream| {
        let &topology::Stream { smmu, id, mask } = stream;
        (SmmuId(smmu.0), driver_abi::Stream { id, mask })
    };
    streams.iter().map(own).collect()
}

/// What the machine has, as far as it decides who can be given what.
#[derive(Clone, Copy)]
struct Machine<'m> {
    tree: &'m Tree,
    graph: &'m Graph,
    bridges: &'m [HostBridge],
}

/// The node of a device that no binding describes.
fn node_of(name: &DeviceName, tree: &Tree) -> Result<NodeId, String> {
    let DeviceName::Path(path) = name else {
        return Err("there is no such PCI function".to_string());
    };
    let node = tree.find(path).ok_or("there is no such node")?;
    // Under another name it might be described after all.
    if node.path() != *path {
        return Err(format!("the node's full path is {node}; write that"));
    }
    Ok(node.id())
}

/// What goes with a platform device, unless it is refused anyway.
fn inspect(
    coverage: Coverage,
    machine: Machine<'_>,
    guest: &partition::Guest,
    node: NodeId,
) -> (Coverage, Option<PlatformDevice>) {
    if matches!(coverage, Coverage::Refused(_)) {
        return (coverage, None);
    }
    let tree = machine.tree;
    let all = guest.devices.iter().filter_map(|device| match &device.name {
        DeviceName::Path(path) => tree.find(path).map(|node| node.id()),
        DeviceName::Pci(_) => None,
    });
    let all: Vec<NodeId> = all.collect();
    if let Some(what) = machine.graph.never_given(tree, node) {
        return (Coverage::Refused(format!("it is {what}")), None);
    }
    match PlatformDevice::inspect(tree, machine.bridges, node, &all) {
        Ok(device) => (coverage, Some(device)),
        Err(error) => (Coverage::Refused(error.to_string()), None),
    }
}

/// Readies the function at `place`, unless it is refused anyway.
fn prepare(coverage: Coverage, place: Option<(usize, Bdf)>, bridges: &[HostBridge]) -> Coverage {
    let isolated = matches!(coverage, Coverage::Covered);
    let Some((bridge, bdf)) = place.filter(|_| !matches!(coverage, Coverage::Refused(_))) else {
        return coverage;
    };
    match bridges.get(bridge).map(|bridge| bridge.prepare(bdf, isolated)) {
        Some(Err(error)) => Coverage::Refused(error.to_string()),
        _ => coverage,
    }
}

fn assignment(guest: GuestId, device: &Device) -> Assignment {
    Assignment {
        guest,
        dma: device.dma,
        on_fault: device.on_fault,
    }
}

fn is_that(name: &DeviceName, identity: &Identity) -> bool {
    match (name, identity) {
        (
            DeviceName::Pci(name),
            Identity::Pci {
                segment,
                requester_id,
                ..
            },
        ) => name.segment == *segment && name.requester_id() == *requester_id,
        (DeviceName::Path(name), Identity::Platform { path, .. }) => name == path,
        _ => false,
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
