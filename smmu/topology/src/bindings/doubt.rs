//! What a value may mean that cannot be divided into entries: whoever has such a stream for certain cannot be given it.

use alloc::vec::Vec;

use devicetree::Property;

use super::iommus::specifier_cells;
use crate::claims::Builder;
use crate::shared::Suspect;
use crate::smmu::SmmuIndex;

/// Suspects each stream that an entry of `iommus` may name. Wherever the phandle of an SMMU is, one may begin.
pub(crate) fn specifiers(builder: &mut Builder<'_>, by: Suspect, words: &[u32]) {
    for (at, id, smmu) in targets(builder, words) {
        let narrow_mask = smmu.has_narrow.then_some(smmu.match_mask);
        for mask in [narrow_mask, smmu.wide_mask(words.get(at + 1))] {
            builder.suspect(by, smmu.index, mask.map(|mask| (id, 0, mask)));
        }
    }
}

/// Suspects each stream that a tuple of `iommu-map` may lead to.
pub(crate) fn tuples(builder: &mut Builder<'_>, by: Suspect, words: &[u32]) {
    // Where the length is missing, there may be any number of them; where it is zero, there are none.
    let span = |length: Option<&u32>| length.map_or(Some(u32::MAX), |length| length.checked_sub(1));
    for (at, output, smmu) in targets(builder, words) {
        for (mask, length) in [
            // That is how many trees write tuples to any SMMU.
            (Some(smmu.match_mask), words.get(at + 1)),
            (smmu.wide_mask(words.get(at + 1)), words.get(at + 2)),
        ] {
            let range = mask.zip(span(length)).map(|(mask, span)| (output, span, mask));
            builder.suspect(by, smmu.index, range);
        }
    }
}

/// An SMMU, and how its specifiers may be read.
struct Target {
    index: SmmuIndex,
    /// The mask of specifiers of one cell.
    match_mask: u32,
    /// Whether its specifiers may have one cell.
    has_narrow: bool,
    /// Whether its specifiers may have two cells.
    has_wide: bool,
}

impl Target {
    /// The mask of a specifier of two cells. If it must have two, and the second one is missing, it may be anything.
    fn wide_mask(&self, second: Option<&u32>) -> Option<u32> {
        let missing = (!self.has_narrow).then_some(u32::MAX);
        second.copied().or(missing).filter(|_| self.has_wide)
    }
}

/// Each word that stands behind the phandle of an SMMU that can be used: its position, itself, and the SMMU.
fn targets(builder: &Builder<'_>, words: &[u32]) -> Vec<(usize, u32, Target)> {
    let behind = words.iter().zip(words.iter().skip(1)).enumerate();
    let found = behind.filter_map(|(at, (&phandle, &word))| {
        let (index, smmu, node) = builder.resolve(phandle).ok()?;
        let cells = specifier_cells(node);
        let target = Target {
            index,
            match_mask: smmu.match_mask,
            has_narrow: cells != Some(2),
            has_wide: cells != Some(1) && smmu.kind.masks,
        };
        Some((at + 1, word, target))
    });
    found.collect()
}

/// The whole words of a value whose length may be no multiple of a word's.
pub(crate) fn words(property: &Property<'_>) -> Vec<u32> {
    property
        .bytes()
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| u32::from_be_bytes(*bytes))
        .collect()
}
