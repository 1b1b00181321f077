//! The driver's operations.

use crate::Features;
use crate::cmdq::CommandQueue;
use crate::commands::{COMMAND_BYTES, Command};
use crate::error::{CommandFault, Error, Missing};
use crate::event::EVENT_BYTES;
use crate::evtq::EventQueue;
use crate::invalidate::Invalidation;
use crate::queue::Ring;
use crate::registers::{GERROR, Registers};
use crate::seams::Seams;
use crate::ste::{STE_BYTES, SteRepr, is_valid, vmid_and_root};
use crate::strtab::StreamTable;
use mmio::{Bus, Clock, TableMemory};
use smmu_driver::{Domain, Event, IpaRange, Walker};
use smmu_gate::v3::is_shut;
use smmu_gate::v3::registers::Registers as GateRegisters;
use tock_registers::interfaces::{Readable, Writeable};

/// Command queue entries, as a power of two, where the SMMU allows as many: a batch has a handful.
const COMMAND_BITS: u8 = 8;
/// Event queue entries, as a power of two, where the SMMU allows as many. One page of blocked DMA makes up to 1024
/// events before a CPU gets to look.
const EVENT_BITS: u8 = 11;

/// What the driver has to be told about an SMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// The highest stream ID that any master emits.
    pub max_stream: u32,
    /// Whether the SMMU's accesses are coherent with the CPUs' caches. This comes from whoever makes
    /// [`TableMemory::publish`] clean caches or not, and overrides the SMMU's own opinion.
    pub coherent: bool,
}

/// What an interrupt led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptReport {
    /// Events taken out of the queue.
    pub events: u32,
    /// Events were left in the queue. The SMMU may not interrupt again for them: call again soon.
    pub more: bool,
    /// The global errors other than a command's that were active, as in SMMU_GERROR. They are acknowledged.
    pub global_errors: u32,
    /// A command that was refused, left over from a batch that had timed out.
    pub command_fault: Option<CommandFault>,
}

/// A driver that could not be released, and why. It still owns the SMMU and its memory.
#[derive(Debug)]
pub struct Unreleased<B, M, C> {
    /// The driver.
    pub driver: Driver<B, M, C>,
    /// Why.
    pub error: Error,
}

/// A live SMMU: translating, with every stream aborting that is not attached.
#[derive(Debug)]
pub struct Driver<B, M, C> {
    pub(crate) seams: Seams<B, M, C>,
    pub(crate) features: Features,
    pub(crate) coherent: bool,
    pub(crate) table: StreamTable,
    pub(crate) commands: CommandQueue,
    pub(crate) events: EventQueue,
}

impl<B: Bus, M: TableMemory, C: Clock> Driver<B, M, C> {
    /// Takes over a shut SMMU and makes it translate, with every stream aborting. On an error the SMMU is shut as
    /// it was, and the memory is given back unless the SMMU may still be using it.
    pub fn probe(bus: B, mut memory: M, clock: C, setup: &Setup) -> Result<Self, Error> {
        if !is_shut(&bus) {
            return Err(gate_open(&bus));
        }
        let features = Features::read(&bus);
        check(&features)?;
        let (command_bits, event_bits) = (
            features.command_bits.min(COMMAND_BITS),
            features.event_bits.min(EVENT_BITS),
        );
        let commands = ring(&mut memory, command_bits, COMMAND_BYTES)?;
        let events =
            ring(&mut memory, event_bits, EVENT_BYTES).inspect_err(|_| memory.free(commands.block()))?;
        let table = StreamTable::new(&mut memory, &features, setup.max_stream).inspect_err(|_| {
            memory.free(events.block());
            memory.free(commands.block());
        })?;
        let mut driver = Driver {
            seams: Seams { bus, memory, clock },
            features,
            coherent: setup.coherent,
            table,
            commands: CommandQueue::new(commands),
            events: EventQueue::new(events),
        };
        match driver.start() {
            Ok(()) => Ok(driver),
            Err(error) => {
                if driver.stop().is_ok() {
                    driver.free();
                }
                Err(error)
            }
        }
    }

    /// What the SMMU can do.
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// Whether walks are coherent with the CPUs' caches.
    pub fn coherent(&self) -> bool {
        self.coherent
    }

    /// Bits of stream ID that the stream table covers.
    pub fn stream_bits(&self) -> u8 {
        self.table.bits()
    }

    /// Whether the stream table has two levels.
    pub fn two_level(&self) -> bool {
        self.table.two_level()
    }

    /// Makes a stream translate through a domain. On an error the stream aborts as before; only if commands are
    /// not consumed at all ([`Error::CommandTimeout`]) nothing is known, and the SMMU has to be shut.
    ///
    /// The SMMU reads an entry word by word, at any time and in any order, and may remember it valid or not. So
    /// the entry changes in three steps, each of which the SMMU has taken in before the next begins (IHI 0070
    /// 3.21.3): invalid; invalid with the new words behind the valid bit; valid. What the TLB may hold under
    /// that VMID, from an earlier owner, is forgotten before the last step.
    pub fn attach(&mut self, stream: u32, domain: &Domain) -> Result<(), Error> {
        domain.check(&walker(&self.features))?;
        let entry = self.table.reserve(&mut self.seams.memory, stream)?;
        if is_valid(self.seams.memory.read(entry)) {
            return Err(Error::Attached { stream });
        }
        let [word0, word1, word2, word3, ..] = SteRepr::Stage2 {
            domain: *domain,
            coherent: self.coherent,
        }
        .emit();
        self.refuse_shared_vmid(domain.vmid, word2, word3)?;

        let forget = Command::ConfigStream { stream };
        self.run([forget])?;
        let memory = &mut self.seams.memory;
        memory.write(entry + 8, word1);
        memory.write(entry + 16, word2);
        memory.write(entry + 24, word3);
        memory.publish(entry, STE_BYTES);
        self.run([forget, Command::Vmid { vmid: domain.vmid }])?;
        let memory = &mut self.seams.memory;
        memory.write(entry, word0);
        memory.publish(entry, 8);
        self.run([forget]).inspect_err(|_| {
            // The SMMU may have the new entry. The error to report is the first one.
            let _ = self.detach(stream);
        })
    }

    /// Makes a stream abort; returns when no transaction uses its old translation any more. On an error some may: the
    /// domain's memory must not be used for anything else before a call has succeeded, or the SMMU is shut. It may be called for a
    /// stream that is not attached, and again after it failed.
    ///
    /// The entry is forgotten before the TLB: a cached entry could fill the TLB again.
    pub fn detach(&mut self, stream: u32) -> Result<(), Error> {
        let Some(entry) = self.table.entry(&self.seams.memory, stream)? else {
            return Ok(());
        };
        let memory = &mut self.seams.memory;
        let (vmid, _) = vmid_and_root(memory.read(entry + 16), 0);
        memory.write(entry, 0);
        memory.publish(entry, 8);
        self.run([Command::ConfigStream { stream }])?;
        self.run([Command::Vmid { vmid }])
    }

    /// Forgets cached translations of a range; returns when no transaction uses them any more.
    pub fn invalidate(&mut self, range: &IpaRange) -> Result<(), Error> {
        let commands = Invalidation::new(range, &self.features)?;
        self.run(commands)
    }

    /// Handles an interrupt of any of the SMMU's wires: gives events to `report` and clears global errors. Which
    /// wire fired does not matter, so a lost or a combined interrupt cannot leave anything behind.
    pub fn interrupt(&mut self, mut report: impl FnMut(&Event)) -> InterruptReport {
        let Seams { bus, memory, .. } = &mut self.seams;
        let registers = Registers(bus);
        // This acknowledges a command error itself, so what is read below does not include it.
        let command_fault = self.commands.recover(bus, memory);
        let acknowledged = registers.gerrorn().get();
        let active = (registers.gerror().get() ^ acknowledged) & !GERROR::CMDQ_ERR::SET.value;
        let drained = self.events.drain(bus, memory, self.table.bits(), &mut report);
        if active & GERROR::EVENTQ_ABT_ERR::SET.value != 0 {
            report(&Event::LOST);
        }
        // Only what was seen active is acknowledged: an error that came up meanwhile interrupts again.
        registers.gerrorn().set(acknowledged ^ active);
        InterruptReport {
            events: drained.events,
            more: drained.more,
            global_errors: active,
            command_fault,
        }
    }

    /// Makes every stream abort; returns when nothing uses an old translation any more.
    pub fn quiesce(&mut self) -> Result<(), Error> {
        self.table.each(&mut self.seams.memory, |memory, _, entry| {
            if is_valid(memory.read(entry)) {
                memory.write(entry, 0);
                memory.publish(entry, 8);
            }
        });
        self.run([Command::ConfigAll])?;
        self.run([Command::NonSecureAll])
    }

    /// Ends translation, with the gate shut behind it, and gives everything back. No stream aborts any less for it.
    #[expect(
        clippy::result_large_err,
        reason = "a driver that could not be released goes back to its owner, without a heap"
    )]
    pub fn release(mut self) -> Result<(B, M, C), Unreleased<B, M, C>> {
        match self.quiesce().and_then(|()| self.stop()) {
            Ok(()) => Ok(self.free()),
            Err(error) => Err(Unreleased { driver: self, error }),
        }
    }

    /// Issues commands and returns when all of them have taken effect.
    pub(crate) fn run(&mut self, commands: impl IntoIterator<Item = Command>) -> Result<(), Error> {
        self.commands.run(&mut self.seams, commands)
    }

    /// Refuses a VMID that another attached stream uses for another address space: their TLB entries would mix.
    fn refuse_shared_vmid(&mut self, vmid: u16, word2: u64, word3: u64) -> Result<(), Error> {
        let mut taken = None;
        self.table.each(&mut self.seams.memory, |memory, stream, entry| {
            if is_valid(memory.read(entry)) {
                let (other2, other3) = (memory.read(entry + 16), memory.read(entry + 24));
                if vmid_and_root(other2, other3).0 == vmid && (other2, other3) != (word2, word3) {
                    taken = Some(stream);
                }
            }
        });
        taken.map_or(Ok(()), |stream| Err(Error::VmidTaken { vmid, stream }))
    }

    /// Gives the memory back. The SMMU must be off.
    fn free(self) -> (B, M, C) {
        let Seams {
            bus,
            mut memory,
            clock,
        } = self.seams;
        self.table.free(&mut memory);
        memory.free(self.events.ring().block());
        memory.free(self.commands.ring().block());
        (bus, memory, clock)
    }
}

/// Allocates a queue, aligned to its size (IHI 0070 6.3.26); the address field has 32-byte steps.
fn ring<M: TableMemory>(memory: &mut M, bits: u8, entry_bytes: u32) -> Result<Ring, Error> {
    let size = (entry_bytes as usize) << bits;
    Ok(Ring::new(memory.allocate(size, size.max(32))?, bits, entry_bytes))
}

/// The SMMU is not shut, with what the registers say.
pub(crate) fn gate_open<B: Bus>(bus: &B) -> Error {
    let registers = GateRegisters(bus);
    Error::GateOpen {
        cr0: registers.cr0().get(),
        gbpa: registers.gbpa().get(),
    }
}

/// What a domain has to fit. Its IPAs may be as wide as its output (IHI 0070 6.3.6, SMMU_IDR5.OAS).
pub(crate) fn walker(features: &Features) -> Walker {
    Walker {
        input_bits: features.output_bits,
        output_bits: features.output_bits,
        vmid_bits: features.vmid_bits,
    }
}

/// Refuses an SMMU that this driver cannot use.
fn check(features: &Features) -> Result<(), Error> {
    let missing = if !features.stage2 {
        Missing::Stage2
    } else if !(features.aarch64_tables && features.little_endian && features.granule_4k) {
        Missing::TableFormat
    } else if features.forced_stall {
        Missing::Termination
    } else if features.preset {
        Missing::BaseAddresses
    } else {
        return Ok(());
    };
    Err(Error::Unsupported(missing))
}
