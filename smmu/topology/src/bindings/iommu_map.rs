//! `iommu-map` at a bus: requester IDs become stream IDs (`pci-iommu.txt`, `iommu.txt`).

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use devicetree::{Cells, Node, Problem, Property};

use super::doubt;
use super::iommus::{checked, specifier_cells};
use crate::bus::{Bus, StreamTarget};
use crate::claims::{Binding, Builder, Claim, Subject, refuse};
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::map::{BadTuple, Map, Place, Tuple, build};
use crate::master::{Refusal, Stream};
use crate::shared::Suspect;

pub(crate) const NAME: &str = "iommu-map";
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
            doubt::tuples(builder, Suspect::OnBus(node.id()), &property);
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
    Some(Ok(build(builder, &place, &tuples, target, perhaps)))
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
                Err(refusal) => {
                    crate::claims::merge(&mut claim.refusal, refusal.clone());
                    suspect_doubted(builder, Suspect::Master(Subject::Function(index)), map);
                    if let Some(target) = window.perhaps {
                        let function = Suspect::Master(Subject::Function(index));
                        builder.suspect(function, target.smmu, [(id, 0, target.mask)]);
                    }
                }
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

/// Records where tuples lead whose requester IDs readers do not agree about.
pub(crate) fn suspect_doubted(builder: &mut Builder<'_>, by: Suspect, map: &Map<StreamTarget>) {
    for (output, span, target) in &map.doubted {
        builder.suspect(by, target.smmu, [(*output, *span, target.mask)]);
    }
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
/// of the two ways only is read in that way; one that can be divided in both is nobody's to guess. A phandle that leads
/// nowhere can have any width, but a division without one comes first.
fn tuples(builder: &Builder<'_>, property: &Property<'_>) -> Result<Vec<Tuple>, Box<Diagnostic>> {
    let unreadable = |error: devicetree::ReadError| {
        let defect = Defect::Unreadable(error.problem);
        Box::new(Diagnostic::at_property(property, NAME, defect, Effect::Unblocked))
    };
    let cells = property.cells().map_err(unreadable)?;
    if cells.is_empty() {
        let empty = Diagnostic::at_property(property, NAME, Defect::EmptyList, Effect::Unblocked);
        return Err(empty.into());
    }
    let four = || narrow_tuples(property, NAME, Effect::Unblocked);
    let fits_four = cells.len().is_multiple_of(NARROW);
    let certainly_four = fits_four && {
        let mut phandles = cells.iter().skip(1).step_by(NARROW);
        phandles.all(|phandle| width(builder, phandle).is_some())
    };
    match wide_tuples(builder, &cells) {
        Wide::Never if fits_four => four(),
        Wide::Many if certainly_four => four(),
        Wide::Once { tuples, .. } if !fits_four || tuples.iter().all(|tuple| tuple.mask.is_none()) => {
            Ok(tuples)
        }
        Wide::Once {
            tuples,
            certain: true,
        } if !certainly_four => Ok(tuples),
        Wide::Once { certain: false, .. } if certainly_four => four(),
        _ => Err(undivided(builder, property, &cells)),
    }
}

/// Why a map cannot be divided into tuples.
fn undivided(builder: &Builder<'_>, property: &Property<'_>, cells: &Cells<'_>) -> Box<Diagnostic> {
    let at = |index, defect| {
        let cell = index * NARROW + 1;
        Diagnostic::at_cell(property, NAME, cell, defect, Effect::Unblocked).into()
    };
    let phandles = || cells.iter().skip(1).step_by(NARROW);
    let targets = || {
        phandles()
            .map(|phandle| builder.tree.by_phandle(phandle))
            .enumerate()
    };
    let wide = targets().find_map(|(index, target)| {
        let target = target.ok()?;
        let cells = specifier_cells(target).filter(|cells| *cells != 1)?;
        let target = target.path();
        Some(at(index, Defect::AmbiguousWidth { target, cells }))
    });
    let dangling = || targets().find_map(|(index, target)| Some(at(index, Defect::Phandle(target.err()?))));
    let partial = || {
        let (cells, entry) = (cells.len(), NARROW);
        let defect = Defect::Unreadable(Problem::PartialEntry { cells, entry });
        Box::new(Diagnostic::at_property(property, NAME, defect, Effect::Unblocked))
    };
    wide.or_else(dangling).unwrap_or_else(partial)
}

/// How a map divides into tuples whose targets say how many cells a specifier has.
enum Wide {
    /// Not at all.
    Never,
    /// In one way.
    Once {
        tuples: Vec<Tuple>,
        /// Whether all targets say it.
        certain: bool,
    },
    /// In several ways, because of targets that do not say it.
    Many,
}

/// Divides a map by what its targets say. A phandle that leads nowhere may have one cell behind it or two.
fn wide_tuples(builder: &Builder<'_>, cells: &Cells<'_>) -> Wide {
    let end = cells.len();
    let widths = |at: usize| match cells.get(at + 1).map(|phandle| width(builder, phandle)) {
        None => 1..1,
        Some(None) => 1..3,
        Some(Some(cells @ 1..=2)) => cells as usize..cells as usize + 1,
        Some(Some(_)) => 1..1,
    };
    // In how many ways the cells from a position on divide, from the end backwards.
    let mut ways = alloc::vec![0u8; end + 1];
    if let Some(last) = ways.last_mut() {
        *last = 1;
    }
    let way_at = |ways: &[u8], at: usize| ways.get(at).copied().unwrap_or(0);
    for at in (0..end).rev() {
        let sum: u8 = widths(at).map(|width| way_at(&ways, at + 3 + width)).sum();
        if let Some(entry) = ways.get_mut(at) {
            *entry = sum.min(2);
        }
    }
    match way_at(&ways, 0) {
        0 => return Wide::Never,
        1 => {}
        _ => return Wide::Many,
    }
    let (mut tuples, mut certain, mut at) = (Vec::new(), true, 0);
    while at < end {
        let width = widths(at)
            .find(|width| way_at(&ways, at + 3 + width) == 1)
            .unwrap_or(2);
        certain &= widths(at).len() == 1;
        let cell = |offset| cells.get(at + offset).unwrap_or(0);
        tuples.push(Tuple {
            cell: at,
            base: cell(0),
            phandle: cell(1),
            output: cell(2),
            mask: (width == 2).then(|| cell(3)),
            length: cell(2 + width),
        });
        at += 3 + width;
    }
    Wide::Once { tuples, certain }
}

/// How many cells the specifiers of a target have, if it says so.
fn width(builder: &Builder<'_>, phandle: u32) -> Option<u32> {
    specifier_cells(builder.tree.by_phandle(phandle).ok()?)
}

/// The SMMU that a refused tuple may lead to.
fn perhaps(builder: &Builder<'_>, tuple: &Tuple) -> Option<StreamTarget> {
    let (smmu, found, _) = builder.resolve(tuple.phandle).ok()?;
    let mask = tuple.mask.unwrap_or(found.match_mask);
    Some(StreamTarget { smmu, mask })
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
    let last = tuple.output.saturating_add(span);
    checked(smmu, found, last, mask)
        .map(|_| StreamTarget { smmu, mask })
        .map_err(|(cell, defect)| {
            let defect = match defect {
                Defect::TooWide { smmu, bits } if found.kind.fits(tuple.output) && cell == 0 => {
                    Defect::LastTooWide { last, smmu, bits }
                }
                defect => defect,
            };
            bad(
                2 + cell.min(usize::from(tuple.mask.is_some())),
                defect,
                Effect::Blocked,
            )
        })
}
