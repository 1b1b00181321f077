//! Everything an SMMU holds, and what it does as time passes.

use std::collections::BTreeSet;

use super::config::Config;
use super::events::Interrupts;
use super::inject::Faults;
use super::queue::Commands;
use super::registers::{cr0, gbpa};
use super::streams::Streams;
use super::translate::Stalls;
use crate::stage2::Tlb;
use crate::{Memory, Rule, Violations};

/// The registers. Base and control registers hold what was written; reserved bits are never set.
#[derive(Debug, Default)]
pub(super) struct Registers {
    pub cr0: u32,
    pub cr0ack: u32,
    pub cr1: u32,
    pub cr2: u32,
    /// What a read returns.
    pub gbpa: u32,
    /// What transactions meet.
    pub gbpa_effective: u32,
    pub irq_ctrl: u32,
    pub irq_ctrlack: u32,
    pub gerror: u32,
    pub gerrorn: u32,
    pub strtab_base: u64,
    pub strtab_base_cfg: u32,
    pub cmdq_base: u64,
    pub cmdq_prod: u32,
    pub cmdq_cons: u32,
    pub eventq_base: u64,
    pub eventq_prod: u32,
    pub eventq_cons: u32,
}

impl Registers {
    fn after_reset(config: &Config) -> Self {
        let mut registers = Registers {
            gbpa: config.gbpa_reset & !gbpa::UPDATE,
            gbpa_effective: config.gbpa_reset & !gbpa::UPDATE,
            ..Registers::default()
        };
        if config.noise {
            registers.cr1 = 0x0b6e;
            registers.cr2 = 0x5;
            registers.strtab_base = 0x4000_0002_5a5a_5a40;
            registers.strtab_base_cfg = 0x0001_0293;
            registers.cmdq_base = 0x4000_0001_c3c3_c3e5;
            registers.cmdq_prod = 0x3;
            registers.cmdq_cons = 0x0200_0001;
            registers.eventq_base = 0x4000_0003_a5a5_a5a4;
            registers.eventq_prod = 0x8000_0002;
            registers.eventq_cons = 0x1;
        }
        registers
    }
}

/// The state of the model.
pub(super) struct State {
    pub config: Config,
    pub memory: Memory,
    pub log: Violations,
    pub registers: Registers,
    /// Offsets of the registers that software wrote since reset, 64-bit ones as two halves.
    pub initialised: BTreeSet<usize>,
    pub cr0_timer: u32,
    pub irq_ctrl_timer: u32,
    pub gbpa_timer: u32,
    pub commands: Commands,
    pub streams: Streams,
    pub tlb: Tlb,
    pub stalls: Stalls,
    pub interrupts: Interrupts,
    pub faults: Faults,
    pub bypass_forbidden: bool,
    /// Grows with every tick, access and exposed command: what was before what.
    pub moment: u64,
}

impl State {
    pub(super) fn new(config: Config, memory: Memory) -> Self {
        State {
            log: memory.violations().clone(),
            registers: Registers::after_reset(&config),
            config,
            memory,
            initialised: BTreeSet::new(),
            cr0_timer: 0,
            irq_ctrl_timer: 0,
            gbpa_timer: 0,
            commands: Commands::default(),
            streams: Streams::default(),
            tlb: Tlb::default(),
            stalls: Stalls::default(),
            interrupts: Interrupts::default(),
            faults: Faults::default(),
            bypass_forbidden: false,
            moment: 0,
        }
    }

    /// One step of time.
    pub(super) fn tick(&mut self) {
        self.moment += 1;
        if self.registers.cr0 != self.registers.cr0ack && !self.faults.cr0ack_stuck {
            self.cr0_timer = self.cr0_timer.saturating_sub(1);
            if self.cr0_timer == 0 {
                self.acknowledge_cr0();
            }
        }
        if self.registers.irq_ctrl != self.registers.irq_ctrlack && !self.faults.irq_ctrlack_stuck {
            self.irq_ctrl_timer = self.irq_ctrl_timer.saturating_sub(1);
            if self.irq_ctrl_timer == 0 {
                self.registers.irq_ctrlack = self.registers.irq_ctrl;
            }
        }
        if self.registers.gbpa & gbpa::UPDATE != 0 && !self.faults.gbpa_stuck {
            self.gbpa_timer = self.gbpa_timer.saturating_sub(1);
            if self.gbpa_timer == 0 {
                self.registers.gbpa &= !gbpa::UPDATE;
                self.registers.gbpa_effective = self.registers.gbpa;
            }
        }
        self.tick_commands();
    }

    /// Whether what `bits` of CR0 enable is on, being turned on or being turned off.
    pub(super) fn may_be_enabled(&self, bits: u32) -> bool {
        (self.registers.cr0 | self.registers.cr0ack) & bits != 0
    }

    /// Whether translation is certainly enabled.
    pub(super) fn translating(&self) -> bool {
        self.registers.cr0ack & cr0::SMMUEN != 0
    }

    /// Writes a violation down.
    pub(super) fn violation(
        &self,
        rule: Rule,
        subject: impl Into<String>,
        value: impl Into<u64>,
        section: &'static str,
        detail: impl Into<String>,
    ) {
        self.log.record(rule, subject, value.into(), section, detail);
    }

    /// What is not settled, for people.
    pub(super) fn unsettled(&self) -> Vec<String> {
        let mut left = Vec::new();
        if self.registers.cr0 != self.registers.cr0ack {
            left.push(format!("CR0 = {:#x} is not acknowledged", self.registers.cr0));
        }
        if self.registers.irq_ctrl != self.registers.irq_ctrlack {
            left.push(format!(
                "IRQ_CTRL = {:#x} is not acknowledged",
                self.registers.irq_ctrl
            ));
        }
        if self.registers.gbpa & gbpa::UPDATE != 0 {
            left.push("GBPA.UPDATE is set".into());
        }
        self.unsettled_commands(&mut left);
        self.unsettled_streams(&mut left);
        self.unsettled_translations(&mut left);
        left
    }
}
