//! Shapes with many SMMUs. Each of them has a master.

use crate::write::{GIC, NEXUS, Result, SMMU, Writer, machine, machine_with_gic};

pub(crate) fn with_one_master_each(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        (0..count / 2).try_for_each(|i| w.plain_smmu(i, 1))?;
        masters(w, count / 2)
    })
}

pub(crate) fn behind_ranges(count: u32) -> Result<Vec<u8>> {
    /// SMMUs inside so many buses. The last of the bus's windows is the one that holds them.
    fn nest(w: &mut Writer, depth: u32, count: u32) -> Result {
        if depth == 0 {
            return (0..count).try_for_each(|i| w.plain_smmu(i, 1));
        }
        w.node("bus", |w| {
            w.cells("#address-cells", &[1])?;
            w.cells("#size-cells", &[1])?;
            let windows = (0..16).rev().map(|i| i << 28);
            let ranges: Vec<u32> = windows.flat_map(|at| [at, at, 1 << 28]).collect();
            w.cells("ranges", ranges.get(3..).unwrap_or(&[]))?;
            nest(w, depth - 1, count)
        })
    }
    machine(|w| {
        nest(w, 20, count / 2)?;
        masters(w, count / 2)
    })
}

pub(crate) fn behind_a_nexus(count: u32) -> Result<Vec<u8>> {
    let entries = count.min(1000);
    machine(|w| {
        w.node("nexus", |w| {
            w.cells("phandle", &[NEXUS])?;
            w.cells("#interrupt-cells", &[1])?;
            w.cells("#address-cells", &[0])?;
            let map: Vec<u32> = (0..entries).flat_map(|i| [i, GIC, 0, i % 900, 4]).collect();
            w.cells("interrupt-map", &map)
        })?;
        w.bus("bus", |w| {
            w.cells("interrupt-parent", &[NEXUS])?;
            (0..count / 2)
                .try_for_each(|i| w.smmu(i, 1, |w| w.cells("interrupts", &[i % entries, (i + 1) % entries])))
        })?;
        masters(w, count / 2)
    })
}

pub(crate) fn at_a_gic_of_many_names(count: u32) -> Result<Vec<u8>> {
    let mut names: Vec<String> = (0..count).map(|i| format!("vendor,gic-{i}")).collect();
    names.push("arm,gic-400".to_string());
    machine_with_gic(&names, |w| {
        (0..count / 2).try_for_each(|i| w.plain_smmu(i, 1))?;
        masters(w, count / 2)
    })
}

/// What an SMMU says of itself is as long as it likes.
pub(crate) fn of_many_names(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.node("iommu", |w| {
            let names = "arm,smmu-v3\0".to_string() + &"a\0".repeat(32 * count as usize);
            w.bytes("compatible", names.as_bytes())?;
            w.cells("reg", &[0, 0x1000])?;
            w.cells("phandle", &[SMMU])?;
            w.cells("#iommu-cells", &[1])
        })?;
        masters(w, 1)
    })
}

pub(crate) fn of_many_frames(count: u32) -> Result<Vec<u8>> {
    machine(|w| {
        w.node("iommu", |w| {
            let frames: Vec<u32> = (0..8 * count).flat_map(|i| [i << 12, 0x1000]).collect();
            w.text("compatible", "arm,smmu-v3")?;
            w.cells("reg", &frames)?;
            w.cells("phandle", &[SMMU])?;
            w.cells("#iommu-cells", &[1])
        })?;
        masters(w, 1)
    })
}

fn masters(w: &mut Writer, count: u32) -> Result {
    (0..count).try_for_each(|i| w.master(i, &[SMMU + i, i]))
}
