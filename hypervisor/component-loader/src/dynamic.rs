//! The dynamic section: what the file asks a loader for (gABI chapter 5, AAELF64 "Dynamic section").

use crate::error::ElfError;

/// Where the relocation tables are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dynamic {
    pub(crate) rela: Table,
    pub(crate) relr: Table,
}

/// Address and size of a table in the image; the size is 0 if there is none.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) address: u64,
    pub(crate) size: u64,
}

/// Bytes of an `Elf64_Rela` and of an `Elf64_Relr`.
pub(crate) const RELA_SIZE: u64 = 24;
pub(crate) const RELR_SIZE: u64 = 8;

/// Bits of `DT_FLAGS` that ask for nothing: `DF_SYMBOLIC`, `DF_BIND_NOW`.
const HARMLESS_FLAGS: u64 = 0x2 | 0x8;

impl Dynamic {
    /// Reads the section. A tag that is not known to be harmless is refused.
    pub(crate) fn parse(section: &[u8]) -> Result<Self, ElfError> {
        let mut dynamic = Dynamic::default();
        for entry in section.as_chunks::<8>().0.as_chunks::<2>().0 {
            let [tag, value] = entry.map(u64::from_le_bytes);
            let refuse = |name| Err(ElfError::DynamicTag { name, tag, value });
            match tag {
                0 => return Ok(dynamic), // DT_NULL
                7 => dynamic.rela.address = value,
                8 => dynamic.rela.size = value,
                9 if value != RELA_SIZE => return refuse("DT_RELAENT"),
                36 => dynamic.relr.address = value,
                35 => dynamic.relr.size = value,
                37 if value != RELR_SIZE => return refuse("DT_RELRENT"),
                30 if value & !HARMLESS_FLAGS != 0 => return refuse("DT_FLAGS"),
                // DT_RELAENT, DT_RELRENT, DT_FLAGS with the values above; DT_RELACOUNT.
                9 | 37 | 30 | 0x6fff_fff9 => {}
                // Symbols, which nothing refers to: DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_GNU_HASH.
                4 | 5 | 6 | 10 | 11 | 0x6fff_fef5 => {}
                // For debuggers and `file`: DT_SONAME, DT_DEBUG, DT_FLAGS_1.
                14 | 21 | 0x6fff_fffb => {}
                _ => return refuse(tag_name(tag)),
            }
        }
        Err(ElfError::Malformed {
            what: "the dynamic section has no end",
        })
    }
}

/// The names of the tags that one meets in files that were linked in another way.
fn tag_name(tag: u64) -> &'static str {
    match tag {
        1 => "DT_NEEDED",
        2 => "DT_PLTRELSZ",
        3 => "DT_PLTGOT",
        12 => "DT_INIT",
        13 => "DT_FINI",
        15 => "DT_RPATH",
        17 => "DT_REL",
        18 => "DT_RELSZ",
        19 => "DT_RELENT",
        20 => "DT_PLTREL",
        22 => "DT_TEXTREL",
        23 => "DT_JMPREL",
        25 => "DT_INIT_ARRAY",
        26 => "DT_FINI_ARRAY",
        27 => "DT_INIT_ARRAYSZ",
        28 => "DT_FINI_ARRAYSZ",
        29 => "DT_RUNPATH",
        32 => "DT_PREINIT_ARRAY",
        33 => "DT_PREINIT_ARRAYSZ",
        _ => "of an unknown kind",
    }
}
