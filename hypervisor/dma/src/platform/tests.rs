//! Which nodes can be given, on a small board.

use super::*;
use crate::tests::tree;

const BOARD: &str = r#"/ {
    #address-cells = <1>; #size-cells = <1>; interrupt-parent = <&gic>;
    gic: gic@1000 { compatible = "arm,gic-400"; interrupt-controller; #interrupt-cells = <3>; reg = <0x1000 0x2000>; };
    engine@10000 { reg = <0x10000 0x1800 0x20100 0x10 0x11000 0x10>; interrupts = <0 80 4 0 80 4 0 7 1>; };
    left@30000 { reg = <0x30000 0x100>; #address-cells = <1>; #size-cells = <1>; ranges; part@30080 { reg = <0x30080 4>; }; };
    right@30800 { reg = <0x30800 0x100>; status = "disabled"; };
    beside@1800 { reg = <0x3000 4 0x2ffc 4>; };
    off { status = "disabled"; device@40000 { reg = <0x40000 4>; }; };
    bare {};
    timer@50000 { reg = <0x50000 4>; interrupts = <1 11 4>; };
    memory@80000 { device_type = "memory"; reg = <0x80000 0x10000>; };
    window@80ff0 { reg = <0x7fff0 0x20>; };
    bus { #address-cells = <1>; #size-cells = <1>; ranges; one@90000 { reg = <0x90000 4>; }; two@90010 { reg = <0x90010 4>; }; };
    whole@a0000 { reg = <0xa0000 0x100>; #address-cells = <1>; #size-cells = <1>; ranges; part@a0080 { reg = <0xa0080 4>; }; };
    huge@20000000 { reg = <0x20000000 0x20000000>; };
    empty@60000 { reg = <0x60000 0>; };
};"#;

/// What comes of a device; the GIC and the memory are taken, and `apart` is judged by itself.
fn inspect_with(path: &str, apart: &[&str]) -> Result<PlatformDevice, String> {
    let tree = tree(BOARD);
    let node = |path: &str| tree.find(path).unwrap().id();
    let apart: Vec<NodeId> = apart.iter().map(|path| node(path)).collect();
    let is_taken = |pages: &Range<u64>| {
        [0x1000..0x3000, 0x8_0000..0x9_0000]
            .iter()
            .any(|taken| overlaps(taken, pages))
    };
    let device = PlatformDevice::inspect(&tree, node(path), &is_taken, &|node| apart.contains(&node));
    device.map_err(|error| alloc::format!("{error}"))
}

fn inspect(path: &str) -> Result<PlatformDevice, String> {
    inspect_with(path, &[])
}

#[test]
fn whole_pages_and_interrupts_go_with_a_device() {
    let device = inspect("/engine@10000").unwrap();
    assert_eq!(device.pages, [0x1_0000..0x1_2000, 0x2_0000..0x2_1000]);
    let intids: Vec<u32> = device.interrupts.iter().map(|found| found.intid).collect();
    assert_eq!(intids, [112, 112, 39]);
}

#[test]
fn a_device_is_not_given_with_the_registers_of_another_one() {
    for (path, other) in [
        ("/left@30000", "/right@30800"),
        ("/bus/one@90000", "/bus/two@90010"),
    ] {
        let refused = inspect(path).unwrap_err();
        assert!(
            refused.contains(&alloc::format!("those of {other}, ")),
            "{refused}"
        );
    }
    // What is below it is a part of it, unless that is judged by itself.
    assert!(inspect("/whole@a0000").is_ok());
    let refused = inspect_with("/whole@a0000", &["/whole@a0000/part@a0080"]).unwrap_err();
    assert!(
        refused.contains("those of /whole@a0000/part@a0080, "),
        "{refused}"
    );
}

#[test]
fn nothing_is_given_that_the_core_or_memory_has_or_that_lies_beside_it() {
    for path in ["/gic@1000", "/window@80ff0"] {
        let refused = inspect(path).unwrap_err();
        assert!(refused.contains("no guest may have"), "{path}: {refused}");
    }
    // One of its pages is the GIC's.
    assert!(inspect("/beside@1800").is_err());
}

#[test]
fn what_cannot_be_given_says_why() {
    for (path, why) in [
        ("/right@30800", "the status of /right@30800 disables it"),
        ("/off/device@40000", "the status of /off disables it"),
        ("/bare", "/bare: reg"),
        ("/empty@60000", "no registers"),
        ("/timer@50000", "interrupt 27"),
        ("/huge@20000000", "0x20000000+0x20000000"),
    ] {
        let refused = inspect(path).unwrap_err();
        assert!(refused.contains(why), "{path}: {refused}");
    }
}
