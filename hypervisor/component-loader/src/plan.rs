//! The plan of a component in memory, and its execution on plain bytes.

use crate::dynamic::Dynamic;
use crate::error::{ElfError, LoadError};
use crate::manifest::ComponentManifest;
use crate::relocation::{Relocations, check_addend};
use crate::segment::{Layout, MAX_SEGMENTS, PAGE, Protection, Segment};
use crate::signature::VerifiedImage;
use arrayvec::ArrayVec;
use elf::ElfBytes;
use elf::abi::{ELFOSABI_GNU, ELFOSABI_SYSV, EM_AARCH64, ET_DYN};
use elf::endian::LittleEndian;
use elf::file::Class;

/// The most memory that an image takes, in bytes.
pub const MAX_SPAN: usize = 1 << 20;

/// What to put where. Holding one proves that the file is signed, speaks the core's ABI, and can be mapped so that
/// nothing in it is both writable and executable.
#[derive(Debug, Clone)]
pub struct LoadPlan<'a> {
    file: &'a [u8],
    manifest: ComponentManifest,
    segments: ArrayVec<Segment, MAX_SEGMENTS>,
    relocations: Relocations<'a>,
    entry: usize,
    span: usize,
}

impl<'a> LoadPlan<'a> {
    /// Checks a file against every rule that a component obeys.
    pub fn new(image: VerifiedImage<'a>) -> Result<Self, LoadError> {
        let file = image.bytes();
        let malformed = |error| ElfError::from_parse(&error, file.len());
        let elf = ElfBytes::<LittleEndian>::minimal_parse(file).map_err(malformed)?;
        check_header(&elf)?;
        let headers = elf.segments().ok_or(ElfError::Malformed {
            what: "there are no program headers",
        })?;
        // First of all: a file of another ABI version may break every other rule.
        let manifest = ComponentManifest::find(&elf, file.len())?;
        let Layout { segments, dynamic } = Layout::new(headers.iter(), file.len(), MAX_SPAN)?;
        let span = segments.last().map_or(0, Segment::end);
        let dynamic = Dynamic::parse(elf.segment_data(&dynamic).map_err(malformed)?)?;
        check_symbols(&elf, file.len())?;
        let relocations = Relocations::new(file, &dynamic, &segments, span)?;
        let entry = check_entry(elf.ehdr.e_entry, &segments)?;
        Ok(LoadPlan {
            file,
            manifest,
            segments,
            relocations,
            entry,
            span,
        })
    }

    /// What the component says of itself.
    pub fn manifest(&self) -> &ComponentManifest {
        &self.manifest
    }

    /// Bytes from the first page to the end of the last; pages between two segments stay unmapped.
    pub fn span(&self) -> usize {
        self.span
    }

    /// The segments in ascending order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Bytes that the component has with one protection.
    pub fn size(&self, protection: Protection) -> usize {
        self.segments
            .iter()
            .filter(|segment| segment.protection == protection)
            .map(|segment| segment.size)
            .sum()
    }

    /// The entry point, from the image's base; it lies in an executable segment.
    pub fn entry(&self) -> usize {
        self.entry
    }

    /// Writes the image into `memory` as it will stand at address `base`: `span` bytes on a page boundary. The memory
    /// is mapped writable and not executable meanwhile; afterwards each segment gets its protection.
    pub fn fill(&self, memory: &mut [u8], base: u64) -> Result<(), ElfError> {
        let refuse = ElfError::Memory {
            size: memory.len(),
            base,
            wanted: self.span,
        };
        let last = base.checked_add(self.span as u64);
        if memory.len() != self.span || !base.is_multiple_of(PAGE as u64) || last.is_none() {
            return Err(refuse);
        }
        memory.fill(0);
        for segment in &self.segments {
            let contents = self
                .file
                .get(segment.file_offset..segment.file_offset + segment.file_size);
            let place = memory.get_mut(segment.address..segment.address + segment.file_size);
            place
                .zip(contents)
                .map(|(place, contents)| place.copy_from_slice(contents))
                .ok_or(refuse)?;
        }
        self.relocations.apply(|relocation| {
            let target = relocation.target as u64;
            let pointer = memory
                .get_mut(relocation.target..)
                .and_then(<[u8]>::first_chunk_mut)
                .ok_or(ElfError::RelocationTarget { target })?;
            let addend = relocation.addend.unwrap_or(u64::from_le_bytes(*pointer));
            check_addend(target, addend, self.span)?;
            *pointer = (base + addend).to_le_bytes();
            Ok(())
        })
    }
}

/// The fixed fields of the ELF header.
fn check_header(elf: &ElfBytes<'_, LittleEndian>) -> Result<(), ElfError> {
    let check = |good, field, found, wanted| {
        if good {
            Ok(())
        } else {
            Err(ElfError::Header { field, found, wanted })
        }
    };
    let header = &elf.ehdr;
    check(header.class == Class::ELF64, "class", 1, "2 (64-bit)")?;
    // A linker notes the use of SHF_GNU_RETAIN, which `#[used]` makes, as GNU.
    let osabi_known = [ELFOSABI_SYSV, ELFOSABI_GNU].contains(&header.osabi);
    check(
        osabi_known,
        "EI_OSABI",
        header.osabi.into(),
        "0 (System V) or 3 (GNU)",
    )?;
    check(
        header.e_type == ET_DYN,
        "e_type",
        header.e_type.into(),
        "3 (ET_DYN, position-independent)",
    )?;
    check(
        header.e_machine == EM_AARCH64,
        "e_machine",
        header.e_machine.into(),
        "183 (AArch64)",
    )
}

/// A component imports nothing. The linker promises it; a table with an undefined symbol shows that it was not asked.
fn check_symbols(elf: &ElfBytes<'_, LittleEndian>, size: usize) -> Result<(), ElfError> {
    let symbols = elf
        .dynamic_symbol_table()
        .map_err(|error| ElfError::from_parse(&error, size))?;
    // Entry 0 is reserved and always undefined.
    let undefined = symbols.and_then(|(table, _)| {
        table
            .iter()
            .enumerate()
            .skip(1)
            .find(|(_, symbol)| symbol.is_undefined())
    });
    undefined.map_or(Ok(()), |(index, _)| Err(ElfError::UndefinedSymbol { index }))
}

/// The entry point is an instruction.
fn check_entry(entry: u64, segments: &[Segment]) -> Result<usize, ElfError> {
    let code =
        |segment: &&Segment| segment.protection == Protection::ReadExecute && segment.contains(entry, 4);
    let found = segments.iter().find(code).filter(|_| entry.is_multiple_of(4));
    found
        .and_then(|_| usize::try_from(entry).ok())
        .ok_or(ElfError::Entry { entry })
}
