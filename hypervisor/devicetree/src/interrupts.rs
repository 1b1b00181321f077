//! Interrupts: who takes them, and as what (DTSpec 2.4).

use alloc::vec;
use alloc::vec::Vec;

use crate::error::{Problem, ReadError};
use crate::gic::{GIC_COMPATIBLES, GicInterrupt, decode_gic};
use crate::node::Node;
use crate::property::{Cells, Property};

/// How many interrupt maps or parents a search follows before it calls them a loop.
const MAX_HOPS: usize = 64;
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
        if !self.controller.is_compatible(&GIC_COMPATIBLES) {
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
        if let Some(property) = self.property("interrupts-extended") {
            return self.extended_interrupts(&property);
        }
        let Some(property) = self.property("interrupts") else {
            return Ok(Vec::new());
        };
        let parent = self.interrupt_parent()?;
        let entry = interrupt_cells(&parent)?;
        bounded(&property, property.cells()?.len() / entry.max(1))?;
        property
            .entries(entry)?
            .map(|cells| self.at_controller(&property, parent, cells))
            .collect()
    }

    /// Its interrupts, all of which must go to a GIC.
    ///
    /// # Errors
    /// As [`Node::interrupts`]; or one goes elsewhere, or names no interrupt.
    pub fn gic_interrupts(&self) -> Result<Vec<GicInterrupt>, ReadError> {
        let property = self.interrupts_property();
        self.interrupts()?
            .into_iter()
            .map(|interrupt| interrupt.to_gic(self, property))
            .collect()
    }

    /// The interrupt that `interrupt-names` calls `name`, at its GIC.
    ///
    /// # Errors
    /// As [`Node::gic_interrupts`]; or the list of names is longer than that of interrupts.
    pub fn gic_interrupt_by_name(&self, name: &str) -> Result<Option<GicInterrupt>, ReadError> {
        let Some(names) = self.property("interrupt-names") else {
            return Ok(None);
        };
        let Some(index) = names.texts().position(|candidate| candidate == name) else {
            return Ok(None);
        };
        let interrupts = self.gic_interrupts()?;
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
        self.through_maps(&property, *self, vec![unit, 0, 0], vec![u32::from(pin)])
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

    fn extended_interrupts(&self, property: &Property<'t>) -> Result<Vec<Interrupt<'t>>, ReadError> {
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
            found.push(self.at_controller(property, parent, specifier)?);
            at += 1 + count;
        }
        Ok(found)
    }

    /// Takes one of its own interrupts from its interrupt parent to the controller.
    fn at_controller(
        &self,
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
        let count = parent.u32("#address-cells")?.unwrap_or(0) as usize;
        let reg = self.cells("reg")?.unwrap_or_default();
        let unit = reg
            .part(0, count)
            .map_or_else(|| vec![0; count.min(4)], |unit| unit.iter().collect());
        self.through_maps(property, parent, unit, cells.iter().collect())
    }

    fn through_maps(
        &self,
        property: &Property<'t>,
        nexus: Node<'t>,
        unit: Vec<u32>,
        specifier: Vec<u32>,
    ) -> Result<Interrupt<'t>, ReadError> {
        let (mut nexus, mut unit, mut specifier) = (nexus, unit, specifier);
        for _ in 0..MAX_HOPS {
            let Some(map) = nexus.property("interrupt-map") else {
                return Err(property.error(Problem::NotController { node: nexus.path() }));
            };
            let entry = find_in_map(&map, nexus, &unit, &specifier)?;
            let entry = entry.ok_or_else(|| property.error(Problem::Unmapped { nexus: nexus.path() }))?;
            if entry.parent.has("interrupt-controller") {
                return Ok(Interrupt {
                    controller: entry.parent,
                    cells: entry.specifier,
                });
            }
            nexus = entry.parent;
            unit = entry.unit.iter().collect();
            specifier = entry.specifier.iter().collect();
        }
        Err(property.error(Problem::InterruptLoop { limit: MAX_HOPS }))
    }
}

/// The right-hand side of an `interrupt-map` entry.
struct MapEntry<'t> {
    parent: Node<'t>,
    unit: Cells<'t>,
    specifier: Cells<'t>,
}

/// The first entry of a nexus that matches under its `interrupt-map-mask`.
fn find_in_map<'t>(
    map: &Property<'t>,
    nexus: Node<'t>,
    unit: &[u32],
    specifier: &[u32],
) -> Result<Option<MapEntry<'t>>, ReadError> {
    let wanted = || unit.iter().chain(specifier).copied();
    let key = nexus.address_cells()? as usize;
    let key = key.saturating_add(interrupt_cells(&nexus)?);
    let mask = nexus.cells("interrupt-map-mask")?;
    let cells = map.cells()?;
    let mut at = 0;
    let mut entries = 0;
    while at < cells.len() {
        entries += 1;
        bounded(map, entries)?;
        let short = || {
            map.error(Problem::PartialEntry {
                cells: cells.len() - at,
                entry: key.saturating_add(1),
            })
        };
        let child = cells.part(at, key).ok_or_else(short)?;
        let parent = target(map, cells.get(at + key).ok_or_else(short)?)?;
        let unit_cells = parent.u32("#address-cells")?.unwrap_or(0) as usize;
        let specifier_cells = interrupt_cells(&parent)?;
        let unit = cells.part(at + key + 1, unit_cells).ok_or_else(short)?;
        let specifier = cells
            .part(at + key + 1 + unit_cells, specifier_cells)
            .ok_or_else(short)?;
        at += key + 1 + unit_cells + specifier_cells;

        // A mask that is too short masks nothing in the cells it lacks.
        let mask_of = |index| mask.and_then(|mask| mask.get(index)).unwrap_or(u32::MAX);
        let matches = child.iter().zip(wanted()).enumerate();
        if wanted().count() == key && matches.into_iter().all(|(i, (a, b))| (a ^ b) & mask_of(i) == 0) {
            return Ok(Some(MapEntry {
                parent,
                unit,
                specifier,
            }));
        }
    }
    Ok(None)
}

/// Refuses lists that are longer than any real one.
fn bounded(property: &Property<'_>, entries: usize) -> Result<(), ReadError> {
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
fn interrupt_cells(parent: &Node<'_>) -> Result<usize, ReadError> {
    Ok(parent.required("#interrupt-cells")?.u32()? as usize)
}

/// The node that a phandle in `property` names.
fn target<'t>(property: &Property<'t>, phandle: u32) -> Result<Node<'t>, ReadError> {
    property
        .node()
        .tree()
        .by_phandle(phandle)
        .map_err(|error| property.error(error))
}
