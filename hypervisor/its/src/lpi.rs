//! LPIs: their configuration, and the redistributors that deliver them (IHI 0069 5.1, 12.11).

use crate::Error;
use crate::registers::{
    ENABLE_LPIS, GICR_CTLR, GICR_PENDBASER, GICR_PROPBASER, GICR_TYPER, InnerCache, PENDING_ZERO,
    PHYSICAL_LPIS, REGISTER_WRITE_PENDING, write_table,
};
use crate::service::EFFECT_US;
use core::ops::Range;
use mmio::{Block, Bus, Clock, TableMemory, wait_until};

/// The lowest LPI (2.2).
pub const FIRST_LPI: u32 = 8192;
/// How many there are: all that interrupt numbers of 14 bits, the shortest that reach LPIs, can name.
pub const LPIS: u32 = (1 << ID_BITS) - FIRST_LPI;
const ID_BITS: u32 = 14;
/// A table of pending bits begins on a multiple of this.
const PENDING_ALIGN: usize = 0x1_0000;
/// An entry of the configuration table: the LPI is enabled; bit 1 is one.
const ENTRY_ENABLED: u8 = 0b11;
/// The bits of an entry that are its priority.
const ENTRY_PRIORITY: u8 = !0b11;

/// The registers of a CPU's redistributor.
#[derive(Debug)]
pub struct Redistributor<'b, B> {
    bus: &'b B,
    base: usize,
}

/// All physical LPIs.
///
/// All of them are enabled, with one priority, from before any redistributor looks at the table: an LPI that no device's
/// event is mapped to never comes. So the table never changes, and no command has to say so.
#[derive(Debug)]
pub struct Lpis<M> {
    memory: M,
    configuration: Block,
    /// The lowest one that nobody has.
    next: u32,
}

impl<'b, B: Bus> Redistributor<'b, B> {
    /// The redistributor at `base` of `bus`.
    pub fn new(bus: &'b B, base: usize) -> Self {
        Redistributor { bus, base }
    }

    /// Its number, which an ITS may know it by.
    pub fn number(&self) -> u16 {
        u16::try_from(self.bus.read64(self.base + GICR_TYPER) >> 8 & 0xffff).unwrap_or(0)
    }

    /// Turns LPIs off that firmware left on: their tables may be anywhere.
    ///
    /// # Errors
    /// They are on.
    pub fn turn_off(&self, clock: &impl Clock) -> Result<(), Error> {
        let control = self.bus.read32(self.base + GICR_CTLR);
        if control & ENABLE_LPIS == 0 {
            return Ok(());
        }
        self.bus.write32(self.base + GICR_CTLR, control & !ENABLE_LPIS);
        wait_until(clock, EFFECT_US, || {
            self.bus.read32(self.base + GICR_CTLR) & REGISTER_WRITE_PENDING == 0
        })
        .map_err(|timeout| Error::Timeout {
            register: "GICR_CTLR.RWP",
            timeout,
        })?;
        // Hardware need not be able to (`GICR_CTLR.CES`).
        if self.bus.read32(self.base + GICR_CTLR) & ENABLE_LPIS == 0 {
            Ok(())
        } else {
            Err(Error::StaysOn)
        }
    }
}

impl<M: TableMemory> Lpis<M> {
    /// LPIs of that priority, on a GIC whose interrupt numbers have `id_bits` bits.
    ///
    /// # Errors
    /// There are none, or there is no memory.
    pub fn new(mut memory: M, id_bits: u32, priority: u8) -> Result<Self, Error> {
        if id_bits < ID_BITS {
            return Err(Error::ShortNumbers(id_bits));
        }
        let configuration = memory.allocate(LPIS as usize, 0x1000)?;
        let entries = u64::from_ne_bytes([priority & ENTRY_PRIORITY | ENTRY_ENABLED; 8]);
        for offset in (0..u64::from(LPIS)).step_by(8) {
            memory.write(configuration.address + offset, entries);
        }
        memory.publish(configuration.address, LPIS as usize);
        Ok(Lpis {
            memory,
            configuration,
            next: FIRST_LPI,
        })
    }

    /// Has a redistributor deliver LPIs. Once for each.
    ///
    /// # Errors
    /// It does not.
    pub fn turn_on(
        &mut self,
        redistributor: &Redistributor<'_, impl Bus>,
        clock: &impl Clock,
    ) -> Result<(), Error> {
        let Redistributor { bus, base } = *redistributor;
        let value = bus.read64(base + GICR_TYPER);
        if value & PHYSICAL_LPIS == 0 {
            let register = "GICR_TYPER";
            return Err(Error::NoLpis { register, value });
        }
        redistributor.turn_off(clock)?;
        let pending = self.memory.allocate(1 << ID_BITS >> 3, PENDING_ALIGN)?;
        let written = self.configuration.address | u64::from(ID_BITS - 1);
        let read = write_table(bus, base + GICR_PROPBASER, written, InnerCache::Redistributor);
        // Redistributors that share it read what the first one of them was given.
        let kept = 0xf_ffff_ffff_f01f;
        if read & kept != written {
            return Err(Error::NotKept {
                register: "GICR_PROPBASER",
                written,
                read,
            });
        }
        let written = pending.address;
        // `PTZ` reads as zero.
        let read = write_table(
            bus,
            base + GICR_PENDBASER,
            written | PENDING_ZERO,
            InnerCache::Redistributor,
        );
        if read & 0xf_ffff_ffff_0000 != written {
            return Err(Error::NotKept {
                register: "GICR_PENDBASER",
                written,
                read,
            });
        }
        let control = bus.read32(base + GICR_CTLR);
        bus.write32(base + GICR_CTLR, control | ENABLE_LPIS);
        wait_until(clock, EFFECT_US, || {
            bus.read32(base + GICR_CTLR) & ENABLE_LPIS != 0
        })
        .map_err(|timeout| Error::Timeout {
            register: "GICR_CTLR.EnableLPIs",
            timeout,
        })
    }

    /// Takes `count` LPIs that nobody has.
    ///
    /// # Errors
    /// There are not so many.
    pub fn take(&mut self, count: u32) -> Result<Range<u32>, Error> {
        let end = self.next.checked_add(count);
        let end = end.filter(|end| *end <= FIRST_LPI + LPIS);
        let end = end.ok_or(Error::OutOfLpis(count))?;
        Ok(core::mem::replace(&mut self.next, end)..end)
    }
}
