//! What comes between two owners of a function, and what one of them may switch.

use super::*;
use core::cell::Cell;
use mmio::Clock;

/// A clock that ticks when it is looked at.
struct Ticks(Cell<u64>);

impl Clock for Ticks {
    fn now_us(&self) -> u64 {
        self.0.set(self.0.get() + 1000);
        self.0.get()
    }
}

fn clock() -> Ticks {
    Ticks(Cell::new(0))
}

fn controller() -> FakeFunction {
    FakeFunction::endpoint(0x0010_1b36)
        .bar64(0, 0x4000, false)
        .bar32(2, 0x1000)
        .capability(0x60, 1, 0)
        .pin(1)
}

/// A segment with one function that has addresses.
fn segment(function: FakeFunction) -> (FakeSegment, Fabric) {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, function);
    let mut fabric = enumerate(&segment, ALL);
    assign(&segment, &mut fabric, &WINDOWS);
    (segment, fabric)
}

#[test]
fn a_reset_takes_all_but_the_addresses() {
    let mut function = controller();
    function.set(0x64, 0, 3);
    let (segment, fabric) = segment(function.function_level_reset(true));
    let at = bdf(0, 1, 0);
    let before = [0x10, 0x14, 0x18].map(|bar| segment.read32(at, bar));
    fabric.set_bus_master(&segment, at, true);
    fabric.set_intx(&segment, at, true);
    // The guest sent it to sleep, and left something in a register.
    segment.write32(at, 0x64, 3);
    segment.write32(at, offset::INTERRUPT, 0x55);
    let clock = clock();
    assert_eq!(fabric.reset(&segment, &clock, at), Ok(Reset::Done));
    assert!(
        clock.0.get() >= 110_000,
        "it was given its time: {}",
        clock.0.get()
    );
    assert_eq!(segment.read32(at, 0x64), 0);
    assert_eq!(segment.read32(at, offset::INTERRUPT), 0x100);
    assert_eq!([0x10, 0x14, 0x18].map(|bar| segment.read32(at, bar)), before);
    let command = segment.read32(at, offset::COMMAND) & 0xffff;
    assert_eq!(command, command::MEMORY | command::INTX_DISABLE);
    check_placement(&segment, &fabric);
}

#[test]
fn a_function_that_does_not_come_back_is_nobodys() {
    let (segment, fabric) = segment(controller().function_level_reset(false));
    let clock = clock();
    let result = fabric.reset(&segment, &clock, bdf(0, 1, 0));
    assert_eq!(result, Err(ResetError::NoAnswer));
    assert!(clock.0.get() < 1_300_000, "the wait ends: {}", clock.0.get());
    let nowhere = fabric.reset(&segment, &clock, bdf(0, 9, 0));
    assert_eq!(nowhere, Err(ResetError::NoAnswer));
}

#[test]
fn a_function_without_a_reset_is_made_quiet() {
    let mut function = controller()
        .capability(0x50, 5, 0x81)
        .capability(0x70, 0x11, 0xc003);
    function.set(0x50, 0x0081_6005, 0x0071_0000);
    function.set(0x70, 0xc003_5011, 0xc000_0000);
    let (segment, fabric) = segment(function);
    let at = bdf(0, 1, 0);
    fabric.set_bus_master(&segment, at, true);
    fabric.set_intx(&segment, at, true);
    segment.write32(at, 0x70, 0x8000_0000);
    assert_eq!(fabric.reset(&segment, &clock(), at), Ok(Reset::Quiet));
    let command = segment.read32(at, offset::COMMAND) & 0xffff;
    assert_eq!(command, command::MEMORY | command::INTX_DISABLE);
    assert_eq!(segment.read32(at, 0x70) >> 31, 0);
    assert_eq!(segment.read32(at, 0x50) >> 16 & 1, 0);
}

#[test]
fn access_control_is_switched_on_again() {
    // Redirection of requests and completions, which the function can hold.
    let function = controller()
        .access_control(0xc, 0, 0xc)
        .function_level_reset(true);
    let (segment, fabric) = segment(function);
    let at = bdf(0, 1, 0);
    assert!(fabric.get(at).unwrap().redirects);
    assert_eq!(fabric.reset(&segment, &clock(), at), Ok(Reset::Done));
    assert_eq!(segment.read32(at, 0x104) >> 16, 0xc);

    let mut after = controller()
        .access_control(0xc, 0, 0xc)
        .function_level_reset(true);
    after.differ_after_reset(0x104, 0);
    let (segment, fabric) = self::segment(after);
    let result = fabric.reset(&segment, &clock(), at);
    assert_eq!(
        result,
        Ok(Reset::Done),
        "it has no such services any more, and needs none"
    );

    let mut after = controller()
        .access_control(0xc, 0, 0xc)
        .function_level_reset(true);
    after.differ_after_reset(0x104, 0x4);
    let (segment, fabric) = self::segment(after);
    let result = fabric.reset(&segment, &clock(), at);
    assert_eq!(result, Err(ResetError::Redirects));
}

#[test]
fn messages_are_switched_where_they_are_and_nowhere_else() {
    let mut function = controller()
        .capability(0xa0, 5, 0x0186)
        .capability(0x70, 0x11, 0x0003);
    function.set(0xa0, 0x0186_6005, 0x0071_0000);
    for (at, writable) in [(0xa4, !3), (0xa8, u32::MAX), (0xac, 0xffff), (0xb0, u32::MAX)] {
        function.set(at, 0, writable);
    }
    function.set(0x70, 0x0003_a011, 0xc000_0000);
    let (segment, fabric) = segment(function);
    let at = bdf(0, 1, 0);
    let msi = Msi {
        enable: true,
        vectors: 2,
        address: 0x12_0809_0043,
        data: 0x31,
        mask: 0x10,
    };
    fabric.set_msi(&segment, at, &msi);
    let read = |from: u16| [0, 4, 8, 12, 16].map(|word| segment.read32(at, from + word));
    assert_eq!(read(0xa0), [0x01a7_6005, 0x0809_0040, 0x12, 0x31, 0x10]);
    fabric.set_msi(&segment, at, &Msi::default());
    assert_eq!(read(0xa0), [0x0186_6005, 0, 0, 0, 0]);
    let on = MsiX {
        enable: true,
        mask: false,
    };
    fabric.set_msi_x(&segment, at, on);
    assert_eq!(segment.read32(at, 0x70), 0x8003_a011);
    fabric.set_msi_x(&segment, at, MsiX { mask: true, ..on });
    assert_eq!(segment.read32(at, 0x70), 0xc003_a011);
    // A function without them, and one whose list reaches out of the space of plain capabilities.
    let function = FakeFunction::endpoint(EDU).capability(0xf8, 5, 0x80).express(0);
    let (segment, fabric) = self::segment(function);
    let before: Vec<u32> = (0..64).map(|word| segment.read32(at, 0xc0 + 4 * word)).collect();
    fabric.set_msi(&segment, at, &msi);
    fabric.set_msi_x(&segment, at, on);
    let after: Vec<u32> = (0..64).map(|word| segment.read32(at, 0xc0 + 4 * word)).collect();
    assert_eq!(before, after);
}
