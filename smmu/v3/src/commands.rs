//! The commands that the driver issues (IHI 0070 4).

use crate::bits::Field;

/// Bytes of a command.
pub const COMMAND_BYTES: u32 = 16;

/// The words of a command as they lie in the queue.
pub type Words = [u64; 2];

/// Word 0: the operation.
const OPCODE: Field = Field::new(7, 0);
/// CFGI, word 0: the stream ID.
const STREAM: Field = Field::new(63, 32);
/// CFGI_STE_RANGE, word 1: the range, as a power of two minus 1.
const RANGE: Field = Field::new(4, 0);
/// [`RANGE`]: all streams; the command is then called CFGI_ALL.
const RANGE_ALL: u64 = 31;
/// TLBI, word 0: the VMID.
const VMID: Field = Field::new(47, 32);
/// TLBI, word 0: with a granule, blocks minus 1.
const NUM: Field = Field::new(16, 12);
/// TLBI, word 0: with a granule, pages of a block as a power of two.
const SCALE: Field = Field::new(24, 20);
/// TLBI, word 1: the granule; 0 means one address and no range.
const TG: Field = Field::new(11, 10);
/// [`TG`]: 4 KiB.
const TG_4K: u64 = 0b01;
/// TLBI, word 1: the address.
const ADDRESS: Field = Field::new(51, 12);

/// 4.3.1.
const CFGI_STE: u64 = 0x03;
/// 4.3.2.
const CFGI_STE_RANGE: u64 = 0x04;
/// 4.4.2.7.
const TLBI_EL2_ALL: u64 = 0x20;
/// 4.4.3.2.
const TLBI_S12_VMALL: u64 = 0x28;
/// 4.4.3.1.
const TLBI_S2_IPA: u64 = 0x2a;
/// 4.4.4.1.
const TLBI_NSNH_ALL: u64 = 0x30;
/// 4.7.3.
const SYNC: u64 = 0x46;

/// A command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// CFGI_STE with Leaf = 0: forget the entry of one stream, and the level-1 descriptor that led to it.
    ConfigStream {
        /// The stream ID.
        stream: u32,
    },
    /// CFGI_ALL: forget all entries.
    ConfigAll,
    /// TLBI_S2_IPA without a range: forget what translates one page, at any level.
    Page {
        /// Whose address space.
        vmid: u16,
        /// The page's address.
        ipa: u64,
    },
    /// TLBI_S2_IPA with a range: forget what translates `blocks << scale` pages, at any level. Needs range
    /// invalidation. One page is refused by hardware in this form (IHI 0070 4.4.1.1).
    Pages {
        /// Whose address space.
        vmid: u16,
        /// The first page's address.
        ipa: u64,
        /// Blocks, 1 to 32.
        blocks: u8,
        /// Pages of a block as a power of two, 0 to 31.
        scale: u8,
    },
    /// TLBI_S12_VMALL: forget all of one VMID.
    Vmid {
        /// Whose address space.
        vmid: u16,
    },
    /// TLBI_EL2_ALL: forget all of EL2's.
    El2All,
    /// TLBI_NSNH_ALL: forget everything that is not secure and not EL2's.
    NonSecureAll,
    /// CMD_SYNC: consumed when everything before it has taken effect.
    Sync,
}

/// Words that are no command of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{words:x?} is not a command of this driver")]
pub struct BadCommand {
    /// The words.
    pub words: Words,
}

impl Command {
    /// The words of the command. Of the fields not named here, the ones that matter are 0 by intent: SSec (the
    /// non-secure state), Leaf of both kinds (table descriptors are forgotten as well), TTL (leaves of any
    /// level), and CMD_SYNC's CS (no signal; the consumer index tells).
    pub fn emit(&self) -> Words {
        match *self {
            Command::ConfigStream { stream } => [OPCODE.put(CFGI_STE) | STREAM.put(u64::from(stream)), 0],
            Command::ConfigAll => [OPCODE.put(CFGI_STE_RANGE), RANGE.put(RANGE_ALL)],
            Command::Page { vmid, ipa } => [
                OPCODE.put(TLBI_S2_IPA) | VMID.put(u64::from(vmid)),
                ipa & ADDRESS.mask(),
            ],
            Command::Pages {
                vmid,
                ipa,
                blocks,
                scale,
            } => {
                let num = NUM.put(u64::from(blocks).saturating_sub(1));
                let range = num | SCALE.put(u64::from(scale));
                [
                    OPCODE.put(TLBI_S2_IPA) | VMID.put(u64::from(vmid)) | range,
                    (ipa & ADDRESS.mask()) | TG.put(TG_4K),
                ]
            }
            Command::Vmid { vmid } => [OPCODE.put(TLBI_S12_VMALL) | VMID.put(u64::from(vmid)), 0],
            Command::El2All => [OPCODE.put(TLBI_EL2_ALL), 0],
            Command::NonSecureAll => [OPCODE.put(TLBI_NSNH_ALL), 0],
            Command::Sync => [OPCODE.put(SYNC), 0],
        }
    }

    /// Reads a command back.
    pub fn parse(words: Words) -> Result<Self, BadCommand> {
        let [word0, word1] = words;
        let vmid = VMID.get16(word0);
        let ipa = word1 & ADDRESS.mask();
        let command = match OPCODE.get(word0) {
            CFGI_STE => Command::ConfigStream {
                stream: STREAM.get32(word0),
            },
            CFGI_STE_RANGE => Command::ConfigAll,
            TLBI_S2_IPA if TG.get(word1) == 0 => Command::Page { vmid, ipa },
            TLBI_S2_IPA => Command::Pages {
                vmid,
                ipa,
                blocks: NUM.get8(word0) + 1,
                scale: SCALE.get8(word0),
            },
            TLBI_S12_VMALL => Command::Vmid { vmid },
            TLBI_EL2_ALL => Command::El2All,
            TLBI_NSNH_ALL => Command::NonSecureAll,
            SYNC => Command::Sync,
            _ => return Err(BadCommand { words }),
        };
        // As with entries: one way to write each command, so anything else is not ours.
        if command.emit() == words {
            Ok(command)
        } else {
            Err(BadCommand { words })
        }
    }
}

/// The operation in word 0 of a command, for messages.
pub(crate) fn opcode(word0: u64) -> u8 {
    OPCODE.get8(word0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn commands() -> impl Strategy<Value = Command> {
        let ipas = (0_u64..1 << 40).prop_map(|page| page << 12);
        prop_oneof![
            any::<u32>().prop_map(|stream| Command::ConfigStream { stream }),
            Just(Command::ConfigAll),
            (any::<u16>(), ipas.clone()).prop_map(|(vmid, ipa)| Command::Page { vmid, ipa }),
            (any::<u16>(), ipas, 1_u8..=32, 0_u8..=31).prop_map(|(vmid, ipa, blocks, scale)| {
                Command::Pages {
                    vmid,
                    ipa,
                    blocks,
                    scale,
                }
            }),
            any::<u16>().prop_map(|vmid| Command::Vmid { vmid }),
            Just(Command::El2All),
            Just(Command::NonSecureAll),
            Just(Command::Sync),
        ]
    }

    proptest! {
        #[test]
        fn what_is_emitted_is_parsed_back(command in commands()) {
            prop_assert_eq!(Command::parse(command.emit()), Ok(command));
        }

        #[test]
        fn no_bit_is_ignored(command in commands(), word in 0_usize..2, bit in 0_u32..64) {
            let mut words = command.emit();
            words[word] ^= 1 << bit;
            prop_assert_ne!(Command::parse(words), Ok(command));
        }
    }

    /// Written out by hand from the manual, so that a mistake in the field constants shows.
    #[test]
    fn commands_have_exactly_these_words() {
        let pages = Command::Pages {
            vmid: 0xabcd,
            ipa: 0x4000_0000,
            blocks: 32,
            scale: 9,
        };
        let expected = [
            (
                Command::ConfigStream { stream: 0x0102_0304 },
                [0x0102_0304_0000_0003, 0],
            ),
            (Command::ConfigAll, [0x04, 31]),
            (
                Command::Page {
                    vmid: 0xabcd,
                    ipa: 0x4000_0000,
                },
                [0xabcd_0000_002a, 0x4000_0000],
            ),
            (pages, [0xabcd_0000_002a | (9 << 20) | (31 << 12), 0x4000_0400]),
            (Command::Vmid { vmid: 7 }, [0x7_0000_0028, 0]),
            (Command::El2All, [0x20, 0]),
            (Command::NonSecureAll, [0x30, 0]),
            (Command::Sync, [0x46, 0]),
        ];
        for (command, words) in expected {
            assert_eq!(command.emit(), words, "{command:?}");
        }
    }
}
