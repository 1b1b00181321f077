//! Archives written by the tests themselves, whole and damaged.

use super::*;
use proptest::prelude::*;

/// An entry as an archiver writes it.
struct Written<'a> {
    name: &'a [u8],
    data: &'a [u8],
    mode: u32,
    links: u32,
}

impl<'a> Written<'a> {
    fn file(name: &'a str, data: &'a [u8]) -> Self {
        Written {
            name: name.as_bytes(),
            data,
            mode: 0o100_644,
            links: 1,
        }
    }

    fn append(&self, out: &mut Vec<u8>) {
        let fields = [
            7, // c_ino
            self.mode,
            0, // c_uid
            0, // c_gid
            self.links,
            0, // c_mtime
            u32::try_from(self.data.len()).unwrap(),
            0, // c_devmajor
            0, // c_devminor
            0, // c_rdevmajor
            0, // c_rdevminor
            u32::try_from(self.name.len()).unwrap() + 1,
            0, // c_check
        ];
        out.extend(b"070701");
        out.extend(
            fields
                .iter()
                .flat_map(|field| format!("{field:08X}").into_bytes()),
        );
        out.extend(self.name);
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(self.data);
        out.resize(out.len().next_multiple_of(4), 0);
    }
}

fn archive(entries: &[Written<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        entry.append(&mut out);
    }
    Written {
        mode: 0,
        ..Written::file(TRAILER, b"")
    }
    .append(&mut out);
    out
}

fn sample() -> Vec<u8> {
    archive(&[
        Written::file("partition.dtb", b"\xd0\x0d\xfe\xed"),
        Written::file("components/smmu-v3.elf", b"12345"),
    ])
}

/// What `Bundle::new` says of `bytes`.
fn check(bytes: &[u8], message: &str) {
    assert_eq!(Bundle::new(bytes).unwrap_err().to_string(), message);
}

#[test]
fn members_are_found_by_name_and_in_order() {
    let bytes = sample();
    let bundle = Bundle::new(&bytes).unwrap();
    assert_eq!(bundle.find("components/smmu-v3.elf"), Some(&b"12345"[..]));
    assert_eq!(bundle.find("components/smmu-v2.elf"), None);
    let names: Vec<_> = bundle.members().map(|member| member.name).collect();
    assert_eq!(names, ["partition.dtb", "components/smmu-v3.elf"]);
}

#[test]
fn an_archive_without_members_is_a_bundle() {
    assert_eq!(Bundle::new(&archive(&[])).unwrap().members().count(), 0);
}

#[test]
fn zeros_after_the_trailer_are_ignored_and_nothing_else_is() {
    let mut bytes = sample();
    let end = bytes.len();
    bytes.resize(end + 300, 0);
    assert!(Bundle::new(&bytes).is_ok());
    bytes[end + 256] = b'x';
    let offset = end + 256;
    check(
        &bytes,
        &format!("bundle, offset {offset:#x}, member \"TRAILER!!!\": byte 0x78 after the end of the archive"),
    );
}

#[test]
fn a_truncated_archive_names_the_member() {
    let bytes = sample();
    check(
        &bytes[..0],
        "bundle, offset 0x0, member \"\": truncated: 110 bytes needed, 0 left",
    );
    check(
        &bytes[..109],
        "bundle, offset 0x0, member \"\": truncated: 110 bytes needed, 109 left",
    );
    check(
        &bytes[..115],
        "bundle, offset 0x0, member \"\": truncated: 14 bytes needed, 5 left",
    );
    check(
        &bytes[..126],
        "bundle, offset 0x0, member \"partition.dtb\": truncated: 4 bytes needed, 2 left",
    );
    check(
        &bytes[..128],
        "bundle, offset 0x80, member \"\": truncated: 110 bytes needed, 0 left",
    );
}

#[test]
fn other_formats_are_refused() {
    let mut bytes = sample();
    bytes[5] = b'2';
    check(
        &bytes,
        "bundle, offset 0x0, member \"\": magic [30, 37, 30, 37, 30, 32] is not cpio newc (\"070701\")",
    );
    check(
        &[0x1f; 200],
        "bundle, offset 0x0, member \"\": magic [1f, 1f, 1f, 1f, 1f, 1f] is not cpio newc (\"070701\")",
    );
}

#[test]
fn a_size_that_is_no_number_or_too_large_is_refused() {
    let mut bytes = sample();
    bytes[54..62].copy_from_slice(b"+0000004");
    check(
        &bytes,
        "bundle, offset 0x0, member \"\": header field c_filesize is [2b, 30, 30, 30, 30, 30, 30, 34], not eight hexadecimal digits",
    );
    bytes[54..62].copy_from_slice(b"FFFFFFFF");
    let left = bytes.len() - 124;
    check(
        &bytes,
        &format!(
            "bundle, offset 0x0, member \"partition.dtb\": truncated: 4294967295 bytes needed, {left} left"
        ),
    );
}

#[test]
fn names_are_plain() {
    let one = |name: &[u8]| {
        archive(&[Written {
            name,
            ..Written::file("", b"")
        }])
    };
    check(
        &one(b""),
        "bundle, offset 0x0, member \"\": the name has 0 bytes, 1 to 255 are accepted",
    );
    check(
        &one(&[b'a'; 256]),
        "bundle, offset 0x0, member \"\": the name has 256 bytes, 1 to 255 are accepted",
    );
    assert!(Bundle::new(&one(&[b'a'; 255])).is_ok());
    check(
        &one(b"a\0b"),
        "bundle, offset 0x0, member \"\": the name has the byte 0x00, only printable ASCII is accepted",
    );
    let mut bytes = one(b"a");
    bytes[111] = b'b';
    check(
        &bytes,
        "bundle, offset 0x0, member \"\": the name does not end in a NUL",
    );
}

#[test]
fn only_regular_files_with_their_own_contents_are_members() {
    let directory = archive(&[Written {
        mode: 0o040_755,
        ..Written::file("components", b"")
    }]);
    check(
        &directory,
        "bundle, offset 0x0, member \"components\": mode 0o40755 is not a regular file",
    );
    let link = archive(&[Written {
        links: 2,
        ..Written::file("a", b"")
    }]);
    check(
        &link,
        "bundle, offset 0x0, member \"a\": 2 hard links, only one is accepted",
    );
}

#[test]
fn a_name_is_used_once() {
    let bytes = archive(&[
        Written::file("a", b"1"),
        Written::file("b", b"2"),
        Written::file("a", b"3"),
    ]);
    check(
        &bytes,
        "bundle, offset 0xe8, member \"a\": the name was taken at offset 0x0",
    );
}

#[test]
fn the_number_of_members_is_bounded() {
    let names: Vec<_> = (0..=MAX_MEMBERS).map(|index| index.to_string()).collect();
    let entries: Vec<_> = names.iter().map(|name| Written::file(name, b"")).collect();
    assert_eq!(
        Bundle::new(&archive(&entries[..MAX_MEMBERS]))
            .unwrap()
            .members()
            .count(),
        MAX_MEMBERS
    );
    let error = archive(&entries);
    assert_eq!(
        Bundle::new(&error).unwrap_err().problem,
        Problem::TooMany { limit: MAX_MEMBERS }
    );
}

proptest! {
    /// What a writer wrote is read back.
    #[test]
    fn round_trip(files in prop::collection::btree_map("[!-~]{1,40}", prop::collection::vec(any::<u8>(), 0..300), 0..8)) {
        prop_assume!(!files.contains_key(TRAILER));
        let entries: Vec<_> = files.iter().map(|(name, data)| Written::file(name, data)).collect();
        let bytes = archive(&entries);
        let bundle = Bundle::new(&bytes).unwrap();
        let read: Vec<_> = bundle.members().map(|member| (member.name, member.data)).collect();
        let written: Vec<_> = files.iter().map(|(name, data)| (name.as_str(), data.as_slice())).collect();
        prop_assert_eq!(read, written);
    }

    /// A damaged archive is refused or read, never more; what is read lies inside it.
    #[test]
    fn damage_never_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        keep in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut bytes = sample();
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if cut {
            bytes.truncate(keep.index(bytes.len()));
        }
        if let Ok(bundle) = Bundle::new(&bytes) {
            for member in bundle.members() {
                prop_assert!(member.offset + member.data.len() < bytes.len());
            }
        }
    }

    /// Header fields of any value are refused or read.
    #[test]
    fn hostile_fields_never_panic(fields in prop::collection::vec(prop::sample::select(vec![0, 1, 2, 4, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff_u32]), 13)) {
        let mut bytes = sample();
        for (index, field) in fields.iter().enumerate() {
            bytes[6 + index * 8..14 + index * 8].copy_from_slice(format!("{field:08x}").as_bytes());
        }
        let _ = Bundle::new(&bytes).map(|bundle| bundle.members().count());
    }
}
