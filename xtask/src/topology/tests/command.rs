//! What the command line asks for, and the exit status.

use std::path::Path;

use topology::Graph;

use super::tree;
use crate::flags;

#[test]
fn a_check_fails_for_errors_only() {
    let problems = |name: &str, check, match_registers| {
        let command = flags::Topology {
            file: name.into(),
            json: false,
            svg: None,
            why: None,
            partition: None,
            check,
            match_registers,
        };
        command.problems(&Graph::build(&tree(name), &[]), false)
    };
    assert_eq!(problems("iommus-dangling-phandle", true, None).len(), 1);
    assert_eq!(problems("iommus-dangling-phandle", false, None), [""; 0]);
    // This board cannot isolate the device, but the tree is right.
    assert_eq!(problems("iommus-disabled-smmu", true, None), [""; 0]);
    assert_eq!(problems("smmu-too-few-registers", false, Some(129)), [""; 0]);
    assert_eq!(
        problems("smmu-too-few-registers", false, Some(128)),
        ["/smmu@0: its enabled masters need 129 stream matches, and it has registers for 128"]
    );
}

#[test]
fn a_command_line_that_contradicts_itself_is_an_error() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let command = |json, svg: Option<&str>, why: Option<&str>| flags::Topology {
        file: file.clone(),
        json,
        svg: svg.map(|name| file.with_file_name("src").join(name)),
        why: why.map(str::to_string),
        partition: None,
        check: false,
        match_registers: None,
    };
    let said = |command: flags::Topology| command.contradiction().unwrap_or_default();
    assert!(said(command(true, None, Some("/a"))).starts_with("--json prints the whole graph"));
    assert!(said(command(false, Some("../Cargo.toml"), None)).ends_with("would overwrite the device tree"));
    assert_eq!(said(command(true, Some("x.svg"), None)), "");
}

#[test]
fn a_check_says_its_errors_whatever_is_printed() {
    let graph = Graph::build(&tree("iommus-dangling-phandle"), &[]);
    let said = |svg: Option<&str>, why: Option<&str>, json| {
        let command = flags::Topology {
            file: "x".into(),
            json,
            svg: svg.map(Into::into),
            why: why.map(str::to_string),
            partition: None,
            check: true,
            match_registers: None,
        };
        command.unsaid(&graph).len()
    };
    assert_eq!(said(Some("x.svg"), None, false), 1);
    assert_eq!(said(None, Some("/a"), false), 1);
    assert_eq!((said(None, None, false), said(None, None, true)), (0, 0));
    assert_eq!(said(Some("x.svg"), None, true), 0);
}
