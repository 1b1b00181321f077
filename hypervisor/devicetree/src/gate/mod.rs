//! The gate: bytes from firmware become a [`Blob`], or an error that says what is wrong with them.

mod error;
mod header;
mod walk;

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;

pub use error::{Block, GateError};
use header::Header;

/// The largest blob that is read, in bytes. The largest trees that ship are a quarter of it.
pub const MAX_SIZE: usize = 2 * 1024 * 1024;
/// How many nodes deep a tree may be, the root included.
pub const MAX_DEPTH: usize = 32;
/// How many nodes a tree may have. The largest trees that ship have about 6,000.
pub const MAX_NODES: usize = 16 * 1024;
/// The longest path of a node, in bytes. It bounds what indices by path and messages can cost.
pub const MAX_PATH: usize = 512;
/// The longest name of a node or property, in bytes. DTSpec 2.2.1 says 31, real trees exceed it.
pub const MAX_NAME: usize = 255;

/// A device tree blob that passed the gate: our own copy, without FDT_NOP tokens.
///
/// Holding one proves that:
/// - the header is that of a version 17 blob, and its blocks lie inside the bytes, aligned and apart;
/// - the memory reservation block is terminated;
/// - the structure block is one nameless root with balanced nodes, at most [`MAX_DEPTH`] deep and [`MAX_NODES`]
///   many, paths of at most [`MAX_PATH`] bytes, properties before children, and FDT_END as its last word;
/// - every name is printable ASCII of at most [`MAX_NAME`] bytes, without `/`, and unique among its siblings;
/// - every value lies inside the structure block, and the properties that count cells or name a phandle are
///   one cell long.
///
/// It does not prove anything about the meaning of the properties.
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    bytes: Vec<u8>,
    nodes: usize,
    properties: usize,
}

impl Blob {
    /// Validates `bytes` and copies them. Bytes behind the blob's own size are ignored.
    ///
    /// # Errors
    /// The first defect found, with its offset, node and property.
    pub fn new(bytes: &[u8]) -> Result<Blob, GateError> {
        let size = header::declared_size(bytes)?;
        let available = bytes.len();
        let original = bytes.get(..size).ok_or(GateError::Truncated {
            totalsize: size,
            available,
        })?;
        // Copied before it is looked at: DMA that firmware left running may still write to the original.
        let mut copy = Vec::new();
        copy.try_reserve_exact(size)
            .map_err(|_| GateError::NoMemory { size })?;
        copy.extend_from_slice(original);
        let source = Header::parse(&copy)?;
        let compacted = walk::compact(&source)?;
        let bytes = source.rebuild(&compacted.structure)?;
        Ok(Blob {
            bytes,
            nodes: compacted.nodes,
            properties: compacted.properties,
        })
    }

    /// The size that a blob says it has, from its first [`Blob::PREFIX`] bytes.
    ///
    /// The caller who has only a pointer uses it to learn how many bytes to hand to [`Blob::new`].
    ///
    /// # Errors
    /// Too few bytes, a wrong magic number, or a size out of bounds.
    pub fn declared_size(header: &[u8]) -> Result<usize, GateError> {
        header::declared_size(header)
    }

    /// How many bytes [`Blob::declared_size`] needs.
    pub const PREFIX: usize = 8;

    /// The blob as it goes to another reader: version 17, no FDT_NOP tokens.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many nodes the structure block has.
    pub fn node_count(&self) -> usize {
        self.nodes
    }

    /// How many properties the structure block has.
    pub fn property_count(&self) -> usize {
        self.properties
    }
}

impl core::fmt::Debug for Blob {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Blob")
            .field("size", &self.bytes.len())
            .field("nodes", &self.nodes)
            .field("properties", &self.properties)
            .finish()
    }
}

/// The big-endian word at `offset`, if all of it is there.
fn word(bytes: &[u8], offset: usize) -> Option<u32> {
    let word = bytes.get(offset..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*word))
}

/// The big-endian double word at `offset`, if all of it is there.
fn double_word(bytes: &[u8], offset: usize) -> Option<u64> {
    let word = bytes.get(offset..)?.first_chunk::<8>()?;
    Some(u64::from_be_bytes(*word))
}
