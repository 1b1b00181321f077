//! From the device tree to a machine: what the boot loader handed over, checked and put to use.

use crate::arch::mmu::{self, MapError};
use crate::arch::{PhysicalAddress, cpu, gic, image, native, percpu, smp};
use crate::console::{self, Uart};
use crate::memory::{self, FrameError, Ram};
use crate::power;
use crate::smmus::{self, Unit};
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::{
    AddressRange, Blob, EnableMethod, GateError, GicInterrupt, Node, ReadError, Tree, TreeError,
};

/// A UART on which a device tree that cannot be read is reported: it cannot say where one is. This is QEMU virt's, and it
/// is written to only if it identifies itself as a PL011.
const FALLBACK_UART: u64 = 0x0900_0000;

/// The machine, as far as the core itself needs it.
#[derive(Debug)]
pub struct Machine {
    /// The device tree.
    pub tree: Tree,
    /// The bundle that the boot loader passed as initrd.
    pub bundle: Option<&'static [u8]>,
    /// Its SMMUs, shut.
    pub smmus: Vec<Unit>,
    /// The interrupt of the console, if it has one.
    pub console: Option<GicInterrupt>,
}

/// Why the core cannot run here.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BootError {
    /// The boot loader passed no pointer to a tree, or none that can be one.
    #[error("the boot loader passed no device tree: x0 is {0:#x}, not a multiple of 8 in memory")]
    NoTree(PhysicalAddress),
    /// The blob is damaged.
    #[error("{1} (blob at {0:#x})")]
    Gate(PhysicalAddress, GateError),
    /// The blob cannot be read.
    #[error("{1} (blob at {0:#x})")]
    Tree(PhysicalAddress, TreeError),
    /// Something that the core needs is missing from the tree, or malformed.
    #[error("device tree: {0}")]
    Read(#[from] ReadError),
    /// The boot loader says that the bundle is where no memory is.
    #[error("device tree: /chosen: the bundle at {:#x}..{:#x} does not lie in memory", .0.address(), .0.end())]
    BundleOutsideMemory(AddressRange),
    /// Something cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// No frame pool.
    #[error(transparent)]
    Frames(#[from] FrameError),
    /// No interrupt controller.
    #[error(transparent)]
    Gic(#[from] gic::GicError),
}

/// Brings the machine up: map, tree, console, memory, interrupts, CPUs.
pub fn bring_up(device_tree: PhysicalAddress) -> Result<Machine, BootError> {
    mmu::init()?;
    let (tree, blob_range) = read_tree(device_tree)?;
    power::find(&tree);
    let console = find_console(&tree);
    announce(&tree)?;
    let bundle_range = tree.chosen().initrd()?.filter(|range| !range.is_empty());
    let memory = find_memory(&tree, blob_range, bundle_range)?;
    let bundle = match bundle_range {
        Some(range) if !memory.holds(&(range.address()..range.end())) => {
            return Err(BootError::BundleOutsideMemory(range));
        }
        Some(range) => Some(mmu::map_boot_data(native(range.address())..native(range.end()))?),
        None => None,
    };
    memory.install();
    memory::create_pool()?;
    // Before anything else may run, and before the bindings are read.
    let smmus = smmus::shut_all(&tree);
    gic::init(&tree)?;
    gic::init_cpu()?;
    percpu::this().set_online();
    smp::start_all(&tree)?;
    let machine = Machine {
        tree,
        bundle,
        smmus,
        console,
    };
    describe(&machine);
    Ok(machine)
}

/// Prints the line that a run begins with.
fn announce(tree: &Tree) -> Result<(), ReadError> {
    log::info!(
        target: "",
        "portcullis {} at EL2, {} CPUs, image {} KiB at {:#x}",
        env!("CARGO_PKG_VERSION"),
        tree.cpus()?.len(),
        image::file_size() >> 10,
        image::whole().start
    );
    Ok(())
}

/// Prints what the machine has.
fn describe(machine: &Machine) {
    let (ram, free) = memory::ram_usage();
    log::info!(
        target: "memory",
        "{} MiB, {} MiB of it free for guests, {}-bit addresses",
        ram >> 20,
        free >> 20,
        cpu::physical_address_bits()
    );
    log::info!(target: "cpu", "{} running", percpu::online().count());
    let (nodes, bundle) = (
        machine.tree.blob().node_count(),
        machine.bundle.map_or(0, <[u8]>::len),
    );
    log::info!(target: "boot", "device tree of {nodes} nodes, bundle of {} KiB", bundle >> 10);
}

/// Says why the core cannot run, on whatever console there is, and ends the run.
pub fn fail(error: &BootError) -> ! {
    if !console::is_ready()
        && let Ok(uart) = mmu::map_device(FALLBACK_UART, console::WINDOW)
    {
        console::init_if_present(uart);
    }
    log::error!(target: "boot", "{error}");
    log::info!(target: "boot", "the core stops here");
    power::off()
}

fn read_tree(address: PhysicalAddress) -> Result<(Tree, Range<PhysicalAddress>), BootError> {
    if address == 0 || !address.is_multiple_of(8) || address >> cpu::physical_address_bits() != 0 {
        return Err(BootError::NoTree(address));
    }
    let gate = |error| BootError::Gate(address, error);
    let prefix = mmu::map_boot_data(address..address + Blob::PREFIX)?;
    let size = Blob::declared_size(prefix).map_err(gate)?;
    let range = address..address.saturating_add(size);
    let blob = Blob::new(mmu::map_boot_data(range.clone())?).map_err(gate)?;
    Ok((
        Tree::new(blob).map_err(|error| BootError::Tree(address, error))?,
        range,
    ))
}

/// The console that the boot loader chose, if it is of a kind that the core drives; else the machine's first one by its
/// aliases; else the first one of the tree; else none. Returns its interrupt.
fn find_console(tree: &Tree) -> Option<GicInterrupt> {
    let known: Vec<&str> = console::compatible().collect();
    let is_usable = |node: &Node<'_>| node.is_compatible(&known) && node.is_enabled();
    let chosen = tree.chosen().stdout().map(|(node, _)| node);
    let first = || tree.compatible(&known).find(is_usable);
    let node = chosen.filter(is_usable);
    let node = node
        .or_else(|| tree.alias("serial0").filter(is_usable))
        .or_else(first)?;
    let window = node.reg(0).ok()?;
    let registers = mmu::map_device(window.address(), window.size()).ok()?;
    let compatible: Vec<&str> = node.compatibles().collect();
    console::init(Uart::open(&compatible, registers)?);
    node.gic_interrupts().ok()?.first().copied()
}

/// The RAM of the tree, without what is in use or reserved.
fn find_memory(
    tree: &Tree,
    blob: Range<PhysicalAddress>,
    bundle: Option<AddressRange>,
) -> Result<Ram, ReadError> {
    let limit = 1_u64 << cpu::physical_address_bits();
    let ranges = tree.memory_ranges()?;
    let mut ram = Ram::new(
        ranges
            .iter()
            .map(|range| range.address().min(limit)..range.end().min(limit)),
    );
    let image = image::whole();
    ram.exclude(image.start as u64..image.end as u64, "the core");
    ram.exclude(blob.start as u64..blob.end as u64, "the device tree");
    if let Some(range) = bundle {
        ram.exclude(range.address()..range.end(), "the bundle");
    }
    for range in tree.reservations() {
        ram.exclude(
            range.address()..range.end(),
            "a memory reservation of the device tree",
        );
    }
    // A CPU that nobody started looks there for good.
    for cpu in tree.cpus()? {
        if let EnableMethod::SpinTable { release_address } = cpu.enable_method {
            ram.exclude(release_address..release_address.saturating_add(8), "a spin table");
        }
    }
    for region in tree.reserved_memory()? {
        for range in &region.regions {
            ram.exclude(range.address()..range.end(), "a /reserved-memory node");
        }
    }
    Ok(ram)
}
