//! From ELF files to what is loaded: raw arm64 images, and components that stay ELF.

use anyhow::{Context, Result, bail, ensure};
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, ET_DYN, ET_EXEC, PT_LOAD};
use elf::endian::LittleEndian;

/// The magic of the arm64 image header (Linux, Documentation/arch/arm64/booting.rst).
const MAGIC: &[u8] = b"ARM\x64";
/// Where the magic is.
const MAGIC_OFFSET: usize = 56;
/// No image of ours is larger; a linker script gone wrong would ask for gigabytes.
const LARGEST: u64 = 64 << 20;

/// Copies the loaded parts of an ELF file to where they lie relative to the first of them.
///
/// What follows the last byte of the file (`.bss`) is not in the image: the header's `image_size` reserves it.
pub(super) fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    let file = parse(elf)?;
    ensure!(
        file.ehdr.e_type == ET_DYN || file.ehdr.e_type == ET_EXEC,
        "it is neither an executable nor position independent (e_type {})",
        file.ehdr.e_type
    );
    let segments = file.segments().context("it has no program headers")?;
    let loaded: Vec<_> = segments
        .iter()
        .filter(|s| s.p_type == PT_LOAD && s.p_filesz > 0)
        .collect();
    let start = loaded
        .iter()
        .map(|s| s.p_vaddr)
        .min()
        .context("it has nothing to load")?;
    let mut image = Vec::new();
    for segment in loaded {
        let offset = segment.p_vaddr - start;
        let end = offset
            .checked_add(segment.p_filesz)
            .filter(|end| *end <= LARGEST)
            .with_context(|| format!("a segment at {:#x} is too far from {start:#x}", segment.p_vaddr))?;
        let (offset, end) = (usize::try_from(offset)?, usize::try_from(end)?);
        if image.len() < end {
            image.resize(end, 0);
        }
        let bytes = file
            .segment_data(&segment)
            .context("a segment lies outside the file")?;
        image
            .get_mut(offset..end)
            .context("a segment lies outside the image")?
            .copy_from_slice(bytes);
    }
    let magic = image.get(MAGIC_OFFSET..).and_then(|rest| rest.get(..MAGIC.len()));
    ensure!(
        magic == Some(MAGIC),
        "it does not begin with an arm64 image header: found {magic:x?} at {MAGIC_OFFSET}"
    );
    Ok(image)
}

/// Refuses what the loader on the board would refuse anyway, while the build is still at hand.
///
/// A build whose flags got lost gives an empty `ET_EXEC` without any error, hence the check.
pub(super) fn check_component(elf: &[u8]) -> Result<()> {
    let file = parse(elf)?;
    ensure!(
        file.ehdr.e_type == ET_DYN,
        "its type is {}, not ET_DYN ({ET_DYN})",
        file.ehdr.e_type
    );
    ensure!(file.ehdr.e_entry != 0, "it has no entry point");
    let note = file
        .segments()
        .context("it has no program headers")?
        .iter()
        .find(|segment| segment.p_type == elf::abi::PT_NOTE && segment.p_filesz > 0);
    ensure!(note.is_some(), "it has no manifest note");
    Ok(())
}

fn parse(elf: &[u8]) -> Result<ElfBytes<'_, LittleEndian>> {
    let file = ElfBytes::<LittleEndian>::minimal_parse(elf).context("it is not an ELF file")?;
    if file.ehdr.e_machine != EM_AARCH64 {
        bail!(
            "it is for machine {}, not AArch64 ({EM_AARCH64})",
            file.ehdr.e_machine
        );
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Segment {
        kind: u32,
        address: u64,
        bytes: Vec<u8>,
        memory: u64,
    }

    /// A small ELF file with just what the loader looks at.
    fn elf_file(e_type: u16, machine: u16, segments: &[Segment]) -> Vec<u8> {
        let headers_end = 64 + 56 * segments.len();
        let mut file = Vec::new();
        file.extend_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
        file.extend_from_slice(&e_type.to_le_bytes());
        file.extend_from_slice(&machine.to_le_bytes());
        file.extend_from_slice(&1u32.to_le_bytes());
        file.extend_from_slice(&0x1000u64.to_le_bytes());
        file.extend_from_slice(&64u64.to_le_bytes());
        file.extend_from_slice(&0u64.to_le_bytes());
        file.extend_from_slice(&0u32.to_le_bytes());
        for value in [64u16, 56, u16::try_from(segments.len()).unwrap(), 64, 0, 0] {
            file.extend_from_slice(&value.to_le_bytes());
        }
        let mut offset = headers_end as u64;
        for segment in segments {
            file.extend_from_slice(&segment.kind.to_le_bytes());
            file.extend_from_slice(&4u32.to_le_bytes());
            for value in [
                offset,
                segment.address,
                segment.address,
                segment.bytes.len() as u64,
                segment.memory,
                4096,
            ] {
                file.extend_from_slice(&value.to_le_bytes());
            }
            offset += segment.bytes.len() as u64;
        }
        for segment in segments {
            file.extend_from_slice(&segment.bytes);
        }
        file
    }

    fn header() -> Vec<u8> {
        let mut header = vec![0u8; 64];
        header[MAGIC_OFFSET..MAGIC_OFFSET + 4].copy_from_slice(MAGIC);
        header
    }

    fn load(address: u64, bytes: &[u8], memory: u64) -> Segment {
        Segment {
            kind: PT_LOAD,
            address,
            bytes: bytes.to_vec(),
            memory,
        }
    }

    #[test]
    fn segments_are_placed_relative_to_the_lowest_and_bss_is_left_out() {
        let file = elf_file(
            ET_DYN,
            EM_AARCH64,
            &[load(0x2_0000, &header(), 64), load(0x2_1000, b"data", 0x9000)],
        );
        let image = flatten(&file).unwrap();
        assert_eq!(image.len(), 0x1004);
        assert_eq!(&image[..64], &header());
        assert_eq!(&image[0x1000..], b"data");
        assert!(image[64..0x1000].iter().all(|byte| *byte == 0));
    }

    #[track_caller]
    fn refused(file: &[u8], why: &str) {
        let error = format!("{:#}", flatten(file).unwrap_err());
        assert!(error.contains(why), "{error:?} does not say {why:?}");
    }

    #[test]
    fn what_is_no_image_is_refused() {
        refused(b"not an ELF", "not an ELF file");
        refused(&elf_file(ET_DYN, 62, &[load(0, &header(), 64)]), "machine 62");
        refused(&elf_file(1, EM_AARCH64, &[load(0, &header(), 64)]), "e_type 1");
        refused(&elf_file(ET_DYN, EM_AARCH64, &[]), "nothing to load");
        refused(
            &elf_file(ET_DYN, EM_AARCH64, &[load(0, &[0; 64], 64)]),
            "arm64 image header",
        );
        refused(
            &elf_file(
                ET_EXEC,
                EM_AARCH64,
                &[load(0, &header(), 64), load(1 << 40, b"x", 1)],
            ),
            "too far",
        );
    }

    #[test]
    fn a_component_is_position_independent_and_has_a_manifest() {
        let note = Segment {
            kind: elf::abi::PT_NOTE,
            address: 0,
            bytes: vec![1; 8],
            memory: 8,
        };
        assert!(check_component(&elf_file(ET_DYN, EM_AARCH64, &[note])).is_ok());
        assert!(check_component(&elf_file(ET_DYN, EM_AARCH64, &[])).is_err());
        assert!(check_component(&elf_file(ET_EXEC, EM_AARCH64, &[load(0, b"code", 4)])).is_err());
        let empty = Segment {
            kind: elf::abi::PT_NOTE,
            address: 0,
            bytes: Vec::new(),
            memory: 0,
        };
        assert!(check_component(&elf_file(ET_DYN, EM_AARCH64, &[empty])).is_err());
    }
}
