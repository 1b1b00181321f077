//! PCI addresses, and the host bridge that a function is behind.

use anyhow::{Context, Result, bail, ensure};
use devicetree::{Node, NodeId, ReadError, Tree};
use topology::PciFunction;

/// Segment, bus, device and function number of `0000:01:00.0`, or of `01:00.0`.
pub(super) fn address(text: &str) -> Option<[u16; 4]> {
    let (rest, function) = text.split_once('.')?;
    let parts: Vec<&str> = rest.split(':').collect();
    let hex = |text: &str, most: u16| {
        u16::from_str_radix(text, 16)
            .ok()
            .filter(|number| *number <= most)
    };
    let (segment, bus, device) = match parts.as_slice() {
        [segment, bus, device] => (hex(segment, u16::MAX)?, bus, device),
        [bus, device] => (0, bus, device),
        _ => return None,
    };
    Some([segment, hex(bus, 0xff)?, hex(device, 0x1f)?, hex(function, 7)?])
}

/// The function with that address: nothing but a host bridge for it has to be in the tree.
pub(super) fn function(tree: &Tree, [segment, bus, device, function]: [u16; 4]) -> Result<PciFunction> {
    let host = host(tree, segment)?;
    let (first, last) = tree
        .node(host)
        .pci_bus_range()
        .context("its host bridge has no buses")?;
    ensure!(
        (first.into()..=last.into()).contains(&bus),
        "bus {bus:02x} is not behind {}, whose `bus-range` is {first:02x} to {last:02x}",
        tree.path(host)
    );
    Ok(PciFunction {
        host_bridge: host,
        segment,
        bus: u8::try_from(bus)?,
        device: u8::try_from(device)?,
        function: u8::try_from(function)?,
        requester_ids: Vec::new(),
        peers_at: None,
    })
}

/// The host bridge of a segment.
fn host(tree: &Tree, segment: u16) -> Result<NodeId> {
    let hosts = tree.pci_segments();
    if let Some((host, _)) = hosts.iter().find(|(_, found)| *found == Ok(segment)) {
        return Ok(*host);
    }
    let claims = |host: &Node<'_>| host.u32("linux,pci-domain") == Ok(Some(segment.into()));
    let claiming = hosts.iter().map(|(host, _)| tree.node(*host)).filter(claims);
    let claiming: Vec<String> = claiming.map(|host| host.path()).collect();
    if let [rest @ .., last] = claiming.as_slice()
        && !rest.is_empty()
    {
        let none = if rest.len() == 1 { "neither" } else { "none" };
        bail!(
            "segment {segment:04x} is claimed by {} and {last}; {none} has it",
            rest.join(", ")
        );
    }
    let text = |(host, found): &(NodeId, Result<u16, ReadError>)| match found {
        Ok(segment) => format!("{} has {segment:04x}", tree.path(*host)),
        Err(error) => error.to_string(),
    };
    let disabled = disabled_hosts(tree);
    let all: Vec<String> = hosts.iter().map(text).chain(disabled).collect();
    let all = if all.is_empty() {
        vec!["the tree has none".to_string()]
    } else {
        all
    };
    bail!(
        "no enabled PCI host bridge has segment {segment:04x}: {}",
        all.join("; ")
    )
}

/// What is said of the host bridges that are disabled, and so have no segment.
fn disabled_hosts(tree: &Tree) -> impl Iterator<Item = String> {
    let is_pci = |node: &Node<'_>| matches!(node.text("device_type"), Ok(Some("pci")));
    let is_host = move |node: &Node<'_>| {
        let is_below = node.parent().is_some_and(|parent| is_pci(&parent));
        (is_pci(node) || node.is_compatible(&["pci-host-ecam-generic"])) && !is_below
    };
    tree.nodes().filter(is_host).filter_map(|host| {
        let by = host.disabled_by()?;
        Some(format!(
            "{} is disabled by the status of {}",
            host.path(),
            by.path()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_names() {
        assert_eq!(address("0000:01:1f.7"), Some([0, 1, 0x1f, 7]));
        assert_eq!(address("a:02:00.0"), Some([0xa, 2, 0, 0]));
        assert_eq!(address("02:00.1"), Some([0, 2, 0, 1]));
        for name in ["02:20.0", "02:00.8", "100:00.0x", "usb@1000", "/soc/usb", "1.2"] {
            assert_eq!(address(name), None, "{name}");
        }
    }
}
