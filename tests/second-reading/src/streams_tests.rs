//! What small trees come to.

use super::*;
use crate::Tree;

const MAP: &str =
    "iommu-map = <0x00 0x30 0x00 0x08 0x08 0x40 0x00 0x08 0x10 0x20 0x13 0x03 0x01 0x00 0x30 0x00 0x00>;";
const TEXT: &str = r#"
/dts-v1/;
/ {
    v2 { compatible = "arm,mmu-500"; #iommu-cells = <0x02>; stream-match-mask = <0x0f>; phandle = <0x20>;
         mmu-masters = <0xa0 0x30 0x20 0xa1 0x7>; };
    v1 { compatible = "arm,mmu-400"; #iommu-cells = <0x01>; stream-match-mask = <0x7c00>; phandle = <0x30>; };
    off { compatible = "arm,smmu-v2"; #iommu-cells = <0x01>; phandle = <0x40>; status = "disabled";
          mmu-masters = <0xa0 0x1 0x2>; };
    dma { #stream-id-cells = <0x02>; iommus = <0x20 0x11a1 0x420 0x20 0x1181 0x420 0x40 0x9 0x20 0x20 0x00>; phandle = <0xa0>; };
    sata { status = "disabled"; iommus = <0x30 0x0401 0x99>; };
    gone { iommus = <0x40 0x3>; };
    pci { device_type = "pci"; #stream-id-cells = <0x01>; phandle = <0xa1>; iommus = <0x30 0x2>;
          iommu-map = <0x00 0x30 0x00 0x08 0x08 0x40 0x00 0x08 0x10 0x20 0x13 0x03 0x01 0x00 0x30 0x00 0x00>;
          iommu-map-mask = <0xff>; };
};
"#;

fn stream(smmu: &str, id: u32, mask: u32) -> Stream {
    Stream {
        smmu: smmu.to_string(),
        id,
        mask,
    }
}

fn streams() -> Streams {
    Streams::of(&Facts::of(&Tree::parse(TEXT).unwrap()))
}

#[test]
fn a_master_has_the_streams_of_both_bindings_once() {
    let masters = streams().masters;
    let dma = [
        stream("/v2", 0x20, 0),
        stream("/v2", 0x30, 0),
        stream("/v2", 0x1181 & !0x420, 0x420),
    ];
    assert_eq!(masters["/dma"], BTreeSet::from(dma));
    assert_eq!(masters["/sata"], BTreeSet::from([stream("/v1", 1, 0x7c00)]));
    assert_eq!(
        masters.len(),
        2,
        "nothing of a disabled SMMU, nothing of PCI: {masters:?}"
    );
}

#[test]
fn a_bridge_is_no_master() {
    let bridges = streams().bridges;
    assert_eq!(
        bridges,
        BTreeMap::from([("/pci".to_string(), BTreeSet::from([stream("/v1", 2, 0x7c00)]))])
    );
}

#[test]
fn a_bus_has_the_windows_of_enabled_smmus() {
    let window = |rid_base, length, smmu: &str, out_base, mask| Window {
        rid_base,
        length,
        smmu: smmu.to_string(),
        out_base,
        mask,
        map_mask: 0xff,
    };
    let windows = vec![
        window(0, 8, "/v1", 0, 0x7c00),
        window(0x10, 1, "/v2", 0x13, 3),
        window(0, 0, "/v1", 0, 0x7c00),
    ];
    assert_eq!(streams().buses, BTreeMap::from([("/pci".to_string(), windows)]));
}

#[test]
fn an_old_map_to_a_two_cell_smmu_has_the_smmus_mask() {
    let text = TEXT.replace(MAP, "iommu-map = <0x00 0x20 0x13 0x01>;");
    let streams = Streams::of(&Facts::of(&Tree::parse(&text).unwrap()));
    let masks: Vec<u32> = streams.buses["/pci"].iter().map(|window| window.mask).collect();
    assert_eq!(masks, [0x0f]);
}
