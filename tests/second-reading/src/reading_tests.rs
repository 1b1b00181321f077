//! What is found in small trees, as JSON, which is how a comparison sees it.

use serde_json::{Value, json};

use crate::{Facts, Tree};

/// A PCI host, an interrupt controller, and SMMUs: one of each length of specifier, a disabled one and one of another maker.
const BOARD: &str = r#"
    interrupt-parent = <0x01>;
    gic { interrupt-controller; #interrupt-cells = <0x03>; phandle = <0x01>; };
    v3 { compatible = "arm,smmu-v3"; #iommu-cells = <0x01>; stream-match-mask = <0x0f>; phandle = <0x10>; };
    v2 { compatible = "maker,smmu\0arm,mmu-500"; #iommu-cells = <0x02>; stream-match-mask = <0x0f>; phandle = <0x20>; };
    v1 { compatible = "arm,mmu-400"; #iommu-cells = <0x01>; stream-match-mask = <0x7c00>; phandle = <0x30>; };
    off { status = "disabled"; v2 { compatible = "arm,smmu-v2"; #iommu-cells = <0x01>; phandle = <0x40>; }; };
    other { compatible = "maker,iommu"; #iommu-cells = <0x00>; phandle = <0x50>; };
    silent { compatible = "arm,smmu-v2"; phandle = <0x60>; };
    wide { compatible = "arm,smmu-v3"; #iommu-cells = <0x02>; phandle = <0x70>; };
"#;

fn facts(nodes: &str) -> Facts {
    let text = format!("/dts-v1/;\n/ {{ {BOARD} {nodes} }};");
    Facts::of(&Tree::parse(&text).unwrap())
}

/// The forms that the entries of one property have as JSON, which also have to be read back.
fn entries(kind: &str, nodes: &str) -> Value {
    let facts = facts(nodes);
    let json = serde_json::to_value(&facts).unwrap();
    assert_eq!(serde_json::from_value::<Facts>(json.clone()).unwrap(), facts);
    json[kind].clone()
}

fn iommus(property: &str) -> Value {
    entries("iommus", &format!("dma {{ {property}; }};"))
}

fn iommu_map(property: &str) -> Value {
    entries("iommu_map", &format!("bus {{ {property}; }};"))
}

/// What is the same in every entry that names a stream, with some of it different.
fn stream(index: u32, smmu: &str, id: u32, mask: u32) -> Value {
    json!({ "master": "/dma", "index": index, "enabled": true, "smmu": smmu, "smmu_enabled": true, "id": id, "mask": mask })
}

fn window(index: u32, rid_base: u32, smmu: &str, out_base: u32, mask: Option<u32>, length: u32) -> Value {
    json!({
        "host": "/bus", "index": index, "enabled": true, "rid_base": rid_base, "smmu": smmu, "smmu_enabled": true,
        "out_base": out_base, "mask": mask, "length": length, "map_mask": u32::MAX,
    })
}

#[test]
fn an_smmu_is_known_by_any_of_its_strings() {
    let node = r#"
        soc { dma-coherent; interrupt-parent = <0x02>;
            plic { #interrupt-cells = <0x02>; phandle = <0x02>; };
            m { compatible = "maker,x\0qcom,smmu-500\0arm,mmu-500"; #global-interrupts = <0x02>; stream-match-mask = <0x7f80>;
                interrupts = <0 1 0 2 0 3>; mmu-masters; };
            smmu@0 { compatible = "arm,mmu-5000"; };
        };"#;
    assert_eq!(
        entries("smmus", node).as_array().unwrap().last().unwrap(),
        &json!({
            "path": "/soc/m", "compatible": ["maker,x", "qcom,smmu-500", "arm,mmu-500"], "enabled": true, "iommu_cells": null,
            "global_interrupts": 2, "n_interrupts": 3, "stream_match_mask": 0x7f80, "mmu_masters_present": true,
            "dma_coherent": false,
        })
    );
}

#[test]
fn interrupts_are_counted_by_their_controller() {
    let count = |around: &str, properties: &str| {
        let node = format!(r#"bus {{ {around} m {{ compatible = "arm,smmu-v3"; {properties} }}; }};"#);
        facts(&node).smmus.last().unwrap().n_interrupts
    };
    let six_cells = "interrupts = <0 1 2 3 4 5>;";
    assert_eq!(count("", six_cells), Some(2), "the root names the controller");
    assert_eq!(
        count("#interrupt-cells = <2>;", six_cells),
        Some(3),
        "what is above maps them"
    );
    assert_eq!(
        count("interrupt-parent = <9>;", six_cells),
        None,
        "no such controller"
    );
    assert_eq!(count("#interrupt-cells = <0>;", six_cells), None);
    let ring = "interrupt-parent = <3>; x { interrupt-parent = <3>; phandle = <3>; };";
    assert_eq!(count(ring, six_cells), None, "a controller that names itself");
    let extended = "interrupts-extended = <1 0 1 2 1 3 4 5 1 6 7 8>; interrupts = <0 1 2>;";
    assert_eq!(count("", extended), Some(3));
    assert_eq!(count("", "interrupts-extended = <1 0 1>;"), None, "less than one");
    assert_eq!(count("", ""), Some(0));
}

#[test]
fn a_specifier_is_as_long_as_its_smmu_says() {
    assert_eq!(
        iommus("iommus = <0x10 0x5 0x20 0x11a1 0x420 0x10 0x6>"),
        json!([
            stream(0, "/v3", 5, 0),
            stream(1, "/v2", 0x11a1, 0x420),
            stream(2, "/v3", 6, 0)
        ])
    );
}

#[test]
fn the_smmus_mask_is_for_specifiers_without_one() {
    assert_eq!(
        iommus("iommus = <0x30 0x401>"),
        json!([stream(0, "/v1", 0x401, 0x7c00)])
    );
    assert_eq!(
        iommus("iommus = <0x20 0x401 0>"),
        json!([stream(0, "/v2", 0x401, 0)])
    );
}

#[test]
fn disabled_nodes_and_bridges_are_marked() {
    let node = r#"bus { status = "fail"; pci { device_type = "pci"; iommus = <0x40 0x1>; }; };"#;
    assert_eq!(
        entries("iommus", node),
        json!([{ "master": "/bus/pci", "index": 0, "enabled": false, "pci": true, "smmu": "/off/v2", "smmu_enabled": false,
                 "id": 1, "mask": 0 }])
    );
}

#[test]
fn iommus_of_other_makers_are_no_streams() {
    assert_eq!(
        iommus("iommus = <0x50 0x10 0x5>"),
        json!([{ "master": "/dma", "index": 0, "enabled": true, "iommu": "/other", "foreign": true }, stream(1, "/v3", 5, 0)])
    );
}

#[test]
fn a_broken_entry_ends_iommus_unless_its_length_is_known() {
    let broken = |index: u32, error: &str| json!({ "master": "/dma", "index": index, "error": error });
    let ending = |index: u32, error: &str, left: u32| {
        let mut entry = broken(index, error);
        entry["cells_left"] = left.into();
        entry
    };
    let naming = |mut entry: Value, iommu: &str| {
        entry["iommu"] = iommu.into();
        entry
    };
    assert_eq!(iommus("iommus"), json!([{ "master": "/dma", "empty": true }]));
    assert_eq!(
        iommus("iommus = [00 00 00 10 00]"),
        json!([ending(0, "no whole cells", 1)])
    );
    assert_eq!(
        iommus("iommus = <0x10 0x5 0x99 0x1 0x10 0x6>"),
        json!([stream(0, "/v3", 5, 0), ending(1, "dangling phandle", 3)])
    );
    assert_eq!(
        iommus("iommus = <0x60 0x5 0x10 0x6>"),
        json!([naming(ending(0, "no #iommu-cells", 3), "/silent")])
    );
    assert_eq!(
        iommus("iommus = <0x20 0x5>"),
        json!([naming(ending(0, "too few cells", 1), "/v2")])
    );
    assert_eq!(
        iommus("iommus = <0 0x10 0x6>"),
        json!([broken(0, "phandle 0"), stream(1, "/v3", 6, 0)])
    );
    assert_eq!(
        iommus("iommus = <0x70 0x5 0x0 0x10 0x6>"),
        json!([
            naming(broken(0, "unfit #iommu-cells"), "/wide"),
            stream(1, "/v3", 6, 0)
        ])
    );
}

#[test]
fn a_tuple_is_as_long_as_its_smmu_says() {
    assert_eq!(
        iommu_map("iommu-map = <0x0 0x10 0x100 0x80 0x80 0x20 0x200 0x1f 0x1>"),
        json!([
            window(0, 0, "/v3", 0x100, None, 0x80),
            window(1, 0x80, "/v2", 0x200, Some(0x1f), 1)
        ])
    );
}

#[test]
fn old_maps_to_two_cell_smmus_have_four_cells() {
    assert_eq!(
        iommu_map("iommu-map = <0x0 0x20 0x1c00 0x1 0x100 0x20 0x1c01 0x1>"),
        json!([
            window(0, 0, "/v2", 0x1c00, None, 1),
            window(1, 0x100, "/v2", 0x1c01, None, 1)
        ])
    );
    // Twenty cells are four new tuples, or five old ones if each group of four names the SMMU and is one ID long.
    let new = "0x0 0x20 0x9 0x1 0x1 0x8 0x20 0xa 0x1 0x1 0x10 0x20 0xb 0x1 0x1 0x18 0x20 0xc 0x1 0x1";
    let map = iommu_map(&format!("iommu-map = <{new}>"));
    assert_eq!(map[3], window(3, 0x18, "/v2", 0xc, Some(1), 1));
    let old = "0x0 0x20 0x9 0x1 0x8 0x20 0xa 0x1 0x10 0x20 0xb 0x1 0x18 0x20 0xc 0x1 0x20 0x20 0xd 0x1";
    let map = iommu_map(&format!("iommu-map = <{old}>"));
    assert_eq!(map[4], window(4, 0x20, "/v2", 0xd, None, 1));
}

#[test]
fn maps_to_several_smmus_or_to_others_have_no_old_form() {
    let map = iommu_map("iommu-map = <0x0 0x20 0x9 0x1 0x8 0x10 0xa 0x1>");
    assert_eq!(map[0], window(0, 0, "/v2", 9, Some(1), 8));
    let map = iommu_map("iommu-map = <0x0 0x50 0x9 0x1>");
    assert_eq!(
        (&map[0]["iommu"], &map[0]["length"]),
        (&json!("/other"), &json!(9))
    );
}

#[test]
fn four_cells_for_many_ids_of_a_two_cell_smmu_are_too_few() {
    assert_eq!(
        iommu_map("iommu-map = <0x0 0x20 0x1c00 0x100>"),
        json!([{ "host": "/bus", "index": 0, "error": "too few cells", "iommu": "/v2", "cells_left": 0 }])
    );
}

#[test]
fn a_map_is_read_past_what_leads_nowhere() {
    assert_eq!(
        iommu_map("iommu-map = <0x0 0x99 0x0 0x8 0x8 0x0 0x0 0x8 0x10 0x50 0x8 0x18 0x10 0x1 0x8>"),
        json!([
            { "host": "/bus", "index": 0, "error": "dangling phandle" },
            { "host": "/bus", "index": 1, "error": "phandle 0" },
            { "host": "/bus", "index": 2, "enabled": true, "rid_base": 0x10, "length": 8, "iommu": "/other", "foreign": true },
            window(3, 0x18, "/v3", 1, None, 8),
        ])
    );
}

#[test]
fn a_broken_map_says_what_is_left() {
    let broken =
        |error: &str, left: u32| json!({ "host": "/bus", "index": 0, "error": error, "cells_left": left });
    assert_eq!(iommu_map("iommu-map"), json!([{ "host": "/bus", "empty": true }]));
    assert_eq!(
        iommu_map("iommu-map = [00]"),
        json!([broken("no whole cells", 0)])
    );
    assert_eq!(
        iommu_map("iommu-map = <0x0>"),
        json!([broken("too few cells", 0)])
    );
    assert_eq!(
        iommu_map("iommu-map = <0x0 0x99 0x0>"),
        json!([broken("dangling phandle", 1)])
    );
    let map = iommu_map("iommu-map = <0x0 0x60 0x0 0x1>");
    assert_eq!(
        (&map[0]["error"], &map[0]["cells_left"]),
        (&json!("no #iommu-cells"), &json!(2))
    );
    let map = iommu_map("iommu-map = <0x0 0x70 0x0 0x1>");
    assert_eq!(
        map[0]["error"], "unfit #iommu-cells",
        "an SMMUv3 takes no tuple of two cells, however it is written"
    );
    let map = iommu_map("iommu-map = <0x0 0x70 0x0 0x0 0x1 0x8 0x10 0x5 0x1>");
    assert_eq!(
        (&map[0]["error"], &map[1]),
        (&json!("unfit #iommu-cells"), &window(1, 8, "/v3", 5, None, 1))
    );
}

#[test]
fn masks_of_a_map_are_its_own() {
    let map = iommu_map("iommu-map = <0x0 0x30 0x0 0x1>; iommu-map-mask = <0>");
    assert_eq!((&map[0]["map_mask"], &map[0]["mask"]), (&json!(0), &json!(null)));
}

/// The entries of an SMMU's `mmu-masters`, with masters of two, of no and of an unknown number of IDs, and a PCI host.
fn mmu_masters(value: &str) -> Value {
    let nodes = format!(
        r#"smmu {{ compatible = "arm,mmu-401"; mmu-masters{value}; }};
           two {{ #stream-id-cells = <2>; phandle = <0xa0>; status = "disabled"; }};
           none {{ #stream-id-cells = <0>; phandle = <0xa1>; }};
           unknown {{ phandle = <0xa2>; }};
           pci {{ device_type = "pci"; #stream-id-cells = <1>; phandle = <0xa3>; }};"#
    );
    entries("mmu_masters", &nodes)
}

#[test]
fn a_listed_master_says_how_many_ids_it_has() {
    let listed = |index: u32, master: &str, pci: bool, ids: &[u32], enabled: bool| {
        let smmu = "/smmu";
        json!({ "smmu": smmu, "index": index, "master": master, "pci": pci, "ids": ids, "enabled": enabled })
    };
    assert_eq!(
        mmu_masters(" = <0xa0 0x1 0x2 0xa1 0xa3 0x100>"),
        json!([
            listed(0, "/two", false, &[1, 2], false),
            listed(1, "/none", false, &[], true),
            listed(2, "/pci", true, &[0x100], true),
        ])
    );
}

#[test]
fn a_broken_entry_ends_mmu_masters_unless_it_is_empty() {
    let broken = |error: &str| json!({ "smmu": "/smmu", "index": 0, "error": error });
    assert_eq!(mmu_masters(""), json!([{ "smmu": "/smmu", "empty": true }]));
    let mut unknown = broken("no #stream-id-cells");
    unknown["master"] = "/unknown".into();
    unknown["cells_left"] = 3.into();
    assert_eq!(mmu_masters(" = <0xa2 0x300 0xa3 0x0>"), json!([unknown]));
    let mut dangling = broken("dangling phandle");
    dangling["cells_left"] = 1.into();
    assert_eq!(mmu_masters(" = <0xff 0x1>"), json!([dangling]));
    let mut few = broken("too few cells");
    few["master"] = "/two".into();
    few["cells_left"] = 1.into();
    assert_eq!(mmu_masters(" = <0xa0 0x1>"), json!([few]));
    assert_eq!(mmu_masters(" = <0x0 0xa1>")[0], broken("phandle 0"));
    assert_eq!(mmu_masters(" = <0x0 0xa1>")[1]["master"], "/none");
}

#[test]
fn a_form_with_another_field_is_no_fact() {
    let mut json = serde_json::to_value(facts("dma { iommus = <0x10 0x5>; };")).unwrap();
    assert!(serde_json::from_value::<Facts>(json.clone()).is_ok());
    json["iommus"][0]["colour"] = "red".into();
    assert!(serde_json::from_value::<Facts>(json).is_err());
}
