//! The command queue (IHI 0070 3.5, 4, 7.1): every batch ends with a CMD_SYNC that is waited for.

use crate::commands::{COMMAND_BYTES, Command, opcode};
use crate::error::{CommandFault, Error};
use crate::queue::Ring;
use crate::registers::{CMDQ_CONS, GERROR, Registers};
use crate::seams::Seams;
use mmio::{Bus, Clock, TableMemory, wait_until};
use tock_registers::interfaces::{Readable, Writeable};

/// How long a batch of commands has to complete, in microseconds. A failing attach makes at most five
/// batches, and all of them together must fit into the time that a component call has.
pub(crate) const SYNC_TIMEOUT_US: u64 = 40_000;

/// The command queue. Its larger functions are kept out of line: a component is judged by its size, and waits for the
/// hardware anyway. One caller at a time uses it, and leaves it empty unless a wait timed out.
#[derive(Debug)]
pub(crate) struct CommandQueue {
    ring: Ring,
    produced: u32,
}

impl CommandQueue {
    /// An empty queue in `ring`.
    pub(crate) fn new(ring: Ring) -> Self {
        CommandQueue { ring, produced: 0 }
    }

    /// Where it lies.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Issues the commands and returns when all of them have taken effect. Their order among themselves is the
    /// SMMU's choice: where order matters, a batch of its own is needed.
    ///
    /// A command that the SMMU refuses is reported after the rest of the batch was carried out.
    pub(crate) fn run<B: Bus, M: TableMemory, C: Clock>(
        &mut self,
        seams: &mut Seams<B, M, C>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<(), Error> {
        let mut failure = None;
        for command in commands.into_iter().chain([Command::Sync]) {
            self.push(seams, &mut failure, command)?;
        }
        self.submit(seams, &mut failure, 0)?;
        failure.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Writes a command behind the others; waits for room if there is none.
    #[inline(never)]
    fn push<B: Bus, M: TableMemory, C: Clock>(
        &mut self,
        seams: &mut Seams<B, M, C>,
        failure: &mut Option<CommandFault>,
        command: Command,
    ) -> Result<(), Error> {
        if self.ring.used(self.produced, self.consumed(&seams.bus)) >= self.ring.entries() {
            self.submit(seams, failure, self.ring.entries() - 1)?;
        }
        write(&mut seams.memory, self.ring.address(self.produced), command);
        self.produced = self.ring.next(self.produced);
        Ok(())
    }

    /// Hands over what was written and waits until at most `left` commands are left, recovering on the way.
    #[inline(never)]
    fn submit<B: Bus, M: TableMemory, C: Clock>(
        &mut self,
        seams: &mut Seams<B, M, C>,
        failure: &mut Option<CommandFault>,
        left: u32,
    ) -> Result<(), Error> {
        let Seams { bus, memory, clock } = seams;
        Registers(bus).cmdq_prod().set(self.produced);
        wait_until(clock, SYNC_TIMEOUT_US, || {
            if self.ring.used(self.produced, self.consumed(bus)) <= left {
                return true;
            }
            if let Some(fault) = self.recover(bus, memory) {
                failure.get_or_insert(fault);
            }
            false
        })
        .map_err(|timeout| Error::CommandTimeout {
            wanted: self.produced,
            consumed: self.consumed(bus),
            waited_us: timeout.waited_us,
        })
    }

    /// Gets a queue going again that stopped at a command it refused (IHI 0070 7.1): the command is overwritten
    /// with one that cannot fail, then the error is acknowledged. In this order, because consumption goes on
    /// with the acknowledgement.
    pub(crate) fn recover<B: Bus, M: TableMemory>(&self, bus: &B, memory: &mut M) -> Option<CommandFault> {
        let registers = Registers(bus);
        let acknowledged = registers.gerrorn().get();
        if (registers.gerror().get() ^ acknowledged) & GERROR::CMDQ_ERR::SET.value == 0 {
            return None;
        }
        let consumer = registers.cmdq_cons().extract();
        let position = self.ring.position(consumer.read(CMDQ_CONS::RD));
        let address = self.ring.address(position);
        let fault = CommandFault {
            code: consumer.read(CMDQ_CONS::ERR).to_le_bytes()[0],
            opcode: opcode(memory.read(address)),
            index: self.ring.index(position),
        };
        write(memory, address, Command::Sync);
        registers
            .gerrorn()
            .set(acknowledged ^ GERROR::CMDQ_ERR::SET.value);
        Some(fault)
    }

    /// How far the SMMU has consumed commands.
    fn consumed<B: Bus>(&self, bus: &B) -> u32 {
        self.ring.position(Registers(bus).cmdq_cons().read(CMDQ_CONS::RD))
    }
}

/// Writes a command and makes it visible to the SMMU.
#[inline(never)]
fn write(memory: &mut impl TableMemory, address: u64, command: Command) {
    let [word0, word1] = command.emit();
    memory.write(address, word0);
    memory.write(address + 8, word1);
    memory.publish(address, COMMAND_BYTES as usize);
}
