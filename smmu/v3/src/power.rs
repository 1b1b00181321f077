//! Switching an SMMU on and off: which register is written when.

use crate::commands::Command;
use crate::driver::{Driver, gate_open};
use crate::error::{Error, Register};
use crate::queue::Ring;
use crate::registers::{CR1, CR2, QUEUE_BASE, Registers, STRTAB_BASE_CFG};
use crate::strtab::SPLIT;
use mmio::{Bus, Clock, TableMemory};
use smmu_gate::v3::registers::{CR0, GBPA, IRQ_CTRL, Registers as GateRegisters};
use tock_registers::fields::FieldValue;
use tock_registers::interfaces::{Readable, Writeable};

impl<B: Bus, M: TableMemory, C: Clock> Driver<B, M, C> {
    /// Programs and enables the SMMU. It is off and shut until the last step, so only that step's precondition
    /// matters for isolation: the stream table is all invalid, and nothing older is cached.
    pub(crate) fn start(&mut self) -> Result<(), Error> {
        self.disable()?;
        self.describe();
        let registers = Registers(&self.seams.bus);
        registers.cmdq_prod().set(0);
        registers.cmdq_cons().set(0);
        registers.eventq_prod().set(0);
        registers.eventq_cons().set(0);
        self.seams.settle(Register::CommandConsumer, 0, |bus| {
            Registers(bus).cmdq_cons().get()
        })?;
        // On register page 1: a frame that is mapped too small shows here.
        self.seams.settle(Register::EventProducer, 0, |bus| {
            Registers(bus).eventq_prod().get()
        })?;
        registers.gerrorn().set(registers.gerror().get());

        if self.features.ats {
            // Without it, whatever a device claims to be translated bypasses the stream table. It may be cached
            // with entries, so it comes before they are forgotten (IHI 0070 6.3.9.2). It is never cleared
            // while translation is on; entries have EATS = 0, so all such traffic aborts.
            self.enable(CR0::ATSCHK::SET)?;
        }
        self.enable(CR0::CMDQEN::SET)?;
        let el2 = self.features.el2.then_some(Command::El2All);
        self.run([Command::ConfigAll, Command::NonSecureAll].into_iter().chain(el2))?;
        self.enable(CR0::EVENTQEN::SET)?;
        self.set_interrupts((IRQ_CTRL::EVENTQ_IRQEN::SET + IRQ_CTRL::GERROR_IRQEN::SET).value)?;
        self.enable(CR0::SMMUEN::SET)
    }

    /// Tells the SMMU where its structures lie and how to reach them. All of these registers are writable only
    /// while the enables are off (IHI 0070 6.3.9).
    fn describe(&self) {
        let registers = Registers(&self.seams.bus);
        let cr1 = if self.coherent {
            CR1::TABLE_SH::Inner
                + CR1::TABLE_OC::WriteBack
                + CR1::TABLE_IC::WriteBack
                + CR1::QUEUE_SH::Inner
                + CR1::QUEUE_OC::WriteBack
                + CR1::QUEUE_IC::WriteBack
        } else {
            CR1::TABLE_SH::Outer + CR1::QUEUE_SH::Outer
        };
        registers.cr1().write(cr1);
        // Broadcast invalidation would only cost: we never rely on it. The bit is RES0 without that feature.
        let private = CR2::PTM.val(u32::from(self.features.broadcast));
        registers.cr2().write(CR2::RECINVSID::SET + private);
        registers.strtab_base().set(self.table.address());
        let shape = if self.table.two_level() {
            STRTAB_BASE_CFG::FMT::TwoLevel + STRTAB_BASE_CFG::SPLIT.val(u32::from(SPLIT))
        } else {
            STRTAB_BASE_CFG::FMT::Linear
        };
        registers
            .strtab_base_cfg()
            .write(STRTAB_BASE_CFG::LOG2SIZE.val(u32::from(self.table.bits())) + shape);
        let base =
            |ring: &Ring| ring.block().address | QUEUE_BASE::LOG2SIZE.val(u64::from(ring.bits())).value;
        registers.cmdq_base().set(base(self.commands.ring()));
        registers.eventq_base().set(base(self.events.ring()));
        // Address 0 means the wire instead of an MSI.
        registers.eventq_irq_cfg0().set(0);
        registers.gerror_irq_cfg0().set(0);
    }

    /// Switches translation off, which is shut because GBPA says abort; if it does not, nothing is switched off.
    pub(crate) fn stop(&mut self) -> Result<(), Error> {
        if !GateRegisters(&self.seams.bus).gbpa().is_set(GBPA::ABORT) {
            return Err(gate_open(&self.seams.bus));
        }
        let registers = GateRegisters(&self.seams.bus);
        self.set_enables(registers.cr0().get() & !CR0::SMMUEN::SET.value)?;
        self.disable()
    }

    /// Switches interrupts and queues off. Translation must be off already.
    fn disable(&self) -> Result<(), Error> {
        self.set_interrupts(0)?;
        self.set_enables(0)
    }

    /// Sets one more enable.
    fn enable(&self, bit: FieldValue<u32, CR0::Register>) -> Result<(), Error> {
        self.set_enables(GateRegisters(&self.seams.bus).cr0().get() | bit.value)
    }

    /// Writes the enables and waits until they have taken effect. An earlier change must have taken effect before
    /// (IHI 0070 6.3.9); that is waited for as well, because an earlier wait may have timed out.
    fn set_enables(&self, cr0: u32) -> Result<(), Error> {
        let acknowledged = |bus: &B| GateRegisters(bus).cr0ack().get();
        let registers = GateRegisters(&self.seams.bus);
        self.seams
            .settle(Register::Cr0Ack, registers.cr0().get(), acknowledged)?;
        registers.cr0().set(cr0);
        self.seams.settle(Register::Cr0Ack, cr0, acknowledged)
    }

    /// Writes the interrupt enables and waits, in the same way.
    fn set_interrupts(&self, irq_ctrl: u32) -> Result<(), Error> {
        let acknowledged = |bus: &B| GateRegisters(bus).irq_ctrlack().get();
        let registers = GateRegisters(&self.seams.bus);
        self.seams
            .settle(Register::IrqCtrlAck, registers.irq_ctrl().get(), acknowledged)?;
        registers.irq_ctrl().set(irq_ctrl);
        self.seams.settle(Register::IrqCtrlAck, irq_ctrl, acknowledged)
    }
}
