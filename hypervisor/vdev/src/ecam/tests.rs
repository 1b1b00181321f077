//! The virtual ECAM, one behaviour at a time.

use super::*;
use pci::{Bar, Class, Pin, Port, Space};

mod bars;
mod capabilities;
mod random;

fn bdf(device: u8, function: u8) -> Bdf {
    Bdf::new(0, device, function).unwrap()
}

fn edu(physical: Bdf) -> Function {
    let low = Bar {
        index: 0,
        space: Space::Memory32,
        prefetchable: false,
        size: 1 << 20,
        address: 0x1010_0000,
    };
    let wide = Bar {
        index: 2,
        space: Space::Memory64,
        prefetchable: true,
        size: 8 << 30,
        address: 0x80_0000_0000,
    };
    let io = Bar {
        index: 4,
        space: Space::Io,
        prefetchable: false,
        size: 32,
        address: 0x1000,
    };
    let homeless = Bar {
        index: 5,
        space: Space::Memory32,
        prefetchable: false,
        size: 0x1000,
        address: 0,
    };
    Function {
        bdf: physical,
        parent: None,
        vendor: 0x1234,
        device: 0x11e8,
        revision: 0x10,
        class: Class {
            base: 0,
            sub: 0xff,
            interface: 0,
        },
        subsystem: (0x1af4, 0x1100),
        multi_function: true,
        bridge: None,
        port: Port::Conventional,
        pin: Some(Pin::A),
        bars: vec![low, wide, io, homeless],
        capabilities: vec![],
        found_mastering: false,
        requester_ids: vec![physical.requester_id()],
        redirects: false,
    }
}

/// An ECAM with one function, at 00:01.0, which is 00:02.0 outside.
fn ecam() -> Ecam {
    let mut ecam = Ecam::new(0);
    ecam.add(bdf(1, 0), &edu(bdf(2, 0)), Messages::Hidden).unwrap();
    ecam
}

const AT: u64 = 1 << 15;

/// What is asked of a function without capabilities.
fn action(bus_master: bool, intx: bool) -> Action {
    let switches = Switches {
        bus_master,
        intx,
        ..Switches::default()
    };
    Action {
        at: bdf(1, 0),
        physical: bdf(2, 0),
        switches,
        reset: false,
    }
}

#[test]
fn a_function_is_absent_until_made_present() {
    let mut ecam = ecam();
    assert_eq!(ecam.read(AT, 4), u32::MAX);
    assert_eq!(ecam.write(AT + 4, 2, 4), None);
    assert_eq!(ecam.set_present(bdf(1, 0), true), Some(action(false, true)));
    assert_eq!(ecam.read(AT, 4), 0x11e8_1234);
    assert_eq!(
        (ecam.read(AT, 2), ecam.read(AT + 2, 2), ecam.read(AT + 1, 1)),
        (0x1234, 0x11e8, 0x12)
    );
    assert_eq!(ecam.read(AT + 8, 4), 0x00ff_0010);
    assert_eq!(ecam.read(AT + 0x2c, 4), 0x1100_1af4);
    assert_eq!(ecam.read(AT + 0x3d, 1), 1);
    assert_eq!(ecam.read(AT + 0x34, 4), 0, "no capabilities");
    assert_eq!(ecam.read(AT + 4, 4), 0, "no capabilities bit, nothing on");
    assert_eq!(ecam.read(0, 4), u32::MAX, "somebody else's");
    assert_eq!(ecam.read(AT + 0x1000, 4), u32::MAX);
    assert_eq!(ecam.set_present(bdf(3, 0), true), None);
}

#[test]
fn bus_mastering_waits_for_the_permission() {
    let mut ecam = ecam();
    ecam.set_present(bdf(1, 0), true);
    assert_eq!(ecam.write(AT + 4, 2, 6), None);
    assert_eq!(ecam.read(AT + 4, 4), 6, "the guest sees what it wrote");
    let on = action(true, true);
    assert_eq!(ecam.allow_dma(bdf(1, 0), true), Some(on));
    assert_eq!(ecam.allow_dma(bdf(1, 0), true), None, "nothing new");
    let quiet = action(false, false);
    assert_eq!(ecam.write(AT + 4, 4, 0x402), Some(quiet));
    assert_eq!(ecam.write(AT + 4, 1, 6), Some(action(true, false)));
    assert_eq!(ecam.allow_dma(bdf(1, 0), false), Some(quiet));
    ecam.allow_dma(bdf(1, 0), true);
    assert_eq!(ecam.set_present(bdf(1, 0), false), Some(quiet));
    assert_eq!(
        ecam.set_present(bdf(1, 0), true),
        Some(action(false, true)),
        "starts anew"
    );
}

#[test]
fn what_cannot_be_shown_is_refused() {
    let mut ecam = ecam();
    let bridge = Some(pci::Bridge {
        secondary: 1,
        subordinate: 1,
    });
    let bridge = Function {
        bridge,
        ..edu(bdf(4, 0))
    };
    assert_eq!(
        ecam.add(bdf(4, 0), &bridge, Messages::Hidden),
        Err(Error::IsBridge { physical: bdf(4, 0) })
    );
    assert_eq!(
        ecam.add(bdf(1, 0), &edu(bdf(5, 0)), Messages::Hidden),
        Err(Error::Taken { bdf: bdf(1, 0) })
    );
    let far = Bdf::new(1, 0, 0).unwrap();
    assert_eq!(
        ecam.add(far, &edu(bdf(5, 0)), Messages::Hidden),
        Err(Error::NoSuchBus {
            bdf: far,
            last_bus: 0
        })
    );
    assert_eq!(ecam.functions().collect::<Vec<_>>(), [(bdf(1, 0), bdf(2, 0))]);
}

#[test]
fn a_device_with_two_functions_says_so() {
    let mut ecam = ecam();
    ecam.set_present(bdf(1, 0), true);
    assert_eq!(ecam.read(AT + 0xe, 1), 0, "the guest has one function of it");
    ecam.add(bdf(1, 1), &edu(bdf(2, 1)), Messages::Hidden).unwrap();
    assert_eq!(ecam.read(AT + 0xe, 1), 0x80);
}
