//! What is behind no SMMU, in few lines, and what that means.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::{disabled, word};
use crate::capability::Capability;
use crate::graph::Graph;
use crate::master::{Coverage, Identity, Master};

/// So many devices that are alike have a line each.
const FEW: usize = 3;

/// What makes devices alike: their bus, their name apart from the address, how it is known that they do DMA, and whether
/// they are enabled.
type Likeness<'m> = (&'m str, &'m str, Option<Capability>, bool);

fn likeness(master: &Master) -> Option<Likeness<'_>> {
    let Identity::Platform { path, .. } = &master.identity else {
        return None;
    };
    let (parent, name) = path.rsplit_once('/')?;
    let base = name.split_once('@').map_or(name, |(base, _)| base);
    Some((parent, base, master.capability, master.enabled))
}

/// A master that is behind no SMMU, with those that are alike.
#[derive(Debug, Clone, Copy)]
pub struct Alike<'g> {
    /// The first of them.
    pub first: &'g Master,
    /// How many more there are.
    pub more: usize,
}

impl Alike<'_> {
    /// Its name, and how many more there are.
    pub fn name(&self) -> String {
        let first = &self.first.identity;
        match self.more {
            0 => alloc::format!("{first}"),
            more => alloc::format!("{first} and {more} more"),
        }
    }

    /// What a table says of them.
    pub fn verdict(&self) -> String {
        let (word, disabled) = (word(self.first), disabled(self.first.enabled));
        match self.first.capability {
            Some(capability) => alloc::format!("{word} ({capability}){disabled}"),
            None => alloc::format!("{word}{disabled}"),
        }
    }
}

impl Graph {
    /// The masters that no SMMU describes, those that are alike in one entry if there are more than three.
    pub fn uncovered(&self) -> Vec<Alike<'_>> {
        let uncovered = || {
            let masters = self.masters().iter();
            masters.filter(|master| master.coverage == Coverage::Uncovered)
        };
        let mut counts: BTreeMap<Likeness<'_>, usize> = BTreeMap::new();
        for likeness in uncovered().filter_map(likeness) {
            *counts.entry(likeness).or_default() += 1;
        }
        let mut found = Vec::new();
        for first in uncovered() {
            let count = likeness(first).and_then(|likeness| counts.get_mut(&likeness));
            let more = match count {
                Some(0) => continue,
                Some(count) if *count > FEW => core::mem::take(count) - 1,
                _ => 0,
            };
            found.push(Alike { first, more });
        }
        found
    }

    /// What a guest could do with what no SMMU describes, in plain words, and what it takes to be given it.
    pub fn consequences(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let uncovered = self.masters().iter();
        let mut uncovered = uncovered.filter(|master| master.coverage == Coverage::Uncovered);
        let (hosts, word) = self.hosts_behind_nothing();
        let some = uncovered.next().is_some() || !hosts.is_empty() && word == "uncovered";
        if some {
            lines.push(
                "a guest that is given one of these can read and write all memory: that of the other guests and of the \
                 hypervisor"
                    .into(),
            );
            lines.push("it gets one only if the partition file says dma = \"trusted\" for it".into());
        }
        let more = if some { " more" } else { "" };
        let (devices, they_do) = match self.unknown_devices() {
            1 => ("device", "it does"),
            _ => ("devices", "they do"),
        };
        match self.unknown_devices() {
            0 => {}
            count => lines.push(alloc::format!(
                "there {} {count}{more} {devices} with registers, of which nothing says whether {they_do} DMA: a guest \
                 gets one only with dma = \"trusted\" as well",
                if count == 1 { "is" } else { "are" }
            )),
        }
        lines
    }
}
