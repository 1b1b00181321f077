//! The device tree that a guest is given.
//!
//! Bindings: Devicetree Specification v0.4, and of Linux' `Documentation/devicetree/bindings`:
//! `interrupt-controller/arm,gic-v3.yaml`, `interrupt-controller/arm,gic.yaml`, `timer/arm,arch_timer.yaml`, `arm/psci.yaml`, `serial/pl011.yaml`,
//! `pci/host-generic-pci.yaml`, `pci/pci-msi.txt`.

use crate::layout::{self, Layout};
use crate::vgic::{MOST_V2_VCPUS, Version};
use crate::{its, pl011, vgic};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use pci::{Bdf, Pin, Space, Window};
use vm_fdt::FdtWriter;

mod copied;
#[cfg(test)]
mod tests;

pub use copied::{Copied, left_out};

/// What a guest's machine consists of, apart from what every guest has.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// The vCPUs' affinities, in the form of MPIDR_EL1; the first one boots.
    pub affinities: &'a [u64],
    /// RAM: guest physical address and size of each bank.
    pub memory: &'a [(u64, u64)],
    /// The command line.
    pub bootargs: &'a str,
    /// Guest physical address and size of an initial RAM disk.
    pub initrd: Option<(u64, u64)>,
    /// PCI, when the guest has functions.
    pub pci: Option<Pci<'a>>,
    /// Devices of the machine that are the guest's as they are.
    pub copied: &'a [Copied<'a>],
    /// Which interrupt controller it is.
    pub gic: vgic::Version,
    /// Whether there is an ITS, to which the functions' messages go.
    pub its: bool,
    /// Random bytes for the guest; without them a Linux guest's random numbers are slow to start.
    pub seed: Option<&'a [u8; 32]>,
}

/// A guest's PCI host bridge.
#[derive(Debug, Clone, Copy)]
pub struct Pci<'a> {
    /// The highest bus number; the lowest is zero.
    pub last_bus: u8,
    /// What the bridge decodes, with guest physical addresses for `cpu`. I/O windows are left out.
    pub windows: &'a [Window],
    /// The SPI of each function's INTx pin: place in the guest's segment, pin, INTID.
    pub interrupts: &'a [(Bdf, Pin, u32)],
    /// There are hot-plug slots. Their bus numbers and windows are fixed, so the guest is told to leave them.
    pub has_slots: bool,
}

/// The device tree cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the guest's device tree cannot be written: {0}")]
pub struct Error(vm_fdt::Error);

impl From<vm_fdt::Error> for Error {
    fn from(error: vm_fdt::Error) -> Error {
        Error(error)
    }
}

// Phandles that no compiler gives to a node: what a copied node refers to is then nowhere, and not something else.
const GIC: u32 = 0x7000_0001;
const CLOCK: u32 = 0x7000_0002;
const ITS: u32 = 0x7000_0003;
/// Interrupt specifiers of the GIC: type, number, trigger (level, active high).
const SPI: u32 = 0;
const PPI: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// The UART's reference clock. Any value serves; without one Linux' driver stays silent.
const UART_CLOCK_HZ: u32 = 24_000_000;

/// How much of the seed is for the place of Linux' kernel; the rest is for its generator.
const KASLR_SEED_SIZE: usize = 8;

/// Puts another seed in the place of the one that `blob` was written with.
pub fn change_seed(blob: &mut [u8], old: &[u8; 32], new: &[u8; 32]) {
    let (old, new) = (old.split_at(KASLR_SEED_SIZE), new.split_at(KASLR_SEED_SIZE));
    for (old, new) in [(old.0, new.0), (old.1, new.1)] {
        let at = blob.windows(old.len()).position(|bytes| bytes == old);
        if let Some(place) = at.and_then(|at| blob.get_mut(at..at + new.len())) {
            place.copy_from_slice(new);
        }
    }
}

/// Writes the blob for `machine`.
///
/// # Errors
/// A string with a NUL in it, or a tree beyond 4 GiB.
pub fn device_tree(machine: &Machine<'_>) -> Result<Vec<u8>, Error> {
    let ecam_size = machine.pci.map_or(0, |pci| (u64::from(pci.last_bus) + 1) << 20);
    let layout = Layout {
        gic: machine.gic,
        vcpus: machine.affinities.len(),
        ecam_size,
        its: machine.its,
    };
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string("compatible", "portcullis,guest-1")?;
    fdt.property_string("model", "Portcullis guest")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("interrupt-parent", GIC)?;
    chosen(&mut fdt, machine)?;
    memory(&mut fdt, machine)?;
    cpus(&mut fdt, machine)?;
    firmware(&mut fdt)?;
    timer(&mut fdt, &layout)?;
    interrupt_controller(&mut fdt, &layout)?;
    uart(&mut fdt)?;
    if let Some(pci) = &machine.pci {
        host_bridge(&mut fdt, pci, ecam_size, machine.its)?;
    }
    copied::write(&mut fdt, machine.copied)?;
    fdt.end_node(root)?;
    Ok(fdt.finish()?)
}

fn chosen(fdt: &mut FdtWriter, machine: &Machine<'_>) -> Result<(), Error> {
    let node = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", machine.bootargs)?;
    fdt.property_string("stdout-path", &format!("/pl011@{:x}", layout::UART))?;
    if machine.pci.is_some_and(|pci| pci.has_slots) {
        fdt.property_u32("linux,pci-probe-only", 1)?;
    }
    if let Some((start, size)) = machine.initrd {
        fdt.property_u64("linux,initrd-start", start)?;
        fdt.property_u64("linux,initrd-end", start.saturating_add(size))?;
    }
    if let Some(seed) = machine.seed {
        let (kaslr, rng) = seed.split_at(KASLR_SEED_SIZE);
        fdt.property("kaslr-seed", kaslr)?;
        fdt.property("rng-seed", rng)?;
    }
    Ok(fdt.end_node(node)?)
}

fn memory(fdt: &mut FdtWriter, machine: &Machine<'_>) -> Result<(), Error> {
    let Some((first, _)) = machine.memory.first() else {
        return Ok(());
    };
    let node = fdt.begin_node(&format!("memory@{first:x}"))?;
    fdt.property_string("device_type", "memory")?;
    let reg: Vec<u64> = machine
        .memory
        .iter()
        .flat_map(|(start, size)| [*start, *size])
        .collect();
    fdt.property_array_u64("reg", &reg)?;
    Ok(fdt.end_node(node)?)
}

fn cpus(fdt: &mut FdtWriter, machine: &Machine<'_>) -> Result<(), Error> {
    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 0)?;
    for affinity in machine.affinities {
        let cpu = fdt.begin_node(&format!("cpu@{affinity:x}"))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", "arm,armv8")?;
        fdt.property_u64("reg", *affinity)?;
        fdt.property_string("enable-method", "psci")?;
        fdt.end_node(cpu)?;
    }
    Ok(fdt.end_node(cpus)?)
}

fn firmware(fdt: &mut FdtWriter) -> Result<(), Error> {
    let psci = fdt.begin_node("psci")?;
    fdt.property_string_list("compatible", strings(["arm,psci-1.0", "arm,psci-0.2"]))?;
    fdt.property_string("method", "hvc")?;
    Ok(fdt.end_node(psci)?)
}

fn timer(fdt: &mut FdtWriter, layout: &Layout) -> Result<(), Error> {
    let timer = fdt.begin_node("timer")?;
    fdt.property_string("compatible", "arm,armv8-timer")?;
    // Secure, physical, virtual, hypervisor: the binding's order. Only the virtual one is the guest's.
    let flags = LEVEL_HIGH | private_targets(layout);
    let interrupts = [29, 30, layout::TIMER_INTERRUPT, 26].map(|intid| [PPI, intid - 16, flags]);
    fdt.property_array_u32("interrupts", interrupts.as_flattened())?;
    fdt.property_null("always-on")?;
    Ok(fdt.end_node(timer)?)
}

/// In the specifier of a PPI of a GICv2: the CPUs that have it, from bit 8 on.
fn private_targets(layout: &Layout) -> u32 {
    match layout.gic {
        Version::V2 => (0..layout.vcpus.min(MOST_V2_VCPUS)).fold(0, |mask, vcpu| mask | 1 << (8 + vcpu)),
        Version::V3 => 0,
    }
}

fn interrupt_controller(fdt: &mut FdtWriter, layout: &Layout) -> Result<(), Error> {
    let gic = fdt.begin_node(&format!("interrupt-controller@{:x}", layout::DISTRIBUTOR))?;
    match layout.gic {
        Version::V2 => {
            fdt.property_string_list("compatible", strings(["arm,gic-400", "arm,cortex-a15-gic"]))?;
        }
        Version::V3 => fdt.property_string("compatible", "arm,gic-v3")?,
    }
    fdt.property_null("interrupt-controller")?;
    fdt.property_u32("#interrupt-cells", 3)?;
    // Without it an `interrupt-map` cannot name this controller.
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;
    let windows = layout.windows().into_iter();
    let own = windows.filter(|(device, _, size)| {
        use layout::Device::{CpuInterface, Distributor, Redistributors};
        matches!(device, Distributor | Redistributors | CpuInterface) && *size != 0
    });
    let reg: Vec<u64> = own.flat_map(|(_, start, size)| [start, size]).collect();
    fdt.property_array_u64("reg", &reg)?;
    fdt.property_phandle(GIC)?;
    if layout.its {
        // Its addresses are those of the root.
        fdt.property_null("ranges")?;
        translation_service(fdt)?;
    }
    Ok(fdt.end_node(gic)?)
}

fn translation_service(fdt: &mut FdtWriter) -> Result<(), Error> {
    let its = fdt.begin_node(&format!("msi-controller@{:x}", layout::ITS))?;
    fdt.property_string("compatible", "arm,gic-v3-its")?;
    fdt.property_null("msi-controller")?;
    fdt.property_u32("#msi-cells", 1)?;
    fdt.property_array_u64("reg", &[layout::ITS, its::SIZE])?;
    fdt.property_phandle(ITS)?;
    Ok(fdt.end_node(its)?)
}

fn uart(fdt: &mut FdtWriter) -> Result<(), Error> {
    let clock = fdt.begin_node("clock-uart")?;
    fdt.property_string("compatible", "fixed-clock")?;
    fdt.property_u32("#clock-cells", 0)?;
    fdt.property_u32("clock-frequency", UART_CLOCK_HZ)?;
    fdt.property_phandle(CLOCK)?;
    fdt.end_node(clock)?;

    let uart = fdt.begin_node(&format!("pl011@{:x}", layout::UART))?;
    fdt.property_string_list("compatible", strings(["arm,pl011", "arm,primecell"]))?;
    fdt.property_array_u64("reg", &[layout::UART, pl011::SIZE])?;
    fdt.property_array_u32(
        "interrupts",
        &[SPI, layout::UART_INTERRUPT - vgic::PRIVATE, LEVEL_HIGH],
    )?;
    fdt.property_array_u32("clocks", &[CLOCK, CLOCK])?;
    fdt.property_string_list("clock-names", strings(["uartclk", "apb_pclk"]))?;
    Ok(fdt.end_node(uart)?)
}

fn host_bridge(fdt: &mut FdtWriter, pci: &Pci<'_>, ecam_size: u64, its: bool) -> Result<(), Error> {
    let node = fdt.begin_node(&format!("pcie@{:x}", layout::ECAM))?;
    fdt.property_string("compatible", "pci-host-ecam-generic")?;
    fdt.property_string("device_type", "pci")?;
    fdt.property_u32("linux,pci-domain", 0)?;
    fdt.property_array_u64("reg", &[layout::ECAM, ecam_size])?;
    fdt.property_array_u32("bus-range", &[0, u32::from(pci.last_bus)])?;
    fdt.property_u32("#address-cells", 3)?;
    fdt.property_u32("#size-cells", 2)?;
    fdt.property_u32("#interrupt-cells", 1)?;
    fdt.property_null("dma-coherent")?;
    let windows = pci.windows.iter().filter(|window| window.space != Space::Io);
    let ranges: Vec<u32> = windows.flat_map(range).collect();
    fdt.property_array_u32("ranges", &ranges)?;
    let map: Vec<u32> = pci.interrupts.iter().flat_map(interrupt).collect();
    fdt.property_array_u32("interrupt-map", &map)?;
    // Bus, device and function, and the pin, decide.
    fdt.property_array_u32("interrupt-map-mask", &[0xffff00, 0, 0, 7])?;
    if its {
        // A function's device ID is its requester ID.
        fdt.property_array_u32("msi-map", &[0, ITS, 0, 0x1_0000])?;
    }
    Ok(fdt.end_node(node)?)
}

/// One entry of `ranges`: PCI address (its first cell says which space), CPU address, size.
fn range(window: &Window) -> [u32; 7] {
    let space = match window.space {
        Space::Io => 0x0100_0000,
        Space::Memory32 => 0x0200_0000,
        Space::Memory64 => 0x0300_0000,
    };
    let [pci_high, pci_low] = cells(window.pci);
    let [cpu_high, cpu_low] = cells(window.cpu);
    let [size_high, size_low] = cells(window.size);
    [space, pci_high, pci_low, cpu_high, cpu_low, size_high, size_low]
}

/// One entry of `interrupt-map`: function, pin, controller with its address, specifier.
fn interrupt((bdf, pin, intid): &(Bdf, Pin, u32)) -> [u32; 10] {
    let function = u32::from(bdf.requester_id()) << 8;
    let spi = intid.saturating_sub(vgic::PRIVATE);
    [function, 0, 0, *pin as u32, GIC, 0, 0, SPI, spi, LEVEL_HIGH]
}

/// High and low half.
fn cells(value: u64) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    [u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h])]
}

fn strings<const N: usize>(list: [&str; N]) -> Vec<String> {
    list.map(String::from).to_vec()
}
