//! The generic binding: `iommus` at the master lists SMMUs and specifiers (`iommu.txt`, `arm,smmu.yaml`).

use alloc::vec::Vec;

use devicetree::{Cells, Node, Property};

use crate::claims::{Binding, Builder, Claim, Subject, at_cell, at_property, refuse};
use crate::diagnostic::Defect;
use crate::master::{Refusal, Stream};
use crate::smmu::{Smmu, SmmuIndex};

const NAME: &str = "iommus";

/// Reads `iommus` of every node, disabled ones as well.
pub(crate) fn read(builder: &mut Builder<'_>) {
    let tree = builder.tree;
    for node in tree.nodes() {
        if let Some(property) = node.property(NAME) {
            let claim = read_list(builder, &property);
            builder.claim(Subject::Node(node.id()), claim);
        }
    }
}

fn read_list(builder: &mut Builder<'_>, property: &Property<'_>) -> Claim {
    let mut streams = Vec::new();
    let mut refusal = None;
    match property.cells() {
        Err(error) => {
            let diagnostic = at_property(property, NAME, Defect::Unreadable(error.problem));
            refuse(builder, &mut refusal, diagnostic, false);
        }
        Ok(cells) if cells.is_empty() => {
            refuse(
                builder,
                &mut refusal,
                at_property(property, NAME, Defect::EmptyList),
                false,
            );
        }
        Ok(cells) => read_entries(builder, property, &cells, &mut streams, &mut refusal),
    }
    Claim {
        binding: Binding::Generic,
        streams,
        refusal,
        tentative: false,
    }
}

/// Reads entry after entry. An entry of unknown length ends the list: the master is refused then, and the rest of its
/// streams stays unknown.
fn read_entries(
    builder: &mut Builder<'_>,
    property: &Property<'_>,
    cells: &Cells<'_>,
    streams: &mut Vec<Stream>,
    refusal: &mut Option<Refusal>,
) {
    let mut at = 0;
    while let Some(phandle) = cells.get(at) {
        let length = match entry_cells(builder, phandle) {
            Ok(length) => length,
            Err(defect) => return refuse(builder, refusal, at_cell(property, NAME, at, defect), false),
        };
        let Some(specifier) = cells.part(at + 1, length) else {
            let defect = Defect::Truncated {
                wanted: length,
                left: cells.len() - at - 1,
            };
            return refuse(builder, refusal, at_cell(property, NAME, at, defect), true);
        };
        match builder.resolve(phandle) {
            Err(defect) => refuse(builder, refusal, at_cell(property, NAME, at, defect), false),
            Ok((index, smmu, node)) => match stream(index, smmu, node, &specifier) {
                Ok(stream) => streams.push(stream),
                Err((cell, defect)) => {
                    refuse(builder, refusal, at_cell(property, NAME, at + cell, defect), true);
                }
            },
        }
        at += 1 + length;
    }
}

/// How many cells follow a phandle, whatever IOMMU it names.
fn entry_cells(builder: &Builder<'_>, phandle: u32) -> Result<usize, Defect> {
    let node = builder.tree.by_phandle(phandle).map_err(Defect::Phandle)?;
    match specifier_cells(node) {
        Some(cells) => Ok(cells as usize),
        None => Err(Defect::SpecifierCells {
            target: node.path(),
            cells: None,
        }),
    }
}

/// `#iommu-cells` of a node, if it can be read.
pub(crate) fn specifier_cells(node: Node<'_>) -> Option<u32> {
    node.u32("#iommu-cells").ok().flatten()
}

/// The stream that a specifier names. The error says which cell of the entry is at fault.
fn stream(
    index: SmmuIndex,
    smmu: &Smmu,
    node: Node<'_>,
    specifier: &Cells<'_>,
) -> Result<Stream, (usize, Defect)> {
    let bad_cells = || {
        let cells = specifier_cells(node);
        (
            0,
            Defect::SpecifierCells {
                target: smmu.path.clone(),
                cells,
            },
        )
    };
    let (id, mask) = match (specifier.len(), specifier.get(0), specifier.get(1)) {
        (1, Some(id), _) => (id, smmu.match_mask),
        (2, Some(id), Some(mask)) if smmu.kind.masks => (id, mask),
        _ => return Err(bad_cells()),
    };
    checked(index, smmu, id, mask).map_err(|(cell, defect)| (1 + cell, defect))
}

/// A stream whose ID and mask fit the SMMU. The error says which of the two does not.
pub(crate) fn checked(index: SmmuIndex, smmu: &Smmu, id: u32, mask: u32) -> Result<Stream, (usize, Defect)> {
    let too_wide = || Defect::TooWide {
        smmu: smmu.path.clone(),
        bits: smmu.kind.stream_bits,
    };
    if !smmu.kind.fits(id) {
        return Err((0, too_wide()));
    }
    if !smmu.kind.fits(mask) {
        return Err((1, too_wide()));
    }
    Ok(Stream::new(index, id, mask))
}
