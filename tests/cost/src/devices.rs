//! Shapes with many devices.

use crate::write::{MASTER, MSI, REGION, Result, SMMU, Writer, machine};

/// How many matches with masks are written; the topology refuses an SMMU with more than 1024.
const MASKED: u32 = 1000;

pub(crate) fn on_one_bus(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        w.bus("bus", |w| (0..count).try_for_each(|i| w.master(i, &[SMMU, i])))
    })
}

/// The least that makes a device a master.
pub(crate) fn that_nothing_describes(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        (0..count).try_for_each(|i| {
            w.node(&format!("d@{i:x}"), |w| {
                w.cells("reg", &[i, 1])?;
                w.flag("dma-coherent")
            })
        })
    })
}

pub(crate) fn in_one_list(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.smmu(0, 1, |w| list(w, count))?;
        (0..count).try_for_each(|i| w.device(i, |w| w.cells("#stream-id-cells", &[1])))
    })
}

pub(crate) fn in_both_bindings(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.smmu(0, 1, |w| list(w, count))?;
        (0..count).try_for_each(|i| {
            w.device(i, |w| {
                w.cells("#stream-id-cells", &[1])?;
                w.cells("iommus", &[SMMU, i])
            })
        })
    })
}

/// `mmu-masters` with one stream ID for each device.
fn list(w: &mut Writer, count: u32) -> Result {
    let cells: Vec<u32> = (0..count).flat_map(|i| [MASTER + i, i]).collect();
    w.cells("interrupts", &[0, 1, 4, 0, 2, 4])?;
    w.cells("mmu-masters", &cells)
}

/// The first entry has no `#stream-id-cells`, so that any cell behind it may be a stream ID.
pub(crate) fn behind_a_broken_entry(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.smmu(0, 1, |w| {
            let cells: Vec<u32> = [MASTER].into_iter().chain(0..8 * count).collect();
            w.cells("mmu-masters", &cells)
        })?;
        (0..count).try_for_each(|i| w.master(i, &[SMMU, 0x8000 | i]))
    })
}

/// A bus on which nobody looked for devices has the streams of all masters.
pub(crate) fn with_long_paths(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        long_path(w, 13, &mut |w| {
            w.node("bus", |w| w.cells("iommu-map", &[0, SMMU, 0, count]))?;
            (0..count).try_for_each(|i| w.master(i, &[SMMU, i]))
        })
    })
}

/// Nodes in nodes, so many deep, with names as long as they may be.
fn long_path(w: &mut Writer, levels: u32, body: &mut dyn FnMut(&mut Writer) -> Result) -> Result {
    if levels == 0 {
        return body(w);
    }
    w.bus(&"n".repeat(31), |w| long_path(w, levels - 1, body))
}

pub(crate) fn sharing_streams(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        (0..count).try_for_each(|i| w.master(i, &[SMMU, i, SMMU, i + 1]))
    })
}

pub(crate) fn with_masks(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 2)?;
        (0..count).try_for_each(|i| w.master(i, &masked(i)))
    })
}

pub(crate) fn with_many_streams(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 2)?;
        let cells: Vec<u32> = (0..count).flat_map(masked).collect();
        w.master(0, &cells)
    })
}

/// A match of 32 stream IDs, or of one that may be among them.
fn masked(index: u32) -> [u32; 3] {
    if index < MASKED {
        [SMMU, index << 6, 0x1f]
    } else {
        [SMMU, index << 2, 0]
    }
}

/// Half of the masters have one match. The first of the others have matches that overlap it and each other, but hold
/// bits that it does not compare and the other way round; the rest are apart.
pub(crate) fn with_partial_overlaps(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 2)?;
        (0..count).try_for_each(|i| {
            let k = i / 2;
            let other = match k {
                0..MASKED => [SMMU, 0, ((1 + k % 127) << 8) | (k / 127)],
                _ => [SMMU, 0x8000 | k, 0],
            };
            w.master(i, if i % 2 == 0 { &[SMMU, 0, 0xff] } else { &other })
        })
    })
}

pub(crate) fn with_defects(count: u32) -> Result<Vec<u8>> {
    machine(|w| (0..count).try_for_each(|i| w.master(i, &[SMMU, i])))
}

pub(crate) fn with_messages(count: u32) -> Result<Vec<u8>> {
    let controllers = count / 10;
    machine(|w| {
        w.plain_smmu(0, 1)?;
        (0..controllers).try_for_each(|i| w.msi_controller(i))?;
        (0..count - controllers).try_for_each(|i| {
            w.device(i, |w| {
                w.cells("iommus", &[SMMU, i])?;
                w.cells("msi-parent", &[MSI + i % controllers, i])
            })
        })
    })
}

pub(crate) fn with_regions(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        w.bus("reserved-memory", |w| {
            (0..count / 2).try_for_each(|i| {
                w.node(&format!("region@{i:x}"), |w| {
                    w.cells("reg", &[i << 12, 0x1000])?;
                    w.cells("phandle", &[REGION + i])?;
                    w.cells("iommu-addresses", &[MASTER + i, i << 12, 0x1000])
                })
            })
        })?;
        (0..count / 2).try_for_each(|i| {
            w.device(i, |w| {
                w.cells("iommus", &[SMMU, i])?;
                w.cells("memory-region", &[REGION + i])
            })
        })
    })
}

pub(crate) fn with_one_large_region(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        w.bus("reserved-memory", |w| {
            w.node("region", |w| {
                let memory: Vec<u32> = (0..count).flat_map(|i| [i << 12, 0x1000]).collect();
                let addresses: Vec<u32> = (0..count).flat_map(|i| [MASTER, i << 12, 0x1000]).collect();
                w.cells("reg", &memory)?;
                w.cells("phandle", &[REGION])?;
                w.cells("iommu-addresses", &addresses)
            })
        })?;
        w.device(0, |w| {
            w.cells("iommus", &[SMMU, 0])?;
            w.cells("memory-region", &[REGION])
        })
    })
}

pub(crate) fn on_a_wide_bus(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        w.node("bus", |w| {
            (0..count / 2).try_for_each(|i| w.flag(&format!("p{i}")))?;
            w.cells("#address-cells", &[1])?;
            w.cells("#size-cells", &[1])?;
            (0..count / 2).try_for_each(|i| w.master(i, &[SMMU, i]))
        })
    })
}

pub(crate) fn below_a_long_status(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        w.bus("bus", |w| {
            w.text("status", &"no".repeat(count as usize * 16))?;
            (0..count).try_for_each(|i| w.master(i, &[SMMU, i]))
        })
    })
}

pub(crate) fn on_deep_buses(count: u32) -> Result<Vec<u8>> {
    const DEPTH: u32 = 28;
    /// A device inside so many buses.
    fn nest(w: &mut Writer, depth: u32, index: u32) -> Result {
        match depth {
            0 => w.master(index, &[SMMU, index]),
            _ => w.node("b", |w| nest(w, depth - 1, index)),
        }
    }
    machine(|w| {
        w.plain_smmu(0, 1)?;
        (0..count / DEPTH).try_for_each(|i| w.node(&format!("bus@{i:x}"), |w| nest(w, DEPTH - 2, i)))
    })
}
