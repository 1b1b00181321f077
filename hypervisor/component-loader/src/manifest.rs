//! What a component says of itself, read from its note.

use crate::error::ElfError;
use core::fmt;
use driver_abi::{ABI_VERSION, MANIFEST_NAME, MANIFEST_SIZE, MANIFEST_TYPE, Manifest};
use elf::ElfBytes;
use elf::abi::PT_NOTE;
use elf::endian::LittleEndian;
use elf::note::{Note, NoteAny};

/// The most table memory that a component may ask for, in bytes, for each SMMU.
pub const MAX_TABLE_MEMORY: u32 = 16 << 20;

/// Why a manifest is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// There is none.
    #[error("no manifest: there is no Portcullis note in it")]
    Missing,
    /// There is more than one.
    #[error("ambiguous manifest: there are several Portcullis notes in it")]
    Several,
    /// Core and component would not understand each other.
    #[error("ABI {found}, core speaks {ABI_VERSION}")]
    AbiVersion {
        /// The component's.
        found: u32,
    },
    /// The note has another size than this ABI version has.
    #[error("manifest has {found} bytes, ABI {ABI_VERSION} has {MANIFEST_SIZE}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// A text is not plain, not terminated, or empty.
    #[error("manifest field {field} is not {wanted}")]
    Text {
        /// The field.
        field: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A number is out of range.
    #[error("manifest field {field} is {found}, {limit} is the most accepted")]
    Range {
        /// The field.
        field: &'static str,
        /// Its value.
        found: u32,
        /// The most.
        limit: u32,
    },
}

/// A manifest whose ABI version is the core's and whose texts are plain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComponentManifest(Manifest);

impl ComponentManifest {
    /// Finds and checks the manifest of a file.
    pub(crate) fn find(file: &ElfBytes<'_, LittleEndian>, size: usize) -> Result<Self, crate::LoadError> {
        let malformed = |error| ElfError::from_parse(&error, size);
        let mut found = None;
        for header in file
            .segments()
            .into_iter()
            .flat_map(|table| table.iter())
            .filter(|header| header.p_type == PT_NOTE)
        {
            for note in file.segment_data_as_notes(&header).map_err(malformed)? {
                if let Note::Unknown(NoteAny {
                    n_type: kind,
                    name,
                    desc,
                }) = note
                    && kind == u64::from(MANIFEST_TYPE)
                    && name.strip_suffix(b"\0").unwrap_or(name) == owner()
                    && found.replace(desc).is_some()
                {
                    return Err(ManifestError::Several.into());
                }
            }
        }
        Ok(Self::parse(found.ok_or(ManifestError::Missing)?)?)
    }

    /// Checks the descriptor of a note. The ABI version stands first in every version of the manifest.
    pub fn parse(descriptor: &[u8]) -> Result<Self, ManifestError> {
        let abi_version = descriptor
            .first_chunk()
            .map(|bytes| u32::from_le_bytes(*bytes))
            .ok_or(ManifestError::Size {
                found: descriptor.len(),
            })?;
        if abi_version != ABI_VERSION {
            return Err(ManifestError::AbiVersion { found: abi_version });
        }
        let manifest = decode(descriptor).ok_or(ManifestError::Size {
            found: descriptor.len(),
        })?;
        let [_, _, _, reserved] = manifest.version;
        if reserved != 0 {
            return Err(ManifestError::Range {
                field: "version[3]",
                found: reserved.into(),
                limit: 0,
            });
        }
        if manifest.table_memory > MAX_TABLE_MEMORY {
            let found = manifest.table_memory;
            return Err(ManifestError::Range {
                field: "table_memory",
                found,
                limit: MAX_TABLE_MEMORY,
            });
        }
        let name_byte = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        if !text(&manifest.name).is_some_and(|name| !name.is_empty() && name.iter().all(name_byte)) {
            return Err(ManifestError::Text {
                field: "name",
                wanted: "a NUL-padded word of [a-z0-9-]",
            });
        }
        if !list(&manifest.compatible).is_some_and(|mut items| items.all(is_compatible)) {
            return Err(ManifestError::Text {
                field: "compatible",
                wanted: "a NUL-padded list of compatible strings",
            });
        }
        Ok(ComponentManifest(manifest))
    }

    /// The component's name: a word of `[a-z0-9-]`.
    pub fn name(&self) -> &str {
        text(&self.0.name)
            .and_then(|name| core::str::from_utf8(name).ok())
            .unwrap_or_default()
    }

    /// Its version: major, minor, patch.
    pub fn version(&self) -> (u16, u16, u16) {
        let [major, minor, patch, _] = self.0.version;
        (major, minor, patch)
    }

    /// Its ABI version, which is the core's.
    pub fn abi_version(&self) -> u32 {
        self.0.abi_version
    }

    /// The table memory that it may allocate for each SMMU, in bytes.
    pub fn table_memory(&self) -> usize {
        self.0.table_memory as usize
    }

    /// The `compatible` strings of the SMMUs that it drives; at least one.
    pub fn compatible(&self) -> CompatibleList<'_> {
        CompatibleList {
            rest: text_area(&self.0.compatible),
        }
    }

    /// Whether it drives SMMUs with this `compatible` string.
    pub fn drives(&self, compatible: &str) -> bool {
        self.compatible().any(|own| own == compatible)
    }
}

/// The `compatible` strings of a component; as text they stand with commas between them.
#[derive(Debug, Clone)]
pub struct CompatibleList<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for CompatibleList<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut parts = self.rest.splitn(2, |&byte| byte == 0);
        let first = parts.next().filter(|part| !part.is_empty())?;
        self.rest = parts.next().unwrap_or_default();
        core::str::from_utf8(first).ok()
    }
}

impl fmt::Display for CompatibleList<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.clone().enumerate() {
            write!(out, "{}{item}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// The owner name of our notes, without its NULs.
fn owner() -> &'static [u8] {
    text(&MANIFEST_NAME).unwrap_or(&MANIFEST_NAME)
}

/// Reads the fields of [`Manifest`] in their order; `None` if the size is not that of a manifest.
fn decode(descriptor: &[u8]) -> Option<Manifest> {
    let (abi_version, rest) = descriptor.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk::<8>()?;
    let (table_memory, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let [v0, v1, v2, v3, v4, v5, v6, v7] = *version;
    Some(Manifest {
        abi_version: u32::from_le_bytes(*abi_version),
        version: [[v0, v1], [v2, v3], [v4, v5], [v6, v7]].map(u16::from_le_bytes),
        table_memory: u32::from_le_bytes(*table_memory),
        name: *name,
        compatible: rest.try_into().ok()?,
    })
}

/// What stands before the padding of a NUL-padded field.
fn text_area(field: &[u8]) -> &[u8] {
    let padding = field.iter().rev().take_while(|&&byte| byte == 0).count();
    field.get(..field.len() - padding).unwrap_or_default()
}

/// A field with one text: there is padding, and no NUL before it.
fn text(field: &[u8]) -> Option<&[u8]> {
    let area = text_area(field);
    (area.len() < field.len() && !area.contains(&0)).then_some(area)
}

/// A field with several texts, one NUL between each: there is padding.
fn list(field: &[u8]) -> Option<impl Iterator<Item = &[u8]>> {
    let area = text_area(field);
    (area.len() < field.len()).then(|| area.split(|&byte| byte == 0))
}

/// Devicetree Specification 2.3.1: a compatible string is printable, and has no comma-separated list in it here.
fn is_compatible(item: &[u8]) -> bool {
    !item.is_empty() && item.iter().all(u8::is_ascii_graphic)
}
