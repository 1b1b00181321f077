//! The fixtures of the stream graph, drawn and written in every form.

#[path = "../../../tests/dts/blob.rs"]
mod blob;
mod command;
mod partition;
#[path = "../../../tests/dts/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use topology::{Coverage, Graph, PciFunction};

use super::device::find;
use super::{Known, json, parse, svg};

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dts/topology");
    std::fs::read_to_string(folder.join(name).with_extension("dts")).unwrap()
}

fn tree(name: &str) -> devicetree::Tree {
    parse(&source::compile(&text(name)).unwrap()).unwrap()
}

fn known(tree: &devicetree::Tree) -> Known {
    Known {
        segments: tree.pci_segments(),
        match_registers: None,
    }
}

fn fixtures() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/dts/topology");
    let names = std::fs::read_dir(folder).unwrap();
    names
        .map(|entry| {
            entry
                .unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

#[test]
fn every_form_holds_every_device_and_every_defect() {
    for name in fixtures() {
        let tree = tree(&name);
        let graph = Graph::build(&tree, &[]);
        let (picture, table) = (
            svg::draw(&graph, &name, &known(&tree)),
            graph.report().to_string(),
        );
        let document: Value = serde_json::from_str(&json::write(&graph, &known(&tree)).unwrap()).unwrap();
        // Of devices that are alike the first one stands for all.
        let alike = graph.uncovered();
        let told = |master: &topology::Master| {
            master.coverage != Coverage::Uncovered || alike.iter().any(|alike| alike.first == master)
        };
        for master in graph.masters().iter().filter(|master| told(master)) {
            let device = master.identity.to_string();
            assert!(picture.contains(&device), "{name}: no {device} in the picture");
            assert!(table.contains(&device), "{name}: no {device} in the table");
        }
        for smmu in graph.smmus() {
            assert!(
                picture.contains(&smmu.path) && table.contains(&smmu.path),
                "{name}: {}",
                smmu.path
            );
        }
        for bus in graph.buses() {
            let path = &bus.path;
            assert!(picture.contains(path), "{name}: no {path} in the picture");
            assert!(table.contains(path), "{name}: no {path} in the table");
        }
        assert_eq!(
            document["masters"].as_array().unwrap().len(),
            graph.masters().len()
        );
        let diagnostics = document["diagnostics"].as_array().unwrap();
        assert_eq!(diagnostics.len(), graph.diagnostics().len());
        for (written, diagnostic) in diagnostics.iter().zip(graph.diagnostics()) {
            assert_eq!(written["kind"], diagnostic.defect.kind());
            assert!(table.contains(&diagnostic.to_string()), "{name}: {diagnostic}");
        }
        // Every element is closed, and what it says is no markup.
        assert_eq!(
            picture.matches("<text").count(),
            picture.matches("</text>").count()
        );
        assert!(picture.ends_with("</svg>\n"));
    }
}

/// An attribute of an element of a picture.
fn number(element: &str, attribute: &str) -> usize {
    let (_, rest) = element.split_once(&format!(" {attribute}=\"")).unwrap();
    rest.split_once('"').unwrap().0.parse().unwrap()
}

#[test]
fn boxes_hold_their_text_and_nothing_without_masters_is_higher() {
    for name in fixtures() {
        let tree = tree(&name);
        let graph = Graph::build(&tree, &[]);
        let picture = svg::draw(&graph, &name, &known(&tree));
        // The first frame is the background.
        let boxes: Vec<&str> = picture.lines().filter(|line| line.contains("<rect x=")).collect();
        assert_eq!(boxes.len(), graph.smmus().len(), "{name}");
        let mut above = 0;
        for (place, smmu) in boxes.iter().zip(graph.smmus()) {
            let (left, top) = (number(place, "x"), number(place, "y"));
            let bottom = top + number(place, "height");
            assert!(top > above, "{name}: {} overlaps the one above", smmu.path);
            above = bottom;
            let texts = picture.lines().filter(|line| line.starts_with("<text"));
            let beside = texts.filter(|line| (top..=bottom).contains(&number(line, "y")));
            let (inside, rows): (Vec<_>, Vec<_>) = beside.partition(|line| number(line, "x") > left);
            let last = |lines: &[&str]| lines.iter().map(|line| number(line, "y")).max().unwrap();
            assert!(inside.len() >= 3, "{name}: {inside:?}");
            // Below the base line of the last text there is room for its descenders, and no more.
            let room = bottom - last(&inside).max(last(&rows));
            assert!(
                (8..=14).contains(&room),
                "{name}: {room} below the text of {}",
                smmu.path
            );
        }
    }
}

/// The types of every field in a document, by the field's name as the description writes it.
fn types(value: &Value, name: &str, found: &mut BTreeMap<String, BTreeSet<&'static str>>) {
    let word = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    found.entry(name.to_string()).or_default().insert(word);
    match value {
        Value::Array(elements) => {
            for element in elements {
                types(element, &format!("{name}[]"), found);
            }
        }
        Value::Object(fields) => {
            for (field, value) in fields {
                let dot = if name.is_empty() { "" } else { "." };
                types(value, &format!("{name}{dot}{field}"), found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_description_of_the_json_names_every_field_and_no_other() {
    let mut written = BTreeMap::new();
    let mut write = |tree: &devicetree::Tree, functions: &[PciFunction]| {
        let document = json::write(&Graph::build(tree, functions), &known(tree)).unwrap();
        types(&serde_json::from_str(&document).unwrap(), "", &mut written);
    };
    for name in fixtures() {
        write(&tree(&name), &[]);
    }
    // Functions, and where they are peers, are in no tree.
    let tree = tree("iommu-map-windows");
    let functions = ["0000:01:00.0", "0000:02:00.0"].map(|name| PciFunction {
        peers_at: Some(8),
        ..find(&tree, None, name).unwrap().function().unwrap()
    });
    write(&tree, &functions);
    // An SMMU whose messages go to a controller that tells no devices apart.
    let text = "/ { #address-cells = <1>; #size-cells = <1>;
        v2m: v2m { compatible = \"arm,gic-v2m-frame\"; msi-controller; };
        smmu@0 { compatible = \"arm,smmu-v3\"; reg = <0 0x20000>; msi-parent = <&v2m>; }; };";
    write(&parse(&source::compile(text).unwrap()).unwrap(), &[]);

    let mut described = BTreeMap::new();
    for line in include_str!("json.md").lines() {
        let [_, field, kind, _, _] = line.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            continue;
        };
        let Some(field) = field.strip_prefix('`').and_then(|field| field.strip_suffix('`')) else {
            continue;
        };
        if let Some(elements) = kind.strip_prefix("list of ") {
            described.insert(format!("{field}[]"), BTreeSet::from([elements]));
            described.insert(field.to_string(), BTreeSet::from(["list"]));
        } else {
            described.insert(field.to_string(), kind.split(" or ").collect());
        }
    }
    // The document itself, and the elements of lists that have fields, have no line of their own.
    written.retain(|name, kinds| !(name.is_empty() || name.ends_with("[]") && kinds.contains("object")));
    assert_eq!(written, described);
}

#[test]
fn interrupts_have_the_names_of_the_bindings() {
    let lines = |body: &str| -> Vec<String> {
        let text = format!(
            "/ {{ #address-cells = <1>; #size-cells = <1>; interrupt-parent = <&gic>;
             gic: gic {{ compatible = \"arm,gic-v3\"; interrupt-controller; #interrupt-cells = <3>; }};
             smmu@0 {{ reg = <0 0x20000>; {body} }}; }};"
        );
        let tree = parse(&source::compile(&text).unwrap()).unwrap();
        let document = json::write(&Graph::build(&tree, &[]), &known(&tree)).unwrap();
        let document: Value = serde_json::from_str(&document).unwrap();
        let interrupts = document["smmus"][0]["interrupts"].as_array().unwrap();
        interrupts
            .iter()
            .map(|found| {
                format!(
                    "{} {} {}",
                    found["line"].as_str().unwrap(),
                    found["index"],
                    found["intid"]
                )
            })
            .collect()
    };
    assert_eq!(
        lines(
            "compatible = \"arm,smmu-v3\"; interrupts = <0 1 1>, <0 2 1>, <0 3 1>, <0 4 1>, <0 5 1>;
             interrupt-names = \"combined\", \"eventq\", \"gerror\", \"priq\", \"cmdq-sync\";"
        ),
        [
            "combined null 33",
            "eventq null 34",
            "gerror null 35",
            "priq null 36",
            "cmdq-sync null 37"
        ]
    );
    assert_eq!(
        lines(
            "compatible = \"arm,smmu-v2\"; #global-interrupts = <1>; interrupts = <0 1 4>, <0 2 4>, <0 3 4>;"
        ),
        ["global 0 33", "context 0 34", "context 1 35"]
    );
}

fn why(name: &str, device: &str) -> String {
    let tree = tree(name);
    let wanted = find(&tree, None, device).unwrap();
    let functions: Vec<_> = wanted.function().into_iter().collect();
    wanted.why(&Graph::build(&tree, &functions), &tree, &known(&tree))
}

#[test]
fn why_tells_the_chain() {
    assert_eq!(
        why("both-bindings-differ", "/a"),
        "/a; enabled\n  \
         mmu-masters of /smmu@0 (legacy binding) says:\n    \
         stream 0x1 at /smmu@0 (SMMUv1)\n  \
         iommus of /a (generic binding) says:\n    \
         stream 0x2 at /smmu@0 (SMMUv1)\n  \
         no other device is in its group\n  \
         its DMA does not snoop the CPU's caches\n  \
         error: /a: iommus: mmu-masters gives /a stream 0x1 at /smmu@0, and the generic binding stream 0x2 at /smmu@0: the device is refused \
         and its streams stay blocked; remove one binding, or make them equal\n  \
         so: refused (bindings-disagree): the device is refused and its streams stay blocked; remove one binding, or \
         make them equal\n"
    );
    assert!(why("iommu-map-windows", "0000:03:00.0").ends_with(
        "so: refused (unmatched): the function is refused and its bus mastering stays off; extend the map\n"
    ));
    assert!(why("iommu-map-windows", "00:00.0").contains("so: covered"));
    assert!(why("iommu-map-not-pci", "fsl-mc").contains("only its own driver can tell apart"));
    assert!(why("smmu-unnamed", "smmu").contains("an SMMU, which no guest is ever given"));
    assert!(why("dma-coherent-inherited", "/bus").contains("ask for that: /bus/inherits, /bus/takes-back"));
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    let tree = tree("iommu-map-windows");
    for (name, part) in [
        ("nothing", "no node or alias nothing"),
        ("0000:zz:00.0", "is no PCI address"),
        ("", "wants the name of a device"),
        (
            "0005:00:00.0",
            "0005:00:00.0: no enabled PCI host bridge has segment 0005: /pcie@10000000 has 0000",
        ),
    ] {
        let error = format!("{:#}", find(&tree, None, name).unwrap_err());
        assert!(error.contains(part), "{error}");
    }
}

/// Host bridges: one of segment 5 with few buses, two that both say that they are 2, and a disabled one.
const HOSTS: &str = "/ { #address-cells = <1>; #size-cells = <1>;
    pcie@1 { device_type = \"pci\"; linux,pci-domain = <5>; bus-range = <0x10 0x1f>; };
    pcie@2 { device_type = \"pci\"; linux,pci-domain = <2>; };
    pcie@3 { device_type = \"pci\"; linux,pci-domain = <2>; };
    pcie@4 { device_type = \"pci\"; linux,pci-domain = <1>; status = \"disabled\"; }; };";

#[test]
fn an_address_that_no_host_bridge_has_is_an_error_with_its_reason() {
    let tree = parse(&source::compile(HOSTS).unwrap()).unwrap();
    for (name, expected) in [
        (
            "0005:20:00.0",
            "0005:20:00.0: bus 20 is not behind /pcie@1, whose `bus-range` is 10 to 1f",
        ),
        (
            "0002:00:00.0",
            "0002:00:00.0: segment 0002 is claimed by /pcie@2 and /pcie@3; neither has it",
        ),
    ] {
        assert_eq!(format!("{:#}", find(&tree, None, name).unwrap_err()), expected);
    }
    let error = format!("{:#}", find(&tree, None, "01:00.0").unwrap_err());
    assert!(
        error.starts_with("01:00.0 is taken as one of segment 0000: no enabled"),
        "{error}"
    );
    assert!(
        error.ends_with("; /pcie@4 is disabled by the status of /pcie@4"),
        "{error}"
    );
    assert!(find(&tree, None, "0005:10:00.0").is_ok());
}

#[test]
fn a_host_bridge_says_what_to_ask_for() {
    let tree = parse(&source::compile(HOSTS).unwrap()).unwrap();
    let graph = Graph::build(&tree, &[]);
    let why = |name| find(&tree, None, name).unwrap().why(&graph, &tree, &known(&tree));
    assert!(why("/pcie@1").ends_with("ask for a function behind it, as 0005:11:00.0\n"));
    assert!(why("/pcie@2").contains("its segment cannot be told"));
    assert!(why("/pcie@4").ends_with("no device; disabled by the status of /pcie@4\n"));
}

#[test]
fn what_only_the_machine_knows_is_not_claimed() {
    let text = why("iommu-map-windows", "00:00.0");
    assert!(
        text.starts_with("00:00.0 is taken as one of segment 0000\n0000:00:00.0: "),
        "{text}"
    );
    assert!(text.contains("shows only on the running machine"), "{text}");
    assert!(!text.contains("no other device is in its group"), "{text}");
    assert!(!why("iommu-map-windows", "0000:00:00.0").contains("is taken as"));
}

#[test]
fn buses_are_shown_by_their_outcome() {
    let forms = |name: &str| {
        let tree = tree(name);
        let graph = Graph::build(&tree, &[]);
        let known = known(&tree);
        let document = serde_json::from_str(&json::write(&graph, &known).unwrap()).unwrap();
        let table = graph.report().with_segments(&known.segments).to_string();
        (table, svg::draw(&graph, name, &known), document)
    };
    let (table, picture, document): (_, _, Value) = forms("mmu-masters-pci-host-disabled-smmu");
    let row = "/pcie@10000000  REFUSED, not blocked  PCI functions of segment 0000: each requester ID is a stream ID\n";
    assert!(table.contains(row), "{table}");
    assert!(
        table.contains("masters: 0 (without PCI functions), covered: 0"),
        "{table}"
    );
    assert!(picture.contains("REFUSED, not blocked: requester ID = stream ID"));
    assert!(picture.contains("fill=\"#b26a00\">/pcie@10000000 (PCI segment 0000)"));
    let bus = &document["buses"][0];
    assert!(
        bus["refused"].as_str().unwrap().contains("/smmu@0 is disabled"),
        "{bus}"
    );
    assert_eq!(bus["segment"], 0);

    let row = "/pcie@10000000  PCI functions of segment 0000: requester ID 0x0..=0x7 REFUSED, not blocked\n";
    for name in ["iommu-map-disabled-smmu", "iommu-map-dangling-phandle"] {
        let (table, picture, _) = forms(name);
        assert!(table.contains(row), "{table}");
        assert!(picture.contains("requester ID 0x0..=0x7 REFUSED, not blocked: "));
    }
    let (table, picture, document) = forms("smmu-shared-registers");
    let row =
        "  CANNOT BE USED: its registers overlap those of /smmu@10000; what is behind it is not isolated\n";
    assert!(table.contains(row), "{table}");
    assert!(picture.contains("CANNOT BE USED: "), "{picture}");
    assert!(document["smmus"][0]["unusable"].is_string() && document["smmus"][2]["unusable"].is_null());
    // What a list that is broken may have meant is not said to be uncovered.
    let (table, ..) = forms("mmu-masters-lists-bridge");
    assert!(
        table.contains(": nothing that is understood describes them"),
        "{table}"
    );
    let (table, _, document) = forms("iommu-map-windows");
    assert!(!table.contains("refused"), "{table}");
    assert_eq!(document["buses"][0]["refused"], Value::Null);
}

#[test]
fn no_line_strikes_a_text_through() {
    for name in fixtures() {
        let tree = tree(&name);
        let picture = svg::draw(&Graph::build(&tree, &[]), &name, &known(&tree));
        let texts: Vec<&str> = picture.lines().filter(|line| line.starts_with("<text")).collect();
        for line in picture.lines().filter(|line| line.starts_with("<path")) {
            let numbers: Vec<usize> = line
                .split(['M', ' ', 'H', '"'])
                .filter_map(|word| word.parse().ok())
                .collect();
            let [from, y, ..] = numbers[..] else {
                panic!("{line}")
            };
            let beside = texts
                .iter()
                .filter(|text| number(text, "y") == y + 4 && (560..940).contains(&number(text, "x")));
            for text in beside {
                let (_, said) = text.split_once('>').unwrap();
                let letters = said.split('<').next().unwrap().chars().count();
                assert!(
                    number(text, "x") + letters * 29 / 4 < from,
                    "{name}: {text} {line}"
                );
            }
        }
    }
}

#[test]
fn the_registers_that_a_board_has_are_shown() {
    let graph = Graph::build(&tree("smmu-too-few-registers"), &[]);
    let known = Known {
        segments: Vec::new(),
        match_registers: Some(64),
    };
    let table = graph.report().with_match_registers(Some(64)).to_string();
    assert!(table.contains("for all (of 64)"), "{table}");
    assert!(svg::draw(&graph, "x", &known).contains(", of 64<"));
    assert!(graph.report().to_string().contains("for all (of at most 128)"));
    // Who has read it from the SMMU knows it without being told.
    let mut graph = graph;
    graph.know_match_registers(topology::SmmuIndex(0), 48);
    assert!(graph.report().to_string().contains("for all (of 48)"));
}

#[test]
fn groups_name_the_smmus_if_they_are_at_several() {
    let text = "/ { #address-cells = <1>; #size-cells = <1>;
         one: smmu@0 { compatible = \"arm,smmu-v3\"; reg = <0 0x20000>; #iommu-cells = <1>; };
         two: smmu@40000 { compatible = \"arm,smmu-v3\"; reg = <0x40000 0x20000>; #iommu-cells = <1>; };
         a { iommus = <&one 5>, <&two 9>; }; b { iommus = <&one 5>; };
         c { iommus = <&two 7>; }; d { iommus = <&two 7>; }; };";
    let tree = parse(&source::compile(text).unwrap()).unwrap();
    let table = Graph::build(&tree, &[]).report().to_string();
    for line in [
        "    /a, /b: stream 0x5 at /smmu@0, stream 0x9 at /smmu@40000\n",
        "    /c, /d: stream 0x7\n",
    ] {
        assert!(table.contains(line), "{table}");
    }
}
