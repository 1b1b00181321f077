//! What firmware left switched on is off after the walk.

use super::{ALL, EDU, bdf};
use crate::config::offset;
use crate::fake::{FakeFunction, FakeSegment};
use crate::*;

#[test]
fn ports_forward_to_no_functions_above_seven() {
    let after = |flags: u16, function: FakeFunction| {
        let mut function = function.capability(0x40, 0x10, flags);
        function.set(0x68, 0xffff_003f, 0xffff_ffff);
        let segment = FakeSegment::default();
        segment.add(0, &[1], 0, function);
        enumerate(&segment, ALL);
        segment.read32(bdf(0, 1, 0), 0x68)
    };
    let port = || FakeFunction::bridge(0x000c_1b36);
    assert_eq!(after(0x42, port()), 0xffff_001f);
    assert_eq!(after(0x62, port()), 0xffff_001f);
    assert_eq!(after(0x41, port()), 0xffff_003f, "version 1 has no such register");
    assert_eq!(after(0x02, FakeFunction::endpoint(EDU)), 0xffff_003f, "no port");
}

#[test]
fn functions_above_seven_are_silenced_while_they_can_be_reached() {
    let segment = FakeSegment::default();
    let mut port = FakeFunction::bridge(0x000c_1b36).capability(0x40, 0x10, 0x42);
    port.set(0x68, 0x20, 0xffff_ffff);
    port.set(offset::BUSES, 0x0001_0100, 0xffff_ffff);
    segment.add(0, &[1], 0, port);
    let mut function = FakeFunction::endpoint(EDU);
    function.set(offset::COMMAND, 0x0006, 0x0407);
    // Function 9: the fake knows it as function 1 of device 1.
    segment.add(0, &[1, 1], 0, function.clone().multi_function());
    segment.add(0, &[1, 1], 1, function);
    enumerate(&segment, ALL);
    for number in [0, 1] {
        let command = segment.read32(bdf(1, 1, number), offset::COMMAND) & 0xffff;
        assert_eq!(command, 0x0402, "function {}", 8 + number);
    }
}

/// As a boot loader leaves a network card: interrupts, virtual functions, ATS and the ROM in use.
#[test]
fn what_firmware_left_on_besides_mastering_is_off() {
    let segment = FakeSegment::default();
    let mut card = FakeFunction::endpoint(EDU)
        .capability(0x50, 5, 0x81)
        .capability(0x60, 0x11, 0x8003)
        .express(0);
    card.set(0x50, 0x0081_0005, 0xffff_0000);
    card.set(0x60, 0x8003_5011, 0xffff_0000);
    card.set(0x100, 0x1401_000f, 0);
    card.set(0x104, 0x801f_0020, 0xffff_0000);
    card.set(0x140, 0x0001_0010, 0);
    card.set(0x148, 0x0000_0019, 0x0000_ffff);
    card.set(offset::ROM, 0x1000_0001, 0xffff_f801);
    segment.add(0, &[1], 0, card);
    let mut bridge = FakeFunction::bridge(0x000c_1b36).express(4);
    bridge.set(offset::BRIDGE_ROM, 0x1000_0001, 0xffff_f801);
    segment.add(0, &[2], 0, bridge);

    let fabric = enumerate(&segment, ALL);
    assert!(
        [id::MSI, id::MSI_X, id::ATS, id::SR_IOV]
            .iter()
            .all(|id| fabric.functions[0].has(*id))
    );
    let card = |at| segment.read32(bdf(0, 1, 0), at);
    assert_eq!(card(0x50), 0x0080_0005, "MSI keeps its other bits");
    assert_eq!(card(0x60), 0x0003_5011, "MSI-X");
    assert_eq!(card(0x104), 0x001f_0020, "ATS");
    assert_eq!(card(0x148), 0x0000_0010, "SR-IOV keeps ARI");
    assert_eq!(card(offset::ROM), 0);
    assert_eq!(segment.read32(bdf(0, 2, 0), offset::BRIDGE_ROM), 0);
}
