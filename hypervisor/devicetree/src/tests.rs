//! The typed view, checked on fixtures: each is a device tree source that says what is to be read from it.

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::fixtures::check_folder;
use crate::{AddressRange, Blob, DmaWindow, InterruptMaps, Node, PhandleError, Tree};

#[test]
fn fixtures_say_what_is_read() {
    check_folder("view", |_, blob| {
        describe(&Tree::new(Blob::new(blob).unwrap()).unwrap())
    });
}

/// A tree from source text without the outermost braces.
fn tree(body: &str) -> Tree {
    Tree::new(Blob::new(&crate::source::compile(&format!("/ {{ {body} }};")).unwrap()).unwrap()).unwrap()
}

/// Nexuses with a map of 1000 entries each, and devices with an interrupt at each of them.
fn behind_nexuses(nexuses: usize, devices: usize) -> Tree {
    let map: String = (0..1000)
        .map(|number| format!("{number} &gic 0 {} 4 ", number % 900))
        .collect();
    let nexus = |number| {
        format!(
            "n{number}: n{number} {{ #interrupt-cells = <1>; #address-cells = <0>; interrupt-map = <{map}>; }};"
        )
    };
    let list: String = (0..nexuses).map(|number| format!("&n{number} 999 ")).collect();
    let device = |number| format!("d{number} {{ interrupts-extended = <{list}>; }};");
    let nodes = (0..nexuses).map(nexus).chain((0..devices).map(device));
    tree(&format!(
        "gic: gic {{ compatible = \"arm,gic-v3\"; interrupt-controller; #interrupt-cells = <3>; }}; {}",
        nodes.collect::<String>()
    ))
}

#[test]
fn the_entries_of_interrupt_maps_that_are_looked_at_are_bounded() {
    let counts = |tree: &Tree| -> Vec<Result<usize, String>> {
        let mut maps = InterruptMaps::default();
        let devices = tree.nodes().filter(|node| node.has("interrupts-extended"));
        devices
            .map(|node| match node.gic_interrupts_with(&mut maps) {
                Ok(interrupts) => Ok(interrupts.len()),
                Err(error) => Err(error.to_string()),
            })
            .collect()
    };
    assert_eq!(counts(&behind_nexuses(20, 3)), [Ok(20), Ok(20), Ok(20)]);
    // All entries of all maps are too many to be kept.
    let problem =
        "is not read further: more than 32768 entries of interrupt maps were read or looked up before";
    assert_eq!(
        counts(&behind_nexuses(40, 2)),
        [
            Err(format!("/n32: interrupt-map: {problem}")),
            Err(format!("/d1: interrupts-extended: {problem}"))
        ]
    );
    // One map is not, but all that goes through it is.
    let through_one = counts(&behind_nexuses(10, 2500));
    let read = through_one.iter().take_while(|count| **count == Ok(10)).count();
    assert_eq!(read, (32768 - 10 * 1000) / 10);
    assert_eq!(
        through_one[read],
        Err(format!("/d{read}: interrupts-extended: {problem}"))
    );
    assert_eq!(through_one.iter().filter(|count| count.is_ok()).count(), read);
    // Who asks one by one starts anew, and is bounded each time.
    let tree = behind_nexuses(40, 1);
    assert!(tree.find("/d0").unwrap().interrupts().is_err());
}

#[test]
fn nodes_are_found_by_path() {
    let tree = tree(
        "aliases { uart = \"/soc/serial@10\"; loop = \"loop\"; };
         soc { serial@10 { child; }; dma@20 {}; dma@30 {}; bus { inner {}; }; };",
    );
    let check = |path: &str, expected: Option<&str>| {
        assert_eq!(
            tree.find(path).map(|node| node.path()).as_deref(),
            expected,
            "{path}"
        );
    };
    check("/", Some("/"));
    check("/soc", Some("/soc"));
    check("/soc/bus/inner", Some("/soc/bus/inner"));
    check("/soc/serial@10", Some("/soc/serial@10"));
    check("/soc/serial", Some("/soc/serial@10"));
    check("uart", Some("/soc/serial@10"));
    // Ambiguous, missing, and not a path.
    check("/soc/dma", None);
    check("/soc/dma@40", None);
    check("/soc/inner", None);
    check("loop", None);
    check("nothing", None);
    check("", None);
}

#[test]
fn nodes_are_found_by_phandle_and_compatible() {
    let tree = tree(
        "a: a { compatible = \"vendor,x\", \"arm,mmu-500\"; linux,phandle = <5>; };
         b { compatible = \"arm,mmu-500-not\"; phandle = <0>; };
         c { compatible = \"arm,mmu-500\"; status = \"disabled\"; };",
    );
    let path = |phandle| tree.by_phandle(phandle).map(|node| node.path());
    assert_eq!(path(5), Ok("/a".into()));
    assert_eq!(path(6), Err(PhandleError::Dangling { phandle: 6 }));
    assert_eq!(path(0), Err(PhandleError::Invalid { phandle: 0 }));
    assert_eq!(path(u32::MAX), Err(PhandleError::Invalid { phandle: u32::MAX }));
    assert_eq!(tree.find("/a").unwrap().phandle(), Some(5));
    assert_eq!(tree.find("/b").unwrap().phandle(), None);
    let found: Vec<String> = tree
        .compatible(&["arm,mmu-500"])
        .map(|node| node.path())
        .collect();
    assert_eq!(found, ["/a", "/c"]);
}

#[test]
fn values_are_read_by_type() {
    let tree = tree("x { one = <7>; two = <1 2>; texts = \"a\", \"b\"; bytes = [ff]; empty; };");
    let x = tree.find("/x").unwrap();
    assert_eq!(x.u32("one"), Ok(Some(7)));
    assert_eq!(x.u32("none"), Ok(None));
    assert_eq!(x.u64("two"), Ok(Some(0x1_0000_0002)));
    assert_eq!(x.required("one").unwrap().number(), Ok(7));
    assert_eq!(
        x.required("texts").unwrap().texts().collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(x.required("empty").unwrap().texts().count(), 0);
    for (error, expected) in [
        (x.u32("two").unwrap_err(), "/x: two: has 8 bytes, not 4"),
        (x.u64("one").unwrap_err(), "/x: one: has 4 bytes, not 8"),
        (
            x.text("texts").unwrap_err(),
            "/x: texts: is no NUL-terminated text of printable characters",
        ),
        (
            x.cells("bytes").unwrap_err(),
            "/x: bytes: has 1 bytes, not a multiple of 4",
        ),
        (x.required("none").unwrap_err(), "/x: none: is missing"),
        (
            x.required("empty").unwrap().number().unwrap_err(),
            "/x: empty: has 0 bytes, not 4 or 8",
        ),
    ] {
        assert_eq!(format!("{error}"), expected);
    }
}

#[test]
fn an_id_of_another_tree_reads_as_nothing() {
    let big = tree("a {}; b {}; c { reg = <1>; };");
    let small = tree("");
    let foreign = small.node(big.find("/c").unwrap().id());
    assert_eq!((foreign.properties().count(), foreign.children().count()), (0, 0));
    assert!(foreign.regs().is_err());
}

fn list<'a>(ranges: impl IntoIterator<Item = &'a AddressRange>) -> String {
    let all: Vec<String> = ranges.into_iter().map(|range| format!("{range}")).collect();
    all.join(" ")
}

/// Everything that the view can say of a tree, as lines.
pub(crate) fn describe(tree: &Tree) -> Vec<String> {
    let mut out = Vec::new();
    describe_machine(tree, &mut out);
    for node in tree.nodes() {
        describe_node(&node, &mut out);
    }
    out
}

fn describe_machine(tree: &Tree, out: &mut Vec<String>) {
    match tree.memory_ranges() {
        Ok(ranges) => out.push(format!("memory {}", list(&ranges))),
        Err(error) => out.push(format!("memory: {error}")),
    }
    for range in tree.reservations() {
        out.push(format!("reserved /memreserve/ {range}"));
    }
    match tree.reserved_memory() {
        Ok(regions) => out.extend(regions.iter().map(|region| {
            let no_map = if region.no_map { " no-map" } else { "" };
            format!(
                "reserved {} {}{no_map}",
                tree.path(region.node),
                list(&region.regions)
            )
        })),
        Err(error) => out.push(format!("error {error}")),
    }
    match tree.cpus() {
        Ok(cpus) => out.extend(cpus.iter().map(|cpu| {
            let enabled = if cpu.enabled { "enabled" } else { "disabled" };
            format!(
                "cpu {} mpidr {:#x} {:?} {enabled}",
                tree.path(cpu.node),
                cpu.mpidr,
                cpu.enable_method
            )
        })),
        Err(error) => out.push(format!("error {error}")),
    }
    match tree.psci() {
        Ok(psci) => out.extend(psci.map(|psci| format!("psci {} {:?}", tree.path(psci.node), psci.conduit))),
        Err(error) => out.push(format!("error {error}")),
    }
    match tree.chosen().bootargs() {
        Ok(bootargs) => out.extend(bootargs.map(|bootargs| format!("bootargs {bootargs}"))),
        Err(error) => out.push(format!("error {error}")),
    }
    match tree.chosen().initrd() {
        Ok(initrd) => out.extend(initrd.map(|initrd| format!("initrd {initrd}"))),
        Err(error) => out.push(format!("error {error}")),
    }
    match tree.chosen().stdout() {
        Some((node, options)) => out.push(format!("stdout {node} {}", options.unwrap_or(""))),
        None if tree.chosen().node().is_some() => out.push("no stdout".into()),
        None => {}
    }
    for (host, segment) in tree.pci_segments() {
        match segment {
            Ok(segment) => out.push(format!("segment {} {segment}", tree.path(host))),
            Err(error) => out.push(format!("error {error}")),
        }
    }
    out.extend(
        tree.duplicate_phandles()
            .iter()
            .map(|error| format!("duplicate {error}")),
    );
}

fn describe_node(node: &Node<'_>, out: &mut Vec<String>) {
    let in_cpus = node.ancestors().any(|node| node.path() == "/cpus");
    if let Some(by) = node.disabled_by() {
        out.push(format!("disabled {node} by {by}"));
    } else if node.has("reg") && !in_cpus {
        match node.regs() {
            Ok(regs) => out.push(format!("regs {node} {}", list(&regs))),
            Err(error) => out.push(format!("error {error}")),
        }
    }
    if node.is_enabled() {
        match node.gic_interrupts() {
            Ok(all) if all.is_empty() => {}
            Ok(all) => {
                let all: Vec<String> = all
                    .iter()
                    .map(|found| format!("{} {:?}", found.intid, found.trigger))
                    .collect();
                out.push(format!("interrupts {node} {}", all.join(" ")));
            }
            Err(error) => out.push(format!("error {error}")),
        }
    }
    if node.has("compatible") && node.children().next().is_none() {
        describe_dma(node, out);
    }
    let says = node.has("compatible") || node.has("dma-coherent") || node.children().next().is_some();
    if node.is_dma_coherent() && says {
        out.push(format!("coherent {node}"));
    }
    if matches!(node.text("device_type"), Ok(Some("pci"))) {
        match node.pci_windows() {
            Ok(windows) => out.extend(windows.iter().map(|window| {
                format!(
                    "window {node} {:?} {:#x} at {}",
                    window.space, window.bus_address, window.cpu
                )
            })),
            Err(error) => out.push(format!("error {error}")),
        }
        match node.pci_gic_interrupt(0, 1, 0, 1) {
            Ok(found) => out.push(format!(
                "pin {node} 00:01.0 INTA {} {:?}",
                found.intid, found.trigger
            )),
            Err(error) => out.push(format!("error {error}")),
        }
    }
}

/// What the DMA of a node reaches, unless that is all memory as it is.
fn describe_dma(node: &Node<'_>, out: &mut Vec<String>) {
    match node.dma_windows() {
        Ok(windows) if windows.is_empty() => out.push(format!("dma {node} none")),
        Ok(windows) => {
            let moved = windows.iter().filter(|window| window.size != u64::MAX);
            out.extend(moved.map(|window| {
                let DmaWindow { bus, cpu, size } = window;
                format!("dma {node} {bus:#x}+{size:#x} at {cpu:#x}")
            }));
        }
        Err(error) => out.push(format!("error {error}")),
    }
}

#[test]
fn what_a_device_reaches_has_the_devices_address() {
    let window = DmaWindow {
        bus: 0xc000_0000,
        cpu: 0x1000,
        size: 0x2000,
    };
    assert_eq!(window.to_bus(0x1000, 0x2000), Some(0xc000_0000));
    assert_eq!(window.to_bus(0x2fff, 1), Some(0xc000_1fff));
    for (cpu, size) in [(0, 0x1001), (0x1000, 0x2001), (0x3000, 1), (u64::MAX, 2)] {
        assert_eq!(window.to_bus(cpu, size), None, "{cpu:#x}+{size:#x}");
    }
}
