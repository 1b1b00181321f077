//! The guest's machine, from its device tree.

use crate::interrupts::Interrupts;
use crate::pci::{Function, Pci};
use crate::ram::Page;
use core::ops::Range;
use fdt::Fdt;
use fdt::node::FdtNode;

/// Everything a guest's program works with.
#[derive(Debug)]
pub struct Machine {
    /// The guest's RAM.
    pub memory: Range<u64>,
    /// `/chosen/bootargs`.
    pub bootargs: &'static str,
    /// The GIC and the timer.
    pub interrupts: Interrupts,
    /// The PCI host bridge, if there is one.
    pub pci: Option<Pci>,
    tree: Fdt<'static>,
    /// Where the device tree lies.
    tree_at: Range<u64>,
}

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
}

impl Machine {
    /// Reads the tree; says what it lacks.
    pub(crate) fn from_device_tree(address: usize) -> Result<Machine, &'static str> {
        // SAFETY: the hypervisor puts a device tree at the address it passes; nobody writes it.
        let tree = unsafe { Fdt::from_ptr(address as *const u8) }.map_err(|_| "device tree")?;
        let memory = tree
            .find_node("/memory")
            .and_then(|node| first_reg(node))
            .ok_or("memory")?;
        let bootargs = property(tree.find_node("/chosen"), "bootargs")
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .map_or("", |text| text.trim_end_matches('\0'));
        let gicv3 = tree.find_compatible(&["arm,gic-v3"]);
        let gic = gicv3
            .or_else(|| tree.find_compatible(&["arm,gic-400"]))
            .ok_or("GIC")?;
        let mut frames = gic
            .reg()
            .ok_or("registers of the GIC")?
            .map(|region| region.starting_address as u64);
        let (distributor, second) = frames.next().zip(frames.next()).ok_or("registers of the GIC")?;
        let ecam = tree
            .find_compatible(&["pci-host-ecam-generic"])
            .and_then(first_reg);
        Ok(Machine {
            memory,
            bootargs,
            interrupts: if gicv3.is_some() {
                // SAFETY: the device tree says so.
                unsafe { Interrupts::enable_gicv3(distributor, second) }
            } else {
                // SAFETY: the device tree says so.
                unsafe { Interrupts::enable_gicv2(distributor, second) }
            },
            // SAFETY: the device tree says so.
            pci: ecam.map(|ecam| unsafe { Pci::new(ecam.start) }),
            tree_at: address as u64..(address + tree.total_size()) as u64,
            tree,
        })
    }

    /// Where the interrupt translation service lies.
    pub(crate) fn translation_service(&self) -> Option<u64> {
        let node = self.tree.find_compatible(&["arm,gic-v3-its"])?;
        Some(first_reg(node)?.start)
    }

    /// The value of `NAME=0x...` in the bootargs.
    pub fn argument(&self, name: &str) -> Option<u64> {
        let value = self
            .bootargs
            .split(' ')
            .find_map(|word| word.strip_prefix(name)?.strip_prefix("=0x"))?;
        u64::from_str_radix(value, 16).ok()
    }

    /// `size` bytes of RAM from `offset` on; `None` if they are not there, or the image or the tree lies in them.
    pub fn page(&self, offset: u64, size: u64) -> Option<Page> {
        let start = self.memory.start.checked_add(offset)?;
        let wanted = start..start.checked_add(size)?;
        let image = (&raw const image_start).addr() as u64..(&raw const image_end).addr() as u64;
        let free = |used: &Range<u64>| wanted.end <= used.start || used.end <= wanted.start;
        if wanted.end > self.memory.end || !free(&image) || !free(&self.tree_at) {
            return None;
        }
        let (address, size) = (usize::try_from(start).ok()?, usize::try_from(size).ok()?);
        // SAFETY: it is RAM, and checked above to hold neither this program nor the tree.
        Some(unsafe { Page::new(address, size) })
    }

    /// The first device of that kind on a bus of the machine's, with the bus and what is around that.
    pub(crate) fn on_a_bus(&self, compatible: &str) -> Option<[FdtNode<'_, 'static>; 3]> {
        let machine = self.tree.find_node("/machine")?;
        let is_that = |node: &FdtNode<'_, 'static>| {
            node.compatible()
                .is_some_and(|all| all.all().any(|one| one == compatible))
        };
        machine
            .children()
            .find_map(|bus| Some([machine, bus, bus.children().find(is_that)?]))
    }

    /// The interrupt that the pin of `function` raises (PCI bus binding, `interrupt-map`).
    pub fn interrupt_of(&self, function: Function) -> Option<u32> {
        let pin = self.pci?.pin(function);
        let bridge = self.tree.find_compatible(&["pci-host-ecam-generic"])?;
        let mut mask = cells(property(Some(bridge), "interrupt-map-mask")?);
        let (device_mask, pin_mask) = (mask.next()?, mask.nth(2)?);
        let mut map = cells(property(Some(bridge), "interrupt-map")?);
        loop {
            // Child address (3 cells), pin, parent, parent address, specifier: SPI, number, flags.
            let (device, entry_pin, parent) = (map.next()?, map.nth(2)?, map.next()?);
            let gic = self.tree.find_phandle(parent)?;
            let address_cells = property(Some(gic), "#address-cells").and_then(|bytes| cells(bytes).next());
            let number = map.nth(address_cells.unwrap_or(0) as usize + 1)?;
            let _flags = map.next()?;
            if device == function.cell() & device_mask && entry_pin == pin & pin_mask {
                return Some(32 + number);
            }
        }
    }
}

pub(crate) fn property(node: Option<FdtNode<'_, 'static>>, name: &str) -> Option<&'static [u8]> {
    node?.property(name).map(|property| property.value)
}

pub(crate) fn cells(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes
        .chunks_exact(4)
        .filter_map(|cell| Some(u32::from_be_bytes(cell.try_into().ok()?)))
}

fn first_reg(node: FdtNode<'_, 'static>) -> Option<Range<u64>> {
    let region = node.reg()?.next()?;
    let start = region.starting_address as u64;
    Some(start..start.checked_add(region.size? as u64)?)
}
