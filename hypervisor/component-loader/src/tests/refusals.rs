//! One file for each rule that a file can break, and the line that says so.

use super::plan;
use super::sample::{DATA, DYNAMIC, Header, NOTE, POINTER, RELA, RELA_POINTER, RELR, Sample, TEXT};
use crate::{MAX_SEGMENTS, MAX_TABLE_MEMORY};

/// A good file with one change is refused with `message`.
#[track_caller]
fn check(change: impl FnOnce(&mut Sample), message: &str) {
    let mut sample = Sample::default();
    change(&mut sample);
    assert_eq!(plan(&sample.bytes()).unwrap_err().to_string(), message);
}

#[test]
fn a_truncated_file() {
    let file = Sample::default().bytes();
    let cut = |size: usize| plan(&file[..size]).unwrap_err().to_string();
    assert_eq!(
        cut(0),
        "truncated ELF: bytes 0x0..0x10 are needed, the file has 0x0"
    );
    assert_eq!(
        cut(0x20),
        "truncated ELF: bytes 0x10..0x40 are needed, the file has 0x20"
    );
    assert_eq!(
        cut(0x50),
        "truncated ELF: bytes 0x40..0x190 are needed, the file has 0x50"
    );
    assert_eq!(
        cut(NOTE + 4),
        "truncated ELF: bytes 0x300..0x418 are needed, the file has 0x304"
    );
    assert_eq!(
        cut(TEXT),
        "truncated ELF: bytes 0x1000..0x1010 are needed, the file has 0x1000"
    );
    assert_eq!(
        cut(DATA + 0x3f),
        "truncated ELF: bytes 0x2000..0x2040 are needed, the file has 0x203f"
    );
}

#[test]
fn another_kind_of_file() {
    assert_eq!(
        plan(&[b'#'; 4096]).unwrap_err().to_string(),
        "unsuitable ELF: magic is 0x23232323, a component has 0x7f454c46"
    );
    check(
        |file| file.ident[0] = 7,
        "unsuitable ELF: class is 0x7, a component has 2 (64-bit)",
    );
    check(
        |file| file.ident[1] = 2,
        "unsuitable ELF: byte order is 0x2, a component has 1 (little-endian)",
    );
    check(
        |file| file.ident[3] = 9,
        "unsuitable ELF: EI_OSABI is 0x9, a component has 0 (System V) or 3 (GNU)",
    );
    check(
        |file| file.kind = 2,
        "unsuitable ELF: e_type is 0x2, a component has 3 (ET_DYN, position-independent)",
    );
    check(
        |file| file.machine = 62,
        "unsuitable ELF: e_machine is 0x3e, a component has 183 (AArch64)",
    );
    let mut sample = Sample::default();
    sample.ident[3] = 0;
    assert!(plan(&sample.bytes()).is_ok());
}

#[test]
fn program_headers() {
    let add = |kind, flags| move |file: &mut Sample| file.headers.push(Header::new(kind, flags, 0, 0, 0));
    check(
        add(3, 4),
        "unsuitable ELF: program header 6 is PT_INTERP (type 0x3)",
    );
    check(add(7, 4), "unsuitable ELF: program header 6 is PT_TLS (type 0x7)");
    check(
        add(2, 4),
        "unsuitable ELF: program header 6 is a second PT_DYNAMIC (type 0x2)",
    );
    check(
        add(0x6474_e552, 4),
        "unsuitable ELF: program header 6 is PT_GNU_RELRO (link with linker/component.ld) (type 0x6474e552)",
    );
    check(
        add(0x6474_e551, 7),
        "unsuitable ELF: program header 6 is an executable PT_GNU_STACK (type 0x6474e551)",
    );
    check(
        add(0x7000_0000, 4),
        "unsuitable ELF: program header 6 is unknown (type 0x70000000)",
    );
    check(
        |file| {
            file.headers.remove(2);
        },
        "malformed ELF: there is no dynamic section",
    );
    check(
        |file| file.headers.retain(|header| header.kind != 1),
        "malformed ELF: there is no segment to load",
    );
}

#[test]
fn protection() {
    check(
        |file| file.headers[3].flags = 7,
        "unsuitable ELF: segment 3 has flags 0x7: R, RX or RW are accepted",
    );
    check(
        |file| file.headers[4].flags = 3,
        "unsuitable ELF: segment 4 has flags 0x3: R, RX or RW are accepted",
    );
    check(
        |file| file.headers[3].flags = 1,
        "unsuitable ELF: segment 3 has flags 0x1: R, RX or RW are accepted",
    );
    check(
        |file| file.headers[0].flags = 0,
        "unsuitable ELF: segment 0 has flags 0x0: R, RX or RW are accepted",
    );
}

#[test]
fn places() {
    check(
        |file| file.headers[0].address = 0x1000,
        "unsuitable ELF: segment 0 at 0x1000, 0xa00 bytes: the first segment is not on page 0",
    );
    check(
        |file| file.headers[4].address = TEXT as u64 + 0xff0,
        "unsuitable ELF: segment 4 at 0x1ff0, 0x1800 bytes: it shares a page with the segment before it, or comes before it",
    );
    check(
        |file| file.headers[4].memory_size = 0x10_0000,
        "unsuitable ELF: segment 4 at 0x2000, 0x100000 bytes: it ends beyond the largest image",
    );
    check(
        |file| file.headers[4].address = u64::MAX,
        "unsuitable ELF: segment 4 at 0xffffffffffffffff, 0x1800 bytes: it ends beyond the largest image",
    );
    check(
        |file| file.headers[3].memory_size = 8,
        "unsuitable ELF: segment 3 at 0x1000, 0x8 bytes: it has more bytes in the file than in memory",
    );
    check(
        |file| file.headers[3].offset = u64::MAX,
        "truncated ELF: bytes 0xffffffffffffffff..0xffffffffffffffff are needed, the file has 0x2040",
    );
    check(
        |file| {
            let more = (0..6).map(|index| Header::new(1, 6, 0x4000 + index * 0x1000, 0, 1));
            file.headers
                .extend(more.map(|header| Header { offset: 0, ..header }));
        },
        &format!("unsuitable ELF: more than {MAX_SEGMENTS} segments to load"),
    );
}

#[test]
fn entry_points() {
    let message = |entry| format!("unsuitable ELF: entry point {entry} is not in an executable segment");
    check(|file| file.entry = 0, &message("0x0"));
    check(|file| file.entry = DATA as u64, &message("0x2000"));
    check(|file| file.entry = TEXT as u64 + 2, &message("0x1002"));
    check(|file| file.entry = TEXT as u64 + 0x10, &message("0x1010"));
    check(|file| file.entry = u64::MAX - 3, &message("0xfffffffffffffffc"));
}

#[test]
fn dynamic_entries() {
    for (tag, name) in [
        (1, "DT_NEEDED"),
        (12, "DT_INIT"),
        (17, "DT_REL"),
        (22, "DT_TEXTREL"),
        (23, "DT_JMPREL"),
        (25, "DT_INIT_ARRAY"),
        (32, "DT_PREINIT_ARRAY"),
        (0x7000_0001, "of an unknown kind"),
    ] {
        check(
            |file| file.dynamic.push((tag, 0x10)),
            &format!("unsuitable ELF: dynamic entry {name} (tag {tag:#x}) with value 0x10"),
        );
    }
    check(
        |file| file.dynamic.push((9, 16)),
        "unsuitable ELF: dynamic entry DT_RELAENT (tag 0x9) with value 0x10",
    );
    check(
        |file| file.dynamic.push((30, 0x14)),
        "unsuitable ELF: dynamic entry DT_FLAGS (tag 0x1e) with value 0x14",
    );
    check(
        |file| file.headers[2] = Header::new(2, 4, DYNAMIC, 0x50, 0x50),
        "malformed ELF: the dynamic section has no end",
    );
}

#[test]
fn relocations() {
    let other = [POINTER as u64, 257, 0];
    check(
        |file| file.rela[0] = other,
        "unsuitable ELF: relocation at 0x2010 has type 257, only R_AARCH64_RELATIVE (1027) is accepted",
    );
    check(
        |file| file.rela[0][1] = 1 << 16 | 1027,
        "unsuitable ELF: relocation at 0x900 has type 66563, only R_AARCH64_RELATIVE (1027) is accepted",
    );
    check(
        |file| file.rela[0][1] = 3 << 32 | 1027,
        "unsuitable ELF: symbol 3 is undefined",
    );
    check(
        |file| file.rela[0][1] = 3 << 32 | 1025,
        "unsuitable ELF: symbol 3 is undefined",
    );
    let outside =
        |target| format!("unsuitable ELF: relocation at {target} is not in a readable or writable segment");
    check(|file| file.rela[0][0] = TEXT as u64, &outside("0x1000"));
    check(|file| file.rela[0][0] = 0x9fc, &outside("0x9fc"));
    check(|file| file.rela[0][0] = 0x37fc, &outside("0x37fc"));
    check(
        |file| file.rela[0][0] = u64::MAX - 3,
        &outside("0xfffffffffffffffc"),
    );
    check(|file| file.relr[0] = TEXT as u64, &outside("0x1000"));
    // The 63rd word behind the pointer in the read-only segment is still inside, those of a second bitmap are code.
    check(
        |file| file.relr = vec![RELA_POINTER as u64, 0b11 | 1 << 63],
        &outside("0xaf8"),
    );
    check(
        |file| file.rela[0][2] = 0x4001,
        "unsuitable ELF: relocation at 0x900 points to 0x4001, outside the image",
    );
    check(
        |file| file.rela[0][2] = u64::MAX,
        "unsuitable ELF: relocation at 0x900 points to 0xffffffffffffffff, outside the image",
    );
}

#[test]
fn an_addend_in_place_is_checked_when_it_is_used() {
    let mut file = Sample::default().bytes();
    file[POINTER + 3] = 0x40;
    let mut memory = vec![0; 0x4000];
    let error = plan(&file).unwrap().fill(&mut memory, 0).unwrap_err();
    assert_eq!(
        error.to_string(),
        "unsuitable ELF: relocation at 0x2010 points to 0x40001004, outside the image"
    );
}

#[test]
fn relocation_tables() {
    check(
        |file| file.dynamic[2].1 = 25,
        &format!(
            "unsuitable ELF: RELA table at {RELA:#x}, 0x19 bytes: its size is not a multiple of its entries'"
        ),
    );
    check(
        |file| file.dynamic[1].1 = 0x9f0,
        "unsuitable ELF: RELA table at 0x9f0, 0x18 bytes: it is not inside a segment of the file",
    );
    // Inside the segment in memory, but behind its contents.
    check(
        |file| file.dynamic[5].1 = DATA as u64 + 0x100,
        "unsuitable ELF: RELR table at 0x2100, 0x10 bytes: it is not inside a segment of the file",
    );
    check(
        |file| file.dynamic[6].1 = !7,
        &format!(
            "unsuitable ELF: RELR table at {RELR:#x}, 0xfffffffffffffff8 bytes: it is not inside a segment of the file"
        ),
    );
}

#[test]
fn undefined_symbols() {
    check(
        |file| file.symbols = vec![1, 0, 1],
        "unsuitable ELF: symbol 2 is undefined",
    );
    let sample = Sample {
        symbols: vec![1, 2],
        ..Sample::default()
    };
    assert!(plan(&sample.bytes()).is_ok());
}

#[test]
fn manifests() {
    check(
        |file| file.note_type = 2,
        "no manifest: there is no Portcullis note in it",
    );
    check(
        |file| {
            file.headers.remove(1);
        },
        "no manifest: there is no Portcullis note in it",
    );
    check(
        |file| file.headers.push(file.headers[1]),
        "ambiguous manifest: there are several Portcullis notes in it",
    );
    check(|file| file.manifest[0] = 1, "ABI 1, core speaks 2");
    check(|file| file.manifest = vec![0, 0, 0, 0], "ABI 0, core speaks 2");
    check(
        |file| file.manifest.truncate(252),
        "manifest has 252 bytes, ABI 2 has 256",
    );
    check(
        |file| file.manifest.truncate(0),
        "manifest has 0 bytes, ABI 2 has 256",
    );
    check(
        |file| file.manifest[10] = 1,
        "manifest field version[3] is 1, 0 is the most accepted",
    );
    check(
        |file| file.manifest[15] = 0x7f,
        &format!("manifest field table_memory is 2131755008, {MAX_TABLE_MEMORY} is the most accepted"),
    );
    let name = "manifest field name is not a NUL-padded word of [a-z0-9-]";
    check(|file| file.manifest[16] = b'S', name);
    check(|file| file.manifest[16] = 0, name);
    check(|file| file.manifest[30] = b'x', name);
    check(|file| file.manifest[16..48].fill(b'a'), name);
    check(|file| file.manifest[16..48].fill(0), name);
    let compatible = "manifest field compatible is not a NUL-padded list of compatible strings";
    check(|file| file.manifest[48..].fill(0), compatible);
    check(|file| file.manifest[48] = 0, compatible);
    check(|file| file.manifest[50] = b' ', compatible);
    check(|file| file.manifest[51] = 0xff, compatible);
    check(|file| file.manifest[48..].fill(b'a'), compatible);
    check(|file| file.manifest[100] = b'a', compatible);
}

#[test]
fn another_abi_version_is_said_before_anything_else() {
    for version in [0, 1, 3, 255] {
        check(
            |file| {
                file.manifest[0] = version;
                file.dynamic.push((1, 0));
                file.headers[3].flags = 7;
            },
            &format!("ABI {version}, core speaks 2"),
        );
    }
}
