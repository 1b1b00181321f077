//! What guests are told that they would get.

use topology::Graph;

use super::tree;
use crate::topology::partition::Plan;

/// A guest: its name, its memory's guest-physical and physical address, and its devices with `wait` and `dma`.
type Written<'w> = (&'w str, [u64; 2], &'w [(&'w str, &'w str, &'w str)]);

fn file(guests: &[Written<'_>]) -> String {
    let mut text = "[loading]\nwhen = \"boot\"\n".to_string();
    for (cpu, (name, [ipa, pa], devices)) in guests.iter().enumerate() {
        text += &format!(
            "[[guest]]\nname = \"{name}\"\nimage = \"i\"\ncpus = [{cpu}]\nmemory = [{{ ipa = {ipa}, size = \"2M\", pa = {pa} }}]\n"
        );
        for (device, wait, dma) in *devices {
            let key = if device.starts_with('/') { "path" } else { "pci" };
            text += &format!(
                "[[guest.device]]\n{key} = \"{device}\"\nwait = \"{wait}\"\ndma = \"{dma}\"\non_fault = \"log\"\n"
            );
        }
    }
    text
}

fn told(name: &str, guests: &[Written<'_>]) -> String {
    let tree = tree(name);
    let plan = Plan::of(&file(guests), &tree).unwrap();
    let functions: Vec<_> = plan.functions().collect();
    plan.tell(&Graph::build(&tree, &functions), &tree)
}

const SAME: [[u64; 2]; 3] = [[1 << 30; 2], [2 << 30; 2], [3 << 30; 2]];

#[test]
fn a_machine_without_smmu_isolates_who_trusts_nothing() {
    let text = told(
        "dma-without-smmu",
        &[
            (
                "alice",
                SAME[0],
                &[("/emmc2bus/mmc@7e340000", "guest", "isolated")],
            ),
            (
                "bob",
                [0, 4 << 30],
                &[("/soc/mailbox@7e00b880", "no", "isolated")],
            ),
            (
                "mallory",
                SAME[1],
                &[
                    ("/soc/dma@7e007000", "guest", "trusted"),
                    ("/soc/usb@7e980000", "no", "trusted"),
                    ("0000:01:00.0", "slot", "trusted"),
                ],
            ),
            ("carol", SAME[2], &[("/soc/serial@7e201000", "no", "trusted")]),
            ("dave", [5 << 30; 2], &[]),
        ],
    );
    let not_isolated =
        "its DMA is not isolated; the partition file must say dma = \"trusted\" to accept that";
    assert_eq!(
        text,
        format!(
            "guest alice:
    /emmc2bus/mmc@7e340000  refused: {not_isolated}
guest bob:
    /soc/mailbox@7e00b880  refused: {not_isolated}; and then: no SMMU translates its DMA, so the guest's memory has to lie at pa = ipa: write that in the partition file, or leave pa out
guest mallory:
    /soc/dma@7e007000  NOT ISOLATED, accepted by dma = \"trusted\" (brcm,bcm2835-dma: copies between any addresses)
    /soc/usb@7e980000  refused: the status of /soc/usb@7e980000 disables it
    0000:01:00.0       refused: no enabled PCI host bridge has segment 0000: the tree has none
guest carol:
    /soc/serial@7e201000  NOT ISOLATED, accepted by dma = \"trusted\", if it does DMA: nothing says whether it does
guest dave: no devices
what that means:
    alice: isolated: it gets none of its devices
    bob: isolated: it gets none of its devices
    mallory CAN READ AND WRITE EVERYTHING: through /soc/dma@7e007000
    carol CAN PERHAPS READ AND WRITE EVERYTHING: if /soc/serial@7e201000 can do DMA
    dave: isolated: it has no devices
    nobody's memory is safe from mallory, and perhaps not from carol: neither the other guests' nor the hypervisor's
    which PCI functions there are, and which of them can reach each other, shows only on the running machine
"
        )
    );
}

#[test]
fn what_an_smmu_isolates_says_which() {
    let text = told(
        "iommu-map-and-iommus",
        &[
            (
                "alice",
                [0, 1 << 30],
                &[
                    ("/dma@40000", "guest", "isolated"),
                    ("0000:00:02.0", "slot", "isolated"),
                ],
            ),
            (
                "bob",
                [0, 2 << 30],
                &[("/smmu@0", "no", "trusted"), ("/nowhere", "no", "isolated")],
            ),
        ],
    );
    for line in [
        "    /dma@40000    isolated by /smmu@0 (SMMUv3) once its driver is live\n",
        "    0000:00:02.0  isolated by /smmu@0 (SMMUv3) once its driver is live\n",
        "    alice: isolated: its devices reach only its memory\n",
        "    /smmu@0   refused: it is an SMMU, which no guest is ever given\n",
        "    /nowhere  refused: there is no such node\n",
        "    bob: isolated: it gets none of its devices\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert!(!text.contains("nobody's memory"), "{text}");
}

#[test]
fn the_rules_are_those_of_the_core() {
    // What shares a stream has one owner.
    let devices = [("/a", "guest", "isolated"), ("/b", "guest", "isolated")];
    let text = told(
        "group-shared-stream",
        &[("alice", SAME[0], &devices[..1]), ("bob", SAME[1], &devices[1..])],
    );
    assert!(
        text.contains("it cannot be kept apart from /b, which bob was given"),
        "{text}"
    );
    // A stream of the tree that contradicts itself.
    let text = told(
        "both-bindings-differ",
        &[("alice", SAME[0], &[("/a", "guest", "trusted")])],
    );
    assert!(
        text.contains("    /a  refused: error: /a: iommus: mmu-masters gives"),
        "{text}"
    );
    assert!(
        text.contains("    alice: isolated: it gets none of its devices\n"),
        "{text}"
    );
}

#[test]
fn what_is_no_partition_file_is_an_error() {
    let error = Plan::of("[loading]", &tree("iommus-empty")).unwrap_err();
    assert!(
        format!("{error:#}").starts_with("is no partition file"),
        "{error:#}"
    );
}
