//! The parts of a component in memory.

use crate::error::ElfError;
use arrayvec::ArrayVec;
use elf::abi::{
    PF_R, PF_W, PF_X, PT_DYNAMIC, PT_GNU_EH_FRAME, PT_GNU_PROPERTY, PT_GNU_RELRO, PT_GNU_STACK, PT_INTERP,
    PT_LOAD, PT_NOTE, PT_NULL, PT_PHDR, PT_SHLIB, PT_TLS,
};
use elf::segment::ProgramHeader;

/// The page size in bytes: what protection is given to.
pub const PAGE: usize = 4096;

/// The most segments that a component has; `linker/component.ld` makes three.
pub const MAX_SEGMENTS: usize = 8;

/// What the component may do with a segment after it was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Constants, also those with pointers: they are relocated before they are protected.
    ReadOnly,
    /// Code.
    ReadExecute,
    /// Variables.
    ReadWrite,
}

/// A page-aligned part of the image with one protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Bytes from the image's base to its first page.
    pub start: usize,
    /// Its size in bytes, a multiple of [`PAGE`].
    pub size: usize,
    /// What the component may do with it.
    pub protection: Protection,
    /// The address of its first byte, which need not be the first of a page.
    pub(crate) address: usize,
    /// The bytes that it has from there on.
    pub(crate) memory_size: usize,
    /// Where its contents stand in the file; the rest of it is zero.
    pub(crate) file_offset: usize,
    /// Bytes of contents.
    pub(crate) file_size: usize,
}

impl Segment {
    /// The byte after its last page, from the image's base.
    pub fn end(&self) -> usize {
        self.start + self.size
    }

    /// Whether `[address, address + size)` lies in it.
    pub(crate) fn contains(&self, address: u64, size: u64) -> bool {
        let start = self.address as u64;
        let end = start + self.memory_size as u64;
        address >= start && address.checked_add(size).is_some_and(|last| last <= end)
    }

    /// Where `[address, address + size)` stands in the file, if all of it does.
    pub(crate) fn in_file(&self, address: u64, size: u64) -> Option<core::ops::Range<usize>> {
        let skip = address.checked_sub(self.address as u64)?;
        let end = skip
            .checked_add(size)
            .filter(|&end| end <= self.file_size as u64)?;
        let at = |offset: u64| Some(self.file_offset + usize::try_from(offset).ok()?);
        Some(at(skip)?..at(end)?)
    }
}

/// The segments to load and the dynamic section's header.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) segments: ArrayVec<Segment, MAX_SEGMENTS>,
    pub(crate) dynamic: ProgramHeader,
}

impl Layout {
    /// Reads the program headers. Segments are in ascending order from address 0, share no page, and stay below `limit`.
    pub(crate) fn new(
        headers: impl Iterator<Item = ProgramHeader>,
        file_size: usize,
        limit: usize,
    ) -> Result<Self, ElfError> {
        let mut segments = ArrayVec::<Segment, MAX_SEGMENTS>::new();
        let mut dynamic = None;
        for (index, header) in headers.enumerate() {
            let refuse = |name| {
                Err(ElfError::SegmentKind {
                    index,
                    kind: header.p_type,
                    name,
                })
            };
            match header.p_type {
                PT_LOAD if header.p_memsz == 0 => {}
                PT_LOAD => {
                    let segment = load_segment(index, &header, segments.last(), file_size, limit)?;
                    segments
                        .try_push(segment)
                        .map_err(|_| ElfError::TooManySegments { limit: MAX_SEGMENTS })?;
                }
                PT_DYNAMIC if dynamic.replace(header).is_some() => return refuse("a second PT_DYNAMIC"),
                PT_GNU_STACK if header.p_flags & PF_X != 0 => return refuse("an executable PT_GNU_STACK"),
                PT_DYNAMIC | PT_GNU_STACK | PT_NULL | PT_NOTE | PT_PHDR | PT_GNU_EH_FRAME
                | PT_GNU_PROPERTY => {}
                PT_INTERP => return refuse("PT_INTERP"),
                PT_TLS => return refuse("PT_TLS"),
                PT_SHLIB => return refuse("PT_SHLIB"),
                PT_GNU_RELRO => return refuse("PT_GNU_RELRO (link with linker/component.ld)"),
                _ => return refuse("unknown"),
            }
        }
        if segments.is_empty() {
            return Err(ElfError::Malformed {
                what: "there is no segment to load",
            });
        }
        let dynamic = dynamic.ok_or(ElfError::Malformed {
            what: "there is no dynamic section",
        })?;
        Ok(Layout { segments, dynamic })
    }
}

/// Checks one `PT_LOAD`.
fn load_segment(
    index: usize,
    header: &ProgramHeader,
    previous: Option<&Segment>,
    file_size: usize,
    limit: usize,
) -> Result<Segment, ElfError> {
    let refuse = |problem| ElfError::SegmentPlace {
        index,
        address: header.p_vaddr,
        memory_size: header.p_memsz,
        problem,
    };
    let protection = match header.p_flags {
        PF_R => Protection::ReadOnly,
        flags if flags == PF_R | PF_X => Protection::ReadExecute,
        flags if flags == PF_R | PF_W => Protection::ReadWrite,
        flags => return Err(ElfError::SegmentFlags { index, flags }),
    };
    let end = header
        .p_vaddr
        .checked_add(header.p_memsz)
        .filter(|&end| end <= limit as u64);
    let too_large = || refuse("it ends beyond the largest image");
    // `end` bounds both numbers by `limit`, which is a `usize`.
    let end = usize::try_from(end.ok_or_else(too_large)?).map_err(|_| too_large())?;
    let address = usize::try_from(header.p_vaddr).map_err(|_| too_large())?;
    let memory_size = end - address;
    let start = address - address % PAGE;
    if header.p_filesz > header.p_memsz {
        return Err(refuse("it has more bytes in the file than in memory"));
    }
    let contents_end = header.p_offset.checked_add(header.p_filesz);
    if contents_end.is_none_or(|contents_end| contents_end > file_size as u64) {
        let end = header.p_offset.saturating_add(header.p_filesz);
        return Err(ElfError::Truncated {
            start: header.p_offset,
            end,
            size: file_size,
        });
    }
    match previous {
        None if start != 0 => return Err(refuse("the first segment is not on page 0")),
        Some(previous) if start < previous.end() => {
            return Err(refuse(
                "it shares a page with the segment before it, or comes before it",
            ));
        }
        _ => {}
    }
    let at = |value: u64| usize::try_from(value).map_err(|_| too_large());
    Ok(Segment {
        start,
        size: end.next_multiple_of(PAGE) - start,
        protection,
        address,
        memory_size,
        file_offset: at(header.p_offset)?,
        file_size: at(header.p_filesz)?,
    })
}
