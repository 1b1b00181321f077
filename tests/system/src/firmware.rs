//! Firmware of the tests, changed after it was built.

pub use bench_firmware::Kind;
/// Where the bench expects the core, and where its device tree.
pub use bench_firmware::map::{CORE, TREE};
use bench_firmware::map::{ECAM, SMMU_KIND_OFFSET};

/// Where a stage 0 has the address of configuration space.
const STAGE0_ECAM_OFFSET: usize = 80;

/// The image of a bench with an SMMU of that kind.
#[must_use]
pub fn with_smmu(image: Vec<u8>, kind: &Kind) -> Vec<u8> {
    let number = Kind::named(kind.name).map_or(0, |(number, _)| number);
    with_word(image, SMMU_KIND_OFFSET, number)
}

/// The image of a bench without SMMU: for controls.
#[must_use]
pub fn without_smmu(image: Vec<u8>) -> Vec<u8> {
    with_word(image, SMMU_KIND_OFFSET, 0)
}

/// The image of a stage 0 that finds its device on the bench.
#[must_use]
pub fn stage0_on_bench(image: Vec<u8>) -> Vec<u8> {
    with_word(image, STAGE0_ECAM_OFFSET, ECAM.start)
}

fn with_word(mut image: Vec<u8>, offset: usize, word: u64) -> Vec<u8> {
    if let Some(bytes) = image.get_mut(offset..offset + 8) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_is_cleared() {
        let image = without_smmu(vec![1; 24]);
        assert_eq!(image, [[1; 8], [0; 8], [1; 8]].concat());
    }
}
