//! What was found on the buses.

use crate::config::{change_command, command};
use crate::{Bar, Bdf, Capability, ConfigSpace};
use alloc::vec::Vec;
use core::fmt;

/// Class code (PCI 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// Base class.
    pub base: u8,
    /// Sub-class.
    pub sub: u8,
    /// Programming interface.
    pub interface: u8,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}{:02x}{:02x}", self.base, self.sub, self.interface)
    }
}

/// An INTx pin (PCI 6.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Pin {
    /// INTA#.
    A = 1,
    /// INTB#.
    B = 2,
    /// INTC#.
    C = 3,
    /// INTD#.
    D = 4,
}

impl Pin {
    /// The pin that the register value `value` names; zero and reserved values name none.
    pub const fn from_register(value: u8) -> Option<Pin> {
        match value {
            1 => Some(Pin::A),
            2 => Some(Pin::B),
            3 => Some(Pin::C),
            4 => Some(Pin::D),
            _ => None,
        }
    }

    /// The pin on the other side of a bridge, for a device with number `device` behind it (Bridge 9.1).
    pub const fn swizzle(self, device: u8) -> Pin {
        match (self as u8 - 1 + device % 4) % 4 {
            0 => Pin::A,
            1 => Pin::B,
            2 => Pin::C,
            _ => Pin::D,
        }
    }
}

/// The PCI Express device/port type (PCIe 7.5.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// No PCI Express capability: a conventional PCI function.
    Conventional,
    /// Endpoint, legacy endpoint or root complex integrated endpoint.
    Endpoint,
    /// Root port: one link, so one device, behind it.
    Root,
    /// Upstream port of a switch.
    Upstream,
    /// Downstream port of a switch: one link, so one device, behind it.
    Downstream,
    /// A bridge from PCI Express to PCI: it takes ownership of the transactions behind it.
    ToPci,
    /// A bridge from PCI to PCI Express.
    FromPci,
    /// Root complex event collector, or a value that is not defined.
    Other(u8),
}

impl Port {
    /// The type that bits 7:4 of the PCI Express capabilities register name.
    pub(crate) const fn from_register(value: u8) -> Port {
        match value {
            0 | 1 | 9 => Port::Endpoint,
            4 => Port::Root,
            5 => Port::Upstream,
            6 => Port::Downstream,
            7 => Port::ToPci,
            8 => Port::FromPci,
            other => Port::Other(other),
        }
    }
}

/// The bus numbers of a bridge (Bridge 3.2.5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bridge {
    /// The bus behind the bridge; zero when no number was left for it, and then nothing behind it is reachable.
    pub secondary: u8,
    /// The highest bus behind the bridge.
    pub subordinate: u8,
}

/// One function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Where it is.
    pub bdf: Bdf,
    /// The bridge above it; `None` on a root bus.
    pub parent: Option<Bdf>,
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision.
    pub revision: u8,
    /// Class code.
    pub class: Class,
    /// Subsystem vendor ID and subsystem ID; zero for bridges.
    pub subsystem: (u16, u16),
    /// Whether the device has more than one function (PCI 6.2.1, header type bit 7).
    pub multi_function: bool,
    /// Bus numbers, for a PCI-to-PCI bridge.
    pub bridge: Option<Bridge>,
    /// The PCI Express type.
    pub port: Port,
    /// The INTx pin it uses.
    pub pin: Option<Pin>,
    /// Base address registers that are implemented.
    pub bars: Vec<Bar>,
    /// Capabilities, plain and extended.
    pub capabilities: Vec<Capability>,
    /// Whether bus mastering was on when we came, so that firmware may have left DMA running.
    pub found_mastering: bool,
    /// Every requester ID under which its transactions may arrive at the root: its own first, then those that
    /// bridges between PCI Express and PCI put in its place (PCIe to PCI Bridge 2.3), nearest to the root last.
    pub requester_ids: Vec<u16>,
    /// Whether its access control services, as read back, send to the root complex what could go to a peer: what comes
    /// from behind it for a root port or downstream port, what it emits to functions of its own device otherwise.
    /// [`Fabric::peers_at`] says what follows.
    pub redirects: bool,
}

impl Function {
    /// Whether this is a virtio function, by its IDs.
    pub fn is_virtio(&self) -> bool {
        crate::virtio::is_virtio(u32::from(self.device) << 16 | u32::from(self.vendor))
    }

    /// Whether a capability with this ID is present.
    pub fn has(&self, id: u32) -> bool {
        self.capability(id).is_some()
    }

    /// The first capability with this ID.
    pub fn capability(&self, id: u32) -> Option<&Capability> {
        self.capabilities.iter().find(|capability| capability.id == id)
    }
}

/// Everything behind one host bridge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fabric {
    /// All functions, bridges before what is behind them.
    pub functions: Vec<Function>,
    /// Buses without a bridge above them: the first one, and those of expander bridges.
    pub roots: Vec<u8>,
}

impl Fabric {
    /// The function at `bdf`.
    pub fn get(&self, bdf: Bdf) -> Option<&Function> {
        self.functions.iter().find(|function| function.bdf == bdf)
    }

    /// The bridges between `bdf` and the root, nearest first.
    pub fn above(&self, bdf: Bdf) -> impl Iterator<Item = &Function> {
        core::iter::successors(
            self.get(bdf).and_then(|function| self.parent(function)),
            |function| self.parent(function),
        )
    }

    fn parent(&self, function: &Function) -> Option<&Function> {
        // A parent's bus is always smaller, so that following parents ends.
        self.get(function.parent?)
            .filter(|parent| parent.bdf.bus() < function.bdf.bus())
    }

    /// The INTx pin of `bdf` as it arrives at the root bus, and the root-bus device number it arrives from, which
    /// together are what the host bridge's `interrupt-map` is asked for.
    pub fn pin_at_root(&self, bdf: Bdf) -> Option<(u8, Pin)> {
        let function = self.get(bdf)?;
        let start = (function.bdf.device(), function.pin?);
        Some(self.above(bdf).fold(start, |(device, pin), bridge| {
            (bridge.bdf.device(), pin.swizzle(device))
        }))
    }

    /// Lets `bdf` emit transactions, or stops it. When it is let, the bridges above it forward; they stay so, because
    /// other functions behind them have switches of their own.
    pub fn set_bus_master(&self, config: &(impl ConfigSpace + ?Sized), bdf: Bdf, on: bool) {
        if on {
            for bridge in self.above(bdf) {
                change_command(config, bridge.bdf, 0, command::BUS_MASTER);
            }
            change_command(config, bdf, 0, command::BUS_MASTER);
        } else {
            change_command(config, bdf, command::BUS_MASTER, 0);
        }
    }

    /// Lets `bdf` raise INTx, or stops it.
    pub fn set_intx(&self, config: &(impl ConfigSpace + ?Sized), bdf: Bdf, on: bool) {
        if on {
            change_command(config, bdf, command::INTX_DISABLE, 0);
        } else {
            change_command(config, bdf, 0, command::INTX_DISABLE);
        }
    }

    /// The gate for PCI: bus mastering and INTx off for every function.
    pub fn quiesce(&self, config: &(impl ConfigSpace + ?Sized)) {
        for function in &self.functions {
            change_command(config, function.bdf, command::BUS_MASTER, command::INTX_DISABLE);
        }
    }
}
