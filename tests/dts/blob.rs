//! Writes device tree blobs token by token, well-formed or not, for tests. Included by path; a crate of its own
//! would make the checked code depend on it.

use std::vec::Vec;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const END: u32 = 9;

/// A blob while it is written.
#[derive(Debug, Default, Clone)]
pub(crate) struct Writer {
    reservations: Vec<(u64, u64)>,
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Writer {
    /// Adds an entry to the memory reservation block.
    pub(crate) fn reserve(&mut self, address: u64, size: u64) -> &mut Self {
        self.reservations.push((address, size));
        self
    }

    /// Starts a node.
    pub(crate) fn begin(&mut self, name: &str) -> &mut Self {
        self.word(BEGIN_NODE).padded(name.as_bytes(), 1)
    }

    /// Ends a node.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.word(END_NODE)
    }

    /// Adds a property to the open node. Its name is a new string, even if there is one like it.
    pub(crate) fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name_offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.word(PROP)
            .word(u32::try_from(value.len()).unwrap())
            .word(name_offset)
            .padded(value, 0)
    }

    /// Adds a word to the structure block: a token, or anything else.
    pub(crate) fn word(&mut self, word: u32) -> &mut Self {
        self.structure.extend_from_slice(&word.to_be_bytes());
        self
    }

    fn padded(&mut self, bytes: &[u8], zeroes: usize) -> &mut Self {
        self.structure.extend_from_slice(bytes);
        self.structure
            .resize((self.structure.len() + zeroes).next_multiple_of(4), 0);
        self
    }

    /// The blob, ended by FDT_END: header, reservations, structure, strings, in this order.
    pub(crate) fn finish(&self) -> Vec<u8> {
        let mut ended = self.clone();
        let structure = &ended.word(END).structure;
        let structure_offset = 40 + (self.reservations.len() + 1) * 16;
        let strings_offset = structure_offset + structure.len();
        let size = strings_offset + self.strings.len();
        let header = [
            0xd00d_feed,
            size,
            structure_offset,
            strings_offset,
            40,
            17,
            16,
            0,
            self.strings.len(),
            structure.len(),
        ];
        let mut out: Vec<u8> = header
            .iter()
            .flat_map(|&field| u32::try_from(field).unwrap().to_be_bytes())
            .collect();
        for &(address, size) in self.reservations.iter().chain(&[(0, 0)]) {
            out.extend_from_slice(&address.to_be_bytes());
            out.extend_from_slice(&size.to_be_bytes());
        }
        out.extend_from_slice(structure);
        out.extend_from_slice(&self.strings);
        out
    }
}
