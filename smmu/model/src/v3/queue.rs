//! The command queue: when commands are seen, consumed, and take effect (IHI 0070 3.5, 4).

use std::collections::BTreeMap;

use super::commands::{Command, decode};
use super::control::QueueShape;
use super::events::Line;
use super::inject::{CERROR_ABT, CERROR_ILL};
use super::registers::{CMDQ_CONS_ERR, cr0, gerror, queue_index_mask};
use super::state::State;
use crate::Rule;
use crate::bits::{field, mask};

/// The queue's state beside its registers.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// Steps until the command at the head is done; `None`: not begun.
    timer: Option<u32>,
    /// An error is active: nothing is consumed.
    halted: bool,
    /// The moment each unconsumed slot was exposed.
    exposed: BTreeMap<u64, u64>,
    /// Invalidations consumed and not yet guaranteed, with the moment they were exposed.
    pending: Vec<(Command, u64)>,
    /// Everything that was consumed.
    pub consumed: Vec<[u64; 2]>,
}

impl State {
    pub(super) fn command_queue(&self) -> QueueShape {
        let base = self.registers.cmdq_base;
        QueueShape {
            name: "CMDQ",
            base: base & mask(51, 5),
            bits: field(base, 4, 0),
            entry_bytes: 16,
        }
    }

    fn command_cons(&self) -> u32 {
        self.registers.cmdq_cons & !CMDQ_CONS_ERR
    }

    pub(super) fn write_cmdq_prod(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.27, 3.5.1";
        self.reserved_wide("CMDQ_PROD", value.into(), 0xf_ffff, SECTION);
        if !self.may_be_enabled(cr0::CMDQEN) {
            self.registers.cmdq_prod = value;
            return;
        }
        let queue = self.command_queue();
        let old = self.registers.cmdq_prod;
        if value & !queue_index_mask(queue.bits) != 0 {
            self.violation(
                Rule::QueueIndex,
                "CMDQ_PROD",
                value,
                SECTION,
                "wider than the queue",
            );
            return;
        }
        let cons = self.command_cons();
        if queue.used(value, cons) > queue.entries() {
            let detail = format!(
                "the queue of {} would hold more, CONS = {cons:#x}",
                queue.entries()
            );
            self.violation(Rule::QueueIndex, "CMDQ_PROD", value, SECTION, detail);
            return;
        }
        if queue.used(value, cons) < queue.used(old, cons) {
            self.violation(Rule::QueueIndex, "CMDQ_PROD", value, SECTION, "moved backwards");
            return;
        }
        self.registers.cmdq_prod = value;
        self.expose_commands(old);
    }

    /// The commands from `from` to PROD may be read from now on.
    pub(super) fn expose_commands(&mut self, from: u32) {
        self.moment += 1;
        let queue = self.command_queue();
        let index_mask = queue_index_mask(queue.bits);
        let (mut index, prod) = (from & index_mask, self.registers.cmdq_prod & index_mask);
        let mut steps = 0;
        while index != prod && steps < queue.entries() {
            let slot = queue.slot(index);
            if let Some(word) = self.memory.first_unpublished(slot, 16) {
                let detail = "CMDQ_PROD moved past a command that was not published";
                self.violation(Rule::Unpublished, "command", word, "IHI 0070 3.5.1", detail);
            }
            self.commands.exposed.insert(slot, self.moment);
            if let Some(Ok(command)) = self.fetch(slot).map(|words| decode(words, &self.config)) {
                self.announce(command);
            }
            index = index.wrapping_add(1) & index_mask;
            steps += 1;
        }
    }

    /// GERRORN acknowledged CMDQ_ERR: consumption goes on at CONS, which may have been replaced (6.3.18).
    pub(super) fn resume_commands(&mut self) {
        self.commands.halted = false;
        self.commands.timer = None;
        self.expose_commands(self.command_cons());
    }

    pub(super) fn tick_commands(&mut self) {
        let queue = self.command_queue();
        let index_mask = queue_index_mask(queue.bits);
        let cons = self.command_cons() & index_mask;
        let idle = cons == self.registers.cmdq_prod & index_mask;
        if self.registers.cr0ack & cr0::CMDQEN == 0
            || self.commands.halted
            || idle
            || self.faults.commands_stuck
        {
            return;
        }
        let slot = queue.slot(cons);
        let Some(words) = self.fetch(slot) else {
            self.command_error(CERROR_ABT);
            return;
        };
        let decoded = decode(words, &self.config);
        let is_sync = matches!(decoded, Ok(Command::Sync { .. }));
        if is_sync && self.faults.sync_stuck {
            return;
        }
        let delay = if is_sync {
            self.config.delays.sync
        } else {
            self.config.delays.command
        };
        let left = self.commands.timer.unwrap_or(delay).saturating_sub(1);
        self.commands.timer = Some(left);
        if left != 0 {
            return;
        }
        self.commands.timer = None;
        if let Some((after, code)) = self.faults.command_error {
            self.faults.command_error = after.checked_sub(1).map(|after| (after, code));
            if after == 0 {
                self.command_error(code);
                return;
            }
        }
        match decoded {
            Ok(command) => {
                let exposed = self.commands.exposed.remove(&slot).unwrap_or(self.moment);
                self.commands.consumed.push(words);
                let next = cons.wrapping_add(1) & index_mask;
                self.registers.cmdq_cons = self.registers.cmdq_cons & CMDQ_CONS_ERR | next;
                self.consume(command, exposed);
            }
            Err(reason) => {
                self.violation(
                    Rule::IllegalCommand,
                    "command",
                    slot,
                    "IHI 0070 4",
                    format!("{reason}: {words:#x?}"),
                );
                self.command_error(CERROR_ILL);
            }
        }
    }

    /// Invalidations are guaranteed by the next CMD_SYNC, and happen then; no earlier is the harder case for software.
    fn consume(&mut self, command: Command, exposed: u64) {
        match command {
            Command::Nothing => {}
            Command::Resume { stream, tag, retry } => self.resume_stalled(stream, tag, retry),
            Command::TerminateStalls { stream } => self.terminate_stalled(stream),
            Command::Sync { interrupt } => {
                for (command, exposed) in std::mem::take(&mut self.commands.pending) {
                    self.invalidate(command, exposed);
                }
                if interrupt {
                    self.interrupts.fire(Line::CommandSync);
                }
            }
            invalidation => self.commands.pending.push((invalidation, exposed)),
        }
    }

    fn command_error(&mut self, code: u32) {
        self.registers.cmdq_cons = self.command_cons() | code << 24;
        self.commands.halted = true;
        self.raise(gerror::CMDQ_ERR);
    }

    fn fetch(&self, slot: u64) -> Option<[u64; 2]> {
        Some([self.memory.device_read(slot)?, self.memory.device_read(slot + 8)?])
    }

    /// Software wrote a word of the queue: an exposed command must not change, unless the queue is halted by an error.
    pub(super) fn command_memory_written(&self, address: u64) {
        let slot = address & !15;
        if self.may_be_enabled(cr0::CMDQEN)
            && !self.commands.halted
            && self.commands.exposed.contains_key(&slot)
        {
            let detail = "a command was overwritten before it was consumed";
            self.violation(Rule::QueueIndex, "command", address, "IHI 0070 3.5.1", detail);
        }
    }

    pub(super) fn unsettled_commands(&self, left: &mut Vec<String>) {
        let queue = self.command_queue();
        let unconsumed = queue.used(self.registers.cmdq_prod, self.command_cons());
        if self.registers.cr0ack & cr0::CMDQEN != 0 && unconsumed != 0 {
            left.push(format!("{unconsumed} commands are not consumed"));
        }
        for (command, _) in &self.commands.pending {
            left.push(format!("{command:?} is not followed by a completed CMD_SYNC"));
        }
    }
}
