//! Hardware that misbehaves.

use super::registers::gerror;
use super::state::State;

/// A fault to inject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// CR0ACK never follows CR0.
    Cr0AckStuck,
    /// IRQ_CTRLACK never follows IRQ_CTRL.
    IrqCtrlAckStuck,
    /// GBPA.UPDATE never clears.
    GbpaStuck,
    /// No command is consumed any more.
    CommandsStuck,
    /// CMD_SYNC never completes; other commands are consumed.
    SyncStuck,
    /// The command that is consumed after `after` others is refused with CERROR_ILL, once.
    CommandIllegal {
        /// How many commands are consumed before.
        after: u32,
    },
    /// The command that is fetched after `after` others meets an external abort, CERROR_ABT, once.
    CommandAbort {
        /// How many commands are consumed before.
        after: u32,
    },
    /// Writes to the event queue meet an external abort, EVENTQ_ABT_ERR.
    EventQueueAbort,
    /// These GERROR bits become active now (IHI 0070 6.3.18).
    GlobalError(u32),
}

/// The faults that last.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub cr0ack_stuck: bool,
    pub irq_ctrlack_stuck: bool,
    pub gbpa_stuck: bool,
    pub commands_stuck: bool,
    pub sync_stuck: bool,
    pub event_queue_abort: bool,
    /// Commands to go, and the error code.
    pub command_error: Option<(u32, u32)>,
}

/// CMDQ_CONS.ERR values (IHI 0070 4.1.4).
pub(super) const CERROR_ILL: u32 = 1;
pub(super) const CERROR_ABT: u32 = 2;

impl State {
    pub(super) fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Cr0AckStuck => self.faults.cr0ack_stuck = true,
            Fault::IrqCtrlAckStuck => self.faults.irq_ctrlack_stuck = true,
            Fault::GbpaStuck => self.faults.gbpa_stuck = true,
            Fault::CommandsStuck => self.faults.commands_stuck = true,
            Fault::SyncStuck => self.faults.sync_stuck = true,
            Fault::CommandIllegal { after } => self.faults.command_error = Some((after, CERROR_ILL)),
            Fault::CommandAbort { after } => self.faults.command_error = Some((after, CERROR_ABT)),
            Fault::EventQueueAbort => self.faults.event_queue_abort = true,
            Fault::GlobalError(bits) => {
                self.raise(bits & !gerror::CMDQ_ERR);
            }
        }
    }
}
