//! Who is given what on a small board, and why not.

use super::*;
use crate::tests::tree;
use crate::{Reason, State};
use core::cell::RefCell;
use partition::{Dma, MemoryRegion, OnFault, Wait};
use topology::PciFunction;

const BOARD: &str = r#"/ {
    #address-cells = <1>; #size-cells = <1>;
    smmu: smmu@1000 { compatible = "arm,mmu-500"; reg = <0x1000 0x1000>; #iommu-cells = <1>; #global-interrupts = <0>; };
    bus { #address-cells = <1>; #size-cells = <1>; ranges;
        covered@10000 { reg = <0x10000 0x1000>; iommus = <&smmu 1>; };
        dma@20000 { compatible = "brcm,bcm2835-dma"; reg = <0x20000 0xb00>; };
        unknown@30000 { reg = <0x30000 0x100>; };
        busy@40000 { reg = <0x40000 0x100>; };
    };
    pci: pcie@100000 { device_type = "pci"; reg = <0x100000 0x100000>; #address-cells = <3>; #size-cells = <2>;
        iommu-map = <0 &smmu 0x100 0x100>; };
};"#;

/// A machine that notes what it is asked.
#[derive(Default)]
struct Asked {
    prepared: RefCell<Vec<(String, bool)>>,
}

impl Machine for Asked {
    fn is_taken(&self, pages: &Range<u64>) -> bool {
        pages.start == 0x4_0000
    }

    fn prepare(&self, function: &Identity, isolated: bool) -> Result<(), String> {
        self.prepared.borrow_mut().push((function.to_string(), isolated));
        if function.to_string().ends_with("2.0") {
            Err("it is not what it was".to_string())
        } else {
            Ok(())
        }
    }

    fn missing(&self, function: PciName) -> String {
        format!("{function} is not there")
    }
}

fn guest(name: &str, pa: Option<u64>, devices: &[(&str, Dma)]) -> Guest {
    let device = |(name, dma): &(&str, Dma)| Device {
        name: match name.parse() {
            Ok(function) => DeviceName::Pci(function),
            Err(_) => DeviceName::Path((*name).to_string()),
        },
        wait: Wait::Guest,
        dma: *dma,
        on_fault: OnFault::Log,
    };
    Guest {
        name: name.to_string(),
        image: String::new(),
        initrd: None,
        cpus: Vec::new(),
        memory: alloc::vec![MemoryRegion {
            ipa: 1 << 30,
            size: 1 << 21,
            pa
        }],
        bootargs: String::new(),
        devices: devices.iter().map(device).collect(),
    }
}

/// A device: its name, its state, the reason, and whether something of the machine goes with it.
type Told = (String, State, String, bool);

/// What comes of every device of these guests, and which functions were made ready, isolated or not.
fn assign(guests: &[Guest]) -> (Vec<Told>, Vec<(String, bool)>) {
    let tree = tree(BOARD);
    let host = tree.find("/pcie@100000").unwrap().id();
    let functions = [1, 2].map(|device| PciFunction {
        host_bridge: host,
        segment: 0,
        bus: 0,
        device,
        function: 0,
        requester_ids: Vec::new(),
        peers_at: None,
    });
    let graph = Graph::build(&tree, &functions);
    let mut registry = Registry::new(guests.iter().map(|guest| guest.name.clone()).collect());
    graph.smmus().iter().for_each(|smmu| {
        registry.add_smmu(smmu.path.clone(), None);
    });
    let machine = Asked::default();
    let given = registry.assign(&tree, &graph, guests, &machine, 0);
    let told = given.iter().map(|given| {
        let master = registry.master(given.master).unwrap();
        assert_eq!(master.assignment.unwrap().guest, given.guest);
        let reason = master.reason().map_or_else(String::new, Reason::to_string);
        (
            master.name.clone(),
            master.state(),
            reason,
            given.platform.is_some(),
        )
    });
    (told.collect(), machine.prepared.into_inner())
}

/// What comes of one device of a guest whose memory lies where it says.
fn outcome(name: &str, dma: Dma) -> (State, String, bool) {
    let (told, _) = assign(&[guest("alice", Some(1 << 30), &[(name, dma)])]);
    let [(told, state, reason, platform)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(told, name);
    (*state, reason.clone(), *platform)
}

#[test]
fn what_an_smmu_covers_waits_for_its_driver() {
    let (state, reason, platform) = outcome("/bus/covered@10000", Dma::Isolated);
    assert_eq!((state, platform), (State::Pending, true));
    assert!(reason.contains("/smmu@1000 has no driver"), "{reason}");
    assert_eq!(outcome("0000:00:01.0", Dma::Isolated).0, State::Pending);
}

#[test]
fn what_no_smmu_covers_takes_the_word_for_it_whether_it_is_known_to_do_dma_or_not() {
    for path in ["/bus/dma@20000", "/bus/unknown@30000"] {
        let (state, reason, _) = outcome(path, Dma::Isolated);
        assert_eq!(state, State::Refused, "{path}");
        assert!(reason.contains("dma = \"trusted\""), "{reason}");
        let (state, _, platform) = outcome(path, Dma::Trusted);
        assert_eq!((state, platform), (State::Uncovered, true), "{path}");
    }
    // And memory where it says.
    let (told, _) = assign(&[guest("alice", Some(0), &[("/bus/dma@20000", Dma::Trusted)])]);
    assert_eq!((told[0].1, told[0].3), (State::Refused, false));
    assert!(told[0].2.contains("pa = ipa"), "{}", told[0].2);
}

#[test]
fn what_is_refused_says_why() {
    for (name, why) in [
        ("/nowhere", "there is no such node"),
        ("/bus/dma", "the node's full path is /bus/dma@20000; write that"),
        ("/bus/busy@40000", "no guest may have"),
        ("/smmu@1000", "it is an SMMU"),
        ("/pcie@100000", "it is a PCI host bridge"),
        ("/bus", "/bus: reg"),
        ("0000:00:07.0", "0000:00:07.0 is not there"),
        ("0000:00:02.0", "it is not what it was"),
    ] {
        let (state, reason, platform) = outcome(name, Dma::Trusted);
        assert_eq!((state, platform), (State::Refused, false), "{name}");
        assert!(reason.contains(why), "{name}: {reason}");
    }
}

#[test]
fn a_function_is_made_ready_only_for_a_guest_that_may_have_it() {
    let wishes = [("0000:00:01.0", Dma::Isolated)];
    let (_, prepared) = assign(&[guest("alice", None, &wishes)]);
    assert_eq!(prepared, [("0000:00:01.0".to_string(), true)]);
    assert_eq!(assign(&[guest("alice", None, &[])]).1, []);
}

#[test]
fn masters_come_in_the_graphs_order_and_what_it_does_not_have_after_them() {
    let wishes = [
        ("/nowhere", Dma::Isolated),
        ("0000:00:01.0", Dma::Isolated),
        ("/bus/covered@10000", Dma::Isolated),
    ];
    let (told, _) = assign(&[guest("alice", None, &wishes)]);
    let names: Vec<&str> = told.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["/bus/covered@10000", "0000:00:01.0", "/nowhere"]);
}
