//! The registers of a GICv2's distributor (IHI 0048 4.3), without security states. Each vCPU has SGIs and PPIs of its own at
//! the same offsets, so that it matters which one accesses them. Every interrupt is in group 0, and an SPI goes to one vCPU:
//! the first of those that its target list names.

use super::super::interrupt::Interrupt;
use super::super::{DISTRIBUTOR_SIZE, MOST_V2_VCPUS, Outside, PRIVATE, Vgic};
use core::ops::Range;

#[cfg(test)]
mod tests;

/// `GICD_CTLR`.
const CTLR: u64 = 0x000;
const CTLR_ENABLE: u64 = 1 << 0;
/// `GICD_TYPER`: groups of 32 interrupts, CPU interfaces, each less one.
const TYPER: u64 = 0x004;
const TYPER_CPUS_SHIFT: u32 = 5;
/// `GICD_ITARGETSR<n>`: a byte for each interrupt.
const TARGETS: Range<u64> = 0x800..0xc00;
/// `GICD_SGIR`, written only.
const SGIR: u64 = 0xf00;
/// `GICD_CPENDSGIR<n>` and `GICD_SPENDSGIR<n>`: a byte for each SGI, with a bit for each sender.
const CLEAR_SENDERS: Range<u64> = 0xf10..0xf20;
const SET_SENDERS: Range<u64> = 0xf20..0xf30;
/// `ICPIDR2`: architecture version 2.
const PIDR2: u64 = 0xfe8;
const PIDR2_VALUE: u64 = 0x2b;

/// SGIs.
const SGIS: u32 = 16;

impl Vgic {
    /// Reads `size` bytes (1, 2, 4 or 8) at `offset` of a GICv2's distributor, as `vcpu`.
    pub fn read_distributor_v2(&self, vcpu: usize, offset: u64, size: u8) -> u64 {
        match (offset, size) {
            (DISTRIBUTOR_SIZE.., _) => 0,
            (CTLR, 4) => u64::from(self.enabled),
            (TYPER, 4) => {
                let lines = u64::from(self.end().div_ceil(32)).saturating_sub(1);
                let cpus = u64::try_from(self.vcpus.len().min(MOST_V2_VCPUS)).unwrap_or(0);
                lines | cpus.saturating_sub(1) << TYPER_CPUS_SHIFT
            }
            (PIDR2, 4) => PIDR2_VALUE,
            _ => match bytes(offset, size) {
                Some(bytes) => bytes
                    .rev()
                    .fold(0, |value, at| value << 8 | u64::from(self.byte(vcpu, at))),
                None if is_group(offset) => 0,
                None => self.read_bank(vcpu, 0..self.end(), offset, size),
            },
        }
    }

    /// Writes `size` bytes at `offset` of a GICv2's distributor, as `vcpu`.
    pub fn write_distributor_v2(
        &mut self,
        vcpu: usize,
        offset: u64,
        size: u8,
        value: u64,
        outside: &mut dyn Outside,
    ) {
        match (offset, size) {
            (CTLR, 4) => self.set_enabled(value & CTLR_ENABLE != 0, outside),
            (SGIR, 4) => self.send_sgi_v2(vcpu, value, outside),
            _ => match bytes(offset, size) {
                Some(bytes) => {
                    for (at, byte) in bytes.zip(value.to_le_bytes()) {
                        self.write_byte(vcpu, at, byte, outside);
                    }
                }
                None => {
                    // SGIs become pending by their senders alone.
                    let first = if is_pending(offset) { SGIS } else { 0 };
                    self.write_bank(vcpu, first..self.end(), offset, size, value, outside);
                }
            },
        }
    }

    /// What a byte of the registers reads that have one for each interrupt, and no bank.
    fn byte(&self, vcpu: usize, offset: u64) -> u8 {
        let Some((register, intid)) = register(offset) else {
            return 0;
        };
        let interrupt = self
            .interrupt(vcpu, intid)
            .filter(|interrupt| interrupt.is_owned());
        interrupt.map_or(0, |interrupt| match register {
            Register::Target if intid < PRIVATE => bit(vcpu),
            Register::Target => bit(interrupt.target),
            Register::ClearSenders | Register::SetSenders => interrupt.senders,
        })
    }

    fn write_byte(&mut self, vcpu: usize, offset: u64, byte: u8, outside: &mut dyn Outside) {
        let Some((register, intid)) = register(offset) else {
            return;
        };
        match register {
            Register::Target => self.set_target(intid, byte, outside),
            Register::SetSenders => self.change(vcpu, intid, outside, |it| {
                it.senders |= byte;
                it.latch = it.senders != 0;
            }),
            Register::ClearSenders => self.change(vcpu, intid, outside, |it| {
                it.senders &= !byte;
                it.latch = it.senders != 0;
            }),
        }
    }

    /// A list of nobody who is there is no routing; the interrupt stays where it is.
    fn set_target(&mut self, intid: u32, list: u8, outside: &mut dyn Outside) {
        let listed = (0..self.vcpus.len()).find(|vcpu| list & bit(*vcpu) != 0);
        let is_own = intid >= PRIVATE && self.interrupt(0, intid).is_some_and(Interrupt::is_owned);
        if let Some(target) = listed.filter(|_| is_own) {
            self.set_route(intid, target, outside);
        }
    }

    /// `GICD_SGIR` (4.3.15): an SGI to those that are listed, to all others, or to the sender.
    fn send_sgi_v2(&mut self, from: usize, value: u64, outside: &mut dyn Outside) {
        let [intid, _, listed, filter, ..] = value.to_le_bytes();
        let all = u8::MAX;
        let targets = match filter & 0x3 {
            0 => listed,
            1 => all & !bit(from),
            2 => bit(from),
            _ => 0,
        };
        for vcpu in (0..self.vcpus.len()).filter(|vcpu| targets & bit(*vcpu) != 0) {
            self.change(vcpu, u32::from(intid & 0xf), outside, |it| {
                it.senders |= bit(from);
                it.latch = it.senders != 0;
            });
        }
    }
}

/// Registers with a byte for each interrupt.
enum Register {
    Target,
    ClearSenders,
    SetSenders,
}

/// The register at `offset`, and whose byte it is.
fn register(offset: u64) -> Option<(Register, u32)> {
    let (register, start) = match offset {
        0x800..0xc00 => (Register::Target, TARGETS.start),
        0xf10..0xf20 => (Register::ClearSenders, CLEAR_SENDERS.start),
        0xf20..0xf30 => (Register::SetSenders, SET_SENDERS.start),
        _ => return None,
    };
    Some((register, u32::try_from(offset - start).ok()?))
}

/// The bytes of an access to such registers, which is by byte or word (4.1.4).
fn bytes(offset: u64, size: u8) -> Option<Range<u64>> {
    let is_allowed = size == 1 || (size == 4 && offset.is_multiple_of(4));
    (is_allowed && register(offset).is_some()).then(|| offset..offset.saturating_add(size.into()))
}

/// `GICD_IGROUPR<n>`.
fn is_group(offset: u64) -> bool {
    (0x080..0x100).contains(&offset)
}

/// `GICD_ISPENDR<n>` and `GICD_ICPENDR<n>`.
fn is_pending(offset: u64) -> bool {
    (0x200..0x300).contains(&offset)
}

/// The bit of a vCPU in a list of them.
fn bit(vcpu: usize) -> u8 {
    u32::try_from(vcpu)
        .ok()
        .and_then(|vcpu| 1u8.checked_shl(vcpu))
        .unwrap_or(0)
}
