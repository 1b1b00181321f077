//! The registers of the control frame (IHI 0069 12.19).

use super::translation::COLLECTIONS;
use super::{CONTROL_SIZE, GuestMemory, Its};
use crate::vgic::{Outside, Vgic};

/// `GITS_CTLR`.
const CTLR: u64 = 0x0000;
const CTLR_ENABLED: u64 = 1 << 0;
const CTLR_QUIESCENT: u64 = 1 << 31;
/// `GITS_TYPER`: physical LPIs, 16 bits of device ID (a requester ID), a number of collections that need no memory, and
/// redistributors named by their numbers (`PTA` is zero).
const TYPER: u64 = 0x0008;
const TYPER_PHYSICAL: u64 = 1 << 0;
/// Bytes that an event takes in the table that the guest gives with a device, less one: nothing is written there.
const TYPER_ENTRY_SIZE: u64 = 7 << 4;
const TYPER_EVENT_BITS: u64 = (EVENT_BITS as u64 - 1) << 8;
const TYPER_DEVICE_BITS: u64 = 15 << 13;
const TYPER_COLLECTIONS: u64 = (COLLECTIONS as u64) << 24;
const _: () = assert!(COLLECTIONS <= 0xff, "8 bits of the register");
/// `GITS_CBASER`, `GITS_CWRITER`, `GITS_CREADR`.
const CBASER: u64 = 0x0080;
const CWRITER: u64 = 0x0088;
const CREADR: u64 = 0x0090;
/// `GITS_PIDR2`: architecture revision 3.
const PIDR2: u64 = 0xffe8;
const ARCHITECTURE: u64 = 0x3b;
/// Bits of an event ID.
pub(super) const EVENT_BITS: u32 = 16;

impl Its {
    /// Reads `size` bytes (1, 2, 4 or 8) at `offset` of the control frame. `GITS_IIDR` and `GITS_BASER<n>` are zero, as
    /// is all that is not there.
    pub fn read(&self, offset: u64, size: u8) -> u64 {
        match (offset, size) {
            (CTLR, 4) if self.enabled => CTLR_ENABLED | if self.has_work() { 0 } else { CTLR_QUIESCENT },
            (CTLR, 4) => CTLR_QUIESCENT,
            (PIDR2, 4) => ARCHITECTURE,
            (_, 8) if offset.is_multiple_of(8) => self.doubleword(offset),
            (_, 4) if offset.is_multiple_of(8) => self.doubleword(offset) & 0xffff_ffff,
            (_, 4) if offset.is_multiple_of(4) => self.doubleword(offset - 4) >> 32,
            _ => 0,
        }
    }

    /// Writes `size` bytes at `offset` of the control frame, and carries out the commands that this starts.
    pub fn write(
        &mut self,
        offset: u64,
        size: u8,
        value: u64,
        gic: &mut Vgic,
        memory: &mut dyn GuestMemory,
        outside: &mut dyn Outside,
    ) {
        if offset >= CONTROL_SIZE {
            return;
        }
        match (offset, size) {
            (CTLR, 4) => self.enabled = value & CTLR_ENABLED != 0,
            (_, 8) if offset.is_multiple_of(8) => self.set_doubleword(offset, value, true),
            (_, 4) if offset.is_multiple_of(8) => {
                let high = self.doubleword(offset) & !0xffff_ffff;
                self.set_doubleword(offset, high | value & 0xffff_ffff, true);
            }
            (_, 4) if offset.is_multiple_of(4) => {
                let low = self.doubleword(offset - 4) & 0xffff_ffff;
                self.set_doubleword(offset - 4, value << 32 | low, false);
            }
            _ => return,
        }
        self.run(gic, memory, outside);
    }

    fn doubleword(&self, offset: u64) -> u64 {
        match offset {
            TYPER => {
                TYPER_PHYSICAL | TYPER_ENTRY_SIZE | TYPER_EVENT_BITS | TYPER_DEVICE_BITS | TYPER_COLLECTIONS
            }
            CBASER => self.queue.base(),
            CWRITER => self.queue.write_offset(),
            CREADR => self.queue.read_offset(),
            _ => 0,
        }
    }

    /// `is_low`: the lower half is written too.
    fn set_doubleword(&mut self, offset: u64, value: u64, is_low: bool) {
        match offset {
            // While the ITS is enabled the effect is UNPREDICTABLE.
            CBASER if !self.enabled => self.queue.set_base(value),
            CWRITER if is_low => self.queue.set_write_offset(value),
            _ => {}
        }
    }
}
