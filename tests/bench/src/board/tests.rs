//! The board as its software meets it: addresses, time, DMA, interrupts.

use super::*;
use crate::NoIommu;
use crate::map::RAM;
use crate::memory::fake::Ram;

const BAR: [u64; 3] = [0x1000_0000, 0x1010_0000, 0x1020_0000];
const SOURCE: u64 = 0x80;
const DESTINATION: u64 = 0x88;
const COUNT: u64 = 0x90;
const COMMAND: u64 = 0x98;
const BUFFER: u64 = 0x4_0000;

/// Lets some streams through.
struct Lets(fn(u32) -> bool);

const STOPS_SECOND: Lets = Lets(|stream| stream != 0x10);

impl Iommu for Lets {
    fn read(&mut self, offset: usize, size: usize) -> u64 {
        (offset + size) as u64
    }
    fn write(&mut self, _offset: usize, _size: usize, _value: u64) {}
    fn translate(&mut self, stream: u32, address: u64, _write: bool) -> Option<u64> {
        (self.0)(stream).then_some(address)
    }
    fn interrupts(&self) -> &[(u32, bool)] {
        &[(112, true)]
    }
    fn unsettled(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A board whose functions have their BARs and may do DMA.
fn board<I: Iommu>(iommu: I, memory: &Ram) -> Board<I, Ram> {
    let mut board = Board::new(iommu, memory.clone());
    for (slot, bar) in SLOTS.into_iter().zip(BAR) {
        let function = ECAM.start + (u64::from(slot) << 15);
        board.write(function + 0x10, 4, bar, 0);
        board.write(function + 0x04, 4, 6, 0);
    }
    board
}

fn start<I: Iommu>(board: &mut Board<I, Ram>, bar: u64, (from, to): (u64, u64), size: u64, command: u64) {
    board.write(bar + SOURCE, 8, from, 0);
    board.write(bar + DESTINATION, 8, to, 0);
    board.write(bar + COUNT, 8, size, 0);
    board.write(bar + COMMAND, 4, command, 0);
    assert_eq!(board.next_us(), Some(100_000));
    board.advance(100_000);
    assert_eq!(board.next_us(), None);
}

#[test]
fn data_goes_out_and_comes_back_across_a_page_boundary() {
    let memory = Ram::new(0x4000);
    let mut board = board(NoIommu, &memory);
    let pattern: Vec<u8> = (0..=255).collect();
    memory.write(RAM.start + 0xf80, &pattern);
    let [bar, ..] = BAR;
    start(&mut board, bar, (RAM.start + 0xf80, BUFFER), 256, 1);
    start(&mut board, bar, (BUFFER, RAM.start + 0x2f80), 256, 1 | 2 | 4);
    let mut back = vec![0; 256];
    memory.read(RAM.start + 0x2f80, &mut back);
    assert_eq!(back, pattern);
    let [first, ..] = SLOTS;
    assert!(board.lines().any(|line| line == (pci_interrupt(first), true)));
    board.write(bar + 0x64, 4, 0x100, 0);
    assert!(board.lines().any(|line| line == (pci_interrupt(first), false)));
}

#[test]
fn what_is_stopped_does_not_arrive_and_reads_as_zero() {
    let memory = Ram::new(0x2000);
    let mut board = board(STOPS_SECOND, &memory);
    memory.write(RAM.start, &[7; 64]);
    let [first, second, _] = BAR;
    start(&mut board, first, (RAM.start, BUFFER), 64, 1);
    start(&mut board, second, (BUFFER, RAM.start), 64, 3);
    let mut bytes = [0; 64];
    memory.read(RAM.start, &mut bytes);
    assert_eq!(bytes, [7; 64], "the second function's write was stopped");
    board.write(second + COMMAND, 4, 0, 0);
    start(&mut board, second, (RAM.start, BUFFER), 64, 1);
    let mut function = board.host.functions[1].clone();
    let whole = Transfer {
        to_memory: true,
        memory: 0,
        window: 0,
        size: 64,
    };
    assert_eq!(function.edu.buffer(&whole), [0; 64]);
}

#[test]
fn a_function_that_may_not_master_the_bus_does_no_dma() {
    let memory = Ram::new(0x1000);
    let mut board = board(NoIommu, &memory);
    memory.write(RAM.start, &[7; 64]);
    let [bar, ..] = BAR;
    board.write(ECAM.start + (1 << 15) + 4, 4, 2, 0);
    start(&mut board, bar, (BUFFER, RAM.start), 64, 3);
    let mut bytes = [0; 64];
    memory.read(RAM.start, &mut bytes);
    assert_eq!(bytes, [7; 64]);
}

#[test]
fn a_function_reaches_the_registers_of_another() {
    let memory = Ram::new(0x1000);
    let mut board = board(NoIommu, &memory);
    memory.write(RAM.start, &0x1234_5678_u32.to_le_bytes());
    let [first, _, third] = BAR;
    start(&mut board, third, (RAM.start, BUFFER), 4, 1);
    start(&mut board, third, (BUFFER, first + 4), 4, 3);
    assert_eq!(board.read(first + 4, 4), !0x1234_5678_u64 & 0xffff_ffff);
    start(&mut board, third, (first + 4, BUFFER), 4, 1);
    start(&mut board, third, (BUFFER, RAM.start), 4, 3);
    let mut bytes = [0; 4];
    memory.read(RAM.start, &mut bytes);
    assert_eq!(u32::from_le_bytes(bytes), !0x1234_5678);
}

#[test]
fn the_platform_device_does_dma_with_its_own_stream_and_interrupt() {
    let memory = Ram::new(0x2000);
    memory.write(RAM.start, &[7; 64]);
    // Nobody has enabled anything: it is no PCI function.
    let mut board = Board::new(Lets(|stream| stream == 0x400), memory.clone());
    start(&mut board, PLATFORM.start, (RAM.start, BUFFER), 64, 1);
    assert!(!board.lines().any(|line| line == (PLATFORM_INTERRUPT, true)));
    start(
        &mut board,
        PLATFORM.start,
        (BUFFER, RAM.start + 0x1000),
        64,
        1 | 2 | 4,
    );
    let mut bytes = [0; 64];
    memory.read(RAM.start + 0x1000, &mut bytes);
    assert_eq!(bytes, [7; 64]);
    assert!(board.lines().any(|line| line == (PLATFORM_INTERRUPT, true)));
    board.write(PLATFORM.start + 0x64, 4, 0x100, 0);
    assert!(board.lines().any(|line| line == (PLATFORM_INTERRUPT, false)));
}

#[test]
fn the_platform_device_is_stopped_by_its_stream() {
    let memory = Ram::new(0x1000);
    let mut board = Board::new(Lets(|stream| stream != 0x400), memory.clone());
    memory.write(RAM.start, &[7; 64]);
    start(&mut board, PLATFORM.start, (BUFFER, RAM.start), 64, 3);
    let mut bytes = [0; 64];
    memory.read(RAM.start, &mut bytes);
    assert_eq!(bytes, [7; 64]);
}

#[test]
fn a_function_reaches_the_registers_of_the_platform_device() {
    let memory = Ram::new(0x1000);
    let mut board = board(NoIommu, &memory);
    memory.write(RAM.start, &0x1234_5678_u32.to_le_bytes());
    let [first, ..] = BAR;
    start(&mut board, first, (RAM.start, BUFFER), 4, 1);
    start(&mut board, first, (BUFFER, PLATFORM.start + 4), 4, 3);
    assert_eq!(board.read(PLATFORM.start + 4, 4), !0x1234_5678_u64 & 0xffff_ffff);
}

#[test]
fn addresses_lead_to_their_devices() {
    let memory = Ram::new(0x1000);
    let mut board = board(STOPS_SECOND, &memory);
    assert_eq!(board.read(SMMU.start + 0x24, 4), 0x28);
    assert_eq!(board.read(ECAM.start + (2 << 15), 4), 0x11e8_1234);
    assert_eq!(board.read(BARS.end - 4, 4), u64::MAX);
    assert!(board.lines().any(|line| line == (112, true)));
}
