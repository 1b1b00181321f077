//! What the facts come to, in the form in which two readings are compared.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::facts::{Facts, IommusEntry, MapTuple, MmuMastersEntry, Smmu};

/// Which streams enabled SMMUs are told of, by the path of the node that they come from.
///
/// Disabled masters are among them, and so is what can be read of a master with a broken entry. Disabled SMMUs, foreign
/// IOMMUs and broken entries say nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Streams {
    /// Of masters, in both bindings.
    pub masters: BTreeMap<String, BTreeSet<Stream>>,
    /// Of PCI bridges themselves: what their `iommus` says. Their entries in `mmu-masters` say nothing: there the stream ID is
    /// the requester ID.
    pub bridges: BTreeMap<String, BTreeSet<Stream>>,
    /// Of what is on a bus, in the order of its `iommu-map`. The first that matches counts; one of length 0 never does.
    pub buses: BTreeMap<String, Vec<Window>>,
}

/// Stream IDs on an SMMU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// The SMMU.
    pub smmu: String,
    /// The ID, without the bits under the mask.
    pub id: u32,
    /// Which of its bits do not count.
    pub mask: u32,
}

/// IDs on a bus and their stream IDs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The first ID on the bus.
    pub rid_base: u32,
    /// How many.
    pub length: u32,
    /// The SMMU.
    pub smmu: String,
    /// The stream ID of the first.
    pub out_base: u32,
    /// Which bits of the stream IDs do not count.
    pub mask: u32,
    /// Which bits of the ID on the bus count.
    pub map_mask: u32,
}

impl Stream {
    fn new(smmu: &str, id: u32, mask: u32) -> Stream {
        Stream {
            smmu: smmu.to_string(),
            id: id & !mask,
            mask,
        }
    }
}

impl Streams {
    /// What `facts` come to.
    pub fn of(facts: &Facts) -> Streams {
        let enabled = facts.smmus.iter().filter(|smmu| smmu.enabled);
        let smmus: BTreeMap<&str, &Smmu> = enabled.map(|smmu| (smmu.path.as_str(), smmu)).collect();
        let mut streams = Streams::default();
        for entry in &facts.iommus {
            let IommusEntry::Stream(entry) = entry else {
                continue;
            };
            if smmus.contains_key(entry.smmu.as_str()) {
                let of_kind = if entry.pci {
                    &mut streams.bridges
                } else {
                    &mut streams.masters
                };
                let of_node = of_kind.entry(entry.master.clone()).or_default();
                of_node.insert(Stream::new(&entry.smmu, entry.id, entry.mask));
            }
        }
        for entry in &facts.mmu_masters {
            let MmuMastersEntry::Listed(entry) = entry else {
                continue;
            };
            if smmus.contains_key(entry.smmu.as_str()) && !entry.pci {
                let of_node = streams.masters.entry(entry.master.clone()).or_default();
                of_node.extend(entry.ids.iter().map(|id| Stream::new(&entry.smmu, *id, 0)));
            }
        }
        for tuple in &facts.iommu_map {
            let MapTuple::Window(tuple) = tuple else { continue };
            if let Some(smmu) = smmus.get(tuple.smmu.as_str()) {
                streams.buses.entry(tuple.host.clone()).or_default().push(Window {
                    rid_base: tuple.rid_base,
                    length: tuple.length,
                    smmu: tuple.smmu.clone(),
                    out_base: tuple.out_base,
                    mask: tuple.mask.unwrap_or(smmu.default_mask()),
                    map_mask: tuple.map_mask,
                });
            }
        }
        streams
    }
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
