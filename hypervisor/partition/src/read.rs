//! Reads the nodes and properties of a compiled partition.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use devicetree::{Node, Tree};

use crate::error::{PartitionError, Problem};
use crate::{
    ANY_ADDRESS, COMPATIBLE, Device, DeviceName, Dma, Guest, Loading, MAX_BOOTARGS, MAX_CPUS, MAX_DEVICES,
    MAX_GUESTS, MAX_NAME, MAX_REGIONS, MemoryRegion, OnFault, Partition, Wait, When,
};

type Result<T> = core::result::Result<T, PartitionError>;

/// Cells of one entry of `memory`: three numbers of 64 bits.
const MEMORY_CELLS: usize = 6;

pub(crate) fn partition(tree: &Tree) -> Result<Partition> {
    let root = tree.root();
    only(root, &["compatible", "console"], &["loading", "guest"])?;
    let compatible = root.required("compatible")?.text()?;
    if compatible != COMPATIBLE {
        return Err(PartitionError::value(
            &root.path(),
            "compatible",
            compatible,
            Problem::Compatible,
        ));
    }
    let loading = root.child("loading").ok_or_else(|| PartitionError::MissingNode {
        node: root.path(),
        child: "loading",
    })?;
    let nodes: Vec<Node<'_>> = root
        .children()
        .filter(|child| child.base_name() == "guest")
        .collect();
    if nodes.is_empty() {
        return Err(PartitionError::MissingNode {
            node: root.path(),
            child: "guest@0",
        });
    }
    if nodes.len() > MAX_GUESTS {
        return Err(PartitionError::value(
            &root.path(),
            "guests",
            nodes.len(),
            Problem::TooManyGuests,
        ));
    }
    let guests: Vec<Guest> = nodes.into_iter().map(guest).collect::<Result<_>>()?;
    Ok(Partition {
        loading: read_loading(loading)?,
        console: console(root, &guests)?,
        guests,
    })
}

fn console(root: Node<'_>, guests: &[Guest]) -> Result<Option<usize>> {
    let Some(name) = root.text("console")? else {
        return Ok(None);
    };
    match guests.iter().position(|guest| guest.name == name) {
        Some(index) => Ok(Some(index)),
        None => Err(wrong(root, "console", name, Problem::NoSuchGuest)),
    }
}

fn read_loading(node: Node<'_>) -> Result<Loading> {
    only(node, &["when", "delay-ms", "seal-ms"], &[])?;
    let when = match node.required("when")?.text()? {
        "boot" => When::Boot,
        "delay" => When::Delay {
            delay_ms: node.required("delay-ms")?.u32()?,
        },
        "never" => When::Never,
        other => return Err(unknown_word(node, "when", other, "boot, delay and never")),
    };
    Ok(Loading {
        when,
        seal_ms: node.required("seal-ms")?.u32()?,
    })
}

fn guest(node: Node<'_>) -> Result<Guest> {
    only(
        node,
        &["guest-name", "image", "initrd", "cpus", "memory", "bootargs"],
        &["device"],
    )?;
    let name = node.required("guest-name")?.text()?;
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        return Err(wrong(node, "guest-name", name, Problem::GuestName));
    }
    let member = |property, name: &str| {
        if name.is_empty() || name.len() > 255 || !name.chars().all(|c| c.is_ascii_graphic()) {
            return Err(wrong(node, property, name, Problem::ImageName));
        }
        Ok(name.to_string())
    };
    let image = member("image", node.required("image")?.text()?)?;
    let initrd = node
        .text("initrd")?
        .map(|name| member("initrd", name))
        .transpose()?;
    let bootargs = node.text("bootargs")?.unwrap_or_default();
    if bootargs.len() > MAX_BOOTARGS {
        return Err(wrong(node, "bootargs", bootargs, Problem::BootargsLength));
    }
    let devices: Vec<Node<'_>> = node.children().collect();
    if devices.len() > MAX_DEVICES {
        return Err(wrong(node, "devices", devices.len(), Problem::TooManyDevices));
    }
    Ok(Guest {
        name: name.to_string(),
        image,
        initrd,
        cpus: cpus(node)?,
        memory: memory(node)?,
        bootargs: bootargs.to_string(),
        devices: devices.into_iter().map(device).collect::<Result<_>>()?,
    })
}

fn cpus(node: Node<'_>) -> Result<Vec<u32>> {
    let cells = node.required("cpus")?.cells()?;
    if cells.is_empty() {
        return Err(wrong(node, "cpus", "<>", Problem::Empty));
    }
    if cells.len() > MAX_CPUS {
        return Err(wrong(node, "cpus", cells.len(), Problem::TooManyCpus));
    }
    Ok(cells.iter().collect())
}

fn memory(node: Node<'_>) -> Result<Vec<MemoryRegion>> {
    let property = node.required("memory")?;
    let entries: Vec<_> = property.entries(MEMORY_CELLS)?.collect();
    if entries.is_empty() {
        return Err(wrong(node, "memory", "<>", Problem::Empty));
    }
    if entries.len() > MAX_REGIONS {
        return Err(wrong(node, "memory", entries.len(), Problem::TooManyRegions));
    }
    // Each entry has its six cells, so every number is there.
    let regions = entries.iter().filter_map(|entry| {
        let pa = entry.number(4, 2)?;
        Some(MemoryRegion {
            ipa: entry.number(0, 2)?,
            size: entry.number(2, 2)?,
            pa: (pa != ANY_ADDRESS).then_some(pa),
        })
    });
    Ok(regions.collect())
}

fn device(node: Node<'_>) -> Result<Device> {
    only(node, &["pci", "path", "wait", "dma", "on-fault"], &[])?;
    let name = match (node.text("pci")?, node.text("path")?) {
        (Some(pci), None) => {
            DeviceName::Pci(pci.parse().map_err(|problem| wrong(node, "pci", pci, problem))?)
        }
        (None, Some(path)) if is_path(path) => DeviceName::Path(path.to_string()),
        (None, Some(path)) => return Err(wrong(node, "path", path, Problem::Path)),
        (None, None) => return Err(wrong(node, "pci", "(neither)", Problem::DeviceNames)),
        (Some(pci), Some(_)) => return Err(wrong(node, "pci", pci, Problem::DeviceNames)),
    };
    let wait = match node.required("wait")?.text()? {
        "guest" => Wait::Guest,
        "device" => Wait::Device,
        "slot" => Wait::Slot,
        "no" => Wait::No,
        other => return Err(unknown_word(node, "wait", other, "guest, device, slot and no")),
    };
    let dma = match node.required("dma")?.text()? {
        "isolated" => Dma::Isolated,
        "trusted" => Dma::Trusted,
        other => return Err(unknown_word(node, "dma", other, "isolated and trusted")),
    };
    let word = node.required("on-fault")?.text()?;
    let Some(on_fault) = OnFault::ALL.into_iter().find(|policy| policy.word() == word) else {
        return Err(unknown_word(
            node,
            "on-fault",
            word,
            "log, quarantine and stop-guest",
        ));
    };
    Ok(Device {
        name,
        wait,
        dma,
        on_fault,
    })
}

fn is_path(text: &str) -> bool {
    text.len() > 1 && text.starts_with('/') && !text.ends_with('/') && !text.contains("//")
}

/// Refuses what this version does not know: a misspelt property must not be a property that is absent.
fn only(node: Node<'_>, properties: &[&str], children: &[&str]) -> Result<()> {
    if let Some(property) = node.properties().find(|p| !properties.contains(&p.name())) {
        return Err(PartitionError::UnknownProperty {
            node: node.path(),
            property: property.name().to_string(),
        });
    }
    match node.children().find(|c| !children.contains(&c.base_name())) {
        Some(child) => Err(PartitionError::UnknownNode { node: child.path() }),
        None => Ok(()),
    }
}

/// The node's path, and which guest that is.
fn place(node: Node<'_>) -> String {
    let guest = node
        .ancestors()
        .find_map(|node| node.text("guest-name").ok().flatten());
    match guest {
        Some(name) => format!("{node} (guest {name})"),
        None => node.path(),
    }
}

fn wrong(
    node: Node<'_>,
    property: &'static str,
    value: impl core::fmt::Display,
    problem: Problem,
) -> PartitionError {
    PartitionError::value(&place(node), property, value, problem)
}

fn unknown_word(
    node: Node<'_>,
    property: &'static str,
    value: &str,
    allowed: &'static str,
) -> PartitionError {
    wrong(node, property, value, Problem::Word { allowed })
}
