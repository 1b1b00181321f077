//! Interrupts: who takes them, and as what (DTSpec 2.4).

use alloc::vec;
use alloc::vec::Vec;

use crate::error::{Problem, ReadError};
use crate::gic::{GicInterrupt, decode_gic};
use crate::nexus::InterruptMaps;
use crate::node::Node;
use crate::property::{Cells, Property};

/// How many interrupt parents a search follows before it calls them a loop.
const MAX_HOPS: usize = 64;
/// The most cells of a unit address or specifier. GICs have 4.
const MAX_CELLS: u32 = 8;
/// The most interrupts of one node, and the most entries of one map, that are read. It bounds the time that a tree
/// can cost; a GIC has about a thousand interrupts.
const MAX_ENTRIES: usize = 1024;

/// An interrupt at the controller that takes it, behind all maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt<'t> {
    /// The controller.
    pub controller: Node<'t>,
    /// The controller's own specifier.
    pub cells: Cells<'t>,
}

impl Interrupt<'_> {
    /// The interrupt as a GIC numbers it. Errors are about `property` of `node`.
    fn to_gic(self, node: &Node<'_>, property: &str) -> Result<GicInterrupt, ReadError> {
        if !self.controller.tree().is_gic(self.controller.id()) {
            return Err(node.error(
                property,
                Problem::NotGic {
                    controller: self.controller.path(),
                },
            ));
        }
        decode_gic(&self.cells).map_err(|error| node.error(property, error))
    }
}

impl<'t> Node<'t> {
    /// The node that takes its interrupts: a controller or a nexus.
    ///
    /// It is the `interrupt-parent` of the node or of the nearest node above that has one; a node above that is
    /// itself a controller or nexus comes first.
    ///
    /// # Errors
    /// There is none, or a phandle on the way names no node.
    pub fn interrupt_parent(&self) -> Result<Node<'t>, ReadError> {
        let mut node = *self;
        for _ in 0..MAX_HOPS {
            let next = match node.property("interrupt-parent") {
                Some(property) => Some(target(&property, property.u32()?)?),
                None => node.parent(),
            };
            node = next.ok_or_else(|| self.error("interrupt-parent", Problem::NoInterruptParent))?;
            if node.has("#interrupt-cells") {
                return Ok(node);
            }
        }
        Err(self.error("interrupt-parent", Problem::InterruptLoop { limit: MAX_HOPS }))
    }

    /// Its interrupts in the order of `interrupts-extended`, or else of `interrupts`; none if it has neither.
    ///
    /// # Errors
    /// The list is malformed, or an interrupt reaches no controller.
    pub fn interrupts(&self) -> Result<Vec<Interrupt<'t>>, ReadError> {
        self.interrupts_with(&mut InterruptMaps::default())
    }

    fn interrupts_with(&self, maps: &mut InterruptMaps<'t>) -> Result<Vec<Interrupt<'t>>, ReadError> {
        if let Some(property) = self.property("interrupts-extended") {
            return self.extended_interrupts(maps, &property);
        }
        let Some(property) = self.property("interrupts") else {
            return Ok(Vec::new());
        };
        let parent = self.interrupt_parent()?;
        let entry = interrupt_cells(&parent)?;
        bounded(&property, property.cells()?.len() / entry.max(1))?;
        property
            .entries(entry)?
            .map(|cells| self.at_controller(maps, &property, parent, cells))
            .collect()
    }

    /// Its interrupts, all of which must go to a GIC.
    ///
    /// # Errors
    /// As [`Node::interrupts`]; or one goes elsewhere, or names no interrupt.
    pub fn gic_interrupts(&self) -> Result<Vec<GicInterrupt>, ReadError> {
        self.gic_interrupts_with(&mut InterruptMaps::default())
    }

    /// [`Node::gic_interrupts`] for one of many nodes: `maps` keeps what was read on the way.
    ///
    /// # Errors
    /// As there.
    pub fn gic_interrupts_with(&self, maps: &mut InterruptMaps<'t>) -> Result<Vec<GicInterrupt>, ReadError> {
        let property = self.interrupts_property();
        self.interrupts_with(maps)?
            .into_iter()
            .map(|interrupt| interrupt.to_gic(self, property))
            .collect()
    }

    /// The interrupt that `interrupt-names` calls `name`, at its GIC.
    ///
    /// # Errors
    /// As [`Node::gic_interrupts`]; or the list of names is longer than that of interrupts.
    pub fn gic_interrupt_by_name(&self, name: &str) -> Result<Option<GicInterrupt>, ReadError> {
        self.gic_interrupt_by_name_with(&mut InterruptMaps::default(), name)
    }

    /// [`Node::gic_interrupt_by_name`] for one of many questions: `maps` keeps what was read on the way.
    ///
    /// # Errors
    /// As there.
    pub fn gic_interrupt_by_name_with(
        &self,
        maps: &mut InterruptMaps<'t>,
        name: &str,
    ) -> Result<Option<GicInterrupt>, ReadError> {
        let Some(names) = self.property("interrupt-names") else {
            return Ok(None);
        };
        let Some(index) = names.texts().position(|candidate| candidate == name) else {
            return Ok(None);
        };
        let interrupts = self.gic_interrupts_with(maps)?;
        let missing = || {
            self.error(
                self.interrupts_property(),
                Problem::NoEntry {
                    entries: interrupts.len(),
                    index,
                },
            )
        };
        interrupts.get(index).copied().map(Some).ok_or_else(missing)
    }

    /// Where the interrupt pin of a PCI function goes, for a host bridge or bridge with an `interrupt-map`.
    ///
    /// `device` and `function` are those on the bus of this node: for a function behind bridges without node, the
    /// caller first follows the swizzle of the pins up to this bus. Pins count from 1, for INTA.
    ///
    /// # Errors
    /// There is no map or no entry for the pin, or the map is malformed.
    pub fn pci_interrupt(
        &self,
        bus: u8,
        device: u8,
        function: u8,
        pin: u8,
    ) -> Result<Interrupt<'t>, ReadError> {
        // The first cell of a PCI address (IEEE 1275 PCI binding 2.2.1.1): bus, device and function.
        let unit = u32::from(bus) << 16 | u32::from(device & 0x1f) << 11 | u32::from(function & 7) << 8;
        let property = self.required("interrupt-map")?;
        InterruptMaps::default().follow(&property, *self, vec![unit, 0, 0, u32::from(pin)])
    }

    /// [`Node::pci_interrupt`] at its GIC.
    ///
    /// # Errors
    /// As there; or it does not go to a GIC, or names no interrupt.
    pub fn pci_gic_interrupt(
        &self,
        bus: u8,
        device: u8,
        function: u8,
        pin: u8,
    ) -> Result<GicInterrupt, ReadError> {
        self.pci_interrupt(bus, device, function, pin)?
            .to_gic(self, "interrupt-map")
    }

    fn interrupts_property(&self) -> &'static str {
        if self.has("interrupts-extended") {
            "interrupts-extended"
        } else {
            "interrupts"
        }
    }

    fn extended_interrupts(
        &self,
        maps: &mut InterruptMaps<'t>,
        property: &Property<'t>,
    ) -> Result<Vec<Interrupt<'t>>, ReadError> {
        let cells = property.cells()?;
        let mut found = Vec::new();
        let mut at = 0;
        while let Some(phandle) = cells.get(at) {
            bounded(property, found.len() + 1)?;
            let parent = target(property, phandle)?;
            let count = interrupt_cells(&parent)?;
            let short = || {
                property.error(Problem::PartialEntry {
                    cells: cells.len() - at,
                    entry: count + 1,
                })
            };
            let specifier = cells.part(at + 1, count).ok_or_else(short)?;
            found.push(self.at_controller(maps, property, parent, specifier)?);
            at += 1 + count;
        }
        Ok(found)
    }

    /// Takes one of its own interrupts from its interrupt parent to the controller.
    fn at_controller(
        &self,
        maps: &mut InterruptMaps<'t>,
        property: &Property<'t>,
        parent: Node<'t>,
        cells: Cells<'t>,
    ) -> Result<Interrupt<'t>, ReadError> {
        if parent.has("interrupt-controller") {
            return Ok(Interrupt {
                controller: parent,
                cells,
            });
        }
        // A map selects by the unit address as well, which is the first address in `reg`.
        let count = unit_cells(&parent)?;
        let reg = self.cells("reg")?.unwrap_or_default();
        let unit = reg.part(0, count);
        let mut key = unit.map_or_else(|| vec![0; count], |unit| unit.iter().collect());
        key.extend(cells.iter());
        maps.follow(property, parent, key)
    }
}

/// Refuses lists that are longer than any real one.
pub(crate) fn bounded(property: &Property<'_>, entries: usize) -> Result<(), ReadError> {
    if entries <= MAX_ENTRIES {
        Ok(())
    } else {
        Err(property.error(Problem::TooMany {
            entries,
            limit: MAX_ENTRIES,
        }))
    }
}

/// How many cells an interrupt has at this controller or nexus.
pub(crate) fn interrupt_cells(parent: &Node<'_>) -> Result<usize, ReadError> {
    let property = parent.required("#interrupt-cells")?;
    small(&property, property.u32()?)
}

/// How many cells a unit address has in front of an interrupt at this controller or nexus.
pub(crate) fn unit_cells(parent: &Node<'_>) -> Result<usize, ReadError> {
    match parent.property("#address-cells") {
        None => Ok(0),
        Some(property) => small(&property, property.u32()?),
    }
}

/// A cell count that is not larger than any real one.
fn small(property: &Property<'_>, value: u32) -> Result<usize, ReadError> {
    if value <= MAX_CELLS {
        Ok(value as usize)
    } else {
        Err(property.error(Problem::CellCount {
            value,
            limit: MAX_CELLS,
        }))
    }
}

/// The node that a phandle in `property` names.
pub(crate) fn target<'t>(property: &Property<'t>, phandle: u32) -> Result<Node<'t>, ReadError> {
    let node = property.node().tree().by_phandle(phandle);
    node.map_err(|error| property.error(error))
}
