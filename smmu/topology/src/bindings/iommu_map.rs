//! `iommu-map` at a bus: requester IDs become stream IDs (`pci-iommu.txt`, `iommu.txt`).

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use devicetree::{Cells, Node, Property};

use super::iommus::{checked, specifier_cells};
use crate::bus::{Bus, StreamTarget};
use crate::claims::{Binding, Builder, Claim, Subject, refuse};
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::map::{BadTuple, Map, Place, Tuple, build};
use crate::master::{Refusal, Stream};

const NAME: &str = "iommu-map";
const MASK: &str = "iommu-map-mask";
/// The cells of a tuple whose specifier has one cell: base, phandle, ID, length.
pub(crate) const NARROW: usize = 4;
/// The highest requester ID of a PCI bus: bus, device and function number.
pub(crate) const HIGHEST_PCI: u32 = 0xffff;

/// Reads the map of a bus, if it has one. The error is the refusal of all devices on the bus.
pub(crate) fn read(
    builder: &mut Builder<'_>,
    node: Node<'_>,
    is_pci: bool,
) -> Option<Result<Map<StreamTarget>, Refusal>> {
    let property = builder.tree.node(node.id()).property(NAME)?;
    let read =
        mask_of(&property, MASK, Effect::Unblocked).and_then(|mask| Ok((mask, tuples(builder, &property)?)));
    let (mask, tuples) = match read {
        Ok(read) => read,
        Err(diagnostic) => {
            let because = builder.report(*diagnostic);
            return Some(Err(Refusal {
                because,
                blocked: false,
            }));
        }
    };
    if !is_pci {
        let effect = Effect::Nothing;
        builder.report(Diagnostic::at_property(&property, NAME, Defect::NotPci, effect));
    }
    let place = Place {
        property: &property,
        name: NAME,
        mask,
        highest: if is_pci { HIGHEST_PCI } else { u32::MAX },
        malformed: Effect::Blocked,
    };
    Some(Ok(build(builder, &place, &tuples, target)))
}

/// Makes claims of the map, one for each function behind its bus.
pub(crate) fn apply(builder: &mut Builder<'_>, bus: &Bus) {
    let Some(map) = &bus.streams else { return };
    let functions = builder.functions_behind(bus.node);
    for index in functions {
        let claim = match map {
            Err(refusal) => Claim {
                refusal: Some(refusal.clone()),
                ..Claim::new(Binding::Generic, bus.path.clone(), NAME)
            },
            Ok(map) => claim(builder, bus, map, index),
        };
        builder.claim(Subject::Function(index), claim);
    }
}

fn claim(builder: &mut Builder<'_>, bus: &Bus, map: &Map<StreamTarget>, index: usize) -> Claim {
    let mut claim = Claim::new(Binding::Generic, bus.path.clone(), NAME);
    let Some(function) = builder.functions.get(index) else {
        return claim;
    };
    for requester in function.all_requester_ids() {
        match map.lookup(requester.into()) {
            Some((window, id)) => match &window.target {
                Ok(target) => claim.streams.push(Stream::new(target.smmu, id, target.mask)),
                // It was reported when the map was read.
                Err(refusal) => crate::claims::merge(&mut claim.refusal, refusal.clone()),
            },
            None => {
                let defect = Defect::Unmatched {
                    requester,
                    function: builder.identity(Subject::Function(index)).to_string(),
                };
                let node = bus.path.clone();
                let diagnostic = Diagnostic::at_node(node, NAME, defect, Effect::NoMastering);
                refuse(builder, &mut claim.refusal, diagnostic);
            }
        }
    }
    claim
}

/// The mask of a map: all bits where the node says nothing else.
pub(crate) fn mask_of(
    map: &Property<'_>,
    name: &'static str,
    effect: Effect,
) -> Result<u32, Box<Diagnostic>> {
    let Some(mask) = map.node().property(name) else {
        return Ok(u32::MAX);
    };
    mask.u32().map_err(|error| {
        let defect = Defect::Unreadable(error.problem);
        Box::new(Diagnostic::at_property(&mask, name, defect, effect))
    })
}

/// The tuples of a map whose specifiers have one cell each.
pub(crate) fn narrow_tuples(
    property: &Property<'_>,
    name: &'static str,
    effect: Effect,
) -> Result<Vec<Tuple>, Box<Diagnostic>> {
    let fail = |defect| Box::new(Diagnostic::at_property(property, name, defect, effect));
    let entries = property
        .entries(NARROW)
        .map_err(|error| fail(Defect::Unreadable(error.problem)))?;
    let tuples: Vec<Tuple> = entries
        .enumerate()
        .filter_map(|(index, entry)| {
            Some(Tuple {
                cell: index * NARROW,
                base: entry.get(0)?,
                phandle: entry.get(1)?,
                output: entry.get(2)?,
                mask: None,
                length: entry.get(3)?,
            })
        })
        .collect();
    if tuples.is_empty() {
        return Err(fail(Defect::EmptyList));
    }
    Ok(tuples)
}

/// Divides a map into tuples.
///
/// The binding gives a tuple as many cells as the specifiers of its target have, and three more. For ten years readers
/// took four, and many trees rely on it where the target's specifiers have two cells. A map that can be divided in one
/// of the two ways only is read in that way; one that can be divided in both is nobody's to guess.
fn tuples(builder: &Builder<'_>, property: &Property<'_>) -> Result<Vec<Tuple>, Box<Diagnostic>> {
    let unreadable = |error: devicetree::ReadError| {
        let defect = Defect::Unreadable(error.problem);
        Box::new(Diagnostic::at_property(property, NAME, defect, Effect::Unblocked))
    };
    let cells = property.cells().map_err(unreadable)?;
    let width = |phandle| {
        let target = builder.tree.by_phandle(phandle).ok()?;
        specifier_cells(target).map(|cells| (target, cells))
    };
    let divided: Vec<_> = cells.iter().skip(1).step_by(NARROW).map(width).collect();
    // The first target whose specifiers have another number of cells than one, and where it is named.
    let wide = divided.iter().enumerate().find_map(|(index, found)| match found {
        Some((target, cells)) if *cells != 1 => Some((index, *target, *cells)),
        _ => None,
    });
    let Some((index, target, count)) = wide else {
        return narrow_tuples(property, NAME, Effect::Unblocked);
    };
    let narrow = cells.len().is_multiple_of(NARROW) && divided.iter().all(Option::is_some);
    match (wide_tuples(builder, &cells), narrow) {
        (Some(tuples), false) => Ok(tuples),
        (None, true) => narrow_tuples(property, NAME, Effect::Unblocked),
        (Some(_), true) | (None, false) => {
            let defect = Defect::AmbiguousWidth {
                target: target.path(),
                cells: count,
            };
            let cell = index * NARROW + 1;
            Err(Diagnostic::at_cell(property, NAME, cell, defect, Effect::Unblocked).into())
        }
    }
}

/// The tuples of a map whose targets each say how many cells a specifier has; nothing if it cannot be divided so.
fn wide_tuples(builder: &Builder<'_>, cells: &Cells<'_>) -> Option<Vec<Tuple>> {
    let mut tuples = Vec::new();
    let mut at = 0;
    while at < cells.len() {
        let phandle = cells.get(at + 1)?;
        let width = specifier_cells(builder.tree.by_phandle(phandle).ok()?)? as usize;
        let mask = match width {
            1 => None,
            2 => Some(cells.get(at + 3)?),
            _ => return None,
        };
        tuples.push(Tuple {
            cell: at,
            base: cells.get(at)?,
            phandle,
            output: cells.get(at + 2)?,
            mask,
            length: cells.get(at + 2 + width)?,
        });
        at += 3 + width;
    }
    Some(tuples)
}

/// The SMMU that a tuple leads to, if all its `span + 1` stream IDs fit there.
fn target(builder: &Builder<'_>, tuple: &Tuple, span: u32) -> Result<StreamTarget, BadTuple> {
    let bad = |cell, defect, effect| BadTuple { cell, defect, effect };
    let (smmu, found, node) = builder
        .resolve(tuple.phandle)
        .map_err(|defect| bad(1, defect, Effect::Unblocked))?;
    let width = specifier_cells(node);
    let mask = match (width, tuple.mask) {
        (Some(1), None) => found.match_mask,
        (Some(2), mask) if found.kind.masks => {
            if tuple.length > 1 {
                let length_cell = if mask.is_some() { 4 } else { 3 };
                let length = tuple.length;
                return Err(bad(
                    length_cell,
                    Defect::LongWideTuple { length },
                    Effect::Blocked,
                ));
            }
            mask.unwrap_or(found.match_mask)
        }
        _ => {
            let (target, cells) = (found.path.clone(), width);
            return Err(bad(
                1,
                Defect::SpecifierCells { target, cells },
                Effect::Unblocked,
            ));
        }
    };
    checked(smmu, found, tuple.output.saturating_add(span), mask)
        .map(|_| StreamTarget { smmu, mask })
        .map_err(|(cell, defect)| {
            bad(
                2 + cell.min(usize::from(tuple.mask.is_some())),
                defect,
                Effect::Blocked,
            )
        })
}
