//! Where transactions may turn round before they reach the root complex, and with it the SMMU.
//!
//! Access control acts where a transaction comes in: a port that redirects keeps what is behind it from reaching
//! others, but keeps no other from reaching what is behind it (PCIe 6.12.1). So a switch, or a device with several
//! functions, keeps its parts apart only when all of them redirect.
//!
//! One assumption is that of hypervisors in general, since no register tells it: what arrives at the root complex goes
//! to the SMMU. Devices with one function on a root bus, integrated or conventional, do not reach each other, and
//! root ports of different devices, even those without access control, do not hand to each other what comes from behind
//! them.

use crate::{Bdf, Fabric, Function, Port};
use core::iter;

impl Fabric {
    /// The place at which transactions from or to `bdf` may turn round without passing the root complex: a bridge or,
    /// named by its function 0, a device. Functions with the same place may reach each other. `None` if whatever
    /// `bdf` exchanges with others passes the root complex, and for bridges, which emit nothing of their own.
    pub fn peers_at(&self, bdf: Bdf) -> Option<Bdf> {
        let function = self.get(bdf).filter(|function| function.bridge.is_none())?;
        let way_up = iter::once(function).chain(self.above(bdf));
        // The last place holds all that the places below it hold.
        way_up.filter_map(|step| self.turn_after(step)).last()
    }

    /// Where what leaves `step` upwards may turn round before it leaves the bridge above.
    fn turn_after(&self, step: &Function) -> Option<Bdf> {
        let bridge = self.above(step.bdf).next();
        let bridge = bridge.filter(|bridge| !self.keeps_apart(bridge));
        bridge.map_or_else(|| self.turn_in_device(step), |bridge| Some(bridge.bdf))
    }

    /// Whether what is behind `bridge` reaches nothing else there without going on upwards.
    fn keeps_apart(&self, bridge: &Function) -> bool {
        match bridge.port {
            // What comes from its link must not turn round and go back (PCIe 6.12.1.1). Whether it may go to
            // siblings of a downstream port is asked of the upstream port above.
            Port::Root | Port::Downstream => bridge.redirects,
            // The bus inside a switch: what comes from one downstream port can go to any other. A single-function
            // upstream port has no access control of its own (PCIe 6.12.1.3).
            Port::Upstream => self
                .functions
                .iter()
                .filter(|function| function.parent == Some(bridge.bdf))
                .all(|port| is_port(port) && port.redirects),
            // A conventional bus, where everybody hears everybody; a bridge from PCI to PCI Express, which is taken
            // for a conventional one; and what should not be a bridge.
            _ => false,
        }
    }

    /// Functions of a device reach each other inside it, and what is behind each other, unless all of them redirect
    /// (PCIe 6.12.1.2). That goes for ports as well.
    fn turn_in_device(&self, step: &Function) -> Option<Bdf> {
        let (bus, device) = (step.bdf.bus(), step.bdf.device());
        let turns = step.multi_function
            && self
                .functions
                .iter()
                .filter(|function| (function.bdf.bus(), function.bdf.device()) == (bus, device))
                .any(|function| !function.redirects);
        Bdf::new(bus, device, 0).filter(|_| turns)
    }
}

/// Whether `function` is a port with a link below it.
fn is_port(function: &Function) -> bool {
    function.bridge.is_some() && matches!(function.port, Port::Root | Port::Downstream)
}
