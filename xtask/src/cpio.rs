//! Writes cpio archives: bundles for the core, initial RAM disks for Linux.

use anyhow::{Context, Result, ensure};

/// The magic of cpio's "newc" format (cpio(5)).
const MAGIC: &str = "070701";
/// Names and data are padded to this.
const ALIGN: usize = 4;
/// The name of the entry that ends an archive.
const TRAILER: &str = "TRAILER!!!";

/// One entry of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    name: &'a str,
    /// Type and permissions (inode(7)).
    mode: u32,
    data: &'a [u8],
}

impl<'a> Entry<'a> {
    /// A file that everybody may read.
    pub(crate) fn file(name: &'a str, data: &'a [u8]) -> Self {
        Entry {
            name,
            mode: 0o100_644,
            data,
        }
    }

    /// A file that everybody may run.
    pub(crate) fn program(name: &'a str, data: &'a [u8]) -> Self {
        Entry {
            name,
            mode: 0o100_755,
            data,
        }
    }

    /// A folder.
    pub(crate) fn folder(name: &'a str) -> Self {
        Entry {
            name,
            mode: 0o040_755,
            data: &[],
        }
    }
}

/// An archive of these entries, in this order: a folder comes before what is in it.
pub(crate) fn archive<'a>(entries: impl IntoIterator<Item = Entry<'a>>) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        append(&mut archive, index + 1, &entry)?;
    }
    let trailer = Entry {
        name: TRAILER,
        mode: 0,
        data: &[],
    };
    append(&mut archive, 0, &trailer)?;
    Ok(archive)
}

/// Appends one entry. The header's fields that mean nothing here are the same on every machine.
fn append(archive: &mut Vec<u8>, inode: usize, entry: &Entry<'_>) -> Result<()> {
    let Entry { name, mode, data } = *entry;
    ensure!(
        name.is_ascii() && !name.is_empty(),
        "{name:?} cannot be a member's name"
    );
    let size = u32::try_from(data.len()).with_context(|| format!("{name} is too large"))?;
    let inode = u32::try_from(inode)?;
    let name_size = u32::try_from(name.len() + 1)?;
    // inode, mode, uid, gid, links, mtime, size, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
    archive.extend_from_slice(MAGIC.as_bytes());
    for field in fields {
        archive.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(data);
    pad(archive);
    Ok(())
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(ALIGN), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_what_the_format_says() {
        let archive = archive([Entry::folder("bin"), Entry::program("bin/a", b"12345")]).unwrap();
        let text = String::from_utf8_lossy(&archive);
        let header = |inode: u32, mode: u32, size: u32, name_size: u32| {
            let zeros = "00000000".repeat(4);
            format!(
                "070701{inode:08x}{mode:08x}{}0000000100000000{size:08x}{zeros}{name_size:08x}00000000",
                "00000000".repeat(2)
            )
        };
        let expected = [
            header(1, 0o040_755, 0, 4),
            "bin\0\0\0".to_string(),
            header(2, 0o100_755, 5, 6),
            "bin/a\0".to_string() + "12345\0\0\0",
            header(0, 0, 0, 11),
            "TRAILER!!!\0\0\0\0".to_string(),
        ];
        assert_eq!(text, expected.concat());
    }

    #[test]
    fn a_name_that_is_no_name_is_refused() {
        assert!(archive([Entry::file("", b"")]).is_err());
        assert!(archive([Entry::file("café", b"")]).is_err());
    }
}
