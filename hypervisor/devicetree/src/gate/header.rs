//! The header and the blocks that it points at (DTSpec 5.2 and 5.3).

use alloc::vec::Vec;

use super::{Block, GateError, MAX_SIZE, double_word, word};

const MAGIC: u32 = 0xd00d_feed;
/// Size of the version 17 header.
const HEADER_SIZE: usize = 40;
/// Size of the version 16 header, which lacks `size_dt_struct`.
const HEADER_SIZE_16: usize = 36;
/// The version that is written and the newest that is read.
const VERSION: u32 = 17;
/// The oldest version that is read.
const LAST_COMPATIBLE: u32 = 16;

/// The header fields and blocks of a blob, inside its bounds, not yet read.
pub(super) struct Header<'a> {
    boot_cpu: u32,
    /// The memory reservation entries without the terminating one.
    reservations: &'a [u8],
    /// The structure block.
    pub(super) structure: &'a [u8],
    /// Where the structure block starts, for messages.
    pub(super) structure_offset: usize,
    /// Whether FDT_END must be the last word of `structure`. Version 16 does not say how long the block is.
    pub(super) exact: bool,
    /// The strings block.
    pub(super) strings: &'a [u8],
}

pub(super) fn declared_size(bytes: &[u8]) -> Result<usize, GateError> {
    let too_short = GateError::TooShort {
        available: bytes.len(),
    };
    let (Some(magic), Some(totalsize)) = (word(bytes, 0), word(bytes, 4)) else {
        return Err(too_short);
    };
    if magic != MAGIC {
        return Err(GateError::BadMagic { value: magic });
    }
    match usize::try_from(totalsize) {
        Ok(size) if (HEADER_SIZE..=MAX_SIZE).contains(&size) => Ok(size),
        _ => Err(GateError::BadSize { totalsize }),
    }
}

impl<'a> Header<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Header<'a>, GateError> {
        let available = bytes.len();
        // Read again from the copy: only what is checked here counts.
        let totalsize = declared_size(bytes)?;
        let blob = bytes
            .get(..totalsize)
            .ok_or(GateError::Truncated { totalsize, available })?;
        let field = |offset| word(blob, offset).ok_or(GateError::TooShort { available });

        let (version, last_compatible) = (field(20)?, field(24)?);
        if version < LAST_COMPATIBLE || last_compatible > VERSION || last_compatible > version {
            return Err(GateError::BadVersion {
                version,
                last_compatible,
            });
        }
        let exact = version >= VERSION;
        let header_size = if exact { HEADER_SIZE } else { HEADER_SIZE_16 };

        let structure_offset = field(8)?;
        let strings_offset = field(12)?;
        let reservations_offset = field(16)?;
        for (block, offset, alignment) in [
            (Block::Reservations, reservations_offset, 8),
            (Block::Structure, structure_offset, 4),
        ] {
            if offset % alignment != 0 {
                return Err(GateError::Misaligned {
                    block,
                    offset,
                    alignment,
                });
            }
        }

        let cut = |block, offset: u32, size: u32| {
            let start = offset as usize;
            let end = start.checked_add(size as usize);
            let inside = end.and_then(|end| blob.get(start..end));
            inside.ok_or(GateError::BlockOutside {
                block,
                offset,
                size,
                totalsize,
            })
        };
        let strings = cut(Block::Strings, strings_offset, field(32)?)?;
        let structure = if exact {
            cut(Block::Structure, structure_offset, field(36)?)?
        } else {
            // The block ends with FDT_END, at the latest where the next block or the blob ends.
            let limit = if strings_offset > structure_offset {
                strings_offset as usize
            } else {
                totalsize
            };
            let size = limit.saturating_sub(structure_offset as usize);
            cut(
                Block::Structure,
                structure_offset,
                u32::try_from(size).unwrap_or(u32::MAX),
            )?
        };
        let reservations = reservations(blob, reservations_offset)?;

        // The terminating entry of 16 bytes belongs to the reservation block.
        refuse_overlap(&mut [
            (Block::Header, 0, header_size),
            (
                Block::Reservations,
                reservations_offset as usize,
                reservations.len() + 16,
            ),
            (Block::Structure, structure_offset as usize, structure.len()),
            (Block::Strings, strings_offset as usize, strings.len()),
        ])?;

        let structure_offset = structure_offset as usize;
        Ok(Header {
            boot_cpu: field(28)?,
            reservations,
            structure,
            structure_offset,
            exact,
            strings,
        })
    }

    /// A blob with this header's reservations and strings, and another structure block.
    pub(super) fn rebuild(&self, structure: &[u8]) -> Result<Vec<u8>, GateError> {
        // The header's 40 bytes keep the reservations aligned to 8, and those keep the structure aligned.
        let structure_offset = HEADER_SIZE + self.reservations.len() + 16;
        let strings_offset = structure_offset + structure.len();
        let size = strings_offset + self.strings.len();

        let mut out = Vec::new();
        out.try_reserve_exact(size)
            .map_err(|_| GateError::NoMemory { size })?;
        let header = [
            MAGIC,
            narrow(size)?,
            narrow(structure_offset)?,
            narrow(strings_offset)?,
            narrow(HEADER_SIZE)?,
            VERSION,
            LAST_COMPATIBLE,
            self.boot_cpu,
            narrow(self.strings.len())?,
            narrow(structure.len())?,
        ];
        for field in header {
            out.extend_from_slice(&field.to_be_bytes());
        }
        out.extend_from_slice(self.reservations);
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(structure);
        out.extend_from_slice(self.strings);
        Ok(out)
    }
}

/// A size that fits its header field; [`MAX_SIZE`] makes sure that it does.
fn narrow(size: usize) -> Result<u32, GateError> {
    u32::try_from(size).map_err(|_| GateError::NoMemory { size })
}

/// The entries of the reservation block up to the all-zero one that ends it.
fn reservations(blob: &[u8], offset: u32) -> Result<&[u8], GateError> {
    let start = offset as usize;
    let mut end = start;
    loop {
        let (Some(address), Some(size)) = (double_word(blob, end), double_word(blob, end + 8)) else {
            return Err(GateError::ReservationsUnterminated { offset: start });
        };
        if address == 0 && size == 0 {
            return Ok(blob.get(start..end).unwrap_or(&[]));
        }
        end += 16;
    }
}

/// Refuses blocks that share bytes: a value must not be able to change what a name says.
fn refuse_overlap(blocks: &mut [(Block, usize, usize); 4]) -> Result<(), GateError> {
    blocks.sort_unstable_by_key(|&(_, start, size)| (start, size));
    for pair in blocks.windows(2) {
        if let [(first, start, size), (second, next, _)] = *pair
            && start + size > next
        {
            return Err(GateError::Overlap { first, second });
        }
    }
    Ok(())
}
