//! The guest device tree, read back by our own reader.

use super::*;
use devicetree::{Blob, Tree};

const WINDOWS: [Window; 3] = [
    Window {
        space: Space::Io,
        pci: 0,
        cpu: 0x3eff_0000,
        size: 0x1_0000,
    },
    Window {
        space: Space::Memory32,
        pci: 0x1000_0000,
        cpu: 0x1000_0000,
        size: 0x2eff_0000,
    },
    Window {
        space: Space::Memory64,
        pci: 0x80_0000_0000,
        cpu: 0x80_0000_0000,
        size: 0x80_0000_0000,
    },
];

fn tree(machine: &Machine<'_>) -> Tree {
    Tree::new(Blob::new(&device_tree(machine).unwrap()).unwrap()).unwrap()
}

fn small() -> Machine<'static> {
    Machine {
        affinities: &[0, 0x1_0000_0001],
        memory: &[(0x4000_0000, 32 << 20), (0x1_0000_0000, 1 << 30)],
        bootargs: "console=ttyAMA0",
        initrd: None,
        pci: None,
        copied: &[],
        gic: Version::V3,
        its: false,
        seed: None,
    }
}

#[test]
fn our_own_reader_finds_the_machine() {
    let tree = tree(&small());
    let cpus: Vec<u64> = tree
        .find("/cpus")
        .unwrap()
        .children()
        .map(|cpu| cpu.u64("reg").unwrap().unwrap())
        .collect();
    assert_eq!(cpus, [0, 0x1_0000_0001]);
    let memory: Vec<_> = tree
        .memory_ranges()
        .unwrap()
        .iter()
        .map(|range| (range.address(), range.size()))
        .collect();
    assert_eq!(memory, small().memory);
    assert_eq!(tree.chosen().bootargs().unwrap(), Some("console=ttyAMA0"));
    let (uart, _) = tree.chosen().stdout().unwrap();
    assert!(uart.is_compatible(&["arm,pl011"]));
    assert_eq!(uart.reg(0).unwrap().address(), layout::UART);
    assert_eq!(uart.gic_interrupts().unwrap()[0].intid, layout::UART_INTERRUPT);
    let timer: Vec<u32> = tree
        .find("/timer")
        .unwrap()
        .gic_interrupts()
        .unwrap()
        .iter()
        .map(|i| i.intid)
        .collect();
    assert_eq!(timer, [29, 30, 27, 26]);
    let gic = tree.compatible(&["arm,gic-v3"]).next().unwrap();
    let regs: Vec<_> = gic
        .regs()
        .unwrap()
        .iter()
        .map(|range| (range.address(), range.size()))
        .collect();
    assert_eq!(regs, [(0x0800_0000, 0x1_0000), (0x080a_0000, 0x4_0000)]);
    assert_eq!(tree.find("/psci").unwrap().text("method").unwrap(), Some("hvc"));
    assert!(tree.compatible(&["pci-host-ecam-generic"]).next().is_none());
}

#[test]
fn the_host_bridge_leads_to_windows_and_interrupts() {
    let (one, two) = (Bdf::new(0, 1, 0).unwrap(), Bdf::new(0, 2, 0).unwrap());
    let interrupts = [(one, Pin::A, 36), (two, Pin::B, 37)];
    let pci = Pci {
        last_bus: 0,
        windows: &WINDOWS,
        interrupts: &interrupts,
        has_slots: true,
    };
    let tree = tree(&Machine {
        pci: Some(pci),
        ..small()
    });
    let bridge = tree.compatible(&["pci-host-ecam-generic"]).next().unwrap();
    let reg = bridge.reg(0).unwrap();
    assert_eq!((reg.address(), reg.size()), (layout::ECAM, 1 << 20));
    assert_eq!(bridge.pci_bus_range().unwrap(), (0, 0));
    let windows: Vec<_> = bridge
        .pci_windows()
        .unwrap()
        .iter()
        .map(|w| (w.bus_address, w.cpu.address(), w.cpu.size()))
        .collect();
    assert_eq!(
        windows,
        WINDOWS[1..]
            .iter()
            .map(|w| (w.pci, w.cpu, w.size))
            .collect::<Vec<_>>()
    );
    let spi = |bdf: Bdf, pin: Pin| {
        bridge
            .pci_gic_interrupt(bdf.bus(), bdf.device(), bdf.function(), pin as u8)
            .unwrap()
            .intid
    };
    assert_eq!(spi(one, Pin::A), 36);
    assert_eq!(spi(two, Pin::B), 37);
}

#[test]
fn messages_go_to_the_translation_service() {
    let pci = Pci {
        last_bus: 0,
        windows: &WINDOWS,
        interrupts: &[],
        has_slots: false,
    };
    let with = Machine {
        pci: Some(pci),
        its: true,
        ..small()
    };
    let without = tree(&Machine { its: false, ..with });
    assert!(without.compatible(&["arm,gic-v3-its"]).next().is_none());
    let bridge = without.compatible(&["pci-host-ecam-generic"]).next().unwrap();
    assert!(bridge.property("msi-map").is_none());

    let tree = tree(&with);
    let its = tree.compatible(&["arm,gic-v3-its"]).next().unwrap();
    assert!(
        tree.find("/interrupt-controller@8000000/msi-controller@8080000")
            .is_some()
    );
    let reg = its.reg(0).unwrap();
    assert_eq!((reg.address(), reg.size()), (layout::ITS, 0x2_0000));
    assert!(its.property("msi-controller").is_some());
    assert_eq!(its.u32("#msi-cells").unwrap(), Some(1));
    let phandle = its.u32("phandle").unwrap().unwrap();
    let bridge = tree.compatible(&["pci-host-ecam-generic"]).next().unwrap();
    let map: Vec<u8> = [0, phandle, 0, 0x1_0000].map(u32::to_be_bytes).concat();
    assert_eq!(bridge.property("msi-map").unwrap().bytes(), map);
}

#[test]
fn a_gicv2_has_a_cpu_interface_and_names_the_cpus_of_private_interrupts() {
    let tree = tree(&Machine {
        gic: Version::V2,
        ..small()
    });
    assert!(tree.compatible(&["arm,gic-v3"]).next().is_none());
    let gic = tree.compatible(&["arm,gic-400"]).next().unwrap();
    let regs: Vec<_> = gic.regs().unwrap();
    let regs: Vec<_> = regs.iter().map(|range| (range.address(), range.size())).collect();
    assert_eq!(regs, [(0x0800_0000, 0x1_0000), (0x0801_0000, 0x2000)]);
    let timer = tree.find("/timer").unwrap();
    let intids: Vec<u32> = timer.gic_interrupts().unwrap().iter().map(|i| i.intid).collect();
    assert_eq!(intids, [29, 30, 27, 26]);
    let virtual_timer: Vec<u8> = [1_u32, 11, 0x304].map(u32::to_be_bytes).concat();
    assert_eq!(
        timer.property("interrupts").unwrap().bytes()[24..36],
        virtual_timer
    );
}

#[test]
fn seeds_and_initrd_are_told() {
    let seed: [u8; 32] = core::array::from_fn(|index| u8::try_from(index).unwrap());
    let tree = tree(&Machine {
        initrd: Some((0x4800_0000, 0x1000)),
        seed: Some(&seed),
        ..small()
    });
    let initrd = tree.chosen().initrd().unwrap().unwrap();
    assert_eq!((initrd.address(), initrd.size()), (0x4800_0000, 0x1000));
    let chosen = tree.find("/chosen").unwrap();
    assert_eq!(chosen.property("kaslr-seed").unwrap().bytes(), &seed[..8]);
    assert_eq!(chosen.property("rng-seed").unwrap().bytes(), &seed[8..]);
}

#[test]
fn another_seed_takes_the_place_of_both_pieces() {
    let [old, new]: [[u8; 32]; 2] = [
        [0xa5; 32],
        core::array::from_fn(|index| u8::try_from(index).unwrap()),
    ];
    let mut blob = device_tree(&Machine {
        seed: Some(&old),
        ..small()
    })
    .unwrap();
    change_seed(&mut blob, &old, &new);
    let again = device_tree(&Machine {
        seed: Some(&new),
        ..small()
    });
    assert_eq!(blob, again.unwrap());
}

#[test]
fn a_command_line_with_a_nul_is_refused() {
    assert!(
        device_tree(&Machine {
            bootargs: "a\0b",
            ..small()
        })
        .is_err()
    );
}
