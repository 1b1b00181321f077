//! The manifest: what a component says of itself, read from the file before anything is mapped.
//!
//! It is an ELF note (gABI 2.4.3) without pointers, so it needs no relocation. Put it into the binary with
//! `#[used] #[unsafe(link_section = ".note.portcullis")] static NOTE: ManifestNote = ManifestNote::new(…)`.

/// The section of the note.
pub const MANIFEST_SECTION: &str = ".note.portcullis";
/// The note's owner name, NUL-terminated and padded to 4 bytes.
pub const MANIFEST_NAME: [u8; 12] = *b"Portcullis\0\0";
/// What the note's header gives as size of its owner name: the text and one NUL, without padding.
pub const MANIFEST_NAME_SIZE: u32 = 11;
/// What the note's header gives as size of its descriptor.
pub const MANIFEST_SIZE: u32 = 256;
/// The note's type.
pub const MANIFEST_TYPE: u32 = 1;

/// What a component says of itself.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manifest {
    /// [`crate::ABI_VERSION`] the component was built with.
    pub abi_version: u32,
    /// Component version: major, minor, patch, and zero.
    pub version: [u16; 4],
    /// Table memory it may ask for at most, in bytes, for each SMMU.
    pub table_memory: u32,
    /// NUL-padded ASCII name.
    pub name: [u8; 32],
    /// NUL-separated `compatible` strings of the SMMUs it drives; the rest is NUL.
    pub compatible: [u8; 208],
}

/// The manifest with its ELF note header.
#[repr(C, align(4))]
#[derive(Debug, Clone, Copy)]
pub struct ManifestNote {
    name_size: u32,
    descriptor_size: u32,
    kind: u32,
    name: [u8; 12],
    /// The descriptor.
    pub manifest: Manifest,
}

impl ManifestNote {
    /// Wraps a manifest.
    pub const fn new(manifest: Manifest) -> Self {
        ManifestNote {
            name_size: MANIFEST_NAME_SIZE,
            descriptor_size: MANIFEST_SIZE,
            kind: MANIFEST_TYPE,
            name: MANIFEST_NAME,
            manifest,
        }
    }
}

/// Copies `text` into a NUL-padded array, at compile time; it must fit with one NUL to spare.
#[expect(
    clippy::indexing_slicing,
    reason = "const evaluation has no `get`; out of bounds is a build error"
)]
pub const fn packed<const N: usize>(text: &str) -> [u8; N] {
    let bytes = text.as_bytes();
    assert!(bytes.len() < N, "text does not fit");
    let mut out = [0; N];
    let mut i = 0;
    while i < bytes.len() {
        out[i] = bytes[i];
        i += 1;
    }
    out
}

const _: () = {
    assert!(size_of::<Manifest>() == MANIFEST_SIZE as usize);
    assert!(size_of::<ManifestNote>() == 24 + MANIFEST_SIZE as usize);
};
