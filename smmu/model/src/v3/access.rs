//! Register accesses: which register an offset is, and how wide.

use super::registers::{
    AIDR, CMDQ_BASE, CMDQ_CONS, CMDQ_PROD, CR0, CR0ACK, CR1, CR2, EVENTQ_BASE, EVENTQ_CONS,
    EVENTQ_CONS_ALIAS, EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1, EVENTQ_IRQ_CFG2, EVENTQ_PROD, EVENTQ_PROD_ALIAS,
    FRAME_SIZE, GBPA, GERROR, GERROR_IRQ_CFG0, GERROR_IRQ_CFG1, GERROR_IRQ_CFG2, GERRORN, IDR0, IDR5, IIDR,
    IRQ_CTRL, IRQ_CTRLACK, STATUSR, STRTAB_BASE, STRTAB_BASE_CFG,
};
use super::state::State;
use crate::Rule;
use crate::bits::low32;

const WIDE: [usize; 5] = [
    GERROR_IRQ_CFG0,
    STRTAB_BASE,
    CMDQ_BASE,
    EVENTQ_BASE,
    EVENTQ_IRQ_CFG0,
];

impl State {
    pub(super) fn read32(&mut self, offset: usize) -> u32 {
        if !self.in_frame(offset, 4) {
            return u32::MAX;
        }
        let registers = &self.registers;
        match offset {
            IDR0..=IDR5 => self.config.idr.get((offset - IDR0) / 4).copied().unwrap_or(0),
            IIDR => self.config.iidr,
            AIDR => self.config.aidr,
            CR0 => registers.cr0,
            CR0ACK => registers.cr0ack,
            CR1 => registers.cr1,
            CR2 => registers.cr2,
            GBPA => registers.gbpa,
            IRQ_CTRL => registers.irq_ctrl,
            IRQ_CTRLACK => registers.irq_ctrlack,
            GERROR => registers.gerror,
            GERRORN => registers.gerrorn,
            STRTAB_BASE_CFG => registers.strtab_base_cfg,
            CMDQ_PROD => registers.cmdq_prod,
            CMDQ_CONS => registers.cmdq_cons,
            EVENTQ_PROD => registers.eventq_prod,
            EVENTQ_CONS => registers.eventq_cons,
            EVENTQ_PROD_ALIAS | EVENTQ_CONS_ALIAS => {
                self.alias(offset);
                if offset == EVENTQ_PROD_ALIAS {
                    self.registers.eventq_prod
                } else {
                    self.registers.eventq_cons
                }
            }
            _ if WIDE.contains(&offset) => low32(self.wide(offset)),
            _ if WIDE.contains(&(offset.wrapping_sub(4))) => low32(self.wide(offset - 4) >> 32),
            // Everything else reads as zero: reserved, not implemented, or secure.
            _ => 0,
        }
    }

    pub(super) fn read64(&mut self, offset: usize) -> u64 {
        if !self.in_frame(offset, 8) {
            return u64::MAX;
        }
        if !WIDE.contains(&offset) {
            self.no_register(
                offset,
                0,
                "a 64-bit read of something that is not a 64-bit register",
            );
        }
        self.wide(offset)
    }

    pub(super) fn write32(&mut self, offset: usize, value: u32) {
        if !self.in_frame(offset, 4) {
            return;
        }
        match offset {
            CR0 => self.write_cr0(value),
            CR1 => self.write_cr1(value),
            CR2 => self.write_cr2(value),
            GBPA => self.write_gbpa(value),
            IRQ_CTRL => self.write_irq_ctrl(value),
            GERRORN => self.write_gerrorn(value),
            STRTAB_BASE_CFG => self.write_strtab_base_cfg(value),
            CMDQ_PROD => self.write_cmdq_prod(value),
            CMDQ_CONS => self.write_cmdq_cons(value),
            EVENTQ_PROD => self.write_eventq_prod(value),
            EVENTQ_CONS => self.write_eventq_cons(value),
            EVENTQ_PROD_ALIAS => {
                self.alias(offset);
                self.write_eventq_prod(value);
            }
            EVENTQ_CONS_ALIAS => {
                self.alias(offset);
                self.write_eventq_cons(value);
            }
            GERROR_IRQ_CFG1 | GERROR_IRQ_CFG2 | EVENTQ_IRQ_CFG1 | EVENTQ_IRQ_CFG2 => {
                self.write_irq_cfg(offset, value.into());
            }
            IDR0..=AIDR | CR0ACK | STATUSR | IRQ_CTRLACK | GERROR => {
                self.violation(
                    Rule::ReadOnly,
                    format!("register {offset:#x}"),
                    value,
                    "IHI 0070 6.2",
                    "read-only",
                );
            }
            _ if WIDE.contains(&offset) => {
                let high = self.wide(offset) & 0xffff_ffff_0000_0000;
                self.write_wide(offset, high | u64::from(value));
                self.initialised.insert(offset);
            }
            _ if WIDE.contains(&offset.wrapping_sub(4)) => {
                let low = self.wide(offset - 4) & 0xffff_ffff;
                self.write_wide(offset - 4, low | u64::from(value) << 32);
                self.initialised.insert(offset);
            }
            _ => self.no_register(
                offset,
                value.into(),
                "nothing there is writable from the non-secure side",
            ),
        }
        self.initialised.insert(offset);
    }

    pub(super) fn write64(&mut self, offset: usize, value: u64) {
        if !self.in_frame(offset, 8) {
            return;
        }
        if !WIDE.contains(&offset) {
            self.no_register(
                offset,
                value,
                "a 64-bit write of something that is not a 64-bit register",
            );
            return;
        }
        self.write_wide(offset, value);
        self.initialised.insert(offset);
        self.initialised.insert(offset + 4);
    }

    fn wide(&self, offset: usize) -> u64 {
        match offset {
            STRTAB_BASE => self.registers.strtab_base,
            CMDQ_BASE => self.registers.cmdq_base,
            EVENTQ_BASE => self.registers.eventq_base,
            // Without IDR0.MSI the interrupt configuration is reserved.
            _ => 0,
        }
    }

    fn write_wide(&mut self, offset: usize, value: u64) {
        match offset {
            STRTAB_BASE => self.write_strtab_base(value),
            CMDQ_BASE => self.write_cmdq_base(value),
            EVENTQ_BASE => self.write_eventq_base(value),
            _ => self.write_irq_cfg(offset, value),
        }
    }

    fn in_frame(&self, offset: usize, size: usize) -> bool {
        let inside =
            offset.is_multiple_of(size) && offset.checked_add(size).is_some_and(|end| end <= FRAME_SIZE);
        if !inside {
            self.no_register(
                offset,
                0,
                "outside the two pages of registers, or not aligned to its width",
            );
        }
        inside
    }

    fn alias(&self, offset: usize) {
        self.no_register(
            offset,
            0,
            "page 0's alias of the event queue indices is optional; they are in page 1",
        );
    }

    fn no_register(&self, offset: usize, value: u64, detail: &str) {
        self.violation(
            Rule::NoSuchRegister,
            format!("register {offset:#x}"),
            value,
            "IHI 0070 6.2",
            detail,
        );
    }
}
