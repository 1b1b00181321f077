//! A virtual ECAM: one segment that shows a guest its own functions and nothing else.
//!
//! A function's header is a copy of the real one, made when the function was given to the guest. No guest access
//! reaches physical configuration space. What a guest can cause is returned as an [`Action`], which the caller
//! carries out.
//!
//! - Command register: kept here. Bus mastering and the INTx switch become actions; memory decoding is always on in
//!   hardware, because what the guest reaches is decided by its stage 2.
//! - Status: capabilities list bit and error bits read zero.
//! - BARs: fixed. A write of all ones reads back as the size mask, anything else as the assigned address: a guest
//!   can size them, but not move them.
//! - Capabilities: all hidden. MSI and MSI-X would let a guest choose addresses and data that the interrupt
//!   controller takes at face value; power management and PCI Express capabilities can reset or
//!   reconfigure what the core has set up. Interrupts go by INTx.
//! - Expansion ROM, I/O BARs: not implemented.

use alloc::vec::Vec;
use pci::{Bar, Bdf, Function, Space, command, offset};

#[cfg(test)]
mod tests;

/// Bytes of configuration space for each function (PCIe 7.2.2).
const FUNCTION_SIZE: u64 = 4096;
/// Command bits that a guest can set: memory, bus master, INTx disable.
const COMMAND_WRITABLE: u32 = command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;

/// How the switches in the physical function's command register are to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// The physical function.
    pub physical: Bdf,
    /// Whether it may emit transactions.
    pub bus_master: bool,
    /// Whether it may raise INTx.
    pub intx: bool,
}

/// Why a function cannot be shown to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The guest has a function at this place already.
    #[error("there is a function at {bdf} already")]
    Taken {
        /// The place in the guest's segment.
        bdf: Bdf,
    },
    /// The place lies on a bus that the virtual segment does not have.
    #[error("{bdf} is beyond the last bus, {last_bus}, of the virtual segment")]
    NoSuchBus {
        /// The place in the guest's segment.
        bdf: Bdf,
        /// The last bus of the segment.
        last_bus: u8,
    },
    /// Bridges are not passed through.
    #[error("{physical} is a bridge")]
    IsBridge {
        /// The physical function.
        physical: Bdf,
    },
}

/// One BAR register as the guest sees it.
#[derive(Debug, Clone, Copy, Default)]
struct BarRegister {
    value: u32,
    mask: u32,
    /// The guest wrote all ones last.
    sizing: bool,
}

impl BarRegister {
    fn read(&self) -> u32 {
        if self.sizing { self.mask } else { self.value }
    }
}

/// One function in a guest's segment.
#[derive(Debug, Clone)]
struct VirtualFunction {
    bdf: Bdf,
    physical: Bdf,
    present: bool,
    /// Bus mastering may be forwarded.
    dma_allowed: bool,
    /// Bus mastering and INTx as they were asked of the physical function last.
    switches: (bool, bool),
    command: u32,
    id: u32,
    class: u32,
    multi_function: bool,
    subsystem: u32,
    bars: [BarRegister; 6],
    pin: u8,
    line: u8,
}

impl VirtualFunction {
    fn read(&self, at: u16) -> u32 {
        match at {
            offset::ID => self.id,
            offset::COMMAND => self.command,
            offset::CLASS => self.class,
            offset::HEADER => u32::from(self.multi_function) << 23,
            offset::BAR0..0x28 => self
                .bars
                .get(usize::from((at - offset::BAR0) / 4))
                .map_or(0, BarRegister::read),
            offset::SUBSYSTEM => self.subsystem,
            offset::INTERRUPT => u32::from_le_bytes([self.line, self.pin, 0, 0]),
            _ => 0,
        }
    }

    /// Writes the bits of `value` that `mask` selects, which is how bytes and halves of a register are written.
    fn write(&mut self, at: u16, value: u32, mask: u32) -> Option<Action> {
        let merged = self.read(at) & !mask | value & mask;
        match at {
            offset::COMMAND => {
                self.command = merged & COMMAND_WRITABLE;
                self.forward()
            }
            offset::BAR0..0x28 => {
                if let Some(bar) = self.bars.get_mut(usize::from((at - offset::BAR0) / 4)) {
                    bar.sizing = value & mask == u32::MAX;
                }
                None
            }
            offset::INTERRUPT => {
                [self.line, ..] = merged.to_le_bytes();
                None
            }
            _ => None,
        }
    }

    /// What has to be changed in the physical function so that it does what the guest wants and may.
    fn forward(&mut self) -> Option<Action> {
        let bus_master = self.dma_allowed && self.present && self.command & command::BUS_MASTER != 0;
        let intx = self.present && self.command & command::INTX_DISABLE == 0;
        let before = core::mem::replace(&mut self.switches, (bus_master, intx));
        (before != self.switches).then_some(Action {
            physical: self.physical,
            bus_master,
            intx,
        })
    }
}

/// The ECAM of one guest.
#[derive(Debug, Clone)]
pub struct Ecam {
    last_bus: u8,
    functions: Vec<VirtualFunction>,
}

impl Ecam {
    /// An empty segment of buses `0..=last_bus`.
    pub fn new(last_bus: u8) -> Ecam {
        Ecam {
            last_bus,
            functions: Vec::new(),
        }
    }

    /// Size of the window, in bytes.
    pub fn size(&self) -> u64 {
        (u64::from(self.last_bus) + 1) << 20
    }

    /// Shows `function` at `bdf`, absent until [`set_present`](Self::set_present) and without DMA until
    /// [`allow_dma`](Self::allow_dma). Its BARs must have their addresses.
    ///
    /// # Errors
    /// See [`Error`]; nothing is changed.
    pub fn add(&mut self, bdf: Bdf, function: &Function) -> Result<(), Error> {
        if bdf.bus() > self.last_bus {
            return Err(Error::NoSuchBus {
                bdf,
                last_bus: self.last_bus,
            });
        }
        if function.bridge.is_some() {
            return Err(Error::IsBridge {
                physical: function.bdf,
            });
        }
        if self.functions.iter().any(|other| other.bdf == bdf) {
            return Err(Error::Taken { bdf });
        }
        let pair = |(low, high): (u16, u16)| u32::from(high) << 16 | u32::from(low);
        let class = function.class;
        self.functions.push(VirtualFunction {
            bdf,
            physical: function.bdf,
            present: false,
            dma_allowed: false,
            switches: (false, false),
            command: 0,
            id: pair((function.vendor, function.device)),
            class: u32::from_le_bytes([function.revision, class.interface, class.sub, class.base]),
            multi_function: false,
            subsystem: pair(function.subsystem),
            bars: bar_registers(&function.bars),
            pin: function.pin.map_or(0, |pin| pin as u8),
            line: 0,
        });
        self.mark_multi_function(bdf);
        Ok(())
    }

    /// Functions of one device say so in their headers (PCI 6.2.1), or a guest looks at function 0 only.
    fn mark_multi_function(&mut self, bdf: Bdf) {
        let same = |function: &&mut VirtualFunction| {
            function.bdf.bus() == bdf.bus() && function.bdf.device() == bdf.device()
        };
        if self.functions.iter_mut().filter(same).count() > 1 {
            self.functions
                .iter_mut()
                .filter(same)
                .for_each(|function| function.multi_function = true);
        }
    }

    /// Makes the function at `bdf` answer, or read as all ones. One that goes stops mastering the bus.
    pub fn set_present(&mut self, bdf: Bdf, present: bool) -> Option<Action> {
        let function = self.functions.iter_mut().find(|function| function.bdf == bdf)?;
        function.present = present;
        if !present {
            function.command = 0;
        }
        function.forward()
    }

    /// Says whether the guest's bus master bit may reach the physical function at `bdf`. The guest's own view of the bit
    /// does not change.
    pub fn allow_dma(&mut self, bdf: Bdf, allowed: bool) -> Option<Action> {
        let function = self.functions.iter_mut().find(|function| function.bdf == bdf)?;
        function.dma_allowed = allowed;
        function.forward()
    }

    /// The places of all functions in the guest's segment, with the physical functions behind them.
    pub fn functions(&self) -> impl Iterator<Item = (Bdf, Bdf)> {
        self.functions
            .iter()
            .map(|function| (function.bdf, function.physical))
    }

    /// Reads `size` bytes (1, 2 or 4) at `offset` of the window; all ones where nothing answers.
    pub fn read(&self, offset: u64, size: u8) -> u32 {
        let Some((bdf, register, shift, mask)) = locate(offset, size) else {
            return u32::MAX;
        };
        let function = self
            .functions
            .iter()
            .find(|function| function.bdf == bdf && function.present);
        function.map_or(u32::MAX, |function| function.read(register)) >> shift & mask
    }

    /// Writes `size` bytes (1, 2 or 4) at `offset` of the window.
    pub fn write(&mut self, offset: u64, size: u8, value: u32) -> Option<Action> {
        let (bdf, register, shift, mask) = locate(offset, size)?;
        let function = self
            .functions
            .iter_mut()
            .find(|function| function.bdf == bdf && function.present)?;
        function.write(register, (value & mask) << shift, mask << shift)
    }
}

/// The function and register that an access is about, and the access's shift and mask in that register. 8-byte
/// and unaligned accesses are nobody's (PCIe 7.2.2).
fn locate(at: u64, size: u8) -> Option<(Bdf, u16, u32, u32)> {
    let mask = match size {
        1 => 0xff,
        2 => 0xffff,
        4 => u32::MAX,
        _ => return None,
    };
    let bdf = Bdf::from_requester_id(u16::try_from(at / FUNCTION_SIZE).ok()?);
    let register = u16::try_from(at % FUNCTION_SIZE).ok()?;
    let aligned = at.is_multiple_of(u64::from(size));
    aligned.then_some((bdf, register & !3, u32::from(register & 3) * 8, mask))
}

fn bar_registers(bars: &[Bar]) -> [BarRegister; 6] {
    let mut registers = [BarRegister::default(); 6];
    for bar in bars
        .iter()
        .filter(|bar| bar.space != Space::Io && bar.address != 0)
    {
        let words = |value: u64| {
            let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
            [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])]
        };
        let count = if bar.space == Space::Memory64 { 2 } else { 1 };
        let [mut value, mut mask] = [words(bar.address), words(!(bar.size - 1))];
        for low in [&mut value, &mut mask] {
            low[0] |= bar.flags();
        }
        let own = registers.iter_mut().skip(usize::from(bar.index)).take(count);
        for (register, (value, mask)) in own.zip(value.into_iter().zip(mask)) {
            *register = BarRegister {
                value,
                mask,
                sizing: false,
            };
        }
    }
    registers
}
