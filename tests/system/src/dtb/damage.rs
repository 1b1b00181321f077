//! Spoils a tree in the ways that a scenario names.

use serde::Deserialize;

use super::{Dtb, DtbError, HEADER_SIZE, Token, length};

const DEPTH: usize = 100;

/// What is done to a device tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeDamage {
    /// None.
    Intact,
    /// The first four bytes are something else.
    BadMagic,
    /// The blob ends in the middle of its structure block.
    TruncatedBlock,
    /// 100 nodes inside each other.
    DeepNodes,
    /// FDT_NOP tokens between all others, as boot loaders leave them where they deleted something.
    Nops,
    /// The memory node is missing.
    NoMemory,
    /// The interrupt controller is missing.
    NoGic,
    /// Who takes messages is missing.
    NoIts,
    /// The SMMU has no interrupts.
    NoSmmuInterrupts,
}

impl TreeDamage {
    /// The spoiled blob.
    ///
    /// # Errors
    /// `blob` is no device tree, or has not what is to be removed.
    pub fn apply(self, blob: &[u8]) -> Result<Vec<u8>, DtbError> {
        let mut dtb = Dtb::parse(blob)?;
        match self {
            TreeDamage::Intact | TreeDamage::BadMagic | TreeDamage::TruncatedBlock => {}
            TreeDamage::DeepNodes => dtb.nest(DEPTH),
            TreeDamage::Nops => dtb.scatter_nops(),
            TreeDamage::NoMemory => dtb.remove("memory")?,
            TreeDamage::NoGic => dtb.remove("intc")?,
            TreeDamage::NoIts => dtb.remove("its")?,
            TreeDamage::NoSmmuInterrupts => {
                let smmu = dtb.find("smmuv3")?;
                dtb.unset(smmu, "interrupts");
                dtb.unset(smmu, "interrupt-names");
            }
        }
        let mut blob = dtb.emit();
        match self {
            TreeDamage::BadMagic => blob.splice(0..4, *b"BAD!").for_each(drop),
            TreeDamage::TruncatedBlock => {
                blob.truncate((HEADER_SIZE + blob.len()) / 2 / 4 * 4);
                let size = length(blob.len());
                blob.splice(4..8, size.to_be_bytes()).for_each(drop);
            }
            _ => {}
        }
        Ok(blob)
    }
}

impl Dtb {
    /// Adds `depth` nodes, each inside the one before, as the root's last child.
    fn nest(&mut self, depth: usize) {
        let last = self
            .tokens
            .iter()
            .rposition(|token| *token == Token::End)
            .unwrap_or(0);
        let opened = std::iter::repeat_n(Token::Begin(b"deep".to_vec()), depth);
        let closed = std::iter::repeat_n(Token::End, depth);
        self.tokens
            .splice(last..last, opened.chain(closed))
            .for_each(drop);
    }

    /// Puts a NOP behind each token.
    fn scatter_nops(&mut self) {
        self.tokens = std::mem::take(&mut self.tokens)
            .into_iter()
            .flat_map(|token| [token, Token::Nop])
            .collect();
    }

    /// Removes the first node whose name is `name`, with or without a unit address.
    fn remove(&mut self, name: &'static str) -> Result<(), DtbError> {
        let start = self.find(name)?;
        let mut depth = 0usize;
        let mut end = start;
        for token in self.tokens.iter().skip(start) {
            end += 1;
            match token {
                Token::Begin(_) => depth += 1,
                Token::End => depth -= 1,
                Token::Property { .. } | Token::Nop => {}
            }
            if depth == 0 {
                break;
            }
        }
        self.tokens.drain(start..end);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::offset;
    use super::super::tests::blob;
    use super::*;

    #[test]
    fn each_kind_of_damage_does_what_it_says() {
        let good = Dtb::parse(&blob()).unwrap();
        let count = |dtb: &Dtb, name: &[u8]| {
            dtb.tokens
                .iter()
                .filter(|token| matches!(token, Token::Begin(n) if n.starts_with(name)))
                .count()
        };
        let apply = |damage: TreeDamage| damage.apply(&blob()).unwrap();

        let deep = Dtb::parse(&apply(TreeDamage::DeepNodes)).unwrap();
        assert_eq!(count(&deep, b"deep"), 100);
        let nops = Dtb::parse(&apply(TreeDamage::Nops)).unwrap();
        assert_eq!(nops.tokens.len(), 2 * good.tokens.len());
        let no_memory = Dtb::parse(&apply(TreeDamage::NoMemory)).unwrap();
        assert_eq!((count(&no_memory, b"memory"), count(&no_memory, b"intc")), (0, 1));
        let no_gic = Dtb::parse(&apply(TreeDamage::NoGic)).unwrap();
        assert_eq!(
            (
                count(&no_gic, b"intc"),
                count(&no_gic, b"its"),
                count(&no_gic, b"chosen")
            ),
            (0, 0, 1)
        );
        let no_its = Dtb::parse(&apply(TreeDamage::NoIts)).unwrap();
        assert_eq!((count(&no_its, b"intc"), count(&no_its, b"its")), (1, 0));

        assert_eq!(
            Dtb::parse(&apply(TreeDamage::BadMagic)),
            Err(DtbError::Malformed(0))
        );
        let truncated = apply(TreeDamage::TruncatedBlock);
        assert!(truncated.len() < good.emit().len());
        assert_eq!(offset(&truncated, 4), Ok(truncated.len()));
        assert!(Dtb::parse(&truncated).is_err());
    }

    #[test]
    fn an_smmu_without_interrupts_is_otherwise_the_same() {
        let mut good = Dtb::parse(&blob()).unwrap();
        let smmu = good.add_node("smmuv3@9050000");
        good.set_cells(smmu, "reg", &[0, 0x0905_0000, 0, 0x2_0000]);
        good.set_cells(smmu, "interrupts", &[0, 74, 1]);
        good.set(smmu, "interrupt-names", b"eventq\0".to_vec());
        let damaged = TreeDamage::NoSmmuInterrupts.apply(&good.emit()).unwrap();
        let damaged = Dtb::parse(&damaged).unwrap();
        let smmu = damaged.find("smmuv3").unwrap();
        let left = ["reg", "interrupts", "interrupt-names"].map(|name| damaged.cells(smmu, name).is_some());
        assert_eq!(left, [true, false, false]);
    }
}
