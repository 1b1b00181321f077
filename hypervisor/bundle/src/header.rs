//! The header of an entry (cpio(5), "New ASCII Format").

use crate::error::{BundleError, Problem};
use crate::slice;

/// Size of the header in bytes: the magic and 13 fields.
pub(crate) const SIZE: usize = 6 + 13 * 8;

/// Headers and contents start at multiples of this.
pub(crate) const ALIGN: usize = 4;

const MAGIC: [u8; 6] = *b"070701";

/// `S_IFMT` and `S_IFREG` of `c_mode` (inode(7)).
const MODE_KIND: u32 = 0o170_000;
const MODE_REGULAR: u32 = 0o100_000;

/// The fields that say what follows. Owner, times and device numbers are not looked at.
pub(crate) struct Header {
    mode: u32,
    links: u32,
    /// Bytes of contents.
    pub(crate) file_size: usize,
    /// Bytes of the name with its NUL.
    pub(crate) name_size: usize,
}

impl Header {
    /// Reads the header at `offset`.
    pub(crate) fn parse(bytes: &[u8], offset: usize) -> Result<Header, BundleError<'_>> {
        let parse = || {
            let header = slice(bytes, offset, SIZE)?;
            let (found, fields) = header.split_first_chunk().ok_or(Problem::Truncated {
                needed: SIZE,
                left: 0,
            })?;
            if *found != MAGIC {
                return Err(Problem::Magic { found: *found });
            }
            let (fields, _) = fields.as_chunks::<8>();
            let field = |index: usize, name| fields.get(index).map_or(Ok(0), |digits| number(name, digits));
            Ok(Header {
                mode: field(1, "c_mode")?,
                links: field(4, "c_nlink")?,
                file_size: field(6, "c_filesize")? as usize,
                name_size: field(11, "c_namesize")? as usize,
            })
        };
        parse().map_err(|problem: Problem| problem.at(offset, ""))
    }

    /// A bundle has regular files only, each with its own contents.
    pub(crate) fn check_plain_file(&self) -> Result<(), Problem> {
        if self.mode & MODE_KIND != MODE_REGULAR {
            return Err(Problem::NotAFile { mode: self.mode });
        }
        if self.links > 1 {
            return Err(Problem::HardLink { links: self.links });
        }
        Ok(())
    }
}

/// Eight hexadecimal digits as a number.
fn number(field: &'static str, digits: &[u8; 8]) -> Result<u32, Problem> {
    digits.iter().try_fold(0, |value, &digit| {
        let digit = char::from(digit).to_digit(16).ok_or(Problem::Field {
            field,
            found: *digits,
        })?;
        Ok(value << 4 | digit)
    })
}
