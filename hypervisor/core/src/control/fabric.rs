//! PCI: every function found, quiet, and with addresses.

use crate::arch::{gic, mmu, timer};
use crate::vm::PhysicalBar;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use devicetree::{AddressRange, GicInterrupt, NodeId, PciSpace, ReadError, Tree};
use mmio::Region;
use pci::virtio::{self, Common, VirtioError};
use pci::{Bdf, BusRange, Ecam, Fabric, Function, Reset, ResetError, Space, Window, assign, enumerate};
use topology::PciFunction;
use vdev::ecam::Switches;

/// A host bridge and what is behind it.
#[derive(Debug)]
pub struct HostBridge {
    /// Its node.
    pub node: NodeId,
    /// Its segment.
    pub segment: u16,
    /// Access to configuration space.
    pub config: Ecam<Region>,
    /// The functions behind it.
    pub fabric: Fabric,
    windows: Vec<Window>,
}

/// Why a host bridge cannot be used. What is behind it then stays as firmware left it, and is given to nobody.
#[derive(Debug, thiserror::Error)]
enum BridgeError {
    #[error(transparent)]
    Tree(#[from] ReadError),
    #[error(transparent)]
    Map(#[from] mmu::MapError),
    #[error("its configuration space at {0} is memory, or registers that are in use")]
    InUse(AddressRange),
}

/// Walks every generic host bridge of the tree: bus mastering and interrupts off, addresses assigned.
pub fn discover(tree: &Tree) -> Vec<HostBridge> {
    let mut bridges = Vec::new();
    for (node, segment) in tree.pci_segments() {
        if !tree.node(node).is_compatible(&["pci-host-ecam-generic"]) {
            log::warn!(target: "pci", "{}: not used: it is no generic host bridge", tree.path(node));
            continue;
        }
        let opened = segment.map_err(BridgeError::from);
        match opened.and_then(|segment| HostBridge::open(tree, node, segment)) {
            Ok(bridge) => bridges.push(bridge),
            Err(error) => log::error!(target: "pci", "{}: not used: {error}", tree.path(node)),
        }
    }
    for bridge in &bridges {
        let mastering = bridge
            .fabric
            .functions
            .iter()
            .filter(|function| function.found_mastering)
            .count();
        log::info!(target: "pci", "{}: {} functions, bus mastering off ({mastering} had it on)",
            tree.path(bridge.node), bridge.fabric.functions.len());
    }
    bridges
}

impl HostBridge {
    fn open(tree: &Tree, node: NodeId, segment: u16) -> Result<HostBridge, BridgeError> {
        let host = tree.node(node);
        let (first, last) = host.pci_bus_range()?;
        let ecam = host.reg(0)?;
        // A second host bridge at the same place would give the same functions twice, and one at an SMMU would walk that.
        if mmu::is_ours(ecam.address(), ecam.size()) {
            return Err(BridgeError::InUse(ecam));
        }
        let windows = host.pci_windows()?.iter().filter_map(window).collect();
        let config = Ecam::new(mmu::map_device(ecam.address(), ecam.size())?, first);
        let mut fabric = enumerate(&config, BusRange { first, last });
        let mut bridge = HostBridge {
            node,
            segment,
            windows,
            fabric: Fabric::default(),
            config,
        };
        #[cfg(feature = "sabotage-keep-bus-mastering")]
        {
            log::warn!(target: "pci", "SABOTAGE: this test build leaves bus mastering as firmware set it");
            let mastering = fabric
                .functions
                .iter()
                .filter(|function| function.found_mastering);
            mastering.for_each(|function| fabric.set_bus_master(&bridge.config, function.bdf, true));
        }
        let assigned = assign(&bridge.config, &mut fabric, &bridge.windows);
        bridge.fabric = fabric;
        for bdf in &assigned.unplaced {
            log::warn!(target: "pci", "{bdf}: its BARs do not fit the host bridge's windows; it decodes nothing");
        }
        Ok(bridge)
    }

    /// Its windows.
    pub fn windows(&self) -> &[Window] {
        &self.windows
    }

    /// The functions as the stream graph wants them.
    pub fn masters(&self) -> impl Iterator<Item = PciFunction> + '_ {
        self.fabric.functions.iter().map(|function| PciFunction {
            host_bridge: self.node,
            segment: self.segment,
            bus: function.bdf.bus(),
            device: function.bdf.device(),
            function: function.bdf.function(),
            requester_ids: function.requester_ids.clone(),
            peers_at: self.fabric.peers_at(function.bdf).map(Bdf::requester_id),
        })
    }

    /// A function's memory BARs that have an address, where the CPU finds them.
    pub fn memory_bars(&self, function: &Function) -> Vec<PhysicalBar> {
        let cpu = |bar: &pci::Bar| {
            let mut windows = self.windows.iter().filter(|window| window.space != Space::Io);
            let address = windows.find_map(|window| window.to_cpu(bar.address, bar.size))?;
            Some(PhysicalBar {
                index: bar.index,
                address,
                size: bar.size,
            })
        };
        function
            .bars
            .iter()
            .filter(|bar| bar.space != Space::Io && bar.address != 0)
            .filter_map(cpu)
            .collect()
    }

    /// Where the function's INTx goes, if it has a pin and the tree says where that goes.
    pub fn interrupt(&self, tree: &Tree, bdf: Bdf) -> Result<Option<GicInterrupt>, String> {
        let Some((device, pin)) = self.fabric.pin_at_root(bdf) else {
            return Ok(None);
        };
        let host = tree.node(self.node);
        let root_bus = self.fabric.roots.first().copied().unwrap_or_default();
        let interrupt = host
            .pci_gic_interrupt(root_bus, device, 0, pin as u8)
            .map_err(|error| error.to_string())?;
        if !gic::is_shared(interrupt.intid) {
            return Err(format!(
                "interrupt-map leads to {}, which each CPU has for itself",
                interrupt.intid
            ));
        }
        Ok(Some(interrupt))
    }
}

/// A function cannot be given to a guest as it is.
#[derive(Debug, thiserror::Error)]
pub enum FunctionError {
    /// It is virtio, and not fit for it.
    #[error(transparent)]
    Virtio(#[from] VirtioError),
    /// It is not what it was before its reset.
    #[error(transparent)]
    Reset(#[from] ResetError),
    /// Its registers cannot be reached.
    #[error(transparent)]
    Map(#[from] mmu::MapError),
}

impl HostBridge {
    /// Makes a function ready for a guest: checked, if an SMMU is to see its DMA, and reset. No guest may have it.
    ///
    /// # Errors
    /// No guest may get it.
    pub fn prepare(&self, bdf: Bdf, isolated: bool) -> Result<(), FunctionError> {
        let Some(function) = self.fabric.get(bdf).filter(|function| function.bridge.is_none()) else {
            return Ok(());
        };
        if isolated && function.is_virtio() {
            self.with_common(function, |common| common.check_access_platform())??;
        }
        if self.reset(bdf)? == Reset::Quiet {
            log::info!(target: "pci", "{:04x}:{bdf}: has no reset of its own: what was in its registers stays there", self.segment);
        }
        Ok(())
    }

    /// Resets a function, by PCI's means or its own, or makes it quiet at least. Takes more than 100 ms.
    ///
    /// # Errors
    /// It is not what it was, and no guest may get it.
    pub fn reset(&self, bdf: Bdf) -> Result<Reset, FunctionError> {
        let done = self.fabric.reset(&self.config, &timer::Now, bdf)?;
        match self.fabric.get(bdf) {
            Some(function) if done == Reset::Quiet && function.is_virtio() => {
                self.with_common(function, |common| common.reset(&timer::Now))??;
                Ok(Reset::Done)
            }
            _ => Ok(done),
        }
    }

    fn with_common<R>(
        &self,
        function: &Function,
        work: impl FnOnce(&Common<'_, Region>) -> R,
    ) -> Result<R, FunctionError> {
        let (address, size) = virtio::common_configuration(function)?;
        let cpu = self
            .windows
            .iter()
            .find_map(|window| window.to_cpu(address, size));
        let cpu = cpu.ok_or(VirtioError::NoAnswer)?;
        // A page is what is mapped.
        let inside = usize::try_from(cpu).unwrap_or(0) % mmu::PAGE;
        Ok(mmu::with_device(cpu, size, |region| {
            work(&Common::new(region, inside))
        })?)
    }

    /// Makes a function stand as its guest wants it and may have it.
    pub fn switch(&self, bdf: Bdf, switches: &Switches) {
        let (fabric, config) = (&self.fabric, &self.config);
        if !switches.bus_master {
            fabric.set_bus_master(config, bdf, false);
        }
        if let Some(msi) = &switches.msi {
            fabric.set_msi(config, bdf, msi);
        }
        if let Some(msi_x) = switches.msi_x {
            fabric.set_msi_x(config, bdf, msi_x);
        }
        fabric.set_intx(config, bdf, switches.intx);
        if switches.bus_master {
            fabric.set_bus_master(config, bdf, true);
        }
    }
}

fn window(window: &devicetree::PciWindow) -> Option<Window> {
    let space = match window.space {
        PciSpace::Config | PciSpace::Io => return None,
        PciSpace::Memory32 => Space::Memory32,
        PciSpace::Memory64 => Space::Memory64,
    };
    Some(Window {
        space,
        pci: window.bus_address,
        cpu: window.cpu.address(),
        size: window.cpu.size(),
    })
}
