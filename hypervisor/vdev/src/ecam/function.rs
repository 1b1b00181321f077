//! One function in a guest's segment.

use super::Messages;
use super::action::{Action, Switches};
use super::bars::Bars;
use super::capabilities::{Capabilities, Written};
use pci::{Bdf, Function, Msi, MsiX, command, offset};

/// Command bits that a guest can set: memory, bus master, INTx disable.
const COMMAND_WRITABLE: u32 = command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;
/// Status, beside the command: there is a capabilities list (PCI 6.2.3).
const CAPABILITIES_LIST: u32 = 1 << 20;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct VirtualFunction {
    pub(super) bdf: Bdf,
    pub(super) physical: Bdf,
    present: bool,
    /// It is being reset.
    resetting: bool,
    /// Bus mastering may be forwarded.
    dma_allowed: bool,
    /// What was asked of the physical function last.
    switches: Switches,
    command: u32,
    id: u32,
    class: u32,
    pub(super) multi_function: bool,
    subsystem: u32,
    bars: Bars,
    pin: u8,
    line: u8,
    capabilities: Capabilities,
}

impl VirtualFunction {
    pub(super) fn new(bdf: Bdf, function: &Function, messages: Messages) -> VirtualFunction {
        let pair = |(low, high): (u16, u16)| u32::from(high) << 16 | u32::from(low);
        let class = function.class;
        let mut new = VirtualFunction {
            bdf,
            physical: function.bdf,
            present: false,
            resetting: false,
            dma_allowed: false,
            switches: Switches::default(),
            command: 0,
            id: pair((function.vendor, function.device)),
            class: u32::from_le_bytes([function.revision, class.interface, class.sub, class.base]),
            multi_function: false,
            subsystem: pair(function.subsystem),
            bars: Bars::new(&function.bars),
            pin: function.pin.map_or(0, |pin| pin as u8),
            line: 0,
            capabilities: Capabilities::new(function, messages),
        };
        new.switches = new.wanted();
        new
    }

    /// Moves all BARs, before the guest sees any.
    pub(super) fn place_bars(&mut self, first: u64) {
        self.bars.place(first);
    }

    /// Whether accesses reach it.
    pub(super) fn answers(&self) -> bool {
        self.present && !self.resetting
    }

    pub(super) fn read(&self, at: u16) -> u32 {
        match at {
            offset::ID => self.id,
            offset::COMMAND if self.capabilities.first() != 0 => self.command | CAPABILITIES_LIST,
            offset::COMMAND => self.command,
            offset::CLASS => self.class,
            offset::HEADER => u32::from(self.multi_function) << 23,
            offset::BAR0..0x28 => self.bars.read(usize::from((at - offset::BAR0) / 4)),
            offset::SUBSYSTEM => self.subsystem,
            offset::CAPABILITIES => self.capabilities.first().into(),
            offset::INTERRUPT => u32::from_le_bytes([self.line, self.pin, 0, 0]),
            _ => self.capabilities.read(at),
        }
    }

    /// Writes the bits of `value` that `mask` selects, which is how bytes and halves of a register are written.
    pub(super) fn write(&mut self, at: u16, value: u32, mask: u32) -> Option<Action> {
        let merged = self.read(at) & !mask | value & mask;
        match at {
            offset::COMMAND => {
                self.command = merged & COMMAND_WRITABLE;
                self.forward()
            }
            offset::BAR0..0x28 => {
                self.bars.write(usize::from((at - offset::BAR0) / 4), merged);
                None
            }
            offset::INTERRUPT => {
                [self.line, ..] = merged.to_le_bytes();
                None
            }
            _ => match self.capabilities.write(at, merged, mask) {
                Written::Nothing => None,
                Written::Switches => self.forward(),
                Written::Reset => {
                    self.forget();
                    self.resetting = true;
                    self.switches = self.wanted();
                    Some(self.action(true))
                }
            },
        }
    }

    pub(super) fn set_present(&mut self, present: bool) -> Option<Action> {
        self.present = present;
        self.resetting = false;
        if !present {
            self.forget();
        }
        self.forward()
    }

    pub(super) fn allow_dma(&mut self, allowed: bool) -> Option<Action> {
        self.dma_allowed = allowed;
        self.forward()
    }

    pub(super) fn finish_reset(&mut self) -> Option<Action> {
        self.resetting = false;
        self.forward()
    }

    /// Index and PCI address of each BAR that the guest means to reach now.
    pub(super) fn decoded(&self) -> impl Iterator<Item = (u8, u64)> {
        let decodes = self.answers() && self.command & command::MEMORY != 0;
        self.bars.addresses().filter(move |_| decodes)
    }

    /// What the guest wrote is gone, as after a reset.
    fn forget(&mut self) {
        self.command = 0;
        self.line = 0;
        self.capabilities.reset();
        self.bars.reset();
    }

    /// How the physical function has to be switched so that it does what the guest wants and may.
    fn wanted(&self) -> Switches {
        let answers = self.answers();
        let (msi, msi_x) = self.capabilities.messages();
        Switches {
            bus_master: self.dma_allowed && answers && self.command & command::BUS_MASTER != 0,
            intx: answers && self.command & command::INTX_DISABLE == 0,
            msi: msi.map(|msi| if answers { msi } else { Msi::default() }),
            msi_x: msi_x.map(|msi_x| if answers { msi_x } else { MsiX::default() }),
        }
    }

    /// What has to be changed in the physical function.
    fn forward(&mut self) -> Option<Action> {
        let wanted = self.wanted();
        let before = core::mem::replace(&mut self.switches, wanted);
        (before != self.switches).then(|| self.action(false))
    }

    fn action(&self, reset: bool) -> Action {
        Action {
            at: self.bdf,
            physical: self.physical,
            switches: self.switches,
            reset,
        }
    }
}
