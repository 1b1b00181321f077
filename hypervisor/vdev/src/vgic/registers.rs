//! The memory-mapped registers: distributor (IHI 0069 12.9) and redistributors (12.11).
//!
//! Registers for one bit, two bits or a byte per interrupt sit at the same offsets in the distributor (SPIs) and in
//! the second frame of a redistributor (SGIs and PPIs), so one piece of code serves both.

mod v2;

use super::interrupt::Interrupt;
use super::lpi::ID_BITS;
use super::{DISTRIBUTOR_SIZE, Outside, PRIORITY_MASK, PRIVATE, REDISTRIBUTOR_SIZE, Vgic};

/// `GICD_CTLR`: group 1 enable; affinity routing and the single security state are fixed.
const CTLR_ENABLE_GROUP_1: u64 = 1 << 1;
const CTLR_ARE: u64 = 1 << 4;
const CTLR_DS: u64 = 1 << 6;
/// `GICD_TYPER`: 10 bits of interrupt number (without LPIs), no 1-of-N routing.
const TYPER_ID_BITS: u64 = 9 << 19;
/// With LPIs: more bits, and the number of LPIs as a power of two, less one.
const TYPER_LPIS: u64 = ID_BITS << 19 | 1 << 17;
const TYPER_LPI_COUNT_SHIFT: u32 = 11;
const TYPER_NO_1_OF_N: u64 = 1 << 25;
/// `GICD_PIDR2` and `GICR_PIDR2`: architecture revision 3.
const PIDR2: u64 = 0x3b;
const PIDR2_OFFSET: u64 = 0xffe8;
/// The last redistributor of the region, in `GICR_TYPER`.
const TYPER_LAST: u64 = 1 << 4;
/// It has physical LPIs, in `GICR_TYPER`. `DirectLPI` and `CommonLPIAff` are zero.
const TYPER_PHYSICAL_LPIS: u64 = 1 << 0;
/// `GICR_CTLR.EnableLPIs`. `CES` and `IR` are zero.
const CTLR_ENABLE_LPIS: u64 = 1 << 0;
/// `GICR_PROPBASER` and `GICR_PENDBASER`, 64 bits each.
const PROPBASER: u64 = 0x70;
const PENDBASER: u64 = 0x78;

/// What a bank of registers is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bank {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    Priority,
    Config,
}

impl Bank {
    /// The bank at `offset`, and the first interrupt that the register or byte there is about.
    fn at(offset: u64) -> Option<(Bank, u32)> {
        let (bank, start, per_byte) = match offset {
            0x080..0x100 => (Bank::Group, 0x080, 8),
            0x100..0x180 => (Bank::SetEnable, 0x100, 8),
            0x180..0x200 => (Bank::ClearEnable, 0x180, 8),
            0x200..0x280 => (Bank::SetPending, 0x200, 8),
            0x280..0x300 => (Bank::ClearPending, 0x280, 8),
            0x300..0x380 => (Bank::SetActive, 0x300, 8),
            0x380..0x400 => (Bank::ClearActive, 0x380, 8),
            0x400..0x800 => (Bank::Priority, 0x400, 1),
            0xc00..0xd00 => (Bank::Config, 0xc00, 4),
            _ => return None,
        };
        Some((bank, u32::try_from((offset - start) * per_byte).ok()?))
    }

    /// How many bits an interrupt has, and whether an access of `size` bytes at `offset` is one that the bank allows
    /// (12.1.3: priorities by byte or word, everything else by word).
    fn width(self, offset: u64, size: u8) -> Option<u32> {
        let word = size == 4 && offset.is_multiple_of(4);
        match self {
            Bank::Priority => (word || size == 1).then_some(8),
            Bank::Config => word.then_some(2),
            _ => word.then_some(1),
        }
    }

    fn get(self, interrupt: &Interrupt) -> u64 {
        u64::from(match self {
            Bank::Group => 1,
            Bank::SetEnable | Bank::ClearEnable => u8::from(interrupt.enabled),
            Bank::SetPending | Bank::ClearPending => u8::from(interrupt.shows_pending()),
            Bank::SetActive | Bank::ClearActive => u8::from(interrupt.active),
            Bank::Priority => interrupt.priority,
            Bank::Config => u8::from(interrupt.edge) << 1,
        })
    }
}

impl Vgic {
    /// Reads `size` bytes (1, 2, 4 or 8) at `offset` of the distributor.
    pub fn read_distributor(&self, offset: u64, size: u8) -> u64 {
        if offset >= DISTRIBUTOR_SIZE {
            return 0;
        }
        match (offset, size) {
            (0x0000, 4) => CTLR_ARE | CTLR_DS | if self.enabled { CTLR_ENABLE_GROUP_1 } else { 0 },
            (0x0004, 4) => {
                let lines = u64::from(self.end().div_ceil(32)).saturating_sub(1);
                let lpis = match u64::from(self.lpis().end - self.lpis().start).checked_ilog2() {
                    Some(bits) => TYPER_LPIS | (u64::from(bits) - 1) << TYPER_LPI_COUNT_SHIFT,
                    None => TYPER_ID_BITS,
                };
                TYPER_NO_1_OF_N | lpis | lines
            }
            (PIDR2_OFFSET, 4) => PIDR2,
            (0x6100..0x8000, 4 | 8) => self.read_route(offset, size),
            _ => self.read_bank(0, PRIVATE..self.end(), offset, size),
        }
    }

    /// Writes `size` bytes at `offset` of the distributor.
    pub fn write_distributor(&mut self, offset: u64, size: u8, value: u64, outside: &mut dyn Outside) {
        match (offset, size) {
            (0x0000, 4) => self.set_enabled(value & CTLR_ENABLE_GROUP_1 != 0, outside),
            (0x6100..0x8000, 4 | 8) => self.write_route(offset, size, value, outside),
            _ => self.write_bank(0, PRIVATE..self.end(), offset, size, value, outside),
        }
    }

    /// Lets interrupts through to the vCPUs, or not.
    fn set_enabled(&mut self, enabled: bool, outside: &mut dyn Outside) {
        let rises = enabled && !self.enabled;
        self.enabled = enabled;
        for vcpu in (0..self.vcpus.len()).filter(|_| rises) {
            if self.has_work(vcpu) {
                outside.kick(vcpu);
            }
        }
    }

    /// Reads `size` bytes at `offset` of the redistributors, which lie one after the other.
    pub fn read_redistributor(&self, offset: u64, size: u8) -> u64 {
        let Some((vcpu, offset)) = self.redistributor(offset) else {
            return 0;
        };
        match (offset, size) {
            (0x0000, 4) if self.takes_lpis(vcpu) => CTLR_ENABLE_LPIS,
            (PROPBASER | PENDBASER, 8) => self.table_register(vcpu, offset),
            (0x70 | 0x78, 4) => self.table_register(vcpu, offset) & 0xffff_ffff,
            (0x74 | 0x7c, 4) => self.table_register(vcpu, offset - 4) >> 32,
            (0x0008, 8) => self.redistributor_type(vcpu),
            (0x0008, 4) => self.redistributor_type(vcpu) & 0xffff_ffff,
            (0x000c, 4) => self.redistributor_type(vcpu) >> 32,
            (PIDR2_OFFSET, 4) => PIDR2,
            (0x1_0000.., _) => self.read_bank(vcpu, 0..PRIVATE, offset - 0x1_0000, size),
            // GICR_WAKER too: nothing ever sleeps.
            _ => 0,
        }
    }

    /// Writes `size` bytes at `offset` of the redistributors.
    pub fn write_redistributor(&mut self, offset: u64, size: u8, value: u64, outside: &mut dyn Outside) {
        let Some((vcpu, offset)) = self.redistributor(offset) else {
            return;
        };
        match (offset, size) {
            (0x0000, 4) => self.enable_lpis(vcpu, value & CTLR_ENABLE_LPIS != 0, outside),
            (PROPBASER | PENDBASER, 8) => self.write_table_register(vcpu, offset, value),
            (0x70 | 0x78, 4) => {
                let high = self.table_register(vcpu, offset) & !0xffff_ffff;
                self.write_table_register(vcpu, offset, high | value & 0xffff_ffff);
            }
            (0x74 | 0x7c, 4) => {
                let low = self.table_register(vcpu, offset - 4) & 0xffff_ffff;
                self.write_table_register(vcpu, offset - 4, value << 32 | low);
            }
            (0x1_0000.., _) => self.write_bank(vcpu, 0..PRIVATE, offset - 0x1_0000, size, value, outside),
            _ => {}
        }
    }

    /// `GICR_PROPBASER` or `GICR_PENDBASER`.
    fn table_register(&self, vcpu: usize, offset: u64) -> u64 {
        if offset == PROPBASER {
            self.propbaser()
        } else {
            self.pendbaser(vcpu)
        }
    }

    fn write_table_register(&mut self, vcpu: usize, offset: u64, value: u64) {
        if offset == PROPBASER {
            self.write_propbaser(value);
        } else {
            self.write_pendbaser(vcpu, value);
        }
    }

    /// The vCPU whose redistributor `offset` lies in, and the offset from its start.
    fn redistributor(&self, offset: u64) -> Option<(usize, u64)> {
        let vcpu = usize::try_from(offset / REDISTRIBUTOR_SIZE).ok()?;
        (vcpu < self.vcpus.len()).then_some((vcpu, offset % REDISTRIBUTOR_SIZE))
    }

    /// `GICR_TYPER`: affinity, number, and whether it is the last one.
    fn redistributor_type(&self, vcpu: usize) -> u64 {
        let affinity = self.vcpus.get(vcpu).map_or(0, |private| private.affinity);
        let compact = (affinity >> 32 & 0xff) << 24 | affinity & 0xff_ffff;
        let last = if vcpu + 1 == self.vcpus.len() {
            TYPER_LAST
        } else {
            0
        };
        let lpis = if self.lpis().is_empty() {
            0
        } else {
            TYPER_PHYSICAL_LPIS
        };
        compact << 32 | u64::try_from(vcpu & 0xffff).unwrap_or(0) << 8 | last | lpis
    }

    fn read_bank(&self, vcpu: usize, owned: core::ops::Range<u32>, offset: u64, size: u8) -> u64 {
        let Some((bank, first)) = Bank::at(offset) else {
            return 0;
        };
        let Some(width) = bank.width(offset, size) else {
            return 0;
        };
        let count = u32::from(size) * 8 / width;
        (0..count).fold(0, |value, position| {
            let intid = first + position;
            let interrupt = self
                .interrupt(vcpu, intid)
                .filter(|interrupt| interrupt.is_owned());
            let bits = interrupt
                .filter(|_| owned.contains(&intid))
                .map_or(0, |interrupt| bank.get(interrupt));
            value | bits << (position * width)
        })
    }

    fn write_bank(
        &mut self,
        vcpu: usize,
        owned: core::ops::Range<u32>,
        offset: u64,
        size: u8,
        value: u64,
        outside: &mut dyn Outside,
    ) {
        let Some((bank, first)) = Bank::at(offset) else {
            return;
        };
        let Some(width) = bank.width(offset, size) else {
            return;
        };
        for position in 0..u32::from(size) * 8 / width {
            let intid = first + position;
            let [bits, ..] = (value >> (position * width) & ((1 << width) - 1)).to_le_bytes();
            let is_owned = self.interrupt(vcpu, intid).is_some_and(Interrupt::is_owned);
            if owned.contains(&intid) && is_owned {
                self.write_one(bank, vcpu, intid, bits, outside);
            }
        }
    }

    /// Writes the bits of one interrupt.
    fn write_one(&mut self, bank: Bank, vcpu: usize, intid: u32, bits: u8, outside: &mut dyn Outside) {
        let set = bits & 1 != 0;
        match bank {
            Bank::Group => {}
            Bank::Priority => self.change(vcpu, intid, outside, |it| it.priority = bits & PRIORITY_MASK),
            // SGIs are edge-triggered for good.
            Bank::Config if intid < 16 => {}
            Bank::Config => self.change(vcpu, intid, outside, |it| it.edge = bits & 2 != 0),
            _ if !set => {}
            Bank::SetEnable => self.change(vcpu, intid, outside, |it| it.enabled = true),
            Bank::ClearEnable => self.change(vcpu, intid, outside, |it| it.enabled = false),
            Bank::SetPending => self.change(vcpu, intid, outside, |it| it.latch = true),
            Bank::SetActive => self.change(vcpu, intid, outside, |it| {
                // One that another vCPU has in a list register is about to be looked at there.
                if it.placed.is_none() && !it.active {
                    it.active = true;
                    it.holder = it.target;
                }
            }),
            Bank::ClearPending => self.clear(vcpu, intid, outside, |it| {
                it.latch = false;
                it.cancel_pending = it.placed.is_some();
            }),
            Bank::ClearActive => self.clear(vcpu, intid, outside, |it| {
                it.active = false;
                it.cancel_active = it.placed.is_some();
            }),
        }
    }

    /// Clears pending or active state. When nothing is left of a passed-through interrupt, its physical side is
    /// deactivated, or it would never come again.
    fn clear(
        &mut self,
        vcpu: usize,
        intid: u32,
        outside: &mut dyn Outside,
        clear: impl FnOnce(&mut Interrupt),
    ) {
        let Some(before) = self.interrupt(vcpu, intid).copied() else {
            return;
        };
        self.change(vcpu, intid, outside, clear);
        let Some(after) = self.interrupt(vcpu, intid).copied() else {
            return;
        };
        // What a list register holds is seen to when it is taken back.
        let was_held = after.placed.is_none() && (before.latch || before.active);
        if let Some(physical) = after
            .physical()
            .filter(|_| was_held && !after.latch && !after.active)
        {
            outside.deactivate(before.home(), physical);
        }
    }

    /// `GICD_IROUTER<n>` (12.9.22): 8 bytes for each interrupt from 32 on.
    fn read_route(&self, offset: u64, size: u8) -> u64 {
        let Some(intid) = route_intid(offset, size) else {
            return 0;
        };
        let Some(interrupt) = self.interrupt(0, intid).filter(|interrupt| interrupt.is_owned()) else {
            return 0;
        };
        let affinity = self
            .vcpus
            .get(interrupt.target)
            .map_or(0, |private| private.affinity);
        match (size, offset % 8) {
            (8, _) => affinity,
            (_, 0) => affinity & 0xffff_ffff,
            _ => affinity >> 32,
        }
    }

    fn write_route(&mut self, offset: u64, size: u8, value: u64, outside: &mut dyn Outside) {
        let Some(intid) = route_intid(offset, size) else {
            return;
        };
        let now = self.read_route(offset & !7, 8);
        let affinity = match (size, offset % 8) {
            (8, _) => value,
            (_, 0) => now & !0xffff_ffff | value & 0xffff_ffff,
            _ => now & 0xffff_ffff | value << 32,
        };
        // Routing to a CPU that is not there is no routing; the interrupt stays where it is.
        let affinity = affinity & 0xff_00ff_ffff;
        let Some(target) = self.vcpus.iter().position(|private| private.affinity == affinity) else {
            return;
        };
        self.set_route(intid, target, outside);
    }

    /// Sends an SPI to a vCPU from now on.
    fn set_route(&mut self, intid: u32, target: usize, outside: &mut dyn Outside) {
        self.change(0, intid, outside, |it| it.target = target);
        if let Some(physical) = self.interrupt(0, intid).and_then(Interrupt::physical) {
            outside.route(physical, target);
        }
    }
}

/// The SPI whose route an access is about, if the access is aligned.
fn route_intid(offset: u64, size: u8) -> Option<u32> {
    let intid = u32::try_from((offset - 0x6000) / 8).ok()?;
    (offset.is_multiple_of(u64::from(size)) && intid >= PRIVATE).then_some(intid)
}
