//! Copied nodes, read back by our own reader.

#[path = "../../../../../tests/dts/blob.rs"]
mod blob;
#[path = "../../../../../tests/dts/source.rs"]
mod source;

use super::{Copied, left_out};
use crate::device_tree::{Machine, device_tree};
use crate::vgic::Version;
use devicetree::{Blob, GicInterrupt, Node, Tree};

/// A board whose root counts cells in another way than a guest's, with what a Raspberry Pi has.
const BOARD: &str = r#"/ {
    #address-cells = <2>;
    #size-cells = <1>;
    interrupt-parent = <&gic>;
    soc {
        compatible = "simple-bus", "vendor,soc";
        #address-cells = <1>;
        #size-cells = <1>;
        ranges = <0x7e000000 0 0xfe000000 0x1800000 0x40000000 0 0xff800000 0x800000>;
        dma-ranges = <0xc0000000 0 0 0x40000000>;
        phandle = <0x55>;
        gic: gic@40041000 {
            compatible = "arm,gic-400";
            interrupt-controller;
            #interrupt-cells = <3>;
            reg = <0x40041000 0x1000 0x40042000 0x2000>;
        };
        clocks: clocks@7e101000 { reg = <0x7e101000 0x1000>; };
        dma: dma@7e007000 {
            compatible = "brcm,bcm2835-dma";
            reg = <0x7e007000 0xb00>;
            interrupts = <0 80 4 0 81 1>;
            interrupt-names = "dma0", "dma1";
            #dma-cells = <1>;
            brcm,dma-channel-mask = <0x7f5>;
            status = "okay";
        };
        mmc@7e300000 {
            compatible = "brcm,bcm2835-sdhci";
            reg = <0x7e300000 0x100>;
            clocks = <&clocks 1>;
            clock-names = "core";
            dmas = <&dma 1>;
            pinctrl-0 = <&clocks>;
            vmmc-supply = <&clocks>;
            bus-width = <4>;
            wifi@1 { reg = <1>; };
        };
    };
};"#;

fn board() -> Tree {
    Tree::new(Blob::new(&source::compile(BOARD).unwrap()).unwrap()).unwrap()
}

fn guest(devices: &[(Node<'_>, Vec<GicInterrupt>)]) -> Tree {
    let copied: Vec<Copied<'_>> = devices
        .iter()
        .map(|(node, interrupts)| Copied {
            node: *node,
            interrupts,
        })
        .collect();
    let machine = Machine {
        affinities: &[0],
        memory: &[(0x1000_0000, 32 << 20)],
        bootargs: "",
        initrd: None,
        pci: None,
        copied: &copied,
        gic: Version::V2,
        its: false,
        seed: None,
    };
    Tree::new(Blob::new(&device_tree(&machine).unwrap()).unwrap()).unwrap()
}

#[test]
fn a_guest_finds_registers_memory_and_interrupts_where_the_machine_has_them() {
    let board = board();
    let own = board.find("/soc/dma@7e007000").unwrap();
    let interrupts = own.gic_interrupts().unwrap();
    let tree = guest(&[(own, interrupts.clone())]);
    let copied = tree.compatible(&["brcm,bcm2835-dma"]).next().unwrap();
    assert_eq!(copied.path(), "/machine/soc/dma@7e007000");
    assert_eq!(copied.regs().unwrap(), own.regs().unwrap());
    assert_eq!(copied.reg(0).unwrap().address(), 0xfe00_7000);
    assert_eq!(copied.dma_windows().unwrap(), own.dma_windows().unwrap());
    assert_eq!(
        copied.dma_windows().unwrap()[0].to_bus(0x1000, 0x1000),
        Some(0xc000_1000)
    );
    assert_eq!(copied.gic_interrupts().unwrap(), interrupts);
    assert_eq!(copied.u32("brcm,dma-channel-mask"), Ok(Some(0x7f5)));
    assert!(!copied.has("status") && copied.is_enabled());
}

#[test]
fn what_names_nodes_that_a_guest_does_not_have_is_left_out_and_told() {
    let board = board();
    let own = board.find("/soc/mmc@7e300000").unwrap();
    let told: Vec<_> = left_out(&own).collect();
    assert_eq!(
        told,
        ["clocks", "clock-names", "dmas", "pinctrl-0", "vmmc-supply"]
    );
    let tree = guest(&[(own, Vec::new())]);
    let copied = tree.find("/machine/soc/mmc@7e300000").unwrap();
    let names: Vec<_> = copied.properties().map(|property| property.name()).collect();
    assert_eq!(names, ["compatible", "reg", "bus-width"]);
    assert_eq!(copied.children().count(), 0);
    assert!(!tree.find("/machine/soc").unwrap().has("phandle"));
}

#[test]
fn devices_of_one_bus_share_it_and_others_are_not_there() {
    let board = board();
    let nodes = ["/soc/dma@7e007000", "/soc/mmc@7e300000"].map(|path| board.find(path).unwrap());
    let tree = guest(&nodes.map(|node| (node, Vec::new())));
    let soc = tree.find("/machine/soc").unwrap();
    assert_eq!(soc.children().count(), 2);
    assert_eq!(tree.compatible(&["arm,gic-400"]).count(), 1, "its virtual one");
    assert!(guest(&[]).find("/machine").is_none());
}
