//! What the graph, and its texts, say of devices that no binding describes.

use std::string::{String, ToString};
use std::vec::Vec;

use super::{functions, tree};
use crate::{Coverage, Graph, MasterIndex};

fn graph(source: &str) -> (devicetree::Tree, Graph) {
    let tree = tree(&crate::source::compile(source).unwrap());
    let graph = Graph::build(&tree, &functions(source, &tree));
    (tree, graph)
}

const WITHOUT_SMMU: &str = include_str!("../../../../tests/dts/topology/dma-without-smmu.dts");
const EVIDENCE: &str = include_str!("../../../../tests/dts/topology/dma-evidence.dts");
const ALIKE: &str = include_str!("../../../../tests/dts/topology/dma-alike.dts");

#[test]
fn a_machine_without_smmu_is_told_what_its_guests_could_do() {
    let (_, graph) = graph(WITHOUT_SMMU);
    let expected = "no SMMU: no device can be isolated on this machine
behind no SMMU:
    /soc/mailbox@7e00b880   uncovered (brcm,bcm2835-mbox: asks the VideoCore, which reaches all memory)
    /soc/dma@7e007000       uncovered (brcm,bcm2835-dma: copies between any addresses)
    /soc/usb@7e980000       uncovered (brcm,bcm2835-usb: a USB controller, which moves packets to and from memory); disabled
    /emmc2bus/mmc@7e340000  uncovered (brcm,bcm2711-emmc2: an SD and MMC controller, which moves blocks to and from memory)
what that means:
    a guest that is given one of these can read and write all memory: that of the other guests and of the hypervisor
    it gets one only if the partition file says dma = \"trusted\" for it
    there are 3 more devices with registers, of which nothing says whether they do DMA: a guest gets one only with dma = \"trusted\" as well
errors: 0, warnings: 0, notes: 0
";
    assert_eq!(graph.report().to_string(), expected);
}

#[test]
fn devices_that_may_do_dma_or_not_are_counted() {
    // Those that nothing is said of, and the I2C controller; a bus is not a device for what is on it.
    assert_eq!(graph(EVIDENCE).1.unknown_devices(), 3);
    assert_eq!(graph(ALIKE).1.unknown_devices(), 0);
    let one = "/ { #address-cells = <1>; #size-cells = <1>; uart@0 { reg = <0 1>; }; };";
    let report = graph(one).1.report().to_string();
    assert!(
        report.contains("    there is 1 device with registers, of which nothing says whether it does DMA: "),
        "{report}"
    );
    assert!(!report.contains("can read and write"), "{report}");
}

#[test]
fn devices_that_are_alike_have_one_line() {
    let (_, graph) = graph(ALIKE);
    let names: Vec<String> = graph.uncovered().iter().map(crate::Alike::name).collect();
    // One of them is disabled, which has to be seen.
    assert_eq!(
        names,
        [
            "/virtio_mmio@a000000 and 3 more",
            "/virtio_mmio@a000600",
            "/fw-cfg@9020000"
        ]
    );
    assert_eq!(graph.masters().len(), 6);
    assert_eq!(graph.groups().len(), 6);
}

#[test]
fn a_device_that_is_not_described_says_how_it_is_known() {
    let (tree, graph) = graph(WITHOUT_SMMU);
    let index = graph.master_for_path("/soc/dma@7e007000").index.unwrap();
    let why = graph.why(&tree, index).to_string();
    assert!(
        why.contains("\n  it does DMA: brcm,bcm2835-dma: copies between any addresses\n"),
        "{why}"
    );
    assert!(
        why.contains("only `dma = \"trusted\"` gives it to a guest"),
        "{why}"
    );
    assert_eq!(graph.why(&tree, MasterIndex(99)).to_string(), "no such device\n");
    // Of others it is said what is looked for.
    let why = |path| graph.why_no_master(&tree, tree.find(path).unwrap().id(), None);
    assert!(why("/soc/serial@7e201000").contains("nothing says whether it does DMA"));
    assert!(!why("/soc/serial@7e201000").contains("`dmas`"));
    assert!(why("/soc/mmc@7e202000").contains("\n  `dmas`: a DMA controller copies for it"));
    assert!(
        why("/soc").contains("ask for that: /soc/mailbox@7e00b880, /soc/dma@7e007000, /soc/usb@7e980000")
    );
    assert!(why("/memory@0").contains("memory or a CPU"));
}

#[test]
fn functions_come_after_nodes_and_nothing_behind_their_bridge_is_a_node() {
    let source = "// function /bridge@0 0000:00:01.0
        / { #address-cells = <1>; #size-cells = <1>;
        bridge@0 { #address-cells = <1>; #size-cells = <1>; reg = <0 1>; ranges; dma-coherent;
            eth@4 { compatible = \"cdns,gem\"; reg = <4 1>; }; };
        eth@8 { compatible = \"cdns,gem\"; reg = <8 1>; }; };";
    let (_, graph) = graph(&source.replace("\n        ", "\n"));
    let names: Vec<String> = graph
        .masters()
        .iter()
        .map(|master| master.identity.to_string())
        .collect();
    assert_eq!(names, ["/eth@8", "0000:00:01.0"]);
    assert!(
        graph
            .masters()
            .iter()
            .all(|master| master.coverage == Coverage::Uncovered)
    );
    assert_eq!(graph.masters()[1].capability, None);
}

#[test]
fn what_guests_share_is_never_given() {
    let (tree, graph) = graph(EVIDENCE);
    let never = |path: &str| graph.never_given(&tree, tree.find(path).unwrap().id());
    for path in [
        "/smmu@0",
        "/its@90000",
        "/irq@b0000",
        "/iommu@c0000",
        "/pcie@e0000",
        "/pcie@e0000/function@0",
        "/reserved-memory/pool@f0000",
    ] {
        assert!(never(path).is_some(), "{path}");
    }
    for path in [
        "/described@20000",
        "/snoops@40000",
        "/pins@60000",
        "/nothing-said@70000",
    ] {
        assert_eq!(never(path), None, "{path}");
    }
}

#[test]
fn devices_without_number_are_refused_as_a_whole() {
    let devices = |count: usize| -> String {
        let device = |index: usize| std::format!("d@{index:x} {{ reg = <{index} 1>; dma-coherent; }};");
        let devices: String = (0..count).map(device).collect();
        std::format!("/ {{ #address-cells = <1>; #size-cells = <1>; {devices} }};")
    };
    let coverage = |count| graph(&devices(count)).1.master_for_path("/d@1").coverage.clone();
    assert_eq!(coverage(1000), Coverage::Uncovered);
    assert!(coverage(8000).is_refused());
}
