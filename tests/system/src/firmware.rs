//! The firmware of the bench, changed after it was built.

use bench_firmware::map::SMMU_PRESENT_OFFSET;

/// The image of a bench whose SMMU does not exist: for controls.
#[must_use]
pub fn without_smmu(mut image: Vec<u8>) -> Vec<u8> {
    let word = image.get_mut(SMMU_PRESENT_OFFSET..SMMU_PRESENT_OFFSET + 8);
    word.unwrap_or_default().fill(0);
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
