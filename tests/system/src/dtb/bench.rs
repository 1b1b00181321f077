//! The device tree of the bench: QEMU's own, with what the firmware of `tests/bench` adds and takes over.

use std::ops::Range;

use bench_firmware::{Kind, map};

use super::{Binding, Dtb, DtbError};

/// A PCI window of 32-bit memory (PCI bus binding, `phys.hi`).
const MEMORY32: u32 = 0x0200_0000;
/// GIC binding: a shared interrupt, active high.
const SHARED: u32 = 0;
const LEVEL_HIGH: u32 = 4;
/// All requester IDs of one bus.
const REQUESTERS: u32 = 0x100;
/// Where QEMU's window for 32-bit BARs ends: the I/O window begins.
const QEMU_WINDOW_END: u64 = 0x3eff_0000;
/// What the bench's platform device is called, and what it is.
pub(super) const PLATFORM: &str = "dma";
const PLATFORM_COMPATIBLE: &[u8] = b"portcullis,edu\0";
/// Where there is a second SMMU, it has those from 00:02.0 on.
const SECONDS: u32 = 0x10;

/// The tree that QEMU makes for the machine below the bench's firmware, rewritten: PSCI, our host bridge in the place of
/// QEMU's, an SMMU of a kind that a binding describes, the platform device if it is wanted, and where the bundle lies.
///
/// # Errors
/// `blob` is no device tree, or is not that of QEMU's virt machine.
pub fn bench_tree(
    blob: &[u8],
    smmu: Option<(&Kind, Binding)>,
    has_platform: bool,
    bundle: Range<u64>,
) -> Result<Vec<u8>, DtbError> {
    let mut dtb = Dtb::parse(blob)?;
    let chosen = dtb.find("chosen")?;
    dtb.set_cells(chosen, "linux,initrd-start", &pair(bundle.start));
    dtb.set_cells(chosen, "linux,initrd-end", &pair(bundle.end));
    let psci = dtb.add_node("psci");
    dtb.set(psci, "compatible", b"arm,psci-1.0\0arm,psci-0.2\0".to_vec());
    dtb.set(psci, "method", b"smc\0".to_vec());
    // From behind, so that nodes that are still to come stay where they are.
    for cpu in dtb.find_all("cpu").into_iter().rev() {
        dtb.set(cpu, "enable-method", b"psci\0".to_vec());
    }
    let host = match dtb.find("smmuv3") {
        Ok(_) => bridge_beside(&mut dtb)?,
        Err(_) => dtb.find("pcie")?,
    };
    host_bridge(&mut dtb, host);
    // Behind the host bridge, which stays where it is.
    let platform = has_platform.then(|| add_platform(&mut dtb));
    let Some((kind, binding)) = smmu else {
        return Ok(dtb.emit());
    };
    let mut phandles = Vec::new();
    for (start, global) in kind.smmus() {
        let smmu = add_smmu(&mut dtb, kind, start, global);
        phandles.push(dtb.phandle(smmu));
    }
    // Of two the second has whoever is not the first function.
    if let (Some(platform), [.., smmu]) = (platform, phandles.as_slice()) {
        dtb.set_cells(platform, "iommus", &[*smmu, map::PLATFORM_STREAM]);
    }
    let map = match *phandles.as_slice() {
        [first, second] => vec![
            0,
            first,
            0,
            SECONDS,
            SECONDS,
            second,
            SECONDS,
            REQUESTERS - SECONDS,
        ],
        _ => phandles
            .iter()
            .flat_map(|phandle| [0, *phandle, 0, REQUESTERS])
            .collect(),
    };
    // Nodes that were added since come behind it.
    dtb.set_cells(host, "iommu-map", &map);
    binding.apply(&dtb.emit())
}

/// A host bridge beside QEMU's own, which has devices behind its SMMU: QEMU's becomes segment 1, and keeps the rest of
/// the window that BARs of both are in.
fn bridge_beside(dtb: &mut Dtb) -> Result<usize, DtbError> {
    let qemu = dtb.find("pcie")?;
    let kept = [
        "interrupt-map-mask",
        "interrupt-map",
        "#interrupt-cells",
        "#size-cells",
        "#address-cells",
    ];
    let kept = kept.map(|property| (property, dtb.cells(qemu, property)));
    dtb.set_cells(qemu, "linux,pci-domain", &[1]);
    let [high, low] = pair(map::BARS.end);
    let [_, _, size_high, size_low] = window(&(map::BARS.end..QEMU_WINDOW_END));
    let ranges = [MEMORY32, high, low, high, low, size_high, size_low];
    dtb.set_cells(qemu, "ranges", &ranges);
    let host = dtb.add_node(&format!("pcie@{:x}", map::ECAM.start));
    for (property, cells) in kept {
        dtb.set_cells(host, property, &cells.unwrap_or_default());
    }
    dtb.set(host, "compatible", b"pci-host-ecam-generic\0".to_vec());
    dtb.set(host, "device_type", b"pci\0".to_vec());
    dtb.set_cells(host, "linux,pci-domain", &[0]);
    dtb.set_cells(host, "dma-coherent", &[]);
    Ok(host)
}

/// The node becomes that of our host bridge. Pins lead to the same interrupts as QEMU's; there are no message signalled ones.
fn host_bridge(dtb: &mut Dtb, host: usize) {
    dtb.set_cells(host, "reg", &window(&map::ECAM));
    dtb.set_cells(host, "bus-range", &[0, 0]);
    let [high, low] = pair(map::BARS.start);
    let [_, _, size_high, size_low] = window(&map::BARS);
    dtb.set_cells(
        host,
        "ranges",
        &[MEMORY32, high, low, high, low, size_high, size_low],
    );
    dtb.unset(host, "msi-map");
}

fn add_smmu(dtb: &mut Dtb, kind: &Kind, start: u64, global: u32) -> usize {
    let node = dtb.add_node(&format!("iommu@{start:x}"));
    dtb.set(node, "compatible", kind.compatible.to_vec());
    let frames = kind.windows(start).flat_map(|frame| window(&frame));
    dtb.set_cells(node, "reg", &frames.collect::<Vec<_>>());
    dtb.set_cells(node, "#global-interrupts", &[1]);
    let wire = |context: u32| if kind.one_wire { 1 } else { 1 + context };
    let wires = [0].into_iter().chain((0..kind.context_interrupts).map(wire));
    let interrupts = wires.flat_map(|offset| {
        let number = map::shared_number(global + offset);
        [SHARED, number, LEVEL_HIGH]
    });
    dtb.set_cells(node, "interrupts", &interrupts.collect::<Vec<_>>());
    dtb.set_cells(node, "#iommu-cells", &[1]);
    dtb.set_cells(node, "dma-coherent", &[]);
    node
}

/// The platform device, on a bus that has addresses of its own. Its DMA sees memory where the CPUs do, or its SMMU.
fn add_platform(dtb: &mut Dtb) -> usize {
    let bus = dtb.add_node(&format!("soc@{:x}", map::PLATFORM.start));
    let [high, low] = pair(map::PLATFORM.start);
    let [_, _, _, size] = window(&map::PLATFORM);
    dtb.set(bus, "compatible", b"simple-bus\0".to_vec());
    dtb.set_cells(bus, "#address-cells", &[1]);
    dtb.set_cells(bus, "#size-cells", &[1]);
    dtb.set_cells(bus, "ranges", &[0, high, low, size]);
    dtb.set_cells(bus, "dma-ranges", &[]);
    let device = dtb.add_child(bus, &format!("{PLATFORM}@0"));
    dtb.set(device, "compatible", PLATFORM_COMPATIBLE.to_vec());
    dtb.set_cells(device, "reg", &[0, size]);
    let number = map::shared_number(map::PLATFORM_INTERRUPT);
    dtb.set_cells(device, "interrupts", &[SHARED, number, LEVEL_HIGH]);
    dtb.set_cells(device, "dma-coherent", &[]);
    device
}

/// A number as two cells.
fn pair(number: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

/// Address and size.
fn window(range: &Range<u64>) -> [u32; 4] {
    let ([a, b], [c, d]) = (pair(range.start), pair(range.end - range.start));
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use vm_fdt::FdtWriter;

    use super::*;

    /// The nodes of QEMU's tree that are rewritten.
    fn blob() -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        let host = fdt.begin_node("pcie@10000000").unwrap();
        fdt.property_array_u32("reg", &[0x40, 0x1000_0000, 0, 0x1000_0000])
            .unwrap();
        fdt.property_array_u32("msi-map", &[0, 0x8006, 0, 0x10000])
            .unwrap();
        fdt.end_node(host).unwrap();
        for name in ["cpu-map", "cpu@0", "cpu@1"] {
            let cpu = fdt.begin_node(name).unwrap();
            fdt.property_u32("phandle", 7).unwrap();
            fdt.end_node(cpu).unwrap();
        }
        let chosen = fdt.begin_node("chosen").unwrap();
        fdt.end_node(chosen).unwrap();
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    #[test]
    fn the_tree_has_psci_the_bundle_and_our_host_bridge() {
        let tree = bench_tree(&blob(), None, false, 0x4800_0000..0x4800_1234).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let host = dtb.find("pcie").unwrap();
        assert_eq!(dtb.cells(host, "reg"), Some(vec![0, 0x3f00_0000, 0, 0x10_0000]));
        assert_eq!(dtb.cells(host, "msi-map"), None);
        assert_eq!(dtb.cells(host, "iommu-map"), None);
        assert_eq!(dtb.number("chosen", "linux,initrd-end"), Some(0x4800_1234));
        assert!(dtb.find("psci").is_ok());
        let by_psci = |cpu: &usize| dtb.position(*cpu, "enable-method").is_some();
        assert!(dtb.find_all("cpu").iter().all(by_psci));
        assert_eq!(dtb.find_all("cpu").len(), 2);
        assert!(dtb.find("iommu").is_err());
    }

    #[test]
    fn the_smmu_is_described_by_either_binding() {
        for (binding, map, masters) in [
            (Binding::Generic, true, false),
            (Binding::Legacy, false, true),
            (Binding::Both, true, true),
        ] {
            let (_, kind) = Kind::named("mmu-500").unwrap();
            let tree = bench_tree(&blob(), Some((kind, binding)), false, 0..0).unwrap();
            let dtb = Dtb::parse(&tree).unwrap();
            let (host, smmu) = (dtb.find("pcie").unwrap(), dtb.find("iommu").unwrap());
            assert_eq!(dtb.cells(host, "iommu-map").is_some(), map, "{binding}");
            assert_eq!(dtb.cells(smmu, "mmu-masters").is_some(), masters, "{binding}");
            assert_eq!(dtb.cells(smmu, "interrupts").unwrap().len(), 3 * 17);
        }
    }

    #[test]
    fn the_platform_device_is_described_by_either_binding() {
        let (_, kind) = Kind::named("mmu-500").unwrap();
        for (binding, generic, legacy) in [
            (Binding::Generic, true, false),
            (Binding::Legacy, false, true),
            (Binding::Both, true, true),
        ] {
            let tree = bench_tree(&blob(), Some((kind, binding)), true, 0..0).unwrap();
            let mut dtb = Dtb::parse(&tree).unwrap();
            let (host, device) = (dtb.find("pcie").unwrap(), dtb.find(PLATFORM).unwrap());
            let smmu = dtb.find("iommu").unwrap();
            let phandles = [host, smmu, device].map(|node| dtb.cells(node, "phandle"));
            let [host, smmu, device] = phandles.map(|cells| cells.map(|cells| cells[0]));
            let node = dtb.find(PLATFORM).unwrap();
            let iommus = dtb.cells(node, "iommus");
            assert_eq!(iommus, generic.then(|| vec![smmu.unwrap(), 0x400]), "{binding}");
            let cells = dtb.cells(node, "#stream-id-cells");
            assert_eq!(cells, legacy.then(|| vec![1]), "{binding}");
            let node = dtb.find("iommu").unwrap();
            let masters = legacy.then(|| vec![host.unwrap(), 0, device.unwrap(), 0x400]);
            assert_eq!(dtb.cells(node, "mmu-masters"), masters, "{binding}");
            // No two nodes have one phandle.
            let new = dtb.find("psci").unwrap();
            assert!(!phandles_of(&dtb).contains(&dtb.phandle(new)), "{binding}");
        }
    }

    #[test]
    fn of_two_smmus_the_second_has_the_platform_device() {
        let (_, kind) = Kind::named("mmu-500-two").unwrap();
        let tree = bench_tree(&blob(), Some((kind, Binding::Generic)), true, 0..0).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let [_, second] = dtb.find_all("iommu")[..] else {
            panic!()
        };
        let phandle = dtb.cells(second, "phandle").unwrap()[0];
        let iommus = dtb.cells(dtb.find(PLATFORM).unwrap(), "iommus");
        assert_eq!(iommus, Some(vec![phandle, 0x400]));
    }

    fn phandles_of(dtb: &Dtb) -> Vec<u32> {
        let nodes = ["pcie", "iommu", PLATFORM].map(|name| dtb.find(name).unwrap());
        let phandles = nodes.iter().filter_map(|node| dtb.cells(*node, "phandle"));
        phandles.flatten().collect()
    }

    #[test]
    fn without_an_smmu_the_platform_device_is_behind_none() {
        let tree = bench_tree(&blob(), None, true, 0..0).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let (bus, device) = (dtb.find("soc").unwrap(), dtb.find(PLATFORM).unwrap());
        assert_eq!(dtb.cells(bus, "ranges"), Some(vec![0, 0, 0x0b80_0000, 0x1000]));
        assert_eq!(dtb.cells(device, "reg"), Some(vec![0, 0x1000]));
        assert_eq!(dtb.cells(device, "interrupts"), Some(vec![0, 64, 4]));
        assert_eq!(dtb.cells(device, "iommus"), None);
        assert!(dtb.find("iommu").is_err());
        let without = bench_tree(&blob(), None, false, 0..0).unwrap();
        assert!(Dtb::parse(&without).unwrap().find("soc").is_err());
    }

    #[test]
    fn context_interrupts_of_an_smmu_v1_are_one_wire() {
        let (_, kind) = Kind::named("mmu-401").unwrap();
        let tree = bench_tree(&blob(), Some((kind, Binding::Generic)), false, 0..0).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let smmu = dtb.find("iommu").unwrap();
        assert_eq!(
            dtb.cells(smmu, "interrupts"),
            Some(vec![0, 80, 4, 0, 81, 4, 0, 81, 4])
        );
    }

    #[test]
    fn two_instances_have_a_frame_each() {
        let (_, kind) = Kind::named("mmu-500-pair").unwrap();
        let tree = bench_tree(&blob(), Some((kind, Binding::Generic)), false, 0..0).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let reg = dtb.cells(dtb.find("iommu").unwrap(), "reg").unwrap();
        assert_eq!(reg, [0, 0x0b00_0000, 0, 0x20_0000, 0, 0x0b20_0000, 0, 0x20_0000]);
    }

    #[test]
    fn two_smmus_have_a_node_each_and_share_the_functions() {
        let (_, kind) = Kind::named("mmu-500-two").unwrap();
        let tree = bench_tree(&blob(), Some((kind, Binding::Generic)), false, 0..0).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let host = dtb.find("pcie").unwrap();
        let map = dtb.cells(host, "iommu-map").unwrap();
        let [0, first, 0, 0x10, 0x10, second, 0x10, 0xf0] = map[..] else {
            panic!("{map:x?}");
        };
        assert_ne!(first, second);
        assert_eq!(dtb.find_all("iommu").len(), 2);
    }

    #[test]
    fn functions_can_be_behind_all_smmus() {
        let (_, kind) = Kind::named("mmu-500-two").unwrap();
        let tree = bench_tree(&blob(), Some((kind, Binding::Everywhere)), false, 0..0).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let host = dtb.find("pcie").unwrap();
        assert_eq!(dtb.cells(host, "iommu-map"), None);
        let masters = dtb.find_all("iommu");
        let masters: Vec<_> = masters
            .iter()
            .map(|smmu| dtb.cells(*smmu, "mmu-masters"))
            .collect();
        let phandle = dtb.cells(host, "phandle").unwrap()[0];
        assert_eq!(masters, vec![Some(vec![phandle, 0]); 2]);
    }

    #[test]
    fn a_machine_with_an_smmu_of_qemus_keeps_its_host_bridge() {
        let mut dtb = Dtb::parse(&blob()).unwrap();
        dtb.add_node("smmuv3@9050000");
        let qemu = dtb.find("pcie").unwrap();
        dtb.set_cells(qemu, "iommu-map", &[0, 7, 0, 0x10000]);
        let (_, kind) = Kind::named("mmu-500").unwrap();
        let tree = bench_tree(&dtb.emit(), Some((kind, Binding::Generic)), false, 0..0).unwrap();
        let dtb = Dtb::parse(&tree).unwrap();
        let hosts = dtb.find_all("pcie");
        let read = |property| {
            hosts
                .iter()
                .map(|host| dtb.cells(*host, property))
                .collect::<Vec<_>>()
        };
        assert_eq!(read("linux,pci-domain"), [Some(vec![1]), Some(vec![0])]);
        let [Some(qemu), Some(ours)] = &read("ranges")[..] else {
            panic!("a host bridge has no window");
        };
        assert_eq!(qemu[2], ours[2] + ours[6]);
        assert_eq!(read("msi-map")[1], None);
    }
}
