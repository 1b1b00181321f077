//! The gate, and every question that can be asked of what passed it.

use devicetree::{Blob, Node, Tree, decode_gic};

/// Asks everything of a blob that passes the gate.
pub fn check_gate(bytes: &[u8]) {
    // What it answers is not looked at; that it answers is what is checked.
    let _size = Blob::declared_size(bytes);
    let Ok(blob) = Blob::new(bytes) else { return };
    // What it lets through it lets through again, as it is: other readers get what was checked.
    assert_eq!(Blob::new(blob.bytes()).as_ref(), Ok(&blob));
    let (nodes, properties) = (blob.node_count(), blob.property_count());
    let tree = Tree::new(blob).unwrap_or_else(|error| panic!("gate and reader disagree: {error}"));
    assert_eq!(tree.nodes().count(), nodes);
    assert_eq!(
        tree.nodes().map(|node| node.properties().count()).sum::<usize>(),
        properties
    );
    for node in tree.nodes() {
        check_node(&tree, node);
    }
    let _answers = (
        tree.memory_ranges(),
        tree.reserved_memory(),
        tree.cpus(),
        tree.psci(),
    );
    let chosen = tree.chosen();
    let _answers = (chosen.node(), chosen.bootargs(), chosen.initrd(), chosen.stdout());
    let _answers = (
        tree.reservations().len(),
        tree.duplicate_phandles(),
        tree.alias("serial0"),
    );
}

fn check_node(tree: &Tree, node: Node<'_>) {
    // A path leads back to its node: names are unique among siblings.
    assert_eq!(
        tree.find(&node.path()).map(|found| found.id()),
        Some(node.id()),
        "{node}"
    );
    assert!(node.children().all(|child| child.parent() == Some(node)));
    if let Some(phandle) = node.phandle()
        && let Ok(found) = tree.by_phandle(phandle)
    {
        assert_eq!(found.id(), node.id(), "{node}");
    }
    for property in node.properties() {
        assert_eq!(node.property(property.name()), Some(property));
        let _answers = (
            property.u32(),
            property.u64(),
            property.number(),
            property.text(),
            property.texts().count(),
        );
        if let Ok(cells) = property.cells() {
            assert_eq!(cells.iter().count(), cells.len());
            let _answer = decode_gic(&cells);
        }
        let _entries = (0..5)
            .map(|entry| property.entries(entry).map(Iterator::count))
            .collect::<Vec<_>>();
    }
    assert_eq!(node.is_enabled(), node.disabled_by().is_none());
    if let Ok(regions) = node.regs() {
        for (index, region) in regions.iter().enumerate() {
            assert_eq!(node.reg(index).as_ref(), Ok(region));
        }
    }
    let _answers = (
        node.is_dma_coherent(),
        node.address_cells(),
        node.compatibles().count(),
    );
    let _answers = (
        node.interrupt_parent(),
        node.interrupts(),
        node.gic_interrupts(),
        node.gic_interrupt_by_name("eventq"),
    );
    let _answers = (
        node.pci_windows(),
        node.pci_bus_range(),
        node.pci_gic_interrupt(0, 1, 0, 1),
    );
}
