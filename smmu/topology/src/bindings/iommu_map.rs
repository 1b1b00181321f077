//! `iommu-map` at a bus: requester IDs become stream IDs (`pci-iommu.txt`).

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString;
use alloc::vec::Vec;

use devicetree::{Cells, Node, NodeId, Property, ReadError};

use super::iommus::{checked, specifier_cells};
use crate::claims::{Binding, Builder, Claim, Subject, at_cell, at_property, refuse};
use crate::diagnostic::{Defect, Diagnostic};
use crate::master::{Refusal, Stream};
use crate::smmu::SmmuIndex;

const NAME: &str = "iommu-map";
const MASK: &str = "iommu-map-mask";
/// The cells of a tuple to an SMMU with one-cell specifiers: base, phandle, stream ID, length.
const TUPLE: usize = 4;

/// One tuple.
struct Tuple {
    base: u32,
    output: u32,
    length: u32,
    target: Result<SmmuIndex, Defect>,
}

/// A map, or what is wrong with all of it.
struct Map {
    mask: u32,
    tuples: Vec<Tuple>,
}

/// Why a requester ID has no stream: what is wrong in which cell of the map, and whether an SMMU blocks it still.
struct NoStream {
    cell: Option<usize>,
    defect: Defect,
    blocked: bool,
}

/// Reads the map of every bus, and applies those of host bridges to the functions behind them.
pub(crate) fn read(builder: &mut Builder<'_>) {
    let tree = builder.tree;
    let mut maps = BTreeMap::new();
    for node in tree.nodes() {
        let Some(property) = node.property(NAME) else {
            continue;
        };
        if builder.is_pci_host(node) {
            let map = read_map(builder, node, &property).map_err(|diagnostic| {
                builder.report(Diagnostic {
                    blocked: false,
                    ..*diagnostic
                })
            });
            maps.insert(node.id(), (property, map));
        } else {
            refuse_bus(builder, &property);
        }
    }
    for index in 0..builder.functions.len() {
        apply(builder, &maps, index);
    }
}

/// Refuses a bus that is not PCI: its devices have numbers that only its own driver knows.
fn refuse_bus(builder: &mut Builder<'_>, property: &Property<'_>) {
    let mut refusal = None;
    refuse(
        builder,
        &mut refusal,
        at_property(property, NAME, Defect::NotPci),
        false,
    );
    let claim = Claim {
        binding: Binding::Generic,
        streams: Vec::new(),
        refusal,
        tentative: false,
    };
    builder.claim(Subject::Node(property.node().id()), claim);
}

type Maps<'t> = BTreeMap<NodeId, (Property<'t>, Result<Map, Diagnostic>)>;

fn apply(builder: &mut Builder<'_>, maps: &Maps<'_>, index: usize) {
    let Some(function) = builder.functions.get(index) else {
        return;
    };
    let Some((property, map)) = maps.get(&function.host_bridge) else {
        return;
    };
    let subject = Subject::Function(index);
    let name = builder.identity(subject).to_string();
    let mut streams = Vec::new();
    let mut refusal = None;
    match map {
        Err(diagnostic) => {
            refusal = Some(Refusal {
                because: diagnostic.clone(),
                blocked: false,
            })
        }
        Ok(map) => {
            for requester in function.all_requester_ids() {
                match lookup(builder, map, requester, &name) {
                    Ok(stream) => streams.push(stream),
                    Err(NoStream {
                        cell,
                        defect,
                        blocked,
                    }) => {
                        let diagnostic = match cell {
                            Some(cell) => at_cell(property, NAME, cell, defect),
                            None => at_property(property, NAME, defect),
                        };
                        refuse(builder, &mut refusal, diagnostic, blocked);
                    }
                }
            }
        }
    }
    builder.claim(
        subject,
        Claim {
            binding: Binding::Generic,
            streams,
            refusal,
            tentative: false,
        },
    );
}

fn read_map(builder: &Builder<'_>, node: Node<'_>, property: &Property<'_>) -> Result<Map, Box<Diagnostic>> {
    let mask = match node.property(MASK).map(|mask| (mask, mask.u32())) {
        None => u32::MAX,
        Some((_, Ok(value))) => value,
        Some((mask, Err(error))) => {
            return Err(at_property(&mask, MASK, Defect::Unreadable(error.problem)).into());
        }
    };
    let unreadable =
        |error: ReadError| Box::new(at_property(property, NAME, Defect::Unreadable(error.problem)));
    let cells = property.cells().map_err(unreadable)?;
    if cells.is_empty() {
        return Err(at_property(property, NAME, Defect::EmptyList).into());
    }
    // The width of a tuple depends on its target, and readers disagree about specifiers of two cells. So one
    // target of that sort makes it unclear where the other tuples are.
    for (index, phandle) in cells.iter().enumerate().skip(1).step_by(TUPLE) {
        if let Ok(target) = builder.tree.by_phandle(phandle)
            && let Some(cells) = specifier_cells(target)
            && cells != 1
        {
            let defect = Defect::AmbiguousWidth {
                target: target.path(),
                cells,
            };
            return Err(at_cell(property, NAME, index, defect).into());
        }
    }
    let entries = property.entries(TUPLE).map_err(unreadable)?;
    let tuples = entries.filter_map(|entry| tuple(builder, &entry)).collect();
    Ok(Map { mask, tuples })
}

fn tuple(builder: &Builder<'_>, entry: &Cells<'_>) -> Option<Tuple> {
    let (base, phandle, output, length) = (entry.get(0)?, entry.get(1)?, entry.get(2)?, entry.get(3)?);
    let target = builder
        .resolve(phandle)
        .and_then(|(index, smmu, node)| match specifier_cells(node) {
            Some(1) => Ok(index),
            cells => Err(Defect::SpecifierCells {
                target: smmu.path.clone(),
                cells,
            }),
        });
    Some(Tuple {
        base,
        output,
        length,
        target,
    })
}

/// The stream of a requester ID: the first tuple that holds it decides.
fn lookup(builder: &Builder<'_>, map: &Map, requester: u16, function: &str) -> Result<Stream, NoStream> {
    let masked = u32::from(requester) & map.mask;
    for (index, tuple) in map.tuples.iter().enumerate() {
        let at = index * TUPLE;
        let fail = |cell: usize, defect, blocked| {
            Err(NoStream {
                cell: Some(at + cell),
                defect,
                blocked,
            })
        };
        if tuple.base & !map.mask != 0 {
            return fail(
                0,
                Defect::OutsideMask {
                    base: tuple.base,
                    mask: map.mask,
                },
                tuple.target.is_ok(),
            );
        }
        let offset = match masked.checked_sub(tuple.base) {
            Some(offset) if offset < tuple.length => offset,
            _ => continue,
        };
        let smmu = match &tuple.target {
            Ok(smmu) => *smmu,
            Err(defect) => return fail(1, defect.clone(), false),
        };
        // Readers whose sums wrap find nothing in such a tuple, others do.
        if tuple.base.checked_add(tuple.length).is_none() {
            return fail(
                3,
                Defect::Wraps {
                    base: tuple.base,
                    length: tuple.length,
                },
                true,
            );
        }
        let Some(id) = tuple.output.checked_add(offset) else {
            return fail(
                2,
                Defect::Wraps {
                    base: tuple.output,
                    length: tuple.length,
                },
                true,
            );
        };
        let Some(target) = builder.smmus.get(smmu.0) else {
            continue;
        };
        return checked(smmu, target, id, target.match_mask).or_else(|(_, defect)| fail(2, defect, true));
    }
    let defect = Defect::Unmatched {
        requester,
        function: function.to_string(),
    };
    Err(NoStream {
        cell: None,
        defect,
        blocked: false,
    })
}
