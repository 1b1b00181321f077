//! Control and base registers: who may be written when (IHI 0070 6.3).

use super::registers::{
    CMDQ_BASE, CMDQ_CONS, CMDQ_CONS_ERR, CMDQ_PROD, CR1, CR2, EVENTQ_BASE, EVENTQ_CONS, EVENTQ_PROD,
    OVERFLOW_FLAG, STRTAB_BASE, STRTAB_BASE_CFG, cr0, cr2, gbpa, gerror, irq_ctrl, queue_index_mask,
};
use super::state::State;
use crate::Rule;
use crate::bits::{aligned, field, mask};

/// A queue as its registers describe it.
pub(super) struct QueueShape {
    pub name: &'static str,
    pub base: u64,
    pub bits: u64,
    pub entry_bytes: u64,
}

impl QueueShape {
    pub(super) fn entries(&self) -> u64 {
        1 << self.bits
    }

    pub(super) fn bytes(&self) -> u64 {
        self.entry_bytes << self.bits
    }

    /// Where the entry of a wrap-and-index value lies.
    pub(super) fn slot(&self, index: u32) -> u64 {
        self.base + (u64::from(index) & (self.entries() - 1)) * self.entry_bytes
    }

    /// Entries between two wrap-and-index values.
    pub(super) fn used(&self, prod: u32, cons: u32) -> u64 {
        u64::from(prod.wrapping_sub(cons) & queue_index_mask(self.bits))
    }
}

impl State {
    pub(super) fn write_cr0(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.9";
        let mut fields = cr0::SMMUEN | cr0::EVENTQEN | cr0::CMDQEN;
        fields |= if self.config.pri() { cr0::PRIQEN } else { 0 };
        fields |= if self.config.ats() { cr0::ATSCHK } else { 0 };
        fields |= if self.config.vmid_wildcards() { cr0::VMW } else { 0 };
        self.reserved("CR0", value, fields, SECTION);
        let value = value & fields;
        let old = self.registers.cr0;
        if old != self.registers.cr0ack && value != old {
            self.violation(
                Rule::AckOutstanding,
                "CR0",
                value,
                SECTION,
                "CR0ACK has not followed the last change yet",
            );
            return;
        }
        if value != old && self.registers.gbpa & gbpa::UPDATE != 0 {
            let detail = "GBPA.UPDATE is still set: nobody waited for it";
            self.violation(Rule::GbpaProtocol, "CR0", value, "IHI 0070 6.3.14", detail);
        }
        let rising = value & !old;
        if rising & cr0::CMDQEN != 0 {
            self.check_queue(
                &self.command_queue(),
                (CMDQ_BASE, CMDQ_PROD, CMDQ_CONS),
                self.config.command_queue_bits(),
            );
        }
        if rising & cr0::EVENTQEN != 0 {
            let bits = self.config.event_queue_bits();
            self.check_queue(&self.event_queue(), (EVENTQ_BASE, EVENTQ_PROD, EVENTQ_CONS), bits);
        }
        self.registers.cr0 = value;
        self.cr0_timer = self.config.delays.cr0ack;
        if rising & cr0::CMDQEN != 0 {
            self.expose_commands(self.registers.cmdq_cons);
        }
        if rising & cr0::SMMUEN != 0 {
            self.check_initialised(
                "CR0.SMMUEN",
                &[STRTAB_BASE, STRTAB_BASE + 4, STRTAB_BASE_CFG, CR1, CR2],
            );
            self.open_stream_table();
        }
        if value != old && self.config.delays.cr0ack == 0 && !self.faults.cr0ack_stuck {
            self.acknowledge_cr0();
        }
    }

    pub(super) fn acknowledge_cr0(&mut self) {
        self.registers.cr0ack = self.registers.cr0;
    }

    pub(super) fn write_cr1(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.11";
        self.reserved("CR1", value, 0xfff, SECTION);
        let queues = cr0::CMDQEN | cr0::EVENTQEN | cr0::PRIQEN;
        let changed = value ^ self.registers.cr1;
        if changed & 0xfc0 != 0 && self.guarded("CR1.TABLE_*", value.into(), cr0::SMMUEN, SECTION)
            || changed & 0x3f != 0 && self.guarded("CR1.QUEUE_*", value.into(), queues, SECTION)
        {
            return;
        }
        for (name, low) in [("QUEUE_IC", 0), ("QUEUE_OC", 2), ("TABLE_IC", 6), ("TABLE_OC", 8)] {
            if field(value.into(), low + 1, low) == 3 {
                self.violation(
                    Rule::Reserved,
                    format!("CR1.{name}"),
                    3u32,
                    SECTION,
                    "reserved cacheability",
                );
            }
        }
        for (name, low) in [("QUEUE_SH", 4), ("TABLE_SH", 10)] {
            if field(value.into(), low + 1, low) == 1 {
                self.violation(
                    Rule::Reserved,
                    format!("CR1.{name}"),
                    1u32,
                    SECTION,
                    "reserved shareability",
                );
            }
        }
        self.registers.cr1 = value & 0xfff;
    }

    pub(super) fn write_cr2(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.12";
        let mut fields = cr2::RECINVSID | cr2::PTM;
        fields |= if self.config.hyp() { cr2::E2H } else { 0 };
        self.reserved("CR2", value, fields, SECTION);
        if !self.guarded("CR2", value.into(), cr0::SMMUEN, SECTION) {
            self.registers.cr2 = value & fields;
        }
    }

    pub(super) fn write_gbpa(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.14";
        let mut fields = gbpa::FIELDS;
        if !self.config.type_override() {
            fields &= !0x1f;
        }
        if !self.config.permission_override() {
            fields &= !(0xf << 16);
        }
        self.reserved("GBPA", value, fields, SECTION);
        let rule = Rule::GbpaProtocol;
        if self.registers.gbpa & gbpa::UPDATE != 0 {
            self.violation(
                rule,
                "GBPA",
                value,
                SECTION,
                "written while UPDATE is set: ignored",
            );
        } else if value & gbpa::UPDATE == 0 {
            self.violation(rule, "GBPA", value, SECTION, "written without UPDATE: ignored");
        } else {
            self.registers.gbpa = value & fields;
            self.gbpa_timer = self.config.delays.gbpa;
        }
    }

    pub(super) fn write_irq_ctrl(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.16";
        let mut fields = irq_ctrl::GERROR | irq_ctrl::EVENTQ;
        fields |= if self.config.pri() { irq_ctrl::PRIQ } else { 0 };
        self.reserved("IRQ_CTRL", value, fields, SECTION);
        let value = value & fields;
        if self.registers.irq_ctrl != self.registers.irq_ctrlack && value != self.registers.irq_ctrl {
            let detail = "IRQ_CTRLACK has not followed the last change yet";
            self.violation(Rule::AckOutstanding, "IRQ_CTRL", value, SECTION, detail);
            return;
        }
        self.registers.irq_ctrl = value;
        self.irq_ctrl_timer = self.config.delays.irq_ctrlack;
    }

    /// Wired interrupts only: without IDR0.MSI these registers are reserved.
    pub(super) fn write_irq_cfg(&mut self, offset: usize, value: u64) {
        if self.config.msi() {
            let detail = "message interrupts are not modelled";
            self.violation(
                Rule::NoSuchRegister,
                format!("register {offset:#x}"),
                value,
                "smmu-model",
                detail,
            );
        } else if value != 0 {
            let detail = "an interrupt configuration register, reserved without IDR0.MSI";
            self.violation(
                Rule::Reserved,
                format!("register {offset:#x}"),
                value,
                "IHI 0070 6.3.20",
                detail,
            );
        }
    }

    pub(super) fn write_gerrorn(&mut self, value: u32) {
        let toggled = value ^ self.registers.gerrorn;
        let active = self.registers.gerror ^ self.registers.gerrorn;
        if toggled & !active != 0 {
            let detail = format!("acknowledges errors that are not active; active are {active:#x}");
            self.violation(Rule::GerrorProtocol, "GERRORN", value, "IHI 0070 6.3.19", detail);
        }
        self.registers.gerrorn ^= toggled & active;
        if toggled & active & gerror::CMDQ_ERR != 0 {
            self.resume_commands();
        }
    }

    pub(super) fn write_strtab_base(&mut self, value: u64) {
        const SECTION: &str = "IHI 0070 6.3.23";
        let fields = 1 << 62 | mask(51, 6);
        self.reserved_wide("STRTAB_BASE", value, fields, SECTION);
        if !self.guarded("STRTAB_BASE", value, cr0::SMMUEN, SECTION) {
            self.registers.strtab_base = value & fields;
            self.streams.table_moved();
        }
    }

    pub(super) fn write_strtab_base_cfg(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.24";
        let mut fields = 0x3f;
        if self.config.two_level() {
            fields |= 3 << 16 | 0x1f << 6;
        }
        self.reserved("STRTAB_BASE_CFG", value, fields, SECTION);
        if !self.guarded("STRTAB_BASE_CFG", value.into(), cr0::SMMUEN, SECTION) {
            self.registers.strtab_base_cfg = value & fields;
            self.streams.table_moved();
        }
    }

    pub(super) fn write_cmdq_base(&mut self, value: u64) {
        const SECTION: &str = "IHI 0070 6.3.26";
        let fields = 1 << 62 | mask(51, 5) | mask(4, 0);
        self.reserved_wide("CMDQ_BASE", value, fields, SECTION);
        if !self.guarded("CMDQ_BASE", value, cr0::CMDQEN, SECTION) {
            self.registers.cmdq_base = value & fields;
        }
    }

    pub(super) fn write_cmdq_cons(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.28";
        self.reserved("CMDQ_CONS", value, 0xf_ffff | CMDQ_CONS_ERR, SECTION);
        if !self.guarded("CMDQ_CONS", value.into(), cr0::CMDQEN, SECTION) {
            self.registers.cmdq_cons = value;
        }
    }

    pub(super) fn write_eventq_base(&mut self, value: u64) {
        const SECTION: &str = "IHI 0070 6.3.29";
        let fields = 1 << 62 | mask(51, 5) | mask(4, 0);
        self.reserved_wide("EVENTQ_BASE", value, fields, SECTION);
        if !self.guarded("EVENTQ_BASE", value, cr0::EVENTQEN, SECTION) {
            self.registers.eventq_base = value & fields;
        }
    }

    pub(super) fn write_eventq_prod(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.30";
        self.reserved("EVENTQ_PROD", value, 0xf_ffff | OVERFLOW_FLAG, SECTION);
        if !self.guarded("EVENTQ_PROD", value.into(), cr0::EVENTQEN, SECTION) {
            self.registers.eventq_prod = value;
        }
    }

    pub(super) fn write_eventq_cons(&mut self, value: u32) {
        const SECTION: &str = "IHI 0070 6.3.31";
        self.reserved("EVENTQ_CONS", value, 0xf_ffff | OVERFLOW_FLAG, SECTION);
        if self.may_be_enabled(cr0::EVENTQEN) {
            self.check_consumed(value);
        }
        self.registers.eventq_cons = value;
    }

    /// What has to hold before a queue is enabled.
    fn check_queue(&self, queue: &QueueShape, (base, prod, cons): (usize, usize, usize), max_bits: u64) {
        let name = queue.name;
        self.check_initialised(name, &[base, base + 4, prod, cons, CR1]);
        let section = "IHI 0070 3.5.1, 6.3.26";
        if queue.bits > max_bits {
            let detail = format!("LOG2SIZE, while IDR1 allows {max_bits}");
            self.violation(
                Rule::TooLarge,
                format!("{name}_BASE"),
                queue.bits,
                section,
                detail,
            );
            return;
        }
        if !aligned(queue.base, queue.bytes().max(32)) {
            let detail = format!(
                "ADDR must be aligned to the {} bytes of the queue",
                queue.bytes().max(32)
            );
            self.violation(
                Rule::Misaligned,
                format!("{name}_BASE"),
                queue.base,
                section,
                detail,
            );
        }
        if queue.base >> self.config.output_bits() != 0 {
            self.violation(
                Rule::TooLarge,
                format!("{name}_BASE"),
                queue.base,
                section,
                "beyond IDR5.OAS",
            );
        }
        if !self.memory.is_allocated(queue.base, queue.bytes()) {
            let detail = format!("its {} bytes do not lie in an allocated block", queue.bytes());
            self.violation(
                Rule::NotAllocated,
                format!("{name}_BASE"),
                queue.base,
                section,
                detail,
            );
        }
        let (prod, cons) = if base == CMDQ_BASE {
            (
                self.registers.cmdq_prod,
                self.registers.cmdq_cons & !CMDQ_CONS_ERR,
            )
        } else {
            (
                self.registers.eventq_prod & !OVERFLOW_FLAG,
                self.registers.eventq_cons & !OVERFLOW_FLAG,
            )
        };
        let index_mask = queue_index_mask(queue.bits);
        if (prod | cons) & !index_mask != 0 {
            self.violation(
                Rule::QueueIndex,
                format!("{name}_PROD or CONS"),
                prod | cons,
                section,
                "wider than the queue",
            );
        }
        if queue.used(prod, cons) > queue.entries() {
            self.violation(
                Rule::QueueIndex,
                format!("{name}_PROD"),
                prod,
                section,
                "more than a full queue ahead of CONS",
            );
        }
    }

    /// Registers with an UNKNOWN reset value have to be written before something depends on them.
    fn check_initialised(&self, what: &str, offsets: &[usize]) {
        for offset in offsets.iter().filter(|offset| !self.initialised.contains(offset)) {
            let detail = format!("enabled, but register {offset:#x} still has its UNKNOWN reset value");
            self.violation(Rule::Unknown, what, 1u32, "IHI 0070 6.3", detail);
        }
    }

    fn guarded(&self, name: &str, value: u64, enables: u32, section: &'static str) -> bool {
        let enabled = self.may_be_enabled(enables);
        if enabled {
            let detail = format!("written while CR0 or CR0ACK has one of bits {enables:#x}");
            self.violation(Rule::Guarded, name, value, section, detail);
        }
        enabled
    }

    fn reserved(&self, name: &str, value: u32, fields: u32, section: &'static str) {
        self.reserved_wide(name, value.into(), fields.into(), section);
    }

    pub(super) fn reserved_wide(&self, name: &str, value: u64, fields: u64, section: &'static str) {
        if value & !fields != 0 {
            let detail = format!("reserved bits {:#x}", value & !fields);
            self.violation(Rule::Reserved, name, value, section, detail);
        }
    }
}
