//! The machine's ITSs and their LPIs: messages of devices that are given to guests.
//!
//! All of them are off from the start on, whatever firmware made of them. One is set up when the first device is mapped
//! there, and a CPU's redistributor takes LPIs when the first device's go there: a machine whose guests need no messages
//! has none.

use super::{GicError, PRIORITY_NORMAL, v3};
use crate::arch::mmu;
use crate::arch::percpu::{MAX_CPUS, PerCpu};
use crate::arch::timer::Now;
use crate::memory::FrameTables;
use alloc::vec::Vec;
use core::ops::Range;
use devicetree::{AddressRange, Node, NodeId, Tree};
use its::{Collection, Its, Lpis, Redistributor};
use mmio::Region;
use spin::Mutex;

/// Where messages of a function go, and under which ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The node of the ITS.
    pub service: NodeId,
    /// The function's device ID.
    pub device: u32,
    /// The highest device ID that will be mapped at this ITS.
    pub highest_device: u32,
}

/// Messages of a function that make LPIs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Messages {
    /// The LPI of each event.
    pub lpis: Range<u32>,
    /// Physical address of the page with `GITS_TRANSLATER`.
    pub page: u64,
}

/// Messages of a function cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Its messages go elsewhere.
    #[error("its messages go to no ITS that the core can drive")]
    NoIts,
    /// The ITS or the LPIs refuse.
    #[error(transparent)]
    Its(#[from] its::Error),
    /// The GIC refuses.
    #[error(transparent)]
    Gic(#[from] GicError),
}

/// One ITS.
#[derive(Debug)]
struct Service {
    node: NodeId,
    window: AddressRange,
    state: State,
}

#[derive(Debug)]
enum State {
    Off,
    On(Its<Region, FrameTables>),
    /// It was set up in vain.
    Broken(MessageError),
}

/// Everything that has to do with messages.
#[derive(Debug)]
struct All {
    services: Vec<Service>,
    lpis: Option<Lpis<FrameTables>>,
    /// CPUs whose redistributors deliver LPIs.
    delivering: [bool; MAX_CPUS],
}

static ALL: Mutex<All> = Mutex::new(All {
    services: Vec::new(),
    lpis: None,
    delivering: [false; MAX_CPUS],
});

/// What the nodes of ITSs are compatible with.
pub const COMPATIBLE: &str = "arm,gic-v3-its";

/// Whether an interrupt is an LPI: it has no active state (IHI 0069 4.1), so nobody deactivates it.
pub const fn is_message(intid: u32) -> bool {
    intid >= its::FIRST_LPI
}

/// Finds the ITSs of the tree, and turns them off.
pub(super) fn find(tree: &Tree) {
    let nodes = tree.compatible(&[COMPATIBLE]).filter(Node::is_enabled);
    for node in nodes {
        match open(&node) {
            Ok(Some(service)) => ALL.lock().services.push(service),
            Ok(None) => log::warn!(target: "gic", "{}: not used: its registers are too small", node.path()),
            Err(error) => log::warn!(target: "gic", "{}: not used: {error}", node.path()),
        }
    }
}

fn open(node: &Node<'_>) -> Result<Option<Service>, MessageError> {
    let window = node.reg(0).map_err(GicError::from)?;
    if window.size() < its::SIZE {
        return Ok(None);
    }
    // Both frames, so that no guest gets either of them as a BAR.
    let registers = mmu::map_device(window.address(), window.size()).map_err(GicError::from)?;
    its::turn_off(&registers, &Now)?;
    Ok(Some(Service {
        node: node.id(),
        window,
        state: State::Off,
    }))
}

/// Physical address of the page with `GITS_TRANSLATER` of an ITS.
pub fn page_of(service: NodeId) -> Result<u64, MessageError> {
    let all = ALL.lock();
    let mut services = all.services.iter();
    let service = services.find(|own| own.node == service);
    service.map(Service::page).ok_or(MessageError::NoIts)
}

/// Has `count` events of a device, a power of two of them, make LPIs at a CPU.
pub fn map(route: &Route, count: u32, cpu: &PerCpu) -> Result<Messages, MessageError> {
    let mut all = ALL.lock();
    let All {
        services,
        lpis,
        delivering,
    } = &mut *all;
    let mut services = services.iter_mut();
    let service = services.find(|service| service.node == route.service);
    let service = service.ok_or(MessageError::NoIts)?;
    let page = service.page();
    let its = service.turn_on(route.highest_device)?;

    let lpis = match lpis {
        Some(lpis) => lpis,
        None => lpis.insert(Lpis::new(FrameTables::new(), v3()?.id_bits(), PRIORITY_NORMAL)?),
    };
    let (region, base) = v3()?.redistributor_of(cpu.index())?;
    let redistributor = Redistributor::new(region, base);
    let delivers = delivering.get_mut(cpu.index()).ok_or(GicError::NotReady)?;
    if !*delivers {
        lpis.turn_on(&redistributor, &Now)?;
        *delivers = true;
    }
    let lpis = lpis.take(count)?;
    let address = (region.base() + base) as u64;
    let collection = Collection::new(cpu.index(), &redistributor, address);
    its.map(&Now, route.device, lpis.clone(), &collection)?;
    #[cfg(feature = "sabotage-map-device-zero")]
    {
        log::warn!(target: "msi", "SABOTAGE: this test build maps device ID 0 to a device's LPIs");
        its.map(&Now, 0, lpis.clone(), &collection)?;
    }
    Ok(Messages { lpis, page })
}

impl Service {
    fn page(&self) -> u64 {
        self.window.address() + its::CONTROL_SIZE
    }

    /// The ITS, turned on if it was not.
    fn turn_on(&mut self, highest_device: u32) -> Result<&mut Its<Region, FrameTables>, MessageError> {
        if let State::Off = self.state {
            self.state = self.set_up(highest_device).map_or_else(State::Broken, State::On);
        }
        match &mut self.state {
            State::On(its) => Ok(its),
            State::Broken(error) => Err(error.clone()),
            State::Off => Err(MessageError::NoIts),
        }
    }

    fn set_up(&self, highest_device: u32) -> Result<Its<Region, FrameTables>, MessageError> {
        let registers = mmu::map_device(self.window.address(), self.window.size()).map_err(GicError::from)?;
        // A collection for each CPU.
        let collections = u16::try_from(MAX_CPUS).unwrap_or(u16::MAX);
        Ok(Its::new(
            registers,
            FrameTables::new(),
            &Now,
            highest_device,
            collections,
        )?)
    }
}
