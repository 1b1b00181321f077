//! One ITS: turned off as it is found, set up, and told of devices.

use crate::command::{self, Command};
use crate::lpi::Redistributor;
use crate::registers::{
    ENABLED, GITS_CBASER, GITS_CREADR, GITS_CTLR, GITS_CWRITER, GITS_TYPER, InnerCache, OFFSET, QUIESCENT,
    STALLED, Typer, VALID, write_table,
};
use crate::{Error, tables};
use alloc::vec::Vec;
use core::ops::Range;
use mmio::{Block, Bus, Clock, TableMemory, wait_until};

/// How long a register write, or a queue full of commands, may take to have effect.
pub(crate) const EFFECT_US: u64 = 100_000;
/// Bytes of the command queue: a page, which begins on a multiple of 64 KiB (`GITS_CBASER`).
const QUEUE_SIZE: usize = 0x1000;
const QUEUE_ALIGN: usize = 0x1_0000;
/// A device's table begins on a multiple of this (MAPD).
const TABLE_ALIGN: usize = 256;

/// Where LPIs go: a CPU, by its number in the core and by its redistributor.
#[derive(Debug, Clone, Copy)]
pub struct Collection {
    /// The collection's ID.
    id: u16,
    /// Physical address of its redistributor.
    address: u64,
    /// Its redistributor's number.
    number: u16,
}

impl Collection {
    /// The collection of the CPU with that number, whose redistributor is `redistributor`, at that physical address.
    pub fn new(cpu: usize, redistributor: &Redistributor<'_, impl Bus>, address: u64) -> Collection {
        Collection {
            // One that an ITS was set up for fits.
            id: u16::try_from(cpu).unwrap_or(u16::MAX),
            address,
            number: redistributor.number(),
        }
    }
}

/// An ITS that is on.
#[derive(Debug)]
pub struct Its<B, M> {
    bus: B,
    memory: M,
    typer: Typer,
    highest_device: u32,
    queue: Block,
    /// Offset of the next command in the queue.
    next: usize,
    collections: Vec<u16>,
    devices: Vec<u32>,
}

/// Turns an ITS off, which firmware may have left on with tables anywhere.
///
/// # Errors
/// It still does something.
pub fn turn_off(bus: &impl Bus, clock: &impl Clock) -> Result<(), Error> {
    let control = bus.read32(GITS_CTLR);
    bus.write32(GITS_CTLR, control & !ENABLED);
    wait_until(clock, EFFECT_US, || bus.read32(GITS_CTLR) & QUIESCENT != 0).map_err(|timeout| {
        Error::Timeout {
            register: "GITS_CTLR.Quiescent",
            timeout,
        }
    })
}

impl<B: Bus, M: TableMemory> Its<B, M> {
    /// Sets an ITS up for device IDs up to `highest_device` and collections below `collections`, and turns it on.
    ///
    /// # Errors
    /// It is off.
    pub fn new(
        bus: B,
        mut memory: M,
        clock: &impl Clock,
        highest_device: u32,
        collections: u16,
    ) -> Result<Self, Error> {
        turn_off(&bus, clock)?;
        let value = bus.read64(GITS_TYPER);
        let typer = Typer(value);
        if !typer.has_physical_lpis() {
            let register = "GITS_TYPER";
            return Err(Error::NoLpis { register, value });
        }
        let (device, highest) = (
            highest_device,
            u64::from(u32::MAX) >> (32 - typer.device_bits().min(32)),
        );
        if u64::from(device) > highest {
            let highest = u32::try_from(highest).unwrap_or(u32::MAX);
            return Err(Error::DeviceOutOfRange { device, highest });
        }
        let found = tables::set_up(&bus, &mut memory, u64::from(device) + 1, collections.into())?;
        if !found.devices {
            return Err(Error::NoDeviceTable);
        }
        if !found.collections && typer.hardware_collections() < collections.into() {
            return Err(Error::FewCollections(typer.hardware_collections()));
        }
        let queue = memory.allocate(QUEUE_SIZE, QUEUE_ALIGN)?;
        // Writing it sets GITS_CREADR to zero.
        let written = VALID | queue.address;
        let read = write_table(&bus, GITS_CBASER, written, InnerCache::Its);
        let kept = VALID | 0xf_ffff_ffff_f0ff;
        if read & kept != written {
            return Err(Error::NotKept {
                register: "GITS_CBASER",
                written,
                read,
            });
        }
        bus.write64(GITS_CWRITER, 0);
        bus.write32(GITS_CTLR, bus.read32(GITS_CTLR) | ENABLED);
        Ok(Its {
            bus,
            memory,
            typer,
            highest_device,
            queue,
            next: 0,
            collections: Vec::new(),
            devices: Vec::new(),
        })
    }

    /// Maps the events of a device, from 0 on, to `lpis`, at a CPU whose redistributor delivers LPIs. Their number is a power
    /// of two.
    ///
    /// # Errors
    /// No event of the device makes an LPI.
    pub fn map(
        &mut self,
        clock: &impl Clock,
        device: u32,
        lpis: Range<u32>,
        collection: &Collection,
    ) -> Result<(), Error> {
        let events = lpis.end.saturating_sub(lpis.start);
        self.check(device, events)?;
        // At least one bit is told, so at least two entries are there.
        let event_bits = events.trailing_zeros().max(1);
        let size = (1_usize << event_bits) * self.typer.entry_size();
        let table = self.memory.allocate(size, TABLE_ALIGN)?;
        self.devices.push(device);
        let result = self.send_mappings(clock, device, event_bits, lpis, collection, table);
        if result.is_err() {
            // It may be in use by what is left of the mapping, so it is never given back.
            let _ = self.run(clock, [Command::UnmapDevice { device }]);
        }
        result
    }

    fn check(&self, device: u32, events: u32) -> Result<(), Error> {
        let highest = self.highest_device;
        if device == 0 && cfg!(not(feature = "sabotage-map-device-zero")) {
            Err(Error::DeviceZero)
        } else if device > highest {
            Err(Error::DeviceOutOfRange { device, highest })
        } else if self.devices.contains(&device) {
            Err(Error::DeviceTaken(device))
        } else if !events.is_power_of_two() || events.trailing_zeros() > self.typer.event_bits() {
            Err(Error::Events(events))
        } else {
            Ok(())
        }
    }

    fn send_mappings(
        &mut self,
        clock: &impl Clock,
        device: u32,
        event_bits: u32,
        lpis: Range<u32>,
        collection: &Collection,
        table: Block,
    ) -> Result<(), Error> {
        let target = if self.typer.targets_are_addresses() {
            collection.address
        } else {
            u64::from(collection.number) << 16
        };
        let collection = collection.id;
        if !self.collections.contains(&collection) {
            self.run(clock, [Command::MapCollection { collection, target }])?;
            self.collections.push(collection);
        }
        let map_device = Command::MapDevice {
            device,
            event_bits,
            table: table.address,
        };
        let map_events = (0..).zip(lpis).map(|(event, lpi)| Command::MapEvent {
            device,
            event,
            lpi,
            collection,
        });
        let commands = core::iter::once(map_device).chain(map_events);
        self.run(clock, commands.chain([Command::Sync { target }]))
    }

    /// Has the ITS carry out commands, and waits until it has.
    fn run(&mut self, clock: &impl Clock, commands: impl IntoIterator<Item = Command>) -> Result<(), Error> {
        let mut waiting = 0;
        for command in commands {
            self.write(command);
            waiting += 1;
            // A queue that is quite full would look empty.
            if waiting == QUEUE_SIZE / command::SIZE - 1 {
                self.wait(clock)?;
                waiting = 0;
            }
        }
        self.wait(clock)
    }

    fn write(&mut self, command: Command) {
        let at = self.queue.address + self.next as u64;
        for (word, value) in (at..).step_by(8).zip(command.encode()) {
            self.memory.write(word, value);
        }
        self.memory.publish(at, command::SIZE);
        self.next = (self.next + command::SIZE) % QUEUE_SIZE;
    }

    fn wait(&self, clock: &impl Clock) -> Result<(), Error> {
        let end = self.next as u64;
        self.bus.write64(GITS_CWRITER, end);
        let mut read = 0;
        let ended = wait_until(clock, EFFECT_US, || {
            read = self.bus.read64(GITS_CREADR);
            read & STALLED != 0 || read & OFFSET == end
        });
        if read & STALLED != 0 {
            return Err(Error::Stalled(read));
        }
        ended.map_err(|timeout| Error::Timeout {
            register: "GITS_CREADR",
            timeout,
        })
    }
}
