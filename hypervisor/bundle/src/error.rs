//! What can be wrong with a bundle.

/// A fault in the archive: where, in which member, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bundle, offset {offset:#x}, member {member:?}: {problem}")]
pub struct BundleError<'a> {
    /// Bytes from the start of the archive to the entry's header, or to the stray byte.
    pub offset: usize,
    /// The member's name; empty if the fault lies before its end.
    pub member: &'a str,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The archive ends too early.
    #[error("truncated: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes that the header, name or contents take.
        needed: usize,
        /// Bytes that the archive still has there.
        left: usize,
    },
    /// The magic is not `070701`.
    #[error("magic {found:02x?} is not cpio newc (\"070701\")")]
    Magic {
        /// The six bytes found.
        found: [u8; 6],
    },
    /// A header field is not eight hexadecimal digits.
    #[error("header field {field} is {found:02x?}, not eight hexadecimal digits")]
    Field {
        /// The field's name in cpio(5).
        field: &'static str,
        /// The bytes found.
        found: [u8; 8],
    },
    /// The name does not end in a NUL at the place that its size gives.
    #[error("the name does not end in a NUL")]
    NameNotTerminated,
    /// The name is empty or too long.
    #[error("the name has {length} bytes, 1 to {limit} are accepted")]
    NameLength {
        /// Bytes without the NUL.
        length: usize,
        /// [`crate::MAX_NAME`].
        limit: usize,
    },
    /// The name is not plain.
    #[error("the name has the byte {byte:#04x}, only printable ASCII is accepted")]
    NameByte {
        /// The first such byte.
        byte: u8,
    },
    /// The entry is a directory, link or device.
    #[error("mode {mode:#o} is not a regular file")]
    NotAFile {
        /// `c_mode`.
        mode: u32,
    },
    /// The entry is a hard link, whose contents may stand elsewhere.
    #[error("{links} hard links, only one is accepted")]
    HardLink {
        /// `c_nlink`.
        links: u32,
    },
    /// Two members have one name.
    #[error("the name was taken at offset {first:#x}")]
    Duplicate {
        /// The offset of the first.
        first: usize,
    },
    /// There are more members than [`crate::MAX_MEMBERS`].
    #[error("more than {limit} members")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Something other than zeros follows the trailer.
    #[error("byte {byte:#04x} after the end of the archive")]
    AfterTrailer {
        /// The first such byte.
        byte: u8,
    },
}

impl Problem {
    /// Says where the problem is.
    pub(crate) fn at(self, offset: usize, member: &str) -> BundleError<'_> {
        BundleError {
            offset,
            member,
            problem: self,
        }
    }
}
