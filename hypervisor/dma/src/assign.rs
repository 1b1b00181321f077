//! The registry as the stream graph and the partition file fill it: which device is there, and who is given it.

use crate::{
    Assignment, Coverage, Group, GuestId, MasterId, MasterSpec, PlatformDevice, Registry, SmmuId, narrow,
};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::{NodeId, Tree};
use driver_abi::Stream;
use partition::{Device, DeviceName, Guest, PciName};
use topology::{Graph, Identity, MasterIndex};

/// What the graph cannot say of a machine.
pub trait Machine {
    /// Whether a part of these addresses is memory, or has registers that no guest may have.
    fn is_taken(&self, pages: &Range<u64>) -> bool;
    /// Makes a PCI function ready for a guest, and says whether it is; `isolated` by an SMMU.
    ///
    /// # Errors
    /// No guest may have it.
    fn prepare(&self, function: &Identity, isolated: bool) -> Result<(), String>;
    /// Why there is no such PCI function.
    fn missing(&self, function: PciName) -> String;
}

/// A device that the partition file gives to a guest, whether the guest gets it or not.
#[derive(Debug)]
pub struct Given<'p> {
    /// As what it is registered.
    pub master: MasterId,
    /// Whose it is to be.
    pub guest: GuestId,
    /// What the partition file says of it.
    pub device: &'p Device,
    /// Its position in the graph, if that has it.
    pub described: Option<MasterIndex>,
    /// What goes with it, if it is a platform device that a guest could have.
    pub platform: Option<PlatformDevice>,
}

/// A line of the partition file: guest and device.
#[derive(Clone, Copy)]
struct Wish<'p> {
    guest: GuestId,
    owner: &'p Guest,
    device: &'p Device,
}

impl Wish<'_> {
    fn assignment(&self) -> Assignment {
        Assignment {
            guest: self.guest,
            dma: self.device.dma,
            on_fault: self.device.on_fault,
        }
    }
}

impl Registry {
    /// Adds all masters of the graph, in its order, and after them what the partition file gives to guests and the graph does
    /// not have. The SMMUs are there already, in the graph's order.
    pub fn assign<'p>(
        &mut self,
        tree: &Tree,
        graph: &Graph,
        guests: &'p [Guest],
        machine: &dyn Machine,
        now_us: u64,
    ) -> Vec<Given<'p>> {
        let context = Context { tree, graph, machine };
        let mut wishes: Vec<Wish<'p>> = Vec::new();
        for (index, owner) in guests.iter().enumerate() {
            let guest = GuestId(index);
            wishes.extend(owner.devices.iter().map(|device| Wish { guest, owner, device }));
        }
        let mut given = Vec::new();
        for (index, described) in graph.masters().iter().enumerate() {
            let is_it = |wish: &Wish<'_>| is_that(&wish.device.name, &described.identity);
            let wish = wishes
                .iter()
                .position(is_it)
                .map(|position| wishes.remove(position));
            let mut coverage = coverage(&described.coverage);
            let mut platform = None;
            if let Some(wish) = &wish {
                (coverage, platform) = context.fit(coverage, wish, &described.identity);
            }
            let index = MasterIndex(index);
            let matches = graph
                .group_of(index)
                .map_or_else(Vec::new, |group| group.matches_of(described));
            let spec = MasterSpec {
                name: described.identity.to_string(),
                streams: at_smmus(&described.streams),
                matches: at_smmus(&matches),
                coverage,
                assignment: wish.as_ref().map(Wish::assignment),
            };
            let master = self.add_master(spec, now_us);
            given.extend(wish.map(|wish| Given {
                master,
                guest: wish.guest,
                device: wish.device,
                described: Some(index),
                platform,
            }));
        }
        let groups = graph.groups().iter().map(|group| Group {
            masters: group.masters.iter().map(|master| MasterId(master.0)).collect(),
            peers_at: group.peers_at.clone(),
        });
        self.settle_groups(&groups.collect::<Vec<_>>(), now_us);
        for wish in wishes {
            let (coverage, platform) = match context.node_of(&wish.device.name) {
                Ok(node) => context.fit_node(coverage(graph.not_described()), &wish, node),
                Err(why) => (Coverage::Refused(why), None),
            };
            let spec = MasterSpec {
                name: wish.device.name.to_string(),
                streams: Vec::new(),
                matches: Vec::new(),
                coverage,
                assignment: Some(wish.assignment()),
            };
            given.push(Given {
                master: self.add_master(spec, now_us),
                guest: wish.guest,
                device: wish.device,
                described: None,
                platform,
            });
        }
        given
    }
}

/// What is asked about a device.
struct Context<'m> {
    tree: &'m Tree,
    graph: &'m Graph,
    machine: &'m dyn Machine,
}

impl Context<'_> {
    /// What keeps a guest from a device that the graph has, and what goes with it.
    fn fit(
        &self,
        coverage: Coverage,
        wish: &Wish<'_>,
        identity: &Identity,
    ) -> (Coverage, Option<PlatformDevice>) {
        if let Identity::Platform { node, .. } = identity {
            return self.fit_node(coverage, wish, *node);
        }
        let coverage = narrow(coverage, wish.owner, wish.device);
        if matches!(coverage, Coverage::Refused(_)) {
            return (coverage, None);
        }
        match self.machine.prepare(identity, coverage == Coverage::Covered) {
            Ok(()) => (coverage, None),
            Err(why) => (Coverage::Refused(why), None),
        }
    }

    fn fit_node(
        &self,
        coverage: Coverage,
        wish: &Wish<'_>,
        node: NodeId,
    ) -> (Coverage, Option<PlatformDevice>) {
        if let Some(what) = self.graph.never_given(self.tree, node) {
            return (Coverage::Refused(format!("it is {what}")), None);
        }
        let coverage = narrow(coverage, wish.owner, wish.device);
        if matches!(coverage, Coverage::Refused(_)) {
            return (coverage, None);
        }
        let is_taken = |pages: &Range<u64>| self.machine.is_taken(pages);
        let is_apart = |node: NodeId| {
            self.graph.master_for_node(node).index.is_some()
                || self.graph.never_given(self.tree, node).is_some()
        };
        match PlatformDevice::inspect(self.tree, node, &is_taken, &is_apart) {
            Ok(device) => (coverage, Some(device)),
            Err(why) => (Coverage::Refused(why.to_string()), None),
        }
    }

    /// The node of a device that the graph does not have.
    fn node_of(&self, name: &DeviceName) -> Result<NodeId, String> {
        match name {
            DeviceName::Pci(_) if self.graph.not_described().is_refused() => {
                Err(self.graph.not_described().to_string())
            }
            DeviceName::Pci(name) => Err(self.machine.missing(*name)),
            DeviceName::Path(path) => {
                let node = self.tree.find(path).ok_or("there is no such node")?;
                // Under another name the graph may have it after all.
                if node.path() != *path {
                    return Err(format!("the node's full path is {node}; write that"));
                }
                Ok(node.id())
            }
        }
    }
}

fn coverage(coverage: &topology::Coverage) -> Coverage {
    match coverage {
        topology::Coverage::Covered => Coverage::Covered,
        topology::Coverage::Uncovered => Coverage::Uncovered,
        topology::Coverage::Refused(refusal) => Coverage::Refused(refusal.to_string()),
    }
}

/// The graph's streams as the registry and the drivers have them.
fn at_smmus(streams: &[topology::Stream]) -> Vec<(SmmuId, Stream)> {
    let own = |stream: &topology::Stream| {
        let &topology::Stream { smmu, id, mask } = stream;
        (SmmuId(smmu.0), Stream { id, mask })
    };
    streams.iter().map(own).collect()
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

#[cfg(test)]
mod tests;
