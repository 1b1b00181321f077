//! `iommu-addresses` at a region of `/reserved-memory`: where a device's DMA goes on while nobody drives it, as that of
//! a display that firmware left on (`reserved-memory.yaml`).
//!
//! The gate shuts all streams, these as well: the graph says what a driver or a guest has to map again.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use devicetree::{AddressRange, Cells, Node, NodeId, Property, ReadError};

use crate::claims::Builder;
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::master::{Region, RegionKind};

pub(crate) const NAME: &str = "iommu-addresses";

/// Reads all regions. Each comes with the node of its device.
pub(crate) fn read(builder: &mut Builder<'_>) -> Vec<(NodeId, Region)> {
    let tree = builder.tree;
    let mut found = Vec::new();
    let mut lists = Lists::new();
    let regions = tree.find("/reserved-memory");
    let enabled = regions
        .into_iter()
        .flat_map(|node| node.children())
        .filter(Node::is_enabled);
    for region in enabled {
        if let Some(property) = region.property(NAME)
            && let Err(diagnostic) = read_entries(builder, &property, &mut lists, &mut found)
        {
            builder.report(*diagnostic);
        }
    }
    found
}

/// The regions that a device lists in its `memory-region`, for devices that were asked.
type Lists = BTreeMap<NodeId, BTreeSet<NodeId>>;

fn listed(device: Node<'_>) -> BTreeSet<NodeId> {
    let list = device.cells("memory-region").ok().flatten();
    list.iter()
        .flat_map(Cells::iter)
        .filter_map(|phandle| device.tree().by_phandle(phandle).ok())
        .map(|region| region.id())
        .collect()
}

/// Reads entry after entry; one of unknown length ends the list.
fn read_entries(
    builder: &mut Builder<'_>,
    property: &Property<'_>,
    lists: &mut Lists,
    found: &mut Vec<(NodeId, Region)>,
) -> Result<(), Box<Diagnostic>> {
    let cells = property.cells().map_err(|error| {
        let defect = Defect::Unreadable(error.problem);
        Box::new(Diagnostic::at_property(property, NAME, defect, Effect::NoRegion))
    })?;
    let node = property.node();
    let memory = node.has("reg").then(|| node.regs());
    let mut at = 0;
    while let Some(phandle) = cells.get(at) {
        let fail = |defect| Box::new(Diagnostic::at_cell(property, NAME, at, defect, Effect::NoRegion));
        let device = builder
            .tree
            .by_phandle(phandle)
            .map_err(|error| fail(Defect::Phandle(error)))?;
        let (address_cells, size_cells) = counts(device);
        let (address, size) = entry(&cells, at, address_cells, size_cells).ok_or_else(|| {
            fail(Defect::Truncated {
                wanted: address_cells + size_cells,
                left: cells.len() - at - 1,
            })
        })?;
        let lists = lists.entry(device.id()).or_insert_with(|| listed(device));
        match region(node, memory.as_ref(), device, lists, address, size) {
            Ok(region) => found.push((device.id(), region)),
            Err((defect, effect)) => {
                builder.report(Diagnostic {
                    effect,
                    ..*fail(defect)
                });
            }
        }
        at += 1 + address_cells + size_cells;
    }
    Ok(())
}

/// The cells of an entry's address and size: those of the bus that the device does DMA on. A bus that says nothing has
/// the specification's two and one (DTSpec 2.3.5).
fn counts(device: Node<'_>) -> (usize, usize) {
    let bus = device.parent().unwrap_or(device);
    let count = |name, default| match bus.u32(name) {
        Ok(Some(count)) => count as usize,
        _ => default,
    };
    (count("#address-cells", 2), count("#size-cells", 1))
}

fn entry(cells: &Cells<'_>, at: usize, address_cells: usize, size_cells: usize) -> Option<(u64, u64)> {
    let size_at = at.checked_add(1)?.checked_add(address_cells)?;
    Some((
        cells.number(at + 1, address_cells)?,
        cells.number(size_at, size_cells)?,
    ))
}

fn region(
    node: Node<'_>,
    memory: Option<&Result<Vec<AddressRange>, ReadError>>,
    device: Node<'_>,
    listed: &BTreeSet<NodeId>,
    address: u64,
    size: u64,
) -> Result<Region, (Defect, Effect)> {
    let device_path = device.path();
    let Some(range) = AddressRange::new(address, size) else {
        return Err((Defect::RegionWraps { address, size }, Effect::NoRegion));
    };
    if range.is_empty() {
        let defect = Defect::EmptyRegion { device: device_path };
        return Err((defect, Effect::NoRegion));
    }
    if !listed.contains(&node.id()) {
        let defect = Defect::RegionNotListed { device: device_path };
        return Err((defect, Effect::Nothing));
    }
    let kind = match memory {
        None => RegionKind::Reserved,
        Some(Ok(memory)) if *memory == [range] => RegionKind::Identity,
        _ => {
            let defect = Defect::RegionMoved {
                device: device_path,
                iova: range,
            };
            return Err((defect, Effect::NoRegion));
        }
    };
    Ok(Region {
        path: node.path(),
        range,
        kind,
    })
}
