//! What the guests of a partition file would get on the machine of a tree, in words.
//!
//! The rules are the core's own: the devices are registered as it does, and the registry is asked.

use std::fmt::Write;
use std::path::Path;

use anyhow::{Context, Result};
use devicetree::Tree;
use dma::{Assignment, GuestId, MasterId, MasterSpec, Reason, Registry, SmmuId, State};
use partition::{Device, DeviceName, Dma, Guest, Partition, PciName};
use topology::{Coverage, Graph, Identity, Master, MasterIndex, PciFunction, Stream};

use super::address::function;
use crate::partition_file;

/// A partition file, and its PCI functions as far as the tree knows a host bridge for them.
#[derive(Debug)]
pub(crate) struct Plan {
    partition: Partition,
    functions: Vec<(PciName, Result<PciFunction>)>,
}

/// A device of a guest, and what comes of it.
struct Outcome {
    guest: GuestId,
    name: String,
    state: State,
    text: String,
    /// Whether it is sure that the device does DMA.
    does_dma: bool,
}

impl Plan {
    /// Reads a partition file for a tree.
    pub(crate) fn read(file: &Path, tree: &Tree) -> Result<Plan> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Plan::of(&text, tree).with_context(|| file.display().to_string())
    }

    /// The plan of a partition file's text.
    pub(super) fn of(text: &str, tree: &Tree) -> Result<Plan> {
        let partition = Partition::parse(&partition_file::compile(text)?)?;
        let devices = partition.guests.iter().flat_map(|guest| &guest.devices);
        let functions = devices.filter_map(|device| match device.name {
            DeviceName::Pci(name) => {
                let bdf = [name.bus, name.device, name.function].map(u16::from);
                let [bus, device, number] = bdf;
                Some((name, function(tree, [name.segment, bus, device, number])))
            }
            DeviceName::Path(_) => None,
        });
        let functions = functions.collect();
        Ok(Plan { partition, functions })
    }

    /// The functions to build the graph with: they are taken to be there.
    pub(crate) fn functions(&self) -> impl Iterator<Item = PciFunction> {
        let found = self.functions.iter();
        found.filter_map(|(_, function)| function.as_ref().ok().cloned())
    }

    /// What each guest gets, device by device, and what that means.
    pub(crate) fn tell(&self, graph: &Graph, tree: &Tree) -> String {
        let outcomes = self.outcomes(graph, tree);
        let mut text = String::new();
        for (index, guest) in self.partition.guests.iter().enumerate() {
            let own: Vec<&Outcome> = outcomes.iter().filter(|found| found.guest.0 == index).collect();
            let none = if own.is_empty() { ": no devices" } else { ":" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "guest {}{none}", guest.name);
            let width = own.iter().map(|found| found.name.len()).max().unwrap_or(0);
            for outcome in own {
                let _ = writeln!(text, "    {:<width$}  {}", outcome.name, outcome.text);
            }
        }
        text += "what that means:\n";
        let (mut open, mut perhaps) = (Vec::new(), Vec::new());
        for (index, guest) in self.partition.guests.iter().enumerate() {
            let own = outcomes.iter().filter(|found| found.guest.0 == index);
            let (line, reach) = verdict(&guest.name, &own.collect::<Vec<_>>());
            let _ = writeln!(text, "    {line}");
            match reach {
                Reach::Everything => open.push(guest.name.as_str()),
                Reach::PerhapsEverything => perhaps.push(guest.name.as_str()),
                Reach::ItsOwn => {}
            }
        }
        let from = match (open.join(" and "), perhaps.join(" and ")) {
            (open, perhaps) if open.is_empty() && perhaps.is_empty() => None,
            (open, perhaps) if perhaps.is_empty() => Some(format!("nobody's memory is safe from {open}")),
            (open, perhaps) if open.is_empty() => {
                Some(format!("perhaps nobody's memory is safe from {perhaps}"))
            }
            (open, perhaps) => Some(format!(
                "nobody's memory is safe from {open}, and perhaps not from {perhaps}"
            )),
        };
        if let Some(from) = from {
            let _ = writeln!(text, "    {from}: neither the other guests' nor the hypervisor's");
        }
        if !self.functions.is_empty() {
            text += "    which PCI functions there are, and which of them can reach each other, shows only on the running machine\n";
        }
        text
    }

    /// Registers everything as the core does, and looks what comes of the devices of guests.
    fn outcomes(&self, graph: &Graph, tree: &Tree) -> Vec<Outcome> {
        let guests = &self.partition.guests;
        let mut registry = Registry::new(guests.iter().map(|guest| guest.name.clone()).collect());
        for smmu in graph.smmus() {
            // Masters behind one that cannot be used are refused by the graph.
            registry.add_smmu(smmu.path.clone(), None);
        }
        let mut wishes: Vec<(GuestId, &Guest, &Device)> = Vec::new();
        for (index, guest) in guests.iter().enumerate() {
            wishes.extend(guest.devices.iter().map(|device| (GuestId(index), guest, device)));
        }
        let mut given = Vec::new();
        for (index, master) in graph.masters().iter().enumerate() {
            let position = wishes
                .iter()
                .position(|(_, _, device)| is_that(&device.name, &master.identity));
            let wish = position.map(|position| wishes.remove(position));
            let mut coverage = coverage(&master.coverage);
            if let Some((_, guest, device)) = wish {
                coverage = dma::narrow(forbid(coverage, graph, tree, master), guest, device);
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
                0,
            );
            given.extend(wish.map(|wish| (id, wish, Some(master))));
        }
        let groups = graph.groups().iter().map(|group| dma::Group {
            masters: group.masters.iter().map(|master| MasterId(master.0)).collect(),
            peers_at: group.peers_at.clone(),
        });
        registry.settle_groups(&groups.collect::<Vec<_>>(), 0);
        for wish in wishes {
            let (guest, owner, device) = wish;
            let spec = MasterSpec {
                name: device.name.to_string(),
                streams: Vec::new(),
                matches: Vec::new(),
                coverage: dma::narrow(self.not_in(graph, tree, &device.name), owner, device),
                assignment: Some(assignment(guest, device)),
            };
            given.push((registry.add_master(spec, 0), wish, None));
        }
        // As the partition file has them.
        let place = |guest: GuestId, device: &Device| {
            let devices = guests.get(guest.0).map(|guest| &guest.devices);
            (
                guest,
                devices.and_then(|all| all.iter().position(|other| other == device)),
            )
        };
        given.sort_by_key(|(_, (guest, _, device), _)| place(*guest, device));
        let outcomes = given
            .into_iter()
            .filter_map(|(id, (guest, owner, device), described)| {
                let master = registry.master(id)?;
                let reason = master.reason()?;
                Some(Outcome {
                    guest,
                    name: master.name.clone(),
                    state: master.state(),
                    text: words(graph, tree, (owner, device), described, master.state(), reason),
                    does_dma: described.is_some(),
                })
            });
        outcomes.collect()
    }

    /// What holds for a device that is no master of the graph.
    fn not_in(&self, graph: &Graph, tree: &Tree, name: &DeviceName) -> dma::Coverage {
        match name {
            DeviceName::Pci(name) => {
                let found = self.functions.iter().find(|(other, _)| other == name);
                match found {
                    Some((_, Err(error))) => dma::Coverage::Refused(format!("{error:#}")),
                    _ => dma::Coverage::Refused("there is no such PCI function".to_string()),
                }
            }
            DeviceName::Path(path) => match tree.find(path) {
                None => dma::Coverage::Refused("there is no such node".to_string()),
                Some(node) => match graph.never_given(tree, node.id()) {
                    Some(what) => dma::Coverage::Refused(format!("it is {what}")),
                    None => coverage(graph.not_described()),
                },
            },
        }
    }
}

/// Refuses what is described, and no device that a guest could be given.
fn forbid(coverage: dma::Coverage, graph: &Graph, tree: &Tree, master: &Master) -> dma::Coverage {
    let Identity::Platform { node, .. } = &master.identity else {
        return coverage;
    };
    match graph.never_given(tree, *node) {
        Some(what) if !matches!(coverage, dma::Coverage::Refused(_)) => {
            dma::Coverage::Refused(format!("it is {what}"))
        }
        _ => coverage,
    }
}

/// What comes of a device, with its reason and what to do.
fn words(
    graph: &Graph,
    tree: &Tree,
    (owner, device): (&Guest, &Device),
    described: Option<&Master>,
    state: State,
    reason: &Reason,
) -> String {
    let mut text = match (state, reason) {
        (State::Pending, _) => {
            let streams = described.map_or(&[][..], |master| &master.streams);
            let mut smmus: Vec<_> = streams.iter().map(|stream| stream.smmu).collect();
            smmus.dedup();
            let names = smmus.iter().filter_map(|index| graph.smmu(*index));
            let names: Vec<String> = names
                .map(|smmu| format!("{} ({})", smmu.path, smmu.kind.name))
                .collect();
            let drivers = if names.len() > 1 {
                "their drivers are"
            } else {
                "its driver is"
            };
            format!("isolated by {} once {drivers} live", names.join(" and "))
        }
        (State::Uncovered, _) => match described.and_then(|master| master.capability) {
            Some(capability) => format!("{reason} ({capability})"),
            None if described.is_some() => reason.to_string(),
            None => format!("{reason}, if it does DMA: nothing says whether it does"),
        },
        _ => format!("refused: {reason}"),
    };
    if *reason == Reason::NotTrusted {
        // The next answer, before it is asked for.
        let trusted = Device {
            dma: Dma::Trusted,
            ..device.clone()
        };
        if let dma::Coverage::Refused(then) = dma::narrow(dma::Coverage::Uncovered, owner, &trusted) {
            let _ = write!(text, "; and then: {then}");
        }
    }
    let node = match (described.map(|master| &master.identity), &device.name) {
        (Some(Identity::Platform { node, .. }), _) => Some(tree.node(*node)),
        (None, DeviceName::Path(path)) => tree.find(path),
        _ => None,
    };
    if let Some(by) = node.and_then(|node| node.disabled_by()) {
        let _ = write!(text, "; disabled by the status of {by}");
    }
    text
}

/// What a guest may read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    ItsOwn,
    PerhapsEverything,
    Everything,
}

/// One line about a guest, and what it may reach.
fn verdict(name: &str, devices: &[&Outcome]) -> (String, Reach) {
    let open = |does_dma: bool| {
        let open = devices.iter().filter(|found| found.state == State::Uncovered);
        let open = open.filter(|found| found.does_dma == does_dma);
        open.map(|found| found.name.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let (certain, perhaps) = (open(true), open(false));
    if !certain.is_empty() {
        let text = format!("{name} CAN READ AND WRITE EVERYTHING: through {certain}");
        return (text, Reach::Everything);
    }
    if !perhaps.is_empty() {
        let text = format!("{name} CAN PERHAPS READ AND WRITE EVERYTHING: if {perhaps} can do DMA");
        return (text, Reach::PerhapsEverything);
    }
    let text = if devices.iter().any(|found| found.state == State::Pending) {
        "its devices reach only its memory"
    } else if devices.is_empty() {
        "it has no devices"
    } else {
        "it gets none of its devices"
    };
    (format!("{name}: isolated: {text}"), Reach::ItsOwn)
}

fn coverage(coverage: &Coverage) -> dma::Coverage {
    match coverage {
        Coverage::Covered => dma::Coverage::Covered,
        Coverage::Uncovered => dma::Coverage::Uncovered,
        Coverage::Refused(refusal) => dma::Coverage::Refused(refusal.to_string()),
    }
}

/// The graph's streams as the registry has them.
fn at_smmus(streams: &[Stream]) -> Vec<(SmmuId, driver_abi::Stream)> {
    let own = |stream: &Stream| {
        let &Stream { smmu, id, mask } = stream;
        (SmmuId(smmu.0), driver_abi::Stream { id, mask })
    };
    streams.iter().map(own).collect()
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
