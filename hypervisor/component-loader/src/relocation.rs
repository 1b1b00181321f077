//! Relocation: the base address is added to every pointer in the image (AAELF64 "Relocation", `R_AARCH64_RELATIVE`).

use crate::dynamic::{Dynamic, RELA_SIZE, RELR_SIZE, Table};
use crate::error::ElfError;
use crate::segment::{Protection, Segment};

/// `R_AARCH64_RELATIVE`, symbol 0.
const RELATIVE: u64 = 1027;

/// The relocation tables of a file, in its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relocations<'a> {
    rela: &'a [[u8; 24]],
    relr: &'a [[u8; 8]],
}

/// One pointer to relocate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Relocation {
    /// Where it stands in the image; all 8 bytes lie inside.
    pub(crate) target: usize,
    /// What it points to; `None` if that stands at the target.
    pub(crate) addend: Option<u64>,
}

impl<'a> Relocations<'a> {
    /// Finds the tables and checks every entry, so that applying them cannot leave the image.
    pub(crate) fn new(
        file: &'a [u8],
        dynamic: &Dynamic,
        segments: &[Segment],
        span: usize,
    ) -> Result<Self, ElfError> {
        let rela = table(file, "RELA", dynamic.rela, RELA_SIZE, segments)?;
        let relr = table(file, "RELR", dynamic.relr, RELR_SIZE, segments)?;
        let relocations = Relocations {
            rela: rela.as_chunks().0,
            relr: relr.as_chunks().0,
        };
        for entry in relocations.rela {
            let [target, info, _] = words(entry);
            if info != RELATIVE {
                // A symbol would stand in the high half, the type in the low half.
                return Err(match u32::try_from(info) {
                    Ok(kind) => ElfError::RelocationKind { target, kind },
                    Err(_) => ElfError::UndefinedSymbol {
                        index: (info >> 32) as usize,
                    },
                });
            }
        }
        relocations.visit(|target, addend| {
            let patched = |segment: &&Segment| segment.contains(target, 8);
            match segments.iter().find(patched) {
                Some(segment) if segment.protection != Protection::ReadExecute => {}
                _ => return Err(ElfError::RelocationTarget { target }),
            }
            addend.map_or(Ok(()), |addend| check_addend(target, addend, span))
        })?;
        Ok(relocations)
    }

    /// Calls `apply` for every pointer.
    pub(crate) fn apply(
        &self,
        mut apply: impl FnMut(Relocation) -> Result<(), ElfError>,
    ) -> Result<(), ElfError> {
        self.visit(|target, addend| {
            let outside = |_| ElfError::RelocationTarget { target };
            apply(Relocation {
                target: usize::try_from(target).map_err(outside)?,
                addend,
            })
        })
    }

    /// Walks both tables. RELR packs targets: an even word is one target, an odd word a bitmap of the 63 words that
    /// follow (gABI, "SHT_RELR").
    fn visit(&self, mut each: impl FnMut(u64, Option<u64>) -> Result<(), ElfError>) -> Result<(), ElfError> {
        for entry in self.rela {
            let [target, _, addend] = words(entry);
            each(target, Some(addend))?;
        }
        let mut next = 0_u64;
        for entry in self.relr {
            let entry = u64::from_le_bytes(*entry);
            if entry & 1 == 0 {
                each(entry, None)?;
                next = entry.wrapping_add(8);
                continue;
            }
            for bit in (1..64).filter(|bit| entry >> bit & 1 == 1) {
                each(next.wrapping_add((bit - 1) * 8), None)?;
            }
            next = next.wrapping_add(63 * 8);
        }
        Ok(())
    }
}

/// A pointer may point anywhere in the image, or just behind it.
pub(crate) fn check_addend(target: u64, addend: u64, span: usize) -> Result<(), ElfError> {
    if addend <= span as u64 {
        Ok(())
    } else {
        Err(ElfError::RelocationAddend { target, addend })
    }
}

/// The three words of an `Elf64_Rela`: offset, info, addend.
fn words(entry: &[u8; 24]) -> [u64; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(entry.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

/// The bytes of a table.
fn table<'a>(
    file: &'a [u8],
    name: &'static str,
    table: Table,
    entry_size: u64,
    segments: &[Segment],
) -> Result<&'a [u8], ElfError> {
    let Table { address, size } = table;
    if size == 0 {
        return Ok(&[]);
    }
    let refuse = |problem| ElfError::RelocationTable {
        name,
        address,
        size,
        problem,
    };
    if size % entry_size != 0 {
        return Err(refuse("its size is not a multiple of its entries'"));
    }
    segments
        .iter()
        .find_map(|segment| file.get(segment.in_file(address, size)?))
        .ok_or(refuse("it is not inside a segment of the file"))
}
