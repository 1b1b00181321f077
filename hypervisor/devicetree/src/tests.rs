//! The typed view, checked on fixtures: each is a device tree source that says what is to be read from it.

use std::format;
use std::string::String;
use std::vec::Vec;

use crate::fixtures::check_folder;
use crate::{AddressRange, Blob, Node, Tree};

#[test]
fn fixtures_say_what_is_read() {
    check_folder("view", |_, blob| {
        describe(&Tree::new(Blob::new(blob).unwrap()).unwrap())
    });
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
