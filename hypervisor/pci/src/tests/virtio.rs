//! Virtio functions: what of their capabilities is read, where their registers are, and what those say.

use super::*;
use crate::virtio::{Common, VirtioError, common_configuration};
use core::cell::RefCell;
use mmio::{Bus, ByteBus, Clock};

const BLOCK: u32 = 0x1042_1af4;

/// A virtio function of QEMU: common, device, notify and configuration access capability, registers in BAR 4.
fn block(bar: u32, offset: u32, length: u32) -> FakeFunction {
    let mut function = FakeFunction::endpoint(BLOCK)
        .bar64(4, 0x4000, true)
        .capability(0x84, 9, 0x0514)
        .capability(0x70, 9, 0x0214)
        .capability(0x50, 9, 0x0410)
        .capability(0x40, 9, 0x0110);
    for (at, value) in [
        (0x44, bar),
        (0x48, offset),
        (0x4c, length),
        (0x80, 4),
        (0x94, 0xbad),
    ] {
        function.set(at, value, 0);
    }
    function
}

fn found(function: FakeFunction) -> Function {
    let segment = FakeSegment::default();
    segment.add(0, &[1], 0, function);
    let mut fabric = enumerate(&segment, ALL);
    assign(&segment, &mut fabric, &WINDOWS);
    fabric.get(bdf(0, 1, 0)).unwrap().clone()
}

#[test]
fn what_acts_when_it_is_read_is_not_read() {
    let function = found(block(4, 0, 0x1000));
    assert!(function.is_virtio());
    let words: Vec<_> = function.capabilities.iter().map(|found| found.words).collect();
    assert_eq!(words[0], [0x0110_5009, 4, 0, 0x1000, 0, 0]);
    assert_eq!(words[2], [0x0214_8409, 0, 0, 0, 4, 0]);
    assert_eq!(
        words[3],
        [0x0514_0009, 0, 0, 0, 0, 0],
        "not the register behind it"
    );
    // Nor anything of what somebody else put into a capability of his own.
    let mut other = FakeFunction::endpoint(EDU).capability(0x40, 9, 0x0110);
    other.set(0x44, 7, 0);
    assert_eq!(found(other).capabilities[0].words, [0x0110_0009, 0, 0, 0, 0, 0]);
}

#[test]
fn the_structure_has_to_lie_in_a_memory_bar() {
    let function = found(block(4, 0x1000, 0x1000));
    let address = function.bars[0].address;
    assert_eq!(common_configuration(&function), Ok((address + 0x1000, 0x38)));
    for (bar, offset, length) in [
        (0, 0, 0x1000),
        (5, 0, 0x1000),
        (6, 0, 0x1000),
        (4, 0x4000, 0x38),
        (4, 0x3fcc, 0x38),
        (4, !3, u32::MAX),
        (4, 0, 0x34),
        (4, 2, 0x1000),
    ] {
        let function = found(block(bar, offset, length));
        assert_eq!(
            common_configuration(&function),
            Err(VirtioError::Legacy),
            "{bar} {offset:#x} {length:#x}"
        );
    }
    let legacy = FakeFunction::endpoint(0x1005_1af4).bar_io(0, 32);
    assert_eq!(common_configuration(&found(legacy)), Err(VirtioError::Legacy));
}

/// A common configuration structure at offset 0x40.
struct Registers {
    features: u64,
    /// What the status register does after a write of zero.
    stuck: bool,
    /// Nobody answers.
    gone: bool,
    select: RefCell<u32>,
    status: RefCell<u8>,
}

impl Registers {
    fn new(features: u64) -> Self {
        Registers {
            features,
            stuck: false,
            gone: false,
            select: RefCell::new(0),
            status: RefCell::new(0xf),
        }
    }
}

impl Bus for Registers {
    fn read32(&self, offset: usize) -> u32 {
        match offset {
            _ if self.gone => u32::MAX,
            0x40 => *self.select.borrow(),
            0x44 if *self.select.borrow() == 1 => u32::try_from(self.features >> 32).unwrap(),
            0x44 => u32::try_from(self.features & 0xffff_ffff).unwrap(),
            _ => panic!("read at {offset:#x}"),
        }
    }
    fn write32(&self, offset: usize, value: u32) {
        assert_eq!(offset, 0x40);
        *self.select.borrow_mut() = value;
    }
    fn read64(&self, _: usize) -> u64 {
        unreachable!("virtio has no such registers")
    }
    fn write64(&self, _: usize, _: u64) {
        unreachable!("virtio has no such registers")
    }
}

impl ByteBus for Registers {
    fn read8(&self, offset: usize) -> u8 {
        assert_eq!(offset, 0x54);
        *self.status.borrow()
    }
    fn write8(&self, offset: usize, value: u8) {
        assert_eq!(offset, 0x54);
        if !self.stuck {
            *self.status.borrow_mut() = value;
        }
    }
}

struct Ticks(RefCell<u64>);

impl Clock for Ticks {
    fn now_us(&self) -> u64 {
        *self.0.borrow_mut() += 1000;
        *self.0.borrow()
    }
}

#[test]
fn access_platform_is_what_counts() {
    let check = |registers: &Registers| Common::new(registers, 0x40).check_access_platform();
    assert_eq!(check(&Registers::new(1 << 33 | 1 << 32)), Ok(()));
    assert_eq!(check(&Registers::new(1 << 32 | 2)), Err(VirtioError::PastSmmu));
    assert_eq!(check(&Registers::new(u64::MAX)), Err(VirtioError::NoAnswer));
    let gone = Registers {
        gone: true,
        ..Registers::new(1 << 33)
    };
    assert_eq!(check(&gone), Err(VirtioError::NoAnswer));
}

#[test]
fn a_reset_ends() {
    let reset = |registers: &Registers| Common::new(registers, 0x40).reset(&Ticks(RefCell::new(0)));
    let registers = Registers::new(0);
    assert_eq!(reset(&registers), Ok(()));
    assert_eq!(*registers.status.borrow(), 0);
    let stuck = Registers {
        stuck: true,
        ..Registers::new(0)
    };
    assert_eq!(reset(&stuck), Err(VirtioError::NotReset));
}
