//! What the guests of a partition file would get on the machine of a tree, in words.
//!
//! The rules are the core's own: the devices are registered as it does, and the registry is asked.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};
use devicetree::Tree;
use dma::{GuestId, Reason, Registry, State};
use partition::{Device, DeviceName, Dma, Guest, Partition, PciName};
use topology::{Graph, Identity, Master, PciFunction};

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
        let mut given = registry.assign(tree, graph, guests, &OnPaper { plan: self, tree }, 0);
        // As the partition file has them.
        let place = |guest: GuestId, device: &Device| {
            let devices = guests.get(guest.0).map(|guest| &guest.devices);
            (
                guest,
                devices.and_then(|all| all.iter().position(|other| other == device)),
            )
        };
        given.sort_by_key(|given| place(given.guest, given.device));
        let outcome = |given: &dma::Given<'_>| {
            let master = registry.master(given.master)?;
            let reason = master.reason()?;
            let described = given.described.and_then(|index| graph.master(index));
            let owner = guests.get(given.guest.0)?;
            Some(Outcome {
                guest: given.guest,
                name: master.name.clone(),
                state: master.state(),
                text: words(graph, (owner, given.device), described, master.state(), reason),
                does_dma: described.is_some(),
            })
        };
        given.iter().filter_map(outcome).collect()
    }
}

/// A machine of which there is the tree only.
struct OnPaper<'m> {
    plan: &'m Plan,
    tree: &'m Tree,
}

impl dma::Machine for OnPaper<'_> {
    fn is_taken(&self, pages: &Range<u64>) -> bool {
        let memory = self.tree.memory_ranges().unwrap_or_default();
        memory
            .iter()
            .any(|range| range.address() < pages.end && pages.start < range.end())
    }

    /// They are taken to be there, and fit.
    fn prepare(&self, _: &Identity, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn missing(&self, name: PciName) -> String {
        let found = self.plan.functions.iter().find(|(other, _)| *other == name);
        match found {
            Some((_, Err(error))) => format!("{error:#}"),
            _ => "there is no such PCI function".to_string(),
        }
    }
}

/// What comes of a device, with its reason and what to do.
fn words(
    graph: &Graph,
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
