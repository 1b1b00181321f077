//! The text that dtc prints, and other texts.

use super::*;
use crate::tree::NodeRef;

/// A tree whose root holds `body`.
fn tree(body: &str) -> Result<Tree, TextError> {
    Tree::parse(&format!("/dts-v1/;\n\n/ {{\n{body}\n}};\n"))
}

/// The bytes of the one property of a root.
fn bytes(value: &str) -> Vec<u8> {
    let tree = tree(&format!("\tp = {value};")).unwrap();
    root(&tree).property("p").unwrap().to_vec()
}

fn root(tree: &Tree) -> NodeRef<'_> {
    tree.nodes().next().unwrap()
}

fn problem(body: &str) -> Problem {
    tree(body).unwrap_err().problem
}

#[test]
fn values_are_the_bytes_of_the_blob() {
    assert_eq!(bytes("<0x01>"), [0, 0, 0, 1]);
    assert_eq!(bytes("<0xdeadbeef 10>"), [0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 10]);
    assert!(bytes("< >").is_empty());
    assert_eq!(bytes("\"okay\""), b"okay\0");
    assert_eq!(bytes("\"\""), b"\0");
    assert_eq!(bytes("[0a ff  00]"), [0x0a, 0xff, 0]);
    assert_eq!(bytes("[0aff00]"), [0x0a, 0xff, 0]);
    assert!(bytes("[]").is_empty());
    assert_eq!(
        bytes("<0x02>, \"a\", [07], <0x03>"),
        b"\0\0\0\x02a\0\x07\0\0\0\x03"
    );
}

#[test]
fn strings_keep_what_looks_like_text_around_them() {
    assert_eq!(bytes(r#"" a { b } ; <1> [2] ""#), b" a { b } ; <1> [2] \0");
    assert_eq!(bytes(r#""a", "b""#), b"a\0b\0");
    assert_eq!(bytes(r#""say \"so\" \\""#), b"say \"so\" \\\0");
    assert_eq!(bytes(r#""\a\b\t\n\v\f\r""#), b"\x07\x08\t\n\x0b\x0c\r\0");
    assert_eq!(bytes(r#""\xe9\x0a1""#), b"\xe9\n1\0");
}

#[test]
fn a_digit_after_a_nul_is_text() {
    assert_eq!(bytes(r#""clk\032k""#), b"clk\x0032k\0");
    assert_eq!(bytes(r#""\0\0""#), b"\0\0\0");
}

#[test]
fn nodes_have_paths_and_parents() {
    let text = "\tsoc {\n\t\tstatus;\n\t\tdma@1,2 {\n\t\t\treg = <1>;\n\t\t};\n\t\tdma@3 {\n\t\t};\n\t};\n\tmemory@0 {\n\t};";
    let tree = tree(text).unwrap();
    let paths: Vec<&str> = tree.nodes().map(NodeRef::path).collect();
    assert_eq!(paths, ["/", "/soc", "/soc/dma@1,2", "/soc/dma@3", "/memory@0"]);
    let parents: Vec<_> = tree
        .nodes()
        .map(|node| node.parent().map(NodeRef::path))
        .collect();
    assert_eq!(parents, [None, Some("/"), Some("/soc"), Some("/soc"), Some("/")]);
    let soc = tree.nodes().nth(1).unwrap();
    assert_eq!(soc.property("status"), Some(&[][..]));
    assert_eq!(soc.property("reg"), None);
}

#[test]
fn reservations_and_labels_say_nothing() {
    let text = "/dts-v1/;\n\n/memreserve/\t0x0000000080000000 0x0000000000010000;\n/memreserve/ 0x1 0x2;\n/ {\n\
                l1: l2: soc {\n l3: reg = <0x1>;\n};\n};\n";
    let tree = Tree::parse(text).unwrap();
    let soc = tree.nodes().nth(1).unwrap();
    assert_eq!((soc.path(), soc.cell("reg")), ("/soc", Some(1)));
}

#[test]
fn a_phandle_has_two_names_and_one_owner() {
    let text = "a { phandle = <5>; }; b { linux,phandle = <6>; }; c { phandle = <5>; }; d { phandle = <0>; }; \
                e { phandle = <0xffffffff>; };";
    let tree = tree(text).unwrap();
    let path = |phandle| tree.by_phandle(phandle).map(NodeRef::path);
    assert_eq!([path(5), path(6)], [Some("/a"), Some("/b")]);
    assert_eq!([path(0), path(7), path(u32::MAX)], [None; 3]);
}

#[test]
fn a_node_is_enabled_with_all_above_it() {
    let text = r#"a { status = "okay"; b { status = "ok"; c { }; }; d { status = "disabled"; e { status = "okay"; }; }; };
                  f { status; }; g { status = "okays"; }; h { status = [6f 6b]; };"#;
    let tree = tree(text).unwrap();
    let enabled = tree.nodes().filter(|node| node.is_enabled());
    let paths: Vec<&str> = enabled.map(NodeRef::path).collect();
    assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c"]);
}

#[test]
fn other_texts_are_refused_with_their_line() {
    assert_eq!(
        tree("\ta = <1>;\n\tb = (1);").unwrap_err().to_string(),
        "line 5: here should be a value: <..>, \"..\" or [..]"
    );
    assert_eq!(
        Tree::parse("").unwrap_err().problem,
        Problem::Expected("/dts-v1/")
    );
    assert_eq!(problem("p = <0x100000000>;"), Problem::Cell);
    assert_eq!(problem("p = <&label>;"), Problem::Expected("a cell or >"));
    assert_eq!(problem("p = [1];"), Problem::Byte);
    assert_eq!(problem("p = [+1];"), Problem::Byte);
    assert_eq!(problem(r#"p = "\777";"#), Problem::Escape);
    assert_eq!(problem(r#"p = "\xg0";"#), Problem::Escape);
    assert_eq!(problem("p = \"open;"), Problem::Expected("the end of a string"));
    assert_eq!(problem("p = <1>"), Problem::Expected("a semicolon"));
    assert_eq!(problem("p; p;"), Problem::SecondProperty);
    assert_eq!(problem("}; x"), Problem::Expected("the end"));
    assert_eq!(problem("/delete-node/ x;"), Problem::Expected("a name"));
}

#[test]
fn nesting_is_bounded() {
    let nested = |levels: usize| tree(&format!("{}{}", "a { ".repeat(levels), "}; ".repeat(levels)));
    assert_eq!(nested(DEEPEST - 1).unwrap().nodes().count(), DEEPEST);
    assert_eq!(nested(DEEPEST).unwrap_err().problem, Problem::TooDeep);
}

#[test]
fn no_beginning_of_a_text_panics() {
    let text = "/dts-v1/;\n/memreserve/ 0x0 0x1;\n/ {\n l: a@0 {\n p = <0x1 2>, \"x\\x41\\0\u{e9}\", [0a 0b];\n q;\n };\n};\n";
    assert!(Tree::parse(text).is_ok());
    let end_of_text = text.trim_end().len();
    for length in (0..end_of_text).filter(|length| text.is_char_boundary(*length)) {
        assert!(Tree::parse(&text[..length]).is_err(), "{:?}", &text[..length]);
    }
}
