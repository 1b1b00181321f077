//! What a value may mean that cannot be read as it stands: whoever has such a stream for certain cannot be given it.
//!
//! Wherever the phandle of an SMMU is, an entry may begin. How many cells it has is not believed.

use alloc::vec::Vec;

use devicetree::Property;

use super::iommus::specifier_cells;
use crate::claims::Builder;
use crate::shared::{EVERYTHING, Suspect};
use crate::smmu::SmmuIndex;

/// Suspects each stream that an entry of an `iommus` may name that cannot be divided.
pub(crate) fn specifiers(builder: &mut Builder<'_>, by: Suspect, property: &Property<'_>) {
    let words = Words::of(property);
    for at in 0..words.whole.len() {
        entry_at(builder, by, &words, at);
    }
}

/// Suspects each stream that an entry of an `iommus` may name, by its cells.
pub(crate) fn entry(builder: &mut Builder<'_>, by: Suspect, cells: impl Iterator<Item = u32>) {
    let words = Words {
        whole: cells.collect(),
        partial: None,
    };
    entry_at(builder, by, &words, 0);
}

fn entry_at(builder: &mut Builder<'_>, by: Suspect, words: &Words, at: usize) {
    for target in targets(builder, words.get(at)) {
        // Some readers take an entry without a cell for stream ID 0.
        let zero = (target.cells == Some(0)).then_some((0, target.match_mask));
        let id = words.get(at + 1);
        let [narrow, wide] = id.map_or([None; 2], |id| specifier(builder, &target, words, id, at + 2));
        let found = [zero, narrow, wide].into_iter().flatten();
        builder.suspect(by, target.index, found.map(|(id, mask)| (id, 0, mask)));
    }
}

/// The stream ID and the mask that a specifier of one cell means, and that one of two cells does.
fn specifier(
    builder: &Builder<'_>,
    target: &Target,
    words: &Words,
    id: Word,
    second: usize,
) -> [Option<(u32, u32)>; 2] {
    let narrow = (target.cells != Some(2) || !target.masks).then_some(target.match_mask);
    let second = words.get(second);
    let wide = match second {
        // It is the next entry's.
        Some(_) if target.cells == Some(1) && !targets(builder, second).is_empty() => None,
        Some(mask) => Some(mask.value | mask.unknown),
        None => (target.cells == Some(2)).then_some(u32::MAX),
    };
    [narrow, wide.filter(|_| target.masks)].map(|mask| Some((id.value, mask? | id.unknown)))
}

/// Suspects each stream that a tuple of an `iommu-map` may lead to.
pub(crate) fn tuples(builder: &mut Builder<'_>, by: Suspect, property: &Property<'_>) {
    let words = Words::of(property);
    // Where the length is not known, there may be any number of them; where it is zero, there are none.
    let span = |length: Option<Word>| match length {
        Some(Word { value, unknown: 0 }) => value.checked_sub(1),
        _ => Some(u32::MAX),
    };
    for at in 0..words.whole.len() {
        for target in targets(builder, words.get(at)) {
            let Some(Word { value, unknown: 0 }) = words.get(at + 1) else {
                builder.suspect(by, target.index, [EVERYTHING]);
                continue;
            };
            // That is how many trees write tuples to any SMMU.
            let narrow = span(words.get(at + 2)).map(|span| (value, span, target.match_mask));
            let mask = words
                .get(at + 2)
                .map_or(u32::MAX, |mask| mask.value | mask.unknown);
            let wide = span(words.get(at + 3)).map(|span| (value, span, mask));
            let ranges = [narrow, wide.filter(|_| target.masks)];
            builder.suspect(by, target.index, ranges.into_iter().flatten());
        }
    }
}

/// An SMMU that can be used, and what its node says of specifiers.
struct Target {
    index: SmmuIndex,
    cells: Option<u32>,
    match_mask: u32,
    masks: bool,
}

/// The SMMUs that have a phandle: several, if it is not unique.
fn targets(builder: &Builder<'_>, phandle: Option<Word>) -> Vec<Target> {
    let named = phandle.filter(|word| word.unknown == 0);
    let indices = named.and_then(|word| builder.smmus_by_phandle.get(&word.value));
    let found = indices.into_iter().flatten().filter_map(|&index| {
        let smmu = builder.smmus.get(index.0).filter(|smmu| smmu.is_usable())?;
        Some(Target {
            index,
            cells: specifier_cells(builder.tree.node(smmu.node)),
            match_mask: smmu.match_mask,
            masks: smmu.kind.masks,
        })
    });
    found.collect()
}

/// The words of a value whose length may be no multiple of a word's.
struct Words {
    whole: Vec<u32>,
    /// The word that is cut off.
    partial: Option<Word>,
}

/// A word, and which of its bits are not known.
#[derive(Debug, Clone, Copy)]
struct Word {
    value: u32,
    unknown: u32,
}

impl Words {
    fn of(property: &Property<'_>) -> Words {
        let (_, rest) = property.bytes().as_chunks::<4>();
        let known = rest.iter().fold(0, |value, byte| value << 8 | u32::from(*byte));
        let missing = 32 - 8 * u32::try_from(rest.len()).unwrap_or(0);
        // Without a rest nothing of a word is there.
        let partial = known.checked_shl(missing).map(|value| Word {
            value,
            unknown: u32::MAX >> (32 - missing),
        });
        Words {
            whole: words(property),
            partial,
        }
    }

    fn get(&self, index: usize) -> Option<Word> {
        let whole = self.whole.get(index).map(|&value| Word { value, unknown: 0 });
        whole.or(self.partial.filter(|_| index == self.whole.len()))
    }
}

/// The whole words of a value.
pub(crate) fn words(property: &Property<'_>) -> Vec<u32> {
    let (whole, _) = property.bytes().as_chunks::<4>();
    whole.iter().map(|bytes| u32::from_be_bytes(*bytes)).collect()
}
