//! Shapes with buses whose devices have requester IDs.

use crate::shapes::{Input, with_functions};
use crate::write::{BRIDGE, MASTER, MSI, Result, SMMU, Writer, machine};

/// One tuple for every second requester ID, in no order, and a last one that gets the gaps between them.
pub(crate) fn with_long_maps(count: u32) -> Result<Input> {
    let map = |target: u32| {
        let scattered = (0..count).map(move |i| i * 7919 % count * 2);
        let single = scattered.flat_map(move |base| [base, target, base, 1]);
        single.chain([0, target, 0, 0x1_0000]).collect::<Vec<u32>>()
    };
    let blob = machine(|w| {
        w.plain_smmu(0, 1)?;
        w.msi_controller(0)?;
        host(w, |w| {
            w.cells("iommu-map", &map(SMMU))?;
            w.cells("msi-map", &map(MSI))
        })
    })?;
    with_functions(blob, count)
}

pub(crate) fn with_many_msi_parents(count: u32) -> Result<Input> {
    let blob = machine(|w| {
        (0..count).try_for_each(|i| w.msi_controller(i))?;
        let list: Vec<u32> = (0..count).flat_map(|i| [MSI + i, 0]).collect();
        host(w, |w| w.cells("msi-parent", &list))
    })?;
    with_functions(blob, count)
}

/// The host has no `#stream-id-cells`: each of its entries is an error, behind which reading goes on at the next device.
pub(crate) fn in_a_broken_list(count: u32) -> Result<Input> {
    let blob = machine(|w| {
        w.smmu(0, 1, |w| {
            let list: Vec<u32> = (0..count).flat_map(|_| [BRIDGE, MASTER, 0]).collect();
            w.cells("mmu-masters", &list)
        })?;
        w.device(0, |w| w.cells("#stream-id-cells", &[1]))?;
        host(w, |_| Ok(()))
    })?;
    with_functions(blob, count)
}

/// Between two entries of unknown length, a part of the list names a host: all its functions may be listed in each part.
pub(crate) fn in_broken_parts(count: u32) -> Result<Input> {
    let blob = machine(|w| {
        w.smmu(0, 1, |w| {
            let list: Vec<u32> = (0..count).flat_map(|_| [BRIDGE, BRIDGE, MASTER, 0]).collect();
            w.cells("mmu-masters", &list)
        })?;
        w.device(0, |w| w.cells("#stream-id-cells", &[1]))?;
        host(w, |_| Ok(()))
    })?;
    with_functions(blob, count)
}

/// Each SMMU may list the host, and each device.
pub(crate) fn in_many_broken_lists(count: u32) -> Result<Input> {
    let smmus = (count / 8).min(127);
    let blob = machine(|w| {
        let devices = count / 8;
        let list: Vec<u32> = [0x999, BRIDGE]
            .into_iter()
            .chain((0..devices).map(|i| MASTER + i))
            .collect();
        (0..smmus).try_for_each(|i| w.smmu(i, 1, |w| w.cells("mmu-masters", &list)))?;
        (0..devices).try_for_each(|i| w.device(i, |w| w.cells("#stream-id-cells", &[1])))?;
        host(w, |_| Ok(()))
    })?;
    with_functions(blob, count)
}

fn host(w: &mut Writer, body: impl FnOnce(&mut Writer) -> Result) -> Result {
    w.node("pcie", |w| {
        w.text("device_type", "pci")?;
        w.cells("phandle", &[BRIDGE])?;
        body(w)
    })
}

pub(crate) fn that_are_not_pci(count: u32) -> Result<Vec<u8>> {
    buses_and_masters(count, |i| vec![0, SMMU, 0x8000 | i, 1])
}

pub(crate) fn that_cannot_be_read(count: u32) -> Result<Vec<u8>> {
    buses_and_masters(count, |_| vec![0])
}

fn buses_and_masters(count: u32, map: impl Fn(u32) -> Vec<u32>) -> Result<Vec<u8>> {
    machine(|w| {
        w.plain_smmu(0, 1)?;
        (0..count / 2).try_for_each(|i| w.node(&format!("bus@{i:x}"), |w| w.cells("iommu-map", &map(i))))?;
        (0..count / 2).try_for_each(|i| w.master(i, &[SMMU, i]))
    })
}
