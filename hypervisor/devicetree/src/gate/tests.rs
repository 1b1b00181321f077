//! The gate, checked on blobs with one defect each and on NOPs.
#![expect(clippy::cast_possible_truncation, reason = "sizes of test blobs are small")]

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::blob::Writer;
use crate::{Blob, GateError, MAX_NAME, MAX_NODES, MAX_PATH, MAX_SIZE, Tree};

const NOP: u32 = 4;
/// Where the structure block of a blob without reservations starts.
const STRUCTURE: usize = 56;

/// `/ { #address-cells = <1>; a { x = "y"; }; b {}; };`
fn small() -> Writer {
    let mut writer = Writer::default();
    writer.begin("").property("#address-cells", &1u32.to_be_bytes());
    writer.begin("a").property("x", b"y\0").end();
    writer.begin("b").end().end();
    writer
}

/// The small blob with the word at `offset` of the header or structure replaced.
fn with_word(offset: usize, word: u32) -> Vec<u8> {
    let mut bytes = small().finish();
    bytes[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
    bytes
}

/// Checks that a blob is refused, with exactly this message.
fn check(bytes: &[u8], message: &str) {
    match Blob::new(bytes) {
        Ok(blob) => panic!("accepted {blob:?} instead of: {message}"),
        Err(error) => assert_eq!(error.to_string(), message),
    }
}

fn tree(bytes: &[u8]) -> Tree {
    Tree::new(Blob::new(bytes).unwrap()).unwrap()
}

fn paths(tree: &Tree) -> Vec<String> {
    tree.nodes().map(|node| node.path()).collect()
}

#[test]
fn header_defects_are_named() {
    let whole = small().finish();
    check(&[], "device tree: only 0 bytes, too few for a header");
    check(&whole[..7], "device tree: only 7 bytes, too few for a header");
    check(
        &with_word(0, 0xd00d_feee),
        "device tree: magic number is 0xd00dfeee, not 0xd00dfeed: this is no device tree blob",
    );
    check(
        &with_word(4, 39),
        "device tree: totalsize is 39, outside 40..=2097152 bytes",
    );
    check(
        &with_word(4, 1 << 30),
        "device tree: totalsize is 1073741824, outside 40..=2097152 bytes",
    );
    check(
        &whole[..whole.len() - 1],
        &format!(
            "device tree: totalsize is {}, but only {} bytes are there: the blob is truncated",
            whole.len(),
            whole.len() - 1
        ),
    );
    check(
        &with_word(20, 15),
        "device tree: version 15, compatible back to 16; versions 16 and 17 can be read",
    );
    check(
        &with_word(24, 18),
        "device tree: version 17, compatible back to 18; versions 16 and 17 can be read",
    );
}

#[test]
fn block_defects_are_named() {
    let size = small().finish().len();
    check(
        &with_word(8, 58),
        "device tree: the structure block at 0x3a is not aligned to 4 bytes",
    );
    check(
        &with_word(16, 36),
        "device tree: the memory reservation block at 0x24 is not aligned to 8 bytes",
    );
    check(
        &with_word(36, 0x1000),
        &format!(
            "device tree: the structure block at 0x38 (4096 bytes) ends outside the blob of {size} bytes"
        ),
    );
    check(
        &with_word(12, u32::MAX),
        &format!(
            "device tree: the strings block at 0xffffffff (17 bytes) ends outside the blob of {size} bytes"
        ),
    );
    check(
        &with_word(8, 36),
        "device tree: the header and the structure block overlap",
    );
    check(
        &with_word(32, small().finish().len() as u32 - 60),
        &format!(
            "device tree: the strings block at {:#x} ({} bytes) ends outside the blob of {size} bytes",
            size - 17,
            size - 60
        ),
    );
    check(
        &with_word(12, 60),
        "device tree: the structure block and the strings block overlap",
    );
    // No zero entry up to the end of the blob.
    let unterminated = small().reserve(1, 1).finish();
    let mut unterminated: Vec<u8> = unterminated[..56].to_vec();
    unterminated[4..8].copy_from_slice(&56u32.to_be_bytes());
    unterminated[8..16].copy_from_slice(&[0; 8]);
    unterminated[32..40].copy_from_slice(&[0; 8]);
    check(
        &unterminated,
        "device tree: the memory reservation block at 0x28 has no terminating entry",
    );
}

#[test]
fn structure_defects_are_named() {
    let mut writer = Writer::default();
    check(
        &writer.finish(),
        "device tree at 0x38: FDT_END before any node: there is no root",
    );
    writer.begin("");
    check(&writer.finish(), "device tree at 0x40: FDT_END inside /");
    writer.begin("soc").begin("dev@1");
    check(&writer.finish(), "device tree at 0x54: FDT_END inside /soc/dev@1");
    writer.end().end().word(0x55);
    check(
        &writer.finish(),
        "device tree at 0x5c: 0x00000055 in / is no token",
    );

    check(
        &Writer::default().begin("").end().end().finish(),
        "device tree at 0x44: FDT_END_NODE without an open node",
    );
    check(
        &Writer::default().begin("").end().begin("x").end().finish(),
        "device tree at 0x44: a second root, \"x\"",
    );
    check(
        &Writer::default().begin("top").end().finish(),
        "device tree at 0x38: the root is named \"top\", it must be nameless",
    );
    check(
        &Writer::default().begin("").end().word(9).finish(),
        "device tree at 0x44: FDT_END, but the structure block goes on to 0x4c",
    );
    check(
        &Writer::default().property("x", &[]).finish(),
        "device tree at 0x38: a property outside any node",
    );
    check(
        &Writer::default()
            .begin("")
            .begin("a")
            .end()
            .property("late", &[1])
            .end()
            .finish(),
        "device tree at 0x4c: property \"late\" of / comes after a child node",
    );
    let cut = with_word(36, 8);
    check(
        &cut,
        "device tree at 0x40: the structure block ends inside /, in a token",
    );
    check(
        &with_word(36, 12),
        "device tree at 0x44: the structure block ends inside /, in a property's length",
    );
}

#[test]
fn name_defects_are_named() {
    const RULE: &str = "(names are 1..=255 printable ASCII characters without '/')";
    let node = |name: &str| Writer::default().begin("").begin(name).end().end().finish();
    check(
        &node(""),
        &format!("device tree at 0x40: name \"\" in / is empty {RULE}"),
    );
    check(
        &node("a/b"),
        &format!("device tree at 0x40: name \"a/b\" in / has a forbidden character {RULE}"),
    );
    check(
        &node("a\u{7}b"),
        &format!("device tree at 0x40: name \"a\\x07b\" in / has a forbidden character {RULE}"),
    );
    check(
        &node("ü"),
        &format!("device tree at 0x40: name \"\\xc3\\xbc\" in / has a forbidden character {RULE}"),
    );
    check(
        &node(&"n".repeat(MAX_NAME + 1)),
        &format!(
            "device tree at 0x40: name \"{}\" in / is too long {RULE}",
            "n".repeat(32)
        ),
    );
    assert!(Blob::new(&node(&"n".repeat(MAX_NAME))).is_ok());
    check(
        &Writer::default().begin("").property("", &[]).end().finish(),
        &format!("device tree at 0x40: name \"\" in / is empty {RULE}"),
    );
    check(
        &Writer::default()
            .begin("")
            .begin("a")
            .end()
            .begin("a")
            .end()
            .end()
            .finish(),
        "device tree at 0x4c: / has two children named \"a\"",
    );
    check(
        &Writer::default()
            .begin("")
            .property("p", &[])
            .property("p", &[])
            .end()
            .finish(),
        "device tree at 0x4c: / has property \"p\" twice",
    );
    // A name offset outside the strings, and a last string without its NUL.
    check(
        &with_word(STRUCTURE + 16, 17),
        "device tree at 0x40: a property of / has its name at 0x11 of a strings block of 17 bytes",
    );
    check(
        &with_word(32, 14),
        &format!(
            "device tree at 0x40: name \"#address-cells\" in / is not terminated inside its block {RULE}"
        ),
    );
}

#[test]
fn property_defects_are_named() {
    check(
        &with_word(STRUCTURE + 12, 0xffff_fffe),
        "device tree at 0x40: /: #address-cells has 4294967294 bytes, it must be one cell of 4 bytes",
    );
    for name in [
        "#address-cells",
        "#size-cells",
        "#interrupt-cells",
        "phandle",
        "linux,phandle",
    ] {
        check(
            &Writer::default().begin("").property(name, &[0; 8]).end().finish(),
            &format!("device tree at 0x40: /: {name} has 8 bytes, it must be one cell of 4 bytes"),
        );
    }
    let mut long = Writer::default().begin("").property("x", &[0; 4]).end().finish();
    long[STRUCTURE + 12..STRUCTURE + 16].copy_from_slice(&0xffff_fffeu32.to_be_bytes());
    check(
        &long,
        "device tree at 0x40: /: x has 4294967294 bytes, only 12 are left",
    );
}

#[test]
fn depth_and_number_of_nodes_are_bounded() {
    let nested = |depth: usize| {
        let mut writer = Writer::default();
        writer.begin("");
        (1..depth).for_each(|_| _ = writer.begin("n"));
        (0..depth).for_each(|_| _ = writer.end());
        writer.finish()
    };
    assert_eq!(tree(&nested(32)).nodes().count(), 32);
    let path = "/n".repeat(32);
    for depth in [33, 100, 10_000] {
        check(
            &nested(depth),
            &format!("device tree at 0x138: {path} is nested deeper than 32 nodes"),
        );
    }

    let mut writer = Writer::default();
    writer.begin("");
    (1..=MAX_NODES).for_each(|index| _ = writer.begin(&format!("{index:x}")).end());
    let error = Blob::new(&writer.end().finish()).unwrap_err();
    assert!(matches!(error, GateError::TooManyNodes { .. }), "{error}");
}

#[test]
fn paths_are_bounded() {
    let nested = |last: usize| {
        let mut writer = Writer::default();
        writer
            .begin("")
            .begin(&"a".repeat(255))
            .begin(&"b".repeat(last))
            .end()
            .end()
            .end();
        writer.finish()
    };
    let longest = tree(&nested(255));
    assert_eq!(longest.nodes().last().unwrap().path().len(), MAX_PATH);
    let mut writer = Writer::default();
    writer.begin("").begin(&"a".repeat(255)).begin(&"b".repeat(255));
    writer.begin("c").end().end().end().end();
    let path = format!("/{}/{}/c", "a".repeat(255), "b".repeat(255));
    check(
        &writer.finish(),
        &format!("device tree at 0x248: the path of {path} is longer than 512 bytes"),
    );
}

#[test]
fn the_size_can_be_learnt_from_a_prefix() {
    let bytes = small().finish();
    assert_eq!(Blob::declared_size(&bytes[..Blob::PREFIX]), Ok(bytes.len()));
    assert_eq!(
        Blob::declared_size(&bytes[..7]),
        Err(GateError::TooShort { available: 7 })
    );
    assert_eq!(
        Blob::declared_size(&[0; 8]),
        Err(GateError::BadMagic { value: 0 })
    );
    let mut huge = bytes[..8].to_vec();
    huge[4..].copy_from_slice(&(MAX_SIZE as u32 + 1).to_be_bytes());
    assert_eq!(
        Blob::declared_size(&huge),
        Err(GateError::BadSize {
            totalsize: MAX_SIZE as u32 + 1
        })
    );
    // What is behind the blob does not matter.
    let longer = [bytes.as_slice(), &[0xff; 100]].concat();
    assert_eq!(Blob::new(&longer), Blob::new(&bytes));
}

#[test]
fn nops_are_left_out_wherever_they_are() {
    let plain = small().finish();
    let mut writer = Writer::default();
    writer
        .word(NOP)
        .begin("")
        .word(NOP)
        .word(NOP)
        .property("#address-cells", &1u32.to_be_bytes())
        .word(NOP);
    writer
        .begin("a")
        .word(NOP)
        .property("x", b"y\0")
        .word(NOP)
        .end()
        .word(NOP);
    writer.begin("b").word(NOP).end().word(NOP).end().word(NOP);
    assert_eq!(Blob::new(&writer.finish()), Blob::new(&plain));
}

/// Overwrites bytes of the structure block with NOPs, as `fdt_nop_node` and `fdt_nop_property` of libfdt do.
fn nop_out(writer: &Writer, from: usize, to: usize) -> Vec<u8> {
    let mut bytes = writer.finish();
    bytes[STRUCTURE + from..STRUCTURE + to]
        .as_chunks_mut::<4>()
        .0
        .fill(NOP.to_be_bytes());
    bytes
}

#[test]
fn a_removed_property_or_node_costs_no_other() {
    let mut writer = Writer::default();
    writer.begin("").property("p", &[1, 2, 3]); // 0..8, 8..24
    writer.begin("first").property("x", &[]).end(); // 24..36, 36..48, 48..52
    writer.begin("middle").end(); // 52..64, 64..68
    writer.begin("last").begin("leaf").end().end(); // 68..80, 80..96, 96..100
    writer.end();
    let all = ["/", "/first", "/middle", "/last", "/last/leaf"];
    let without = |gone: &str| {
        all.into_iter()
            .filter(|path| !path.starts_with(gone))
            .collect::<Vec<_>>()
    };

    let property = tree(&nop_out(&writer, 8, 24));
    assert_eq!(paths(&property), all);
    assert!(!property.root().has("p"));
    assert!(property.find("/first").unwrap().has("x"));
    assert_eq!(paths(&tree(&nop_out(&writer, 24, 52))), without("/first"));
    assert_eq!(paths(&tree(&nop_out(&writer, 52, 68))), without("/middle"));
    assert_eq!(paths(&tree(&nop_out(&writer, 68, 100))), without("/last"));
    assert_eq!(paths(&tree(&nop_out(&writer, 80, 96))), without("/last/leaf"));
    assert_eq!(paths(&tree(&nop_out(&writer, 24, 100))), ["/"]);
}

#[test]
fn version_16_has_no_structure_size() {
    let mut bytes = small().finish();
    bytes[20..24].copy_from_slice(&16u32.to_be_bytes());
    bytes[36..40].copy_from_slice(&0xdead_beef_u32.to_be_bytes());
    assert_eq!(Blob::new(&bytes), Blob::new(&small().finish()));
}

#[test]
fn reservations_are_read() {
    let tree = tree(
        &small()
            .reserve(0x1000, 0x2000)
            .reserve(5, 0)
            .reserve(u64::MAX - 15, 256)
            .reserve(u64::MAX, 2)
            .finish(),
    );
    let found: Vec<String> = tree.reservations().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["0x1000+0x2000", "0xfffffffffffffff0+0xf"]);
}

#[test]
fn a_blob_of_the_gate_passes_the_gate_unchanged() {
    let blob = Blob::new(&small().reserve(1, 2).finish()).unwrap();
    assert_eq!(Blob::new(blob.bytes()), Ok(blob));
}
