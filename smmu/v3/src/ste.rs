//! The stream table entry (IHI 0070 5.2), as far as a stage-2 driver goes.
//!
//! [`SteRepr`] has no bypass and no stage 1: what it cannot express, the driver cannot write.

use crate::bits::Field;
use smmu_driver::Domain;

/// The words of an entry as they lie in memory.
pub type Words = [u64; 8];

/// Bytes of an entry.
pub const STE_BYTES: usize = size_of::<Words>();

/// Word 0: the entry is valid.
const V: Field = Field::new(0, 0);
/// Word 0: what becomes of the stream.
const CONFIG: Field = Field::new(3, 1);
/// [`CONFIG`]: transactions abort, without an event.
const CONFIG_ABORT: u64 = 0b000;
/// [`CONFIG`]: stage 1 is bypassed, stage 2 translates.
const CONFIG_STAGE2: u64 = 0b110;
/// Word 1: similar events may be merged into one.
const MEV: Field = Field::new(19, 19);
/// Word 1: shareability of the incoming transaction.
const SHCFG: Field = Field::new(45, 44);
/// [`SHCFG`]: as it came in.
const SHCFG_INCOMING: u64 = 0b01;
/// Word 2: tag of TLB entries.
const S2VMID: Field = Field::new(15, 0);
/// Word 2: 64 minus the bits of IPA.
const S2T0SZ: Field = Field::new(37, 32);
/// Word 2: start level, see [`start_level_code`].
const S2SL0: Field = Field::new(39, 38);
/// Word 2: inner cacheability of walks.
const S2IR0: Field = Field::new(41, 40);
/// Word 2: outer cacheability of walks.
const S2OR0: Field = Field::new(43, 42);
/// [`S2IR0`], [`S2OR0`]: write-back, read- and write-allocate.
const WRITE_BACK: u64 = 0b01;
/// Word 2: shareability of walks.
const S2SH0: Field = Field::new(45, 44);
/// [`S2SH0`]: outer shareable, what a non-cacheable access is anyway.
const OUTER: u64 = 0b10;
/// [`S2SH0`]: inner shareable.
const INNER: u64 = 0b11;
/// Word 2: output address size.
const S2PS: Field = Field::new(50, 48);
/// Word 2: AArch64 tables. QEMU 10.0 aborts when it is 0 in a stage-2 entry.
const S2AA64: Field = Field::new(51, 51);
/// Word 2: faults are recorded as events. Its neighbour S2S (stall) stays 0: a faulting transaction ends at once.
const S2R: Field = Field::new(58, 58);
/// Word 3: the root table.
const S2TTB: Field = Field::new(51, 4);

/// An entry that the driver writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteRepr {
    /// V = 0: transactions abort, and each is reported as C_BAD_STE with its stream ID. The driver keeps unattached
    /// streams in this state and not in `Abort`, which would hide them.
    Invalid,
    /// V = 1, abort: transactions abort in silence. The driver does not write it; it can tell it from an attached stream.
    Abort,
    /// V = 1, stage 2.
    Stage2 {
        /// What it translates through.
        domain: Domain,
        /// Whether walks are cacheable and inner shareable.
        coherent: bool,
    },
}

/// Words that are not an entry of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("word {word} of the stream table entry is {value:#x}")]
pub struct BadSte {
    /// Which word is wrong.
    pub word: u8,
    /// Its value.
    pub value: u64,
}

/// S2TG = 0b00 (4 KiB): S2SL0 counts the start level downwards.
fn start_level_code(start_level: u8) -> u64 {
    2_u64.saturating_sub(u64::from(start_level))
}

/// The encoding of an output size (IHI 0070 5.2, S2PS); `Domain::check` has refused sizes without one.
fn output_code(pa_bits: u8) -> u64 {
    match pa_bits {
        48.. => 5,
        44.. => 4,
        42.. => 3,
        40.. => 2,
        36.. => 1,
        _ => 0,
    }
}

impl SteRepr {
    /// The words of the entry. Everything not named is 0, and that is meant:
    /// - word 0: S1ContextPtr, S1CDMax, S1Fmt: there is no stage 1;
    /// - word 1: EATS: ATS requests abort; MTCFG, ALLOCCFG, PRIVCFG, INSTCFG: as the transaction came in;
    /// - word 2: S2TG 4 KiB, S2ENDI little; S2AFFD: a clear access flag faults, as it does on the CPU that walks
    ///   the same tables; S2HA, S2HD: the SMMU never writes into them; S2S: no stall.
    pub fn emit(&self) -> Words {
        match self {
            SteRepr::Invalid => [0; 8],
            SteRepr::Abort => [V.put(1) | CONFIG.put(CONFIG_ABORT), 0, 0, 0, 0, 0, 0, 0],
            SteRepr::Stage2 { domain, coherent } => {
                let (cache, share) = if *coherent {
                    (WRITE_BACK, INNER)
                } else {
                    (0, OUTER)
                };
                let word2 = S2VMID.put(u64::from(domain.vmid))
                    | S2T0SZ.put(64_u64.saturating_sub(u64::from(domain.ipa_bits)))
                    | S2SL0.put(start_level_code(domain.start_level))
                    | S2IR0.put(cache)
                    | S2OR0.put(cache)
                    | S2SH0.put(share)
                    | S2PS.put(output_code(domain.pa_bits))
                    | S2AA64.put(1)
                    | S2R.put(1);
                let word0 = V.put(1) | CONFIG.put(CONFIG_STAGE2);
                let word1 = MEV.put(1) | SHCFG.put(SHCFG_INCOMING);
                [word0, word1, word2, domain.root & S2TTB.mask(), 0, 0, 0, 0]
            }
        }
    }

    /// Reads an entry back. The words of an invalid entry other than word 0 mean nothing and may be anything.
    pub fn parse(words: &Words) -> Result<Self, BadSte> {
        let [word0, _, word2, word3, ..] = *words;
        if !V.is_set(word0) {
            return Ok(SteRepr::Invalid);
        }
        let repr = match CONFIG.get(word0) {
            CONFIG_ABORT => SteRepr::Abort,
            CONFIG_STAGE2 => SteRepr::Stage2 {
                domain: Domain {
                    root: word3 & S2TTB.mask(),
                    vmid: S2VMID.get16(word2),
                    ipa_bits: 64 - S2T0SZ.get8(word2),
                    pa_bits: [32, 36, 40, 42, 44, 48]
                        .get(usize::from(S2PS.get8(word2)))
                        .copied()
                        .unwrap_or(0),
                    start_level: 2_u8.saturating_sub(S2SL0.get8(word2)),
                },
                coherent: S2IR0.get(word2) == WRITE_BACK,
            },
            _ => {
                return Err(BadSte {
                    word: 0,
                    value: word0,
                });
            }
        };
        // There is one way to write each entry. Whatever differs from it holds a bit that we would not set.
        for (word, (value, wanted)) in (0_u8..).zip(words.iter().zip(repr.emit())) {
            if *value != wanted {
                return Err(BadSte { word, value: *value });
            }
        }
        Ok(repr)
    }
}

/// Whether word 0 says that the entry is valid.
pub(crate) fn is_valid(word0: u64) -> bool {
    V.is_set(word0)
}

/// The VMID and the root table in words 2 and 3. The driver leaves them in place when it clears V, so that an
/// entry still tells which TLB entries its stream may have made.
pub(crate) fn vmid_and_root(word2: u64, word3: u64) -> (u16, u64) {
    (S2VMID.get16(word2), word3 & S2TTB.mask())
}

#[cfg(test)]
#[path = "ste_tests.rs"]
pub(crate) mod tests;
