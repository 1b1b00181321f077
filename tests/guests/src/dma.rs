//! The DMA engine of Broadcom's chips up to the BCM2711 (BCM2711 ARM Peripherals, 4): it copies from anywhere to anywhere.

use crate::clock::Instant;
use crate::interrupts::Interrupts;
use crate::machine::{Machine, cells, property};
use crate::ram::Page;
use crate::registers::Registers;
use aarch64_cpu::asm::barrier;
use fdt::node::FdtNode;

/// Registers of a channel, from its own start.
const CS: u64 = 0x00;
const CONBLK_AD: u64 = 0x04;
/// What channels have in common.
const ENABLE: u64 = 0xff0;
/// Bytes from one channel to the next.
const CHANNEL: u64 = 0x100;
/// Bits of CS.
const ACTIVE: u32 = 1 << 0;
const END: u32 = 1 << 1;
const INTERRUPT: u32 = 1 << 2;
const ERROR: u32 = 1 << 8;
/// Bits of a control block's first word.
const INTEN: u32 = 1 << 0;
const WAIT_RESP: u32 = 1 << 3;
const DEST_INC: u32 = 1 << 4;
const SRC_INC: u32 = 1 << 8;

/// What a copy may take.
const LIMIT_US: u64 = 500_000;

/// A channel of the engine.
#[derive(Debug)]
pub struct DmaEngine {
    registers: Registers,
    channel: u32,
    /// The interrupt of its channel.
    line: u32,
    /// What the engine calls memory, less what the CPU calls it.
    to_bus: u64,
    /// Where its control block lies.
    block: Page,
}

/// How a copy ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// The engine raised its interrupt.
    Interrupt,
    /// It came to an end, and no interrupt came.
    Quietly,
    /// It did not come to an end, or says that it failed.
    Failed,
}

impl DmaEngine {
    /// The engine of the machine, as its tree has it; `block` is for the control blocks. Nothing if there is none.
    pub fn open(machine: &Machine, block: Page) -> Option<DmaEngine> {
        let [outer, bus, node] = machine.on_a_bus("brcm,bcm2835-dma")?;
        let first = |node, name| cells(property(Some(node), name)?).next();
        let channel = first(node, "brcm,dma-channel-mask")?.trailing_zeros();
        // Cells of the bus's addresses, and of the one around it.
        let (own, above) = (first(bus, "#address-cells")?, first(outer, "#address-cells")?);
        let window = |name| window(bus, name, own, above);
        let address = u64::from(first(node, "reg")?);
        let (child, parent) = window("ranges")?;
        // SAFETY: the tree says that its registers are there; if they are not, nothing is.
        let registers = unsafe { Registers::new(parent + address.checked_sub(child)?) };
        let (memory_bus, memory) = window("dma-ranges")?;
        // Kind, number, flags of each channel's.
        let number = cells(property(Some(node), "interrupts")?).nth(channel as usize * 3 + 1)?;
        Some(DmaEngine {
            registers,
            channel,
            line: 32 + number,
            to_bus: memory_bus.wrapping_sub(memory),
            block,
        })
    }

    /// Where its registers are, its interrupt, and what it calls the memory that the CPU calls `address`.
    pub fn describe(&self, address: u64) -> (u64, u32, u64) {
        (self.registers.base(), self.line, self.bus(address))
    }

    fn bus(&self, address: u64) -> u64 {
        address.wrapping_add(self.to_bus)
    }

    /// Copies `size` bytes.
    pub fn copy(&self, interrupts: &Interrupts, from: u64, to: u64, size: u32) -> Copied {
        interrupts.enable(self.line);
        let transfer = INTEN | WAIT_RESP | DEST_INC | SRC_INC;
        let words = [transfer, low(self.bus(from)), low(self.bus(to)), size, 0, 0, 0, 0];
        let pair = |index: usize| {
            let word = |index: usize| u64::from(words.get(index).copied().unwrap_or(0));
            word(index * 2) | word(index * 2 + 1) << 32
        };
        self.block.fill(pair);
        barrier::dsb(barrier::SY);
        let start = u64::from(self.channel) * CHANNEL;
        self.registers
            .write32(ENABLE, self.registers.read32(ENABLE) | 1 << self.channel);
        self.registers.write32(start + CS, END | INTERRUPT);
        self.registers
            .write32(start + CONBLK_AD, low(self.bus(self.block.address())));
        self.registers.write32(start + CS, ACTIVE);
        let deadline = Instant::now().after_us(LIMIT_US);
        let mut came = false;
        while let Some(id) = interrupts.wait(deadline) {
            self.registers.write32(start + CS, INTERRUPT);
            interrupts.finish(id);
            if id == self.line {
                came = true;
                break;
            }
        }
        let status = self.registers.read32(start + CS);
        if status & (ACTIVE | ERROR) != 0 || status & END == 0 {
            Copied::Failed
        } else if came {
            Copied::Interrupt
        } else {
            Copied::Quietly
        }
    }
}

/// The first window of a bus: its own address, and that of the bus around it.
pub(crate) fn window(bus: FdtNode<'_, 'static>, name: &str, own: u32, above: u32) -> Option<(u64, u64)> {
    let mut all = cells(property(Some(bus), name)?);
    let mut number = |count: u32| {
        let mut value = 0;
        for _ in 0..count {
            value = value << 32 | u64::from(all.next()?);
        }
        Some(value)
    };
    Some((number(own)?, number(above)?))
}

/// The engine's addresses have 32 bits.
#[expect(clippy::cast_possible_truncation, reason = "what is above is not there")]
fn low(address: u64) -> u32 {
    address as u32
}
