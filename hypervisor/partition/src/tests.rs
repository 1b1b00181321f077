//! A good partition, and each way to spoil it.

use proptest::prelude::*;
use vm_fdt::FdtWriter;

use super::*;

mod refused;

/// A device as the blob has it.
#[derive(Clone)]
struct RawDevice {
    pci: Option<&'static str>,
    path: Option<&'static str>,
    wait: &'static str,
    dma: &'static str,
    on_fault: &'static str,
}

/// A guest as the blob has it.
#[derive(Clone)]
struct RawGuest {
    name: &'static str,
    image: &'static str,
    initrd: Option<&'static str>,
    cpus: Vec<u32>,
    memory: Vec<u64>,
    bootargs: Option<String>,
    devices: Vec<RawDevice>,
    extra: Option<&'static str>,
}

/// A partition as the blob has it.
#[derive(Clone)]
struct Raw {
    compatible: &'static str,
    console: Option<&'static str>,
    loading: bool,
    when: &'static str,
    delay_ms: Option<u32>,
    seal_ms: u32,
    guests: Vec<RawGuest>,
    extra_node: Option<&'static str>,
}

const EDU: RawDevice = RawDevice {
    pci: Some("0000:00:01.0"),
    path: None,
    wait: "guest",
    dma: "isolated",
    on_fault: "log",
};

fn good() -> Raw {
    let alice = RawGuest {
        name: "alice",
        image: "alice.img",
        initrd: None,
        cpus: vec![1],
        memory: vec![0x4000_0000, 32 << 20, 0x5000_0000],
        bootargs: None,
        devices: vec![EDU],
        extra: None,
    };
    let mallory = RawGuest {
        name: "mallory",
        image: "mallory.img",
        initrd: Some("disk.cpio"),
        cpus: vec![2, 3],
        memory: vec![0x4f00_0000, 16 << 20, 0x4f00_0000],
        bootargs: Some("alice=0x50100000".to_string()),
        devices: vec![
            RawDevice {
                pci: Some("0000:00:02.0"),
                wait: "device",
                dma: "trusted",
                on_fault: "quarantine",
                ..EDU
            },
            RawDevice {
                pci: None,
                path: Some("/soc/dma@fe007000"),
                wait: "no",
                on_fault: "stop-guest",
                ..EDU
            },
        ],
        extra: None,
    };
    Raw {
        compatible: COMPATIBLE,
        console: None,
        loading: true,
        when: "delay",
        delay_ms: Some(2000),
        seal_ms: 20_000,
        guests: vec![alice, mallory],
        extra_node: None,
    }
}

fn blob(raw: &Raw) -> Vec<u8> {
    let mut fdt = FdtWriter::new().unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_string("compatible", raw.compatible).unwrap();
    if let Some(console) = raw.console {
        fdt.property_string("console", console).unwrap();
    }
    if raw.loading {
        let node = fdt.begin_node("loading").unwrap();
        fdt.property_string("when", raw.when).unwrap();
        if let Some(delay_ms) = raw.delay_ms {
            fdt.property_u32("delay-ms", delay_ms).unwrap();
        }
        fdt.property_u32("seal-ms", raw.seal_ms).unwrap();
        fdt.end_node(node).unwrap();
    }
    for (index, guest) in raw.guests.iter().enumerate() {
        let node = fdt.begin_node(&format!("guest@{index}")).unwrap();
        fdt.property_string("guest-name", guest.name).unwrap();
        fdt.property_string("image", guest.image).unwrap();
        if let Some(initrd) = guest.initrd {
            fdt.property_string("initrd", initrd).unwrap();
        }
        fdt.property_array_u32("cpus", &guest.cpus).unwrap();
        fdt.property_array_u64("memory", &guest.memory).unwrap();
        if let Some(bootargs) = &guest.bootargs {
            fdt.property_string("bootargs", bootargs).unwrap();
        }
        if let Some(extra) = guest.extra {
            fdt.property_null(extra).unwrap();
        }
        for (index, device) in guest.devices.iter().enumerate() {
            let node = fdt.begin_node(&format!("device@{index}")).unwrap();
            for (name, value) in [("pci", device.pci), ("path", device.path)] {
                if let Some(value) = value {
                    fdt.property_string(name, value).unwrap();
                }
            }
            fdt.property_string("wait", device.wait).unwrap();
            fdt.property_string("dma", device.dma).unwrap();
            fdt.property_string("on-fault", device.on_fault).unwrap();
            fdt.end_node(node).unwrap();
        }
        fdt.end_node(node).unwrap();
    }
    if let Some(extra) = raw.extra_node {
        let node = fdt.begin_node(extra).unwrap();
        fdt.end_node(node).unwrap();
    }
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

#[test]
fn a_good_partition_is_read() {
    let partition = Partition::parse(&blob(&good())).unwrap();
    assert_eq!(
        partition.loading,
        Loading {
            when: When::Delay { delay_ms: 2000 },
            seal_ms: 20_000
        }
    );
    let [alice, mallory] = partition.guests.as_slice() else {
        panic!("two guests expected");
    };
    assert_eq!(
        (alice.name.as_str(), alice.image.as_str()),
        ("alice", "alice.img")
    );
    assert_eq!(
        (&alice.initrd, mallory.initrd.as_deref()),
        (&None, Some("disk.cpio"))
    );
    assert_eq!(alice.cpus, [1]);
    assert_eq!(
        alice.memory,
        [MemoryRegion {
            ipa: 0x4000_0000,
            size: 32 << 20,
            pa: Some(0x5000_0000)
        }]
    );
    assert_eq!(alice.bootargs, "");
    assert_eq!(alice.devices.len(), 1);
    assert_eq!(alice.devices[0].name.to_string(), "0000:00:01.0");
    assert_eq!(
        (
            alice.devices[0].wait,
            alice.devices[0].dma,
            alice.devices[0].on_fault
        ),
        (Wait::Guest, Dma::Isolated, OnFault::Log)
    );
    assert_eq!(mallory.bootargs, "alice=0x50100000");
    assert_eq!(mallory.cpus, [2, 3]);
    assert_eq!(
        mallory.devices[1].name,
        DeviceName::Path("/soc/dma@fe007000".to_string())
    );
    assert_eq!(
        (
            mallory.devices[1].wait,
            mallory.devices[0].dma,
            mallory.devices[1].on_fault
        ),
        (Wait::No, Dma::Trusted, OnFault::StopGuest)
    );
}

#[test]
fn a_region_may_be_left_to_the_core() {
    let mut raw = good();
    raw.guests[0].memory[2] = ANY_ADDRESS;
    let partition = Partition::parse(&blob(&raw)).unwrap();
    assert_eq!(partition.guests[0].memory[0].pa, None);
}

#[test]
fn every_way_to_wait_is_read() {
    let mut raw = good();
    for (word, wait) in [
        ("guest", Wait::Guest),
        ("device", Wait::Device),
        ("slot", Wait::Slot),
        ("no", Wait::No),
    ] {
        raw.guests[0].devices[0].wait = word;
        assert_eq!(
            Partition::parse(&blob(&raw)).unwrap().guests[0].devices[0].wait,
            wait
        );
    }
}

#[test]
fn a_guest_may_have_the_console() {
    let mut raw = good();
    assert_eq!(Partition::parse(&blob(&raw)).unwrap().console, None);
    raw.console = Some("mallory");
    assert_eq!(Partition::parse(&blob(&raw)).unwrap().console, Some(1));
    refused(|raw| raw.console = Some("bob"), &["/: console = bob", "no guest"]);
}

#[test]
fn the_other_loading_rules_are_read() {
    let mut raw = good();
    raw.delay_ms = None;
    for (word, when) in [("boot", When::Boot), ("never", When::Never)] {
        raw.when = word;
        assert_eq!(Partition::parse(&blob(&raw)).unwrap().loading.when, when);
    }
}

/// Spoils the good partition and expects the error to contain each of `words`.
#[track_caller]
fn refused(spoil: impl FnOnce(&mut Raw), words: &[&str]) {
    let mut raw = good();
    spoil(&mut raw);
    let error = Partition::parse(&blob(&raw)).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{error:?} does not contain {word:?}");
    }
}

#[test]
fn the_root_and_loading_are_checked() {
    refused(
        |raw| raw.compatible = "portcullis,partition-2",
        &["compatible = portcullis,partition-2", "xtask"],
    );
    refused(|raw| raw.loading = false, &["no node \"loading\""]);
    refused(|raw| raw.guests.clear(), &["no node \"guest@0\""]);
    refused(|raw| raw.extra_node = Some("geust@7"), &["/geust@7", "remove it"]);
    refused(
        |raw| raw.when = "soon",
        &["/loading", "when = soon", "boot, delay and never"],
    );
    refused(|raw| raw.delay_ms = None, &["/loading: delay-ms: is missing"]);
    refused(
        |raw| raw.seal_ms = 2000,
        &["/loading: seal-ms = 2000", "2000 ms", "later"],
    );
    refused(
        |raw| {
            let guest = raw.guests[0].clone();
            raw.guests = vec![guest; MAX_GUESTS + 1];
        },
        &["guests = 9", "fewer"],
    );
}

#[test]
fn a_guests_own_properties_are_checked() {
    let place = "/guest@1 (guest ";
    refused(
        |raw| raw.guests[1].name = "Mallory",
        &[place, "guest-name = Mallory", "a-z"],
    );
    refused(|raw| raw.guests[1].name = "", &["/guest@1", "guest-name", "a-z"]);
    refused(
        |raw| raw.guests[1].name = "sixteen-letters-",
        &["guest-name", "1 to 15"],
    );
    refused(
        |raw| raw.guests[1].name = "alice",
        &["guest-name = alice", "unique"],
    );
    refused(|raw| raw.guests[1].image = "a b", &["image = a b", "spaces"]);
    refused(
        |raw| raw.guests[1].bootargs = Some("x".repeat(MAX_BOOTARGS + 1)),
        &["bootargs", "shorten"],
    );
    refused(
        |raw| raw.guests[1].extra = Some("cpu"),
        &["/guest@1: cpu:", "remove it"],
    );
    refused(|raw| raw.guests[1].cpus.clear(), &["cpus", "at least one"]);
    refused(
        |raw| raw.guests[1].cpus = (0..9).collect(),
        &["cpus = 9", "more than 8"],
    );
    refused(
        |raw| raw.guests[1].cpus = vec![2, 2],
        &["cpus = 2", "given to mallory"],
    );
    refused(
        |raw| raw.guests[1].cpus = vec![2, 1],
        &["cpus = 1", "given to alice"],
    );
}

#[test]
fn what_is_no_device_tree_is_refused() {
    let error = Partition::parse(b"[loading]\nwhen = \"boot\"\n").unwrap_err();
    assert!(error.to_string().contains("no device tree blob"), "{error}");
}

#[test]
fn a_requester_id_is_bus_device_and_function() {
    let name: PciName = "0000:21:03.5".parse().unwrap();
    assert_eq!(name.requester_id(), 0x211d);
    assert_eq!(name.to_string(), "0000:21:03.5");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// A damaged blob is an error or another valid partition; it never panics.
    #[test]
    fn damage_does_not_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = blob(&good());
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        if let Ok(partition) = Partition::parse(&bytes) {
            prop_assert!(!partition.guests.is_empty());
            prop_assert!(check::partition(&partition).is_ok());
        }
    }

    /// Two regions are accepted exactly when they have no physical page in common.
    #[test]
    fn overlap_is_what_it_says(a in 0u64..64, a_size in 1u64..32, b in 0u64..64, b_size in 1u64..32) {
        let mut raw = good();
        let block = |n: u64| n * BLOCK;
        raw.guests[0].memory = vec![0, block(a_size), block(a)];
        raw.guests[1].memory = vec![0, block(b_size), block(b)];
        let disjoint = a + a_size <= b || b + b_size <= a;
        prop_assert_eq!(Partition::parse(&blob(&raw)).is_ok(), disjoint);
    }
}
