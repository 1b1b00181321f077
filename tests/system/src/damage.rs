//! Spoils a component's file, the way a bad download would.
//!
//! Components that are well made and wrong, for another ABI or another SMMU, are in `tests/components`.

use serde::Deserialize;

/// How a component is spoiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentDamage {
    /// It is not in the bundle.
    Absent,
    /// It is in the bundle, its signature is not.
    Unsigned,
    /// Its second half is missing. It is signed like this.
    Truncated,
    /// One bit of its signature differs.
    WrongSignature,
    /// One bit of its code differs from what was signed.
    ChangedCode,
}

impl ComponentDamage {
    /// Spoils the file before it is signed.
    pub fn before_signing(self, mut elf: Vec<u8>) -> Vec<u8> {
        if self == ComponentDamage::Truncated {
            elf.truncate(elf.len() / 2);
        }
        elf
    }

    /// Spoils the file and its signature after signing; `None` instead of what is not in the bundle.
    pub fn after_signing(
        self,
        mut elf: Vec<u8>,
        mut signature: Vec<u8>,
    ) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        match self {
            ComponentDamage::Absent => return (None, None),
            ComponentDamage::Unsigned => return (Some(elf), None),
            ComponentDamage::Truncated => {}
            ComponentDamage::WrongSignature => flip_a_bit(&mut signature),
            ComponentDamage::ChangedCode => flip_a_bit(&mut elf),
        }
        (Some(elf), Some(signature))
    }
}

fn flip_a_bit(bytes: &mut [u8]) {
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_damage_changes_what_it_says() {
        let good = b"\x7fELF headers and code".to_vec();
        let before = |damage: ComponentDamage| damage.before_signing(good.clone());
        assert_eq!(before(ComponentDamage::Truncated), good[..good.len() / 2]);
        assert_eq!(before(ComponentDamage::WrongSignature), good);
        assert_eq!(before(ComponentDamage::ChangedCode), good);

        let after = |damage: ComponentDamage| damage.after_signing(good.clone(), vec![7; 64]);
        assert_eq!(after(ComponentDamage::Absent), (None, None));
        assert_eq!(after(ComponentDamage::Unsigned), (Some(good.clone()), None));
        assert_eq!(
            after(ComponentDamage::Truncated),
            (Some(good.clone()), Some(vec![7; 64]))
        );
        let (elf, signature) = after(ComponentDamage::WrongSignature);
        assert_eq!(elf.as_ref(), Some(&good));
        assert_ne!(signature, Some(vec![7; 64]));
        let (elf, signature) = after(ComponentDamage::ChangedCode);
        assert_ne!(elf, Some(good.clone()));
        assert_eq!(signature, Some(vec![7; 64]));
    }
}
