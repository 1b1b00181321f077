//! A small component file, with every part open to change. Offsets in the file are addresses in the image.

use driver_abi::{ABI_VERSION, MANIFEST_NAME};

/// Where things stand.
pub(super) const NOTE: usize = 0x300;
pub(super) const DYNAMIC: usize = 0x500;
pub(super) const RELA: usize = 0x700;
pub(super) const RELR: usize = 0x800;
/// The pointer in the read-only segment that the RELA table names.
pub(super) const RELA_POINTER: usize = 0x900;
pub(super) const TEXT: usize = 0x1000;
pub(super) const DATA: usize = 0x2000;
/// The first of three words in the writable segment that the RELR table names.
pub(super) const POINTER: usize = DATA + 0x10;
const FILE_SIZE: usize = DATA + 0x40;

/// A program header.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) address: u64,
    pub(super) file_size: u64,
    pub(super) memory_size: u64,
}

impl Header {
    pub(super) fn new(kind: u32, flags: u32, at: usize, file_size: usize, memory_size: usize) -> Self {
        let at = at as u64;
        Header {
            kind,
            flags,
            offset: at,
            address: at,
            file_size: file_size as u64,
            memory_size: memory_size as u64,
        }
    }
}

/// The file.
#[derive(Clone)]
pub(super) struct Sample {
    /// Class, byte order, version, OS ABI.
    pub(super) ident: [u8; 4],
    pub(super) kind: u16,
    pub(super) machine: u16,
    pub(super) entry: u64,
    pub(super) headers: Vec<Header>,
    /// Tags and values.
    pub(super) dynamic: Vec<(u64, u64)>,
    /// Offset, info, addend.
    pub(super) rela: Vec<[u64; 3]>,
    pub(super) relr: Vec<u64>,
    pub(super) manifest: Vec<u8>,
    pub(super) note_type: u32,
    /// `st_shndx` of dynamic symbols behind the reserved one; section headers are written if there are any.
    pub(super) symbols: Vec<u16>,
}

impl Default for Sample {
    fn default() -> Self {
        let mut manifest = ABI_VERSION.to_le_bytes().to_vec();
        manifest.extend([0, 0, 1, 0, 2, 0, 0, 0]);
        manifest.extend(0x10_0000_u32.to_le_bytes());
        manifest.extend(b"smmu-v3");
        manifest.resize(48, 0);
        manifest.extend(b"arm,smmu-v3\0arm,smmu-v3.1");
        manifest.resize(256, 0);
        Sample {
            ident: [2, 1, 1, 3],
            kind: 3,
            machine: 183,
            entry: TEXT as u64 + 4,
            headers: vec![
                Header::new(1, 4, 0, 0xa00, 0xa00),
                Header::new(4, 4, NOTE, 24 + 256, 24 + 256),
                Header::new(2, 4, DYNAMIC, 0x200, 0x200),
                Header::new(1, 5, TEXT, 0x10, 0x10),
                Header::new(1, 6, DATA, 0x40, 0x1800),
                Header::new(0x6474_e551, 6, 0, 0, 0),
            ],
            dynamic: vec![
                (0x6fff_fffb, 0x0800_0000),
                (7, RELA as u64),
                (8, 24),
                (9, 24),
                (0x6fff_fff9, 1),
                (36, RELR as u64),
                (35, 16),
                (37, 8),
                (30, 8),
            ],
            rela: vec![[RELA_POINTER as u64, 1027, 0x2008]],
            // POINTER, and by bitmap the second word behind it.
            relr: vec![POINTER as u64, 0b101],
            manifest,
            note_type: 1,
            symbols: Vec::new(),
        }
    }
}

/// Copies little-endian values one after the other.
fn put(file: &mut [u8], offset: usize, parts: &[&[u8]]) {
    let bytes = parts.concat();
    file[offset..offset + bytes.len()].copy_from_slice(&bytes);
}

impl Sample {
    /// The file's bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut file = vec![0; FILE_SIZE];
        let count = u16::try_from(self.headers.len()).unwrap();
        let (section_offset, section_count) = if self.symbols.is_empty() {
            (0_u64, 0_u16)
        } else {
            (0xa00, 3)
        };
        put(
            &mut file,
            0,
            &[
                b"\x7fELF",
                &self.ident,
                &[0; 8],
                &self.kind.to_le_bytes(),
                &self.machine.to_le_bytes(),
                &1_u32.to_le_bytes(),
                &self.entry.to_le_bytes(),
                &64_u64.to_le_bytes(),
                &section_offset.to_le_bytes(),
                &0_u32.to_le_bytes(),
                &[64, 0, 56, 0],
                &count.to_le_bytes(),
                &[64, 0],
                &section_count.to_le_bytes(),
                &[0, 0],
            ],
        );
        for (index, header) in self.headers.iter().enumerate() {
            let words = [
                header.offset,
                header.address,
                0,
                header.file_size,
                header.memory_size,
            ];
            let words: Vec<_> = words.into_iter().flat_map(u64::to_le_bytes).collect();
            let parts: [&[u8]; 4] = [
                &header.kind.to_le_bytes(),
                &header.flags.to_le_bytes(),
                &words,
                &if header.kind == 4 { 4_u64 } else { 0x1000 }.to_le_bytes(),
            ];
            put(&mut file, 64 + index * 56, &parts);
        }
        let size = u32::try_from(self.manifest.len()).unwrap();
        let note: [&[u8]; 5] = [
            &11_u32.to_le_bytes(),
            &size.to_le_bytes(),
            &self.note_type.to_le_bytes(),
            &MANIFEST_NAME,
            &self.manifest,
        ];
        put(&mut file, NOTE, &note);
        for (index, (tag, value)) in self.dynamic.iter().enumerate() {
            put(
                &mut file,
                DYNAMIC + index * 16,
                &[&tag.to_le_bytes(), &value.to_le_bytes()],
            );
        }
        for (index, entry) in self.rela.iter().enumerate() {
            put(
                &mut file,
                RELA + index * 24,
                &entry.map(u64::to_le_bytes).each_ref().map(|word| &word[..]),
            );
        }
        for (index, entry) in self.relr.iter().enumerate() {
            put(&mut file, RELR + index * 8, &[&entry.to_le_bytes()]);
        }
        put(
            &mut file,
            POINTER,
            &[
                &0x1004_u64.to_le_bytes(),
                &0x77_u64.to_le_bytes(),
                &0x10_u64.to_le_bytes(),
            ],
        );
        put(&mut file, TEXT, &[b"codecodecodecode"]);
        self.put_symbols(&mut file);
        file
    }

    /// A dynamic symbol table at 0xb00, a string table at 0xbf0, and the section headers of both at 0xa00.
    fn put_symbols(&self, file: &mut [u8]) {
        if self.symbols.is_empty() {
            return;
        }
        for (index, section) in self.symbols.iter().enumerate() {
            let symbol = 0xc00 + 24 * (index + 1);
            put(
                file,
                symbol,
                &[&1_u32.to_le_bytes(), &[0x10, 0], &section.to_le_bytes()],
            );
        }
        let size = 24 * (self.symbols.len() as u64 + 1);
        let section = |kind: u32, offset: u64, size: u64, link: u32, entry_size: u64| {
            let mut bytes = vec![0; 4];
            bytes.extend(kind.to_le_bytes());
            bytes.extend([0, 0, offset, size].map(u64::to_le_bytes).concat());
            bytes.extend([link, 0].map(u32::to_le_bytes).concat());
            bytes.extend([8, entry_size].map(u64::to_le_bytes).concat());
            bytes
        };
        put(
            file,
            0xa00,
            &[
                &[0; 64],
                &section(11, 0xc00, size, 2, 24),
                &section(3, 0xbf0, 8, 0, 0),
            ],
        );
    }
}
