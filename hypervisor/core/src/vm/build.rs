//! Building a guest: CPUs, memory, image, device tree, interrupts. All of it, or nothing that anybody could use.

use super::guest::{Devices, Guest, Parts};
use super::interrupts;
use super::load::Load;
use super::memory::{Bank, Memory, MemoryError};
use super::passed;
use super::tlb;
use crate::arch::gic::messages::Messages;
use crate::arch::gic::{self, GicError};
use crate::arch::mmu::MapError;
use crate::arch::{native, percpu};
use crate::memory::{self, RamError};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::GicInterrupt;
use pci::{Bdf, Function, Pin, Window};
use spin::Mutex;
use stage2::{Geometry, PAGE_SIZE};
use vdev::ecam::{self, Ecam, Place};
use vdev::image::{self, Image};
use vdev::its::Its;
use vdev::layout::{self, Device, Layout};
use vdev::line::LineBuffer;
use vdev::pl011::Pl011;
use vdev::vgic::{self, Source, Version, Vgic};
use vdev::{DeviceTreeError, Machine};

/// Banks begin on a multiple of this, so that large blocks can map them.
const BLOCK: u64 = 2 << 20;

/// A memory BAR where the CPU finds it.
#[derive(Debug, Clone, Copy)]
pub struct PhysicalBar {
    /// Number of its (first) register.
    pub index: u8,
    /// The CPU's address.
    pub address: u64,
    /// Size in bytes.
    pub size: u64,
}

/// A PCI function for a guest.
#[derive(Debug)]
pub struct PassedFunction<'a> {
    /// The function.
    pub function: &'a Function,
    /// Where the guest finds it: on bus 0, or alone on the bus of a slot.
    pub at: Bdf,
    /// Its memory BARs.
    pub bars: Vec<PhysicalBar>,
    /// Where its INTx pin goes.
    pub interrupt: Option<GicInterrupt>,
    /// Its messages, if an ITS takes them; the page is the same for all functions of a guest.
    pub messages: Option<Messages>,
}

/// What a guest is built from.
#[derive(Debug)]
pub struct Spec<'a> {
    /// Its number, in the partition's order.
    pub index: usize,
    /// What the partition says of it.
    pub guest: &'a partition::Guest,
    /// Its image: an arm64 Image, or a flat binary.
    pub image: &'static [u8],
    /// Its initial RAM disk.
    pub initrd: Option<&'static [u8]>,
    /// Random bytes for it.
    pub seed: Option<[u8; 32]>,
    /// The VMID of its CPUs and devices; no other guest has it, and it is not zero.
    pub vmid: u16,
    /// The shape of stage 2.
    pub geometry: Geometry,
    /// Its PCI functions.
    pub functions: &'a [PassedFunction<'a>],
    /// The host bridge's windows.
    pub windows: &'a [Window],
    /// The guest's hot-plug slots, by rising bus number from 1 on.
    pub slots: &'a [Place],
}

impl Spec<'_> {
    /// Physical address of the page that its functions' messages go to.
    fn doorbell(&self) -> Option<u64> {
        let mut messages = self
            .functions
            .iter()
            .filter_map(|passed| passed.messages.as_ref());
        messages.next().map(|messages| messages.page)
    }

    /// The highest bus of the guest's segment: bus 0, and one for each slot.
    fn last_bus(&self) -> u8 {
        self.slots.iter().map(|slot| slot.bus).max().unwrap_or(0)
    }

    /// The device on bus 0 where a function's INTx pin comes out.
    fn pin_at(&self, at: Bdf) -> Bdf {
        let slot = self.slots.iter().find(|slot| slot.bus == at.bus());
        slot.map_or(at, |slot| slot.port)
    }

    /// The interrupt of the guest's slots: one that no function has.
    fn slot_interrupt(&self) -> Option<u32> {
        let is_free = |intid: &u32| {
            let mut physical = self.functions.iter().filter_map(|passed| passed.interrupt);
            physical.all(|interrupt| interrupt.intid != *intid)
        };
        let mut free = (layout::UART_INTERRUPT + 1..vgic::SPI_END).filter(is_free);
        free.next().filter(|_| !self.slots.is_empty())
    }

    /// The functions that send messages: the device ID that the guest knows, which is the requester ID, and the LPIs.
    fn senders(&self) -> impl Iterator<Item = (u32, Range<u32>)> {
        self.functions.iter().filter_map(|passed| {
            let messages = passed.messages.as_ref()?;
            Some((passed.at.requester_id().into(), messages.lpis.clone()))
        })
    }
}

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
    /// A function cannot be shown.
    #[error(transparent)]
    Function(#[from] vdev::ecam::Error),
    /// The virtual interrupt controller refuses an interrupt.
    #[error(transparent)]
    Interrupt(#[from] vgic::Error),
    /// An interrupt line is somebody else's. Guests cannot share one: each could hold it for the other.
    #[error("{at}: its interrupt {intid} belongs to the core or to another guest already")]
    InterruptTaken {
        /// The function, in the guest's segment.
        at: Bdf,
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
    let machine = Machine {
        affinities,
        memory: &memory,
        bootargs: &spec.guest.bootargs,
        initrd,
        pci: (!spec.functions.is_empty()).then_some(pci),
        gic: interrupts::gic_version(),
        its: spec.doorbell().is_some(),
        seed: spec.seed.as_ref(),
    };
    Ok(vdev::device_tree(&machine)?)
}

fn devices(spec: &Spec<'_>, affinities: &[u64]) -> Result<Devices, BuildError> {
    let physical = spec
        .functions
        .iter()
        .filter_map(|passed| passed.interrupt)
        .map(|interrupt| interrupt.intid);
    let slot_interrupt = spec.slot_interrupt();
    let highest = physical
        .clone()
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

/// Takes RAM for each bank.
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
            Some(pa) => {
                memory::take_guest(pa..pa.saturating_add(size))?;
                pa
            }
            None => memory::allocate_guest(size, BLOCK)?.start,
        };
        Ok(Bank { ipa, pa, size })
    };
    spec.guest.memory.iter().map(bank).collect()
}

/// Takes the interrupt lines of the guest's functions and sets them up, still off.
fn claim(spec: &Spec<'_>) -> Result<Vec<GicInterrupt>, BuildError> {
    let mut claimed: Vec<GicInterrupt> = Vec::new();
    let release = |claimed: &[GicInterrupt]| {
        claimed
            .iter()
            .for_each(|interrupt| interrupts::release_interrupt(interrupt.intid));
    };
    for passed in spec.functions {
        let Some(interrupt) = passed.interrupt else {
            continue;
        };
        if claimed.iter().any(|own| own.intid == interrupt.intid) {
            continue;
        }
        if !interrupts::claim_interrupt(interrupt.intid) {
            release(&claimed);
            return Err(BuildError::InterruptTaken {
                at: passed.at,
                intid: interrupt.intid,
            });
        }
        claimed.push(interrupt);
        if let Err(error) = set_up(spec, &interrupt) {
            release(&claimed);
            return Err(error.into());
        }
    }
    Ok(claimed)
}

fn set_up(spec: &Spec<'_>, interrupt: &GicInterrupt) -> Result<(), GicError> {
    gic::disable(interrupt.intid)?;
    gic::clear(interrupt.intid)?;
    gic::set_trigger(interrupt.intid, interrupt.trigger)?;
    let first = spec
        .guest
        .cpus
        .first()
        .and_then(|cpu| percpu::of(native(u64::from(*cpu))));
    first.map_or(Ok(()), |cpu| gic::route(interrupt.intid, cpu))
}
