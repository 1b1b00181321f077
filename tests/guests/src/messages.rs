//! Messages: an ITS that makes an LPI of a function's event 0 (Arm IHI 0069, chapter 5).

use crate::clock::Instant;
use crate::interrupts::Interrupts;
use crate::machine::Machine;
use crate::pci::Function;
use crate::ram::Page;
use crate::registers::Registers;

/// The first LPI.
pub const LPI: u32 = 8192;
/// ITS registers (12.19).
const CTLR: u64 = 0x0000;
const CBASER: u64 = 0x0080;
const CWRITER: u64 = 0x0088;
const CREADR: u64 = 0x0090;
/// In the frame after those: who writes an event's number there signals it.
const TRANSLATER: u64 = 0x1_0040;
const VALID: u64 = 1 << 63;
const ENABLE: u32 = 1 << 0;
/// Where the tables lie in RAM, each on a multiple of 64 KiB: LPIs' configuration and pending bits, commands, events.
const CONFIGURATION: u64 = 0x30_0000;
const PENDING: u64 = 0x31_0000;
const QUEUE: u64 = 0x32_0000;
const EVENTS: u64 = 0x33_0000;
const PAGE: u64 = 4096;
/// The configuration table of interrupt numbers of 14 bits.
const CONFIGURATION_SIZE: u64 = 8192;
const ID_BITS: u64 = 14;
/// Of all LPIs: enabled, priority 0xa0.
const CONFIGURED: u64 = 0xa1a1_a1a1_a1a1_a1a1;
/// So long a message may take.
const LIMIT_US: u64 = 50_000;

/// The ITS, which takes messages of one function.
#[derive(Debug)]
pub struct Messages {
    registers: Registers,
}

impl Messages {
    /// Has event 0 of `function` raise [`LPI`] at this CPU, and the function send it. Says what is missing.
    pub fn of(machine: &Machine, function: Function) -> Result<Messages, &'static str> {
        let base = machine.translation_service().ok_or("arm,gic-v3-its")?;
        let pci = machine.pci.ok_or("PCI")?;
        let page = |offset, size| machine.page(offset, size).ok_or("memory for tables");
        let (configuration, pending) = (page(CONFIGURATION, CONFIGURATION_SIZE)?, page(PENDING, PAGE)?);
        let (queue, events) = (page(QUEUE, PAGE)?, page(EVENTS, PAGE)?);
        configuration.fill(|_| CONFIGURED);
        pending.fill(|_| 0);
        events.fill(|_| 0);
        machine
            .interrupts
            .enable_lpis(configuration.address() | (ID_BITS - 1), pending.address());
        // SAFETY: the device tree says so.
        let registers = unsafe { Registers::new(base) };
        registers.write64(CBASER, VALID | queue.address());
        registers.write32(CTLR, ENABLE);
        let messages = Messages { registers };
        if !messages.map(&queue, function.requester_id().into(), events.address()) {
            return Err("answer of the ITS");
        }
        if !pci.send_messages(function, base + TRANSLATER, 0) {
            return Err("MSI capability");
        }
        Ok(messages)
    }

    /// MAPD with one bit of events, MAPC, MAPTI, INV, SYNC (5.3).
    fn map(&self, queue: &Page, device: u64, events: u64) -> bool {
        let (device, lpi) = (device << 32, u64::from(LPI) << 32);
        let commands = [
            [device | 0x08, 0, VALID | events, 0],
            [0x09, 0, VALID, 0],
            [device | 0x0a, lpi, 0, 0],
            [device | 0x0c, 0, 0, 0],
            [0x05, 0, 0, 0],
        ];
        queue.fill(|word| commands.as_flattened().get(word).copied().unwrap_or(0));
        let end = size_of_val(&commands) as u64;
        self.registers.write64(CWRITER, end);
        let deadline = Instant::now().after_us(LIMIT_US);
        while u64::from(self.registers.read32(CREADR)) != end {
            if Instant::now() >= deadline {
                return false;
            }
        }
        true
    }

    /// Where functions write their messages to.
    pub fn doorbell(&self) -> u64 {
        self.registers.base() + TRANSLATER
    }

    /// Signals event 0 as this CPU. Which interrupt came of it, if any.
    pub fn ring(&self, interrupts: &Interrupts) -> Option<u32> {
        self.registers.write32(TRANSLATER, 0);
        came(interrupts)
    }
}

/// The interrupt that comes within a while, if any; it is handled.
pub fn came(interrupts: &Interrupts) -> Option<u32> {
    let id = interrupts.wait(Instant::now().after_us(LIMIT_US))?;
    interrupts.finish(id);
    Some(id)
}
