//! Building a guest: CPUs, memory, image, device tree, interrupts. All of it, or nothing that anybody could use.

use super::claim::claim;
use super::guest::{Devices, Guest, Parts};
use super::interrupts;
use super::load::Load;
use super::memory::{Bank, Memory, MemoryError};
use super::passed;
use super::registers::Registers;
use super::spec::{PassedDevice, PassedFunction, PhysicalBar, Spec};
use super::tlb;
use crate::arch::gic::GicError;
use crate::arch::mmu::MapError;
use crate::arch::{native, percpu};
use crate::memory::{self, RamError};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::AtomicBool;
use pci::{Bdf, Pin};
use spin::Mutex;
use stage2::PAGE_SIZE;
use vdev::ecam::{self, Ecam};
use vdev::image::{self, Image};
use vdev::its::Its;
use vdev::layout::{self, Device, Layout};
use vdev::line::LineBuffer;
use vdev::pl011::Pl011;
use vdev::vgic::{self, Source, Version, Vgic};
use vdev::{Copied, DeviceTreeError, Machine};

/// Banks begin on a multiple of this, so that large blocks can map them.
const BLOCK: u64 = 2 << 20;

/// Why a guest cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// It has no memory.
    #[error("it has no memory")]
    NoMemory,
    /// Its first bank does not begin where an arm64 Image can begin.
    #[error("its memory at {0:#x} does not begin on a multiple of 2 MiB")]
    Unaligned(u64),
    /// Memory lies where a virtual device is.
    #[error("its memory at {ipa:#x} lies on its {device:?}")]
    MemoryOnDevice {
        /// Guest physical address of the bank.
        ipa: u64,
        /// The device.
        device: Device,
    },
    /// A CPU is not there.
    #[error("CPU {0} does not run")]
    NoCpu(u32),
    /// More vCPUs than a guest can have.
    #[error("{count} vCPUs are more than {most}")]
    TooManyCpus {
        /// How many.
        count: usize,
        /// What the interrupt controller allows.
        most: usize,
    },
    /// Configuration space lies beyond what stage 2 reaches.
    #[error("stage 2 reaches {0} bits of address, not up to the guest's PCI configuration space")]
    EcamOutOfReach(u8),
    /// A BAR cannot be given out page by page.
    #[error("{at}: its BAR at {address:#x} does not begin on a page, or lies on a virtual device")]
    BadBar {
        /// The function, in the guest's segment.
        at: Bdf,
        /// The BAR's address.
        address: u64,
    },
    /// A platform device's registers have the address of something that the guest has.
    #[error("{device}: its registers at {address:#x} lie where the guest has {what}")]
    Occupied {
        /// The path of its node.
        device: String,
        /// The first page.
        address: u64,
        /// What is there.
        what: &'static str,
    },
    /// A function cannot be shown.
    #[error(transparent)]
    Function(#[from] vdev::ecam::Error),
    /// The virtual interrupt controller refuses an interrupt.
    #[error(transparent)]
    Interrupt(#[from] vgic::Error),
    /// An interrupt line is somebody else's. Guests cannot share one: each could hold it for the other.
    #[error("{device}: its interrupt {intid} belongs to the core or to another guest already")]
    InterruptTaken {
        /// The function in the guest's segment, or the node's path.
        device: String,
        /// The interrupt.
        intid: u32,
    },
    /// The physical interrupt controller refuses.
    #[error(transparent)]
    Gic(#[from] GicError),
    /// The image is no good.
    #[error(transparent)]
    Image(#[from] image::Error),
    /// The device tree cannot be written.
    #[error(transparent)]
    DeviceTree(#[from] DeviceTreeError),
    /// The device tree is larger than its place.
    #[error("its device tree has {0:#x} bytes, more than {max:#x}", max = image::TREE_SIZE)]
    TreeTooLarge(usize),
    /// Memory or stage 2.
    #[error(transparent)]
    Memory(#[from] MemoryError),
}

impl From<RamError> for BuildError {
    fn from(error: RamError) -> Self {
        BuildError::Memory(error.into())
    }
}

impl From<MapError> for BuildError {
    fn from(error: MapError) -> Self {
        BuildError::Memory(error.into())
    }
}

impl Guest {
    /// Builds a guest: everything but the start.
    ///
    /// # Errors
    /// The guest is not there. RAM that was taken for it stays taken: the partition asked for it.
    pub fn build(spec: &Spec<'_>) -> Result<&'static Guest, BuildError> {
        let vcpus = vcpus(spec)?;
        let affinities: Vec<u64> = vcpus.iter().map(|(_, affinity)| *affinity).collect();
        let layout = layout_of(spec, affinities.len())?;
        let load = load(spec, &affinities)?;
        let devices = devices(spec, &affinities)?;
        for function in spec.functions {
            check_bars(function, &layout)?;
        }
        for device in spec.platform {
            check_pages(device, spec.guest, &layout)?;
        }

        let banks = banks(spec, &layout)?;
        let first = banks.first().ok_or(BuildError::NoMemory)?.ipa;
        load.fill(&banks)?;
        let mut memory = Memory::new(spec.geometry, spec.vmid, banks)?;
        if let Some(page) = spec.doorbell() {
            memory.map_doorbell(layout::TRANSLATER, page)?;
        }
        let interrupts = claim(spec)?;
        tlb::register(spec.vmid, memory.vttbr());
        let guest: &'static Guest = Box::leak(Box::new(Guest::new(Parts {
            index: spec.index,
            name: spec.guest.name.clone(),
            geometry: spec.geometry,
            layout,
            entry: first + load.place.image,
            device_tree: first + load.place.device_tree,
            load,
            interrupts,
            vcpus,
            devices,
            memory,
            windows: spec.windows.to_vec(),
            bars: spec
                .functions
                .iter()
                .flat_map(|function| passed::bars(function.at, &function.bars))
                .collect(),
            registers: spec.platform.iter().flat_map(registers).collect(),
        })));
        for interrupt in &guest.interrupts {
            interrupts::give_interrupt(interrupt.intid, guest);
        }
        for (device, lpis) in spec.senders() {
            interrupts::give_messages(lpis, guest, device);
        }
        Ok(guest)
    }
}

/// The physical CPU and the affinity of each vCPU.
fn vcpus(spec: &Spec<'_>) -> Result<Vec<(usize, u64)>, BuildError> {
    let cpus = &spec.guest.cpus;
    let (count, most) = match interrupts::gic_version() {
        Version::V2 => (cpus.len(), vgic::MOST_V2_VCPUS),
        Version::V3 => (cpus.len(), layout::MOST_VCPUS),
    };
    if count > most {
        return Err(BuildError::TooManyCpus { count, most });
    }
    let vcpu = |(index, number): (usize, &u32)| {
        let cpu = percpu::of(native(u64::from(*number))).filter(|cpu| cpu.is_online());
        let cpu = cpu.ok_or(BuildError::NoCpu(*number))?;
        // Sixteen in a cluster, which is as many as an SGI's target list names.
        let index = index as u64;
        Ok((cpu.index(), (index >> 4) << 8 | index & 0xf))
    };
    cpus.iter().enumerate().map(vcpu).collect()
}

fn layout_of(spec: &Spec<'_>, vcpus: usize) -> Result<Layout, BuildError> {
    let ecam_size = if spec.functions.is_empty() {
        0
    } else {
        Ecam::new(spec.last_bus()).size()
    };
    if ecam_size != 0 && layout::ECAM + ecam_size > spec.geometry.ipa_end() {
        return Err(BuildError::EcamOutOfReach(spec.geometry.ipa_bits()));
    }
    Ok(Layout {
        gic: interrupts::gic_version(),
        vcpus,
        ecam_size,
        its: spec.doorbell().is_some(),
    })
}

/// What the guest starts from, and where that lies.
fn load(spec: &Spec<'_>, affinities: &[u64]) -> Result<Load, BuildError> {
    let first = spec.guest.memory.first().ok_or(BuildError::NoMemory)?;
    let image = Image::new(spec.image)?;
    let initrd = spec.initrd.unwrap_or_default();
    let place = image.place(first.size, initrd.len() as u64)?;
    let at = spec
        .initrd
        .map(|initrd| (first.ipa + place.initrd, initrd.len() as u64));
    let device_tree = device_tree(spec, affinities, at)?;
    if device_tree.len() as u64 > image::TREE_SIZE {
        return Err(BuildError::TreeTooLarge(device_tree.len()));
    }
    Ok(Load {
        image,
        initrd,
        device_tree: Mutex::new(device_tree),
        seed: Mutex::new(spec.seed),
        place,
    })
}

fn device_tree(
    spec: &Spec<'_>,
    affinities: &[u64],
    initrd: Option<(u64, u64)>,
) -> Result<Vec<u8>, BuildError> {
    let memory: Vec<(u64, u64)> = spec
        .guest
        .memory
        .iter()
        .map(|region| (region.ipa, region.size))
        .collect();
    let interrupts: Vec<(Bdf, Pin, u32)> = spec
        .functions
        .iter()
        .filter_map(|passed| {
            Some((
                spec.pin_at(passed.at),
                passed.function.pin?,
                passed.interrupt?.intid,
            ))
        })
        .chain(
            spec.slots
                .iter()
                .filter_map(|slot| Some((slot.port, slot.pin, spec.slot_interrupt()?))),
        )
        .collect();
    let pci = vdev::Pci {
        last_bus: spec.last_bus(),
        windows: spec.windows,
        interrupts: &interrupts,
        has_slots: !spec.slots.is_empty(),
    };
    let copied: Vec<Copied<'_>> = spec
        .platform
        .iter()
        .map(|device| Copied {
            node: device.node,
            interrupts: device.interrupts,
        })
        .collect();
    let machine = Machine {
        affinities,
        memory: &memory,
        bootargs: &spec.guest.bootargs,
        initrd,
        pci: (!spec.functions.is_empty()).then_some(pci),
        copied: &copied,
        gic: interrupts::gic_version(),
        its: spec.doorbell().is_some(),
        seed: spec.seed.as_ref(),
    };
    Ok(vdev::device_tree(&machine)?)
}

fn devices(spec: &Spec<'_>, affinities: &[u64]) -> Result<Devices, BuildError> {
    let physical = spec.lines().map(|(_, interrupt)| interrupt.intid);
    let physical: Vec<u32> = physical.collect();
    let slot_interrupt = spec.slot_interrupt();
    let highest = physical
        .iter()
        .copied()
        .chain(slot_interrupt)
        .max()
        .unwrap_or(0)
        .max(layout::UART_INTERRUPT);
    let senders: Vec<(u32, u32)> = spec
        .senders()
        .map(|(device, lpis)| (device, lpis.end - lpis.start))
        .collect();
    let its = (!senders.is_empty()).then(|| Its::new(&senders));
    let mut gic = match its {
        Some(_) => Vgic::with_lpis(affinities, highest, Its::lpis(&senders)),
        None => Vgic::new(affinities, highest),
    };
    gic.own(layout::UART_INTERRUPT, Source::Virtual)?;
    gic.own(layout::TIMER_INTERRUPT, Source::Hardware(layout::TIMER_INTERRUPT))?;
    for intid in physical {
        // Two functions of one guest may share a line.
        if gic.virtual_of(intid).is_none() {
            gic.own(intid, Source::Hardware(intid))?;
        }
    }
    if let Some(intid) = slot_interrupt {
        gic.own(intid, Source::Virtual)?;
    }
    let mut ecam = Ecam::new(spec.last_bus());
    spec.slots.iter().for_each(|slot| ecam.add_slot(*slot));
    for passed in spec.functions {
        let messages = match passed.messages {
            Some(_) => ecam::Messages::Shown,
            None => ecam::Messages::Hidden,
        };
        ecam.add(passed.at, passed.function, messages)?;
    }
    Ok(Devices {
        gic,
        uart: Pl011::new(),
        output: LineBuffer::default(),
        ecam,
        slot_interrupt,
        its,
    })
}

/// Checks that a function's BARs can be given out page by page.
fn check_bars(function: &PassedFunction<'_>, layout: &Layout) -> Result<(), BuildError> {
    let bad = |bar: &&PhysicalBar| {
        let size = bar.size.checked_next_multiple_of(PAGE_SIZE).unwrap_or(u64::MAX);
        // Where it is, the guest finds it at first.
        !bar.address.is_multiple_of(PAGE_SIZE) || layout.overlapping(bar.address, size).is_some()
    };
    match function.bars.iter().find(bad) {
        Some(bar) => Err(BuildError::BadBar {
            at: function.at,
            address: bar.address,
        }),
        None => Ok(()),
    }
}

/// The registers of a platform device, which the guest does not have yet.
fn registers(device: &PassedDevice<'_>) -> impl Iterator<Item = Registers> {
    let node = device.node.id();
    device.pages.iter().map(move |pages| Registers {
        node,
        pages: pages.clone(),
        shown: AtomicBool::new(false),
        mapped: AtomicBool::new(false),
    })
}

/// Checks that a platform device's registers are where the guest has nothing else.
fn check_pages(
    device: &PassedDevice<'_>,
    guest: &partition::Guest,
    layout: &Layout,
) -> Result<(), BuildError> {
    let what = |pages: &Range<u64>| {
        let mut memory = guest.memory.iter();
        if layout.overlapping(pages.start, pages.end - pages.start).is_some() {
            Some("a virtual device")
        } else if memory.any(|region| pages.start < region.ipa + region.size && region.ipa < pages.end) {
            Some("memory")
        } else {
            None
        }
    };
    let mut occupied = device
        .pages
        .iter()
        .filter_map(|pages| Some((pages, what(pages)?)));
    match occupied.next() {
        Some((pages, what)) => Err(BuildError::Occupied {
            device: device.node.path(),
            address: pages.start,
            what,
        }),
        None => Ok(()),
    }
}

/// Takes the RAM of those regions of a guest that have their place.
///
/// # Errors
/// The guest cannot be built. What was taken stays taken: the partition asked for it.
pub fn take_places(guest: &partition::Guest) -> Result<(), RamError> {
    let mut places = guest
        .memory
        .iter()
        .filter_map(|region| Some((region.pa?, region.size)));
    places.try_for_each(|(pa, size)| memory::take_guest(pa..pa.saturating_add(size)))
}

/// Takes RAM for each bank that does not have it: see [`take_places`].
fn banks(spec: &Spec<'_>, layout: &Layout) -> Result<Vec<Bank>, BuildError> {
    let bank = |region: &partition::MemoryRegion| {
        let (ipa, size) = (region.ipa, region.size);
        if let Some(device) = layout.overlapping(ipa, size) {
            return Err(BuildError::MemoryOnDevice { ipa, device });
        }
        if !ipa.is_multiple_of(BLOCK) {
            return Err(BuildError::Unaligned(ipa));
        }
        let pa = match region.pa {
            Some(pa) => pa,
            None => memory::allocate_guest(size, BLOCK)?.start,
        };
        Ok(Bank { ipa, pa, size })
    };
    spec.guest.memory.iter().map(bank).collect()
}
