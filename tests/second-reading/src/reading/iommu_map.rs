//! `iommu-map` of buses.

use super::Smmus;
use super::cells::{Broken, Cells, List};
use crate::facts::{BrokenTuple, Defect, EmptyIommuMap, ForeignTuple, IommuMapTuple, MapTuple};
use crate::tree::NodeRef;

/// The tuples of the node's `iommu-map`: first ID on the bus, phandle, specifier of the first, number of IDs.
pub(super) fn read(node: NodeRef<'_>, smmus: &Smmus<'_>) -> Vec<MapTuple> {
    let host = node.path().to_string();
    let mut cells = match List::of(node, "iommu-map") {
        List::Absent => return Vec::new(),
        List::Empty => return vec![MapTuple::Empty(EmptyIommuMap { host, empty: true })],
        List::NoWholeCells(whole) => {
            return vec![MapTuple::Broken(BrokenTuple {
                host,
                index: 0,
                error: Defect::NoWholeCells,
                iommu: None,
                cells_left: Some(whole),
            })];
        }
        List::Cells(cells) => cells,
    };
    let bus = Bus {
        node,
        smmus,
        one_cell: has_one_cell_specifiers(node, cells.clone()),
    };
    let mut tuples = Vec::new();
    while !cells.is_empty() {
        let index = tuples.len();
        let tuple = bus.tuple(index, &mut cells);
        tuples.push(tuple.unwrap_or_else(|broken| {
            MapTuple::Broken(BrokenTuple {
                host: host.clone(),
                index,
                error: broken.error,
                iommu: broken.named.map(|node| node.path().to_string()),
                cells_left: cells.left_by(&broken),
            })
        }));
    }
    tuples
}

/// Whether the map has specifiers of one cell though the SMMU asks for two.
///
/// The binding gives a tuple as many cells as the SMMU asks for. Trees were long written for systems that always read one,
/// and that is how Linux still tells them: the first IOMMU asks for two, the map is made of groups of four cells, and every group
/// names the same IOMMU and is one ID long.
fn has_one_cell_specifiers(node: NodeRef<'_>, mut cells: Cells<'_>) -> bool {
    let mut first = None;
    while !cells.is_empty() {
        let Some([_, phandle, _, 1]) = cells.take(4).as_deref().and_then(<[u32]>::as_array).copied() else {
            return false;
        };
        if *first.get_or_insert(phandle) != phandle {
            return false;
        }
    }
    let iommu = first.and_then(|phandle| node.tree().by_phandle(phandle));
    iommu.and_then(|iommu| iommu.cell("#iommu-cells")) == Some(2)
}

/// A bus whose map is read.
struct Bus<'t, 's> {
    node: NodeRef<'t>,
    smmus: &'s Smmus<'s>,
    one_cell: bool,
}

impl<'t> Bus<'t, '_> {
    fn tuple(&self, index: usize, cells: &mut Cells<'t>) -> Result<MapTuple, Broken<'t>> {
        let too_few = |named| Broken::for_good(Defect::TooFewCells, named);
        let rid_base = cells.next().ok_or_else(|| too_few(None))?;
        let phandle = cells.next().ok_or_else(|| too_few(None))?;
        let Some(iommu) = self.node.tree().by_phandle(phandle) else {
            return Err(without_iommu(phandle, cells));
        };
        let asked = iommu.cell("#iommu-cells");
        let asked = asked.ok_or_else(|| Broken::for_good(Defect::NoIommuCells, Some(iommu)))?;
        let used = if self.one_cell { 1 } else { asked };
        let specifier = cells.take(used).ok_or_else(|| too_few(Some(iommu)))?;
        let length = cells.next().ok_or_else(|| too_few(Some(iommu)))?;
        let host = self.node.path().to_string();
        let enabled = self.node.is_enabled();
        let Some(smmu) = self.smmus.get(iommu.path()) else {
            return Ok(MapTuple::Foreign(ForeignTuple {
                host,
                index,
                enabled,
                rid_base,
                length,
                iommu: iommu.path().to_string(),
                foreign: true,
            }));
        };
        let (out_base, mask) = match specifier.as_slice() {
            [id] if smmu.takes_specifiers_of(asked) => (*id, None),
            [id, mask] if smmu.takes_specifiers_of(asked) => (*id, Some(*mask)),
            _ => {
                return Err(Broken {
                    error: Defect::UnfitIommuCells,
                    named: Some(iommu),
                    ends_list: false,
                });
            }
        };
        Ok(MapTuple::Window(IommuMapTuple {
            host,
            index,
            enabled,
            rid_base,
            smmu: smmu.path.clone(),
            smmu_enabled: smmu.enabled,
            out_base,
            mask,
            length,
            map_mask: self.node.cell("iommu-map-mask").unwrap_or(u32::MAX),
        }))
    }
}

/// A tuple whose phandle leads nowhere. It has four cells, as nearly all tuples: others after it are not lost.
fn without_iommu<'t>(phandle: u32, cells: &mut Cells<'t>) -> Broken<'t> {
    let error = if phandle == 0 {
        Defect::ZeroPhandle
    } else {
        Defect::DanglingPhandle
    };
    Broken {
        error,
        named: None,
        ends_list: cells.take(2).is_none(),
    }
}
