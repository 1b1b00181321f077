//! Reads the bundle: guests, components and the partition file in one archive.
//!
//! The format is cpio "newc" (cpio(5), magic `070701`), as a boot loader passes an initrd. An archive is
//! untrusted, so [`Bundle::new`] walks all of it once; a [`Bundle`] that exists holds whole members with
//! distinct plain names only. Nothing is copied.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

mod error;
mod header;
#[cfg(test)]
mod tests;

pub use error::{BundleError, Problem};
use header::Header;

/// The most members that a bundle may have; looking for equal names costs its square.
pub const MAX_MEMBERS: usize = 256;

/// The longest name of a member, in bytes.
pub const MAX_NAME: usize = 255;

/// The name that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// A validated archive.
#[derive(Debug, Clone, Copy)]
pub struct Bundle<'a> {
    bytes: &'a [u8],
}

/// A file of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its name: printable ASCII, not empty.
    pub name: &'a str,
    /// Its contents.
    pub data: &'a [u8],
    /// Where its header starts in the archive, in bytes.
    pub offset: usize,
}

impl<'a> Bundle<'a> {
    /// Validates an archive. Zero bytes may follow its trailer, as boot loaders round sizes up; nothing else may.
    pub fn new(bytes: &'a [u8]) -> Result<Self, BundleError<'a>> {
        let bundle = Bundle { bytes };
        let mut offset = 0;
        for earlier in 0..=MAX_MEMBERS {
            match read_entry(bytes, offset)? {
                Entry::Trailer { end } => return check_rest(bytes, end).map(|()| bundle),
                Entry::File { member, .. } if earlier == MAX_MEMBERS => {
                    return Err(Problem::TooMany { limit: MAX_MEMBERS }.at(offset, member.name));
                }
                Entry::File { member, next } => {
                    if let Some(first) = bundle
                        .members()
                        .take(earlier)
                        .find(|other| other.name == member.name)
                    {
                        return Err(Problem::Duplicate { first: first.offset }.at(offset, member.name));
                    }
                    offset = next;
                }
            }
        }
        Err(Problem::TooMany { limit: MAX_MEMBERS }.at(offset, ""))
    }

    /// The members in the order of the archive.
    pub fn members(&self) -> Members<'a> {
        Members {
            bytes: self.bytes,
            offset: 0,
        }
    }

    /// The contents of the member called `name`.
    pub fn find(&self, name: &str) -> Option<&'a [u8]> {
        self.members()
            .find(|member| member.name == name)
            .map(|member| member.data)
    }
}

/// Iterates over the members of a [`Bundle`].
#[derive(Debug, Clone)]
pub struct Members<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        match read_entry(self.bytes, self.offset) {
            Ok(Entry::File { member, next }) => {
                self.offset = next;
                Some(member)
            }
            // `Bundle::new` has seen every entry, so an error cannot come up here.
            Ok(Entry::Trailer { .. }) | Err(_) => None,
        }
    }
}

/// One entry of the archive.
enum Entry<'a> {
    /// A file, and the offset of the entry behind it.
    File { member: Member<'a>, next: usize },
    /// The end of the archive, and the offset of what follows.
    Trailer { end: usize },
}

/// Reads the entry whose header is at `offset`.
fn read_entry(bytes: &[u8], offset: usize) -> Result<Entry<'_>, BundleError<'_>> {
    let header = Header::parse(bytes, offset)?;
    let name_start = offset + header::SIZE;
    let raw_name = slice(bytes, name_start, header.name_size).map_err(|problem| problem.at(offset, ""))?;
    let name = plain_name(raw_name).map_err(|problem| problem.at(offset, ""))?;
    let data_start = (name_start + header.name_size).next_multiple_of(header::ALIGN);
    let data = slice(bytes, data_start, header.file_size).map_err(|problem| problem.at(offset, name))?;
    let end = data_start + header.file_size;
    if name == TRAILER {
        return Ok(Entry::Trailer { end });
    }
    header
        .check_plain_file()
        .map_err(|problem| problem.at(offset, name))?;
    Ok(Entry::File {
        member: Member { name, data, offset },
        next: end.next_multiple_of(header::ALIGN),
    })
}

/// The name without its NUL, if it is printable ASCII of a sensible length.
fn plain_name(raw: &[u8]) -> Result<&str, Problem> {
    let Some((&0, name)) = raw.split_last() else {
        return Err(Problem::NameNotTerminated);
    };
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(Problem::NameLength {
            length: name.len(),
            limit: MAX_NAME,
        });
    }
    if let Some(&byte) = name.iter().find(|byte| !byte.is_ascii_graphic()) {
        return Err(Problem::NameByte { byte });
    }
    core::str::from_utf8(name).map_err(|_| Problem::NameNotTerminated)
}

/// `size` bytes at `start`, or how many are missing.
fn slice(bytes: &[u8], start: usize, size: usize) -> Result<&[u8], Problem> {
    let left = bytes.len().saturating_sub(start);
    start
        .checked_add(size)
        .and_then(|end| bytes.get(start..end))
        .ok_or(Problem::Truncated { needed: size, left })
}

/// Whatever follows the trailer must be zero.
fn check_rest(bytes: &[u8], end: usize) -> Result<(), BundleError<'_>> {
    let rest = bytes.get(end..).unwrap_or_default();
    match rest.iter().enumerate().find(|&(_, &byte)| byte != 0) {
        Some((index, &byte)) => Err(Problem::AfterTrailer { byte }.at(end + index, TRAILER)),
        None => Ok(()),
    }
}
