//! The shapes of generated trees: each could hide work that grows faster than the tree.

use anyhow::Result;

use crate::write::Result as Written;
use crate::{devices, hosts, smmus};

/// What is read.
#[derive(Debug)]
pub struct Input {
    /// The blob.
    pub blob: Vec<u8>,
    /// How many PCI functions are behind the host bridge.
    pub functions: u16,
}

/// A sort of tree, of any size.
#[derive(Debug)]
pub struct Shape {
    /// Its name on the command line.
    pub name: &'static str,
    /// What there are many of.
    title: &'static str,
    /// Writes a tree with about so many of them.
    pub write: fn(u32) -> Result<Input>,
}

/// One shape a line: name and title.
pub fn names() -> String {
    let lines = SHAPES
        .iter()
        .map(|shape| format!("{}\t{}", shape.name, shape.title));
    lines.collect::<Vec<_>>().join("\n")
}

macro_rules! shapes {
    ($($name:literal, $title:literal: $write:path;)*) => {
        [$(Shape { name: $name, title: $title, write: |count| Ok($write(count)?.into()) }),*]
    };
}

/// All shapes.
pub const SHAPES: [Shape; 30] = shapes! {
    "iommus", "masters on one bus that name one SMMU": devices::on_one_bus;
    "mmu-masters", "masters in the list of one SMMU": devices::in_one_list;
    "both", "masters that both bindings describe": devices::in_both_bindings;
    "shared", "masters that each share a stream with the next": devices::sharing_streams;
    "masks", "masters, up to 1000 of them with masks": devices::with_masks;
    "overlaps", "masters that share a match, up to 1000 others overlap it": devices::with_partial_overlaps;
    "undescribed", "devices that do DMA and that nothing describes": devices::that_nothing_describes;
    "streams", "streams of one master": devices::with_many_streams;
    "defects", "masters whose `iommus` names no node": devices::with_defects;
    "messages", "masters with `msi-parent`": devices::with_messages;
    "regions", "devices and regions with `iommu-addresses`": devices::with_regions;
    "addresses", "entries in the `reg` and `iommu-addresses` of one region": devices::with_one_large_region;
    "wide", "properties and children of one node": devices::on_a_wide_bus;
    "status", "devices and bytes of a `status` around them": devices::below_a_long_status;
    "deep", "buses in buses, 28 deep": devices::on_deep_buses;
    "ranges", "SMMUs and masters below 20 buses with `ranges` of 16": smmus::behind_ranges;
    "interrupts", "SMMUs whose interrupts pass one map of up to 1000": smmus::behind_a_nexus;
    "gic", "SMMUs and texts in the GIC's `compatible`": smmus::at_a_gic_of_many_names;
    "names", "bytes of an SMMU's `compatible`": smmus::of_many_names;
    "frames", "entries of an SMMU's `reg`": smmus::of_many_frames;
    "smmus", "SMMUs with one master each": smmus::with_one_master_each;
    "iommu-map", "tuples of `iommu-map` and `msi-map`, and PCI functions": hosts::with_long_maps;
    "msi-parent", "controllers of a host, entries in its `msi-parent`, and PCI functions": hosts::with_many_msi_parents;
    "host", "entries for a host in a broken `mmu-masters`, and PCI functions": hosts::in_a_broken_list;
    "parts", "parts of a broken list that name a host, and PCI functions": hosts::in_broken_parts;
    "lists", "devices, SMMUs whose broken lists name them and a host, and PCI functions": hosts::in_many_broken_lists;
    "suspects", "cells of a list that cannot be divided, and masters": devices::behind_a_broken_entry;
    "paths", "masters with paths of 500 bytes that share a stream with another such": devices::with_long_paths;
    "buses", "buses with `iommu-map` that are not PCI, and masters": hosts::that_are_not_pci;
    "bad-buses", "such buses with a map that cannot be read, and masters": hosts::that_cannot_be_read;
};

impl From<Vec<u8>> for Input {
    fn from(blob: Vec<u8>) -> Input {
        Input { blob, functions: 0 }
    }
}

/// A blob, and as many PCI functions behind its host bridge as there are of everything else.
pub(crate) fn with_functions(blob: Vec<u8>, count: u32) -> Written<Input> {
    let functions = u16::try_from(count).unwrap_or(u16::MAX);
    Ok(Input { blob, functions })
}
