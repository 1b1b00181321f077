//! The generic binding: `iommus` at the master lists SMMUs and specifiers (`iommu.txt`, `arm,smmu.yaml`).

use devicetree::{Cells, Node, Property};

use super::doubt;
use crate::claims::{Binding, Builder, Claim, Subject, refuse};
use crate::diagnostic::{Defect, Diagnostic, Effect};
use crate::master::Stream;
use crate::shared::Suspect;
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
    let mut claim = Claim::new(Binding::Generic, property.node().path(), NAME);
    let whole = |defect| Diagnostic::at_property(property, NAME, defect, Effect::Unblocked);
    match property.cells() {
        Err(error) => {
            let diagnostic = whole(Defect::Unreadable(error.problem));
            doubt::specifiers(builder, suspect(property), property);
            refuse(builder, &mut claim.refusal, diagnostic);
        }
        Ok(cells) if cells.is_empty() => refuse(builder, &mut claim.refusal, whole(Defect::EmptyList)),
        Ok(cells) => read_entries(builder, property, &cells, &mut claim),
    }
    claim
}

/// Reads entry after entry. An entry of unknown length ends the list: the master is refused then, and the rest of its
/// streams stays unknown.
fn read_entries(builder: &mut Builder<'_>, property: &Property<'_>, cells: &Cells<'_>, claim: &mut Claim) {
    let at_cell = |cell, defect, effect| Diagnostic::at_cell(property, NAME, cell, defect, effect);
    let mut at = 0;
    while let Some(phandle) = cells.get(at) {
        let length = match entry_cells(builder, phandle) {
            Ok(length) => length,
            Err(defect) => {
                let diagnostic = at_cell(at, defect, Effect::Unblocked);
                doubt::specifiers(builder, suspect(property), property);
                return refuse(builder, &mut claim.refusal, diagnostic);
            }
        };
        let Some(specifier) = cells.part(at + 1, length) else {
            let (wanted, left) = (length, cells.len() - at - 1);
            let diagnostic = at_cell(at, Defect::Truncated { wanted, left }, Effect::Unblocked);
            doubt::specifiers(builder, suspect(property), property);
            return refuse(builder, &mut claim.refusal, diagnostic);
        };
        let stream = match builder.resolve(phandle) {
            Ok((index, smmu, node)) => stream(index, smmu, node, &specifier)
                .map_err(|(cell, defect)| (at + cell, defect, Effect::Blocked)),
            Err(defect) => Err((at, defect, Effect::Unblocked)),
        };
        match stream {
            Ok(stream) => claim.streams.push(stream),
            Err((cell, defect, effect)) => {
                let entry = [phandle].into_iter().chain(specifier.iter());
                doubt::entry(builder, suspect(property), entry);
                refuse(builder, &mut claim.refusal, at_cell(cell, defect, effect));
            }
        }
        at += 1 + length;
    }
}

/// Whose streams those of the list are, which cannot be read for certain.
fn suspect(property: &Property<'_>) -> Suspect {
    Suspect::Master(Subject::Node(property.node().id()))
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
    // Without a cell of its own the mask is to blame on the ID that it is applied to.
    checked(index, smmu, id, mask).map_err(|(cell, defect)| (1 + cell.min(specifier.len() - 1), defect))
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
