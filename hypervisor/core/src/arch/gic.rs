//! The physical interrupt controller: a GICv2 or a GICv3, behind one face.
//!
//! Interrupts come to EL2, which keeps them masked and polls: a pending one ends a guest's run or a `wfi`, and is then
//! taken with [`acknowledge`]. Dropping its priority ([`end`]) and making it able to fire again ([`deactivate`]) are two
//! steps, so that a guest can own the second one through a hardware-linked list register.

mod frame;
mod icc;
pub mod messages;
mod v2;
mod v3;

use super::mmu::MapError;
use super::percpu::PerCpu;
use super::{cpu, timer};
use devicetree::{Node, ReadError, Tree, Trigger};
use mmio::Timeout;
use spin::{Mutex, Once};
use v2::GicV2;
use v3::GicV3;

pub use v2::VirtualInterface;

/// Priority of an ordinary interrupt; smaller is more urgent.
const PRIORITY_NORMAL: u8 = 0xa0;
/// Priority of the timer that guards calls into components.
const PRIORITY_WATCHDOG: u8 = 0x40;

/// What the priority mask is when every priority may come in, and when only the watchdog may.
const MASK_OPEN: u8 = 0xf0;
const MASK_WATCHDOG: u8 = PRIORITY_NORMAL - 0x20;

/// Interrupt IDs up to this are software interrupts.
const LAST_SGI: u32 = 15;
/// Interrupt IDs below this are each CPU's own.
const FIRST_SHARED: u32 = 32;
/// Interrupt IDs from here to 1023 say that there is none (IHI 0069 2.2.1, IHI 0048 3.2.5).
const FIRST_SPECIAL: u32 = 1020;
const LAST_SPECIAL: u32 = 1023;
/// The maintenance interrupt of the virtual interface where the tree does not say (Arm BSA 1.0, 3.6: PPI 9).
const MAINTENANCE_INTERRUPT: u32 = 25;

/// The software interrupt that makes a CPU look around.
const KICK_INTID: u32 = 0;
/// The software interrupt after which a CPU rests for good.
const STOP_INTID: u32 = 1;

/// A problem with the interrupt controller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GicError {
    /// The tree has none that the core can drive.
    #[error("the device tree has no enabled node that is compatible with \"arm,gic-v3\" or \"arm,gic-400\"")]
    NoGic,
    /// The tree describes it badly.
    #[error(transparent)]
    Tree(#[from] ReadError),
    /// Its registers cannot be mapped.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The CPU has no system registers for it, or firmware keeps them.
    #[error("CPU {cpu}: firmware keeps the GIC's system registers from EL2 (ICC_SRE_EL2 = {value:#x})")]
    NoSystemRegisters {
        /// The CPU's number.
        cpu: usize,
        /// What the register reads.
        value: u64,
    },
    /// No redistributor says that it serves this CPU.
    #[error("CPU {cpu}: no GIC redistributor for affinity {affinity:#x}")]
    NoRedistributor {
        /// The CPU's number.
        cpu: usize,
        /// Its affinity.
        affinity: u64,
    },
    /// A window of a GICv2 is smaller than its registers.
    #[error("reg entry {index} of the GIC is smaller than the registers of a CPU interface")]
    TooSmall {
        /// Which one.
        index: usize,
    },
    /// Firmware does not let interrupts of the core's priorities in.
    #[error("CPU {cpu}: firmware keeps the GIC's priority mask from EL2 (GICC_PMR = {mask:#x})")]
    PriorityMask {
        /// The CPU's number.
        cpu: usize,
        /// What the register reads.
        mask: u32,
    },
    /// A write did not take effect in time.
    #[error("GIC {register}: {timeout}")]
    Timeout {
        /// The register that was polled.
        register: &'static str,
        /// How long.
        timeout: Timeout,
    },
    /// The controller has no such interrupt.
    #[error("the GIC has no interrupt {0}")]
    NoSuchInterrupt(u32),
    /// It was asked before [`init`].
    #[error("the GIC is not set up")]
    NotReady,
}

/// The machine's.
#[derive(Debug)]
struct Gic {
    kind: Kind,
    maintenance: u32,
}

#[derive(Debug)]
enum Kind {
    V2(GicV2),
    V3(GicV3),
}

/// Does the same with either kind.
macro_rules! either {
    ($kind:expr, $gic:ident => $work:expr) => {
        match $kind {
            Kind::V2($gic) => $work,
            Kind::V3($gic) => $work,
        }
    };
}

static GIC: Once<Gic> = Once::new();
/// Read-modify-write of registers that several interrupts share.
static CONFIGURING: Mutex<()> = Mutex::new(());

/// Which interrupts may interrupt a CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// All that are enabled.
    Open,
    /// Only the hypervisor's timer, while a component runs.
    WatchdogOnly,
}

/// Finds the controller in the tree and sets up what its CPUs share: every shared interrupt off, at normal priority,
/// routed to this CPU. On the boot CPU, before [`init_cpu`].
pub fn init(tree: &Tree) -> Result<(), GicError> {
    let find = |compatible: &'static [&'static str]| tree.compatible(compatible).find(Node::is_enabled);
    let (node, kind) = if let Some(node) = find(&["arm,gic-v3"]) {
        let gic = GicV3::open(&node)?;
        gic.init_distributor()?;
        (node, Kind::V3(gic))
    } else {
        let node = find(&v2::COMPATIBLE).ok_or(GicError::NoGic)?;
        let gic = GicV2::open(&node)?;
        gic.init_distributor();
        (node, Kind::V2(gic))
    };
    let maintenance = node.gic_interrupts().ok().and_then(|list| list.first().copied());
    let maintenance = maintenance.map_or(MAINTENANCE_INTERRUPT, |interrupt| interrupt.intid);
    let gic = GIC.call_once(|| Gic { kind, maintenance });
    if let Kind::V3(_) = gic.kind {
        messages::find(tree);
    }
    Ok(())
}

/// Sets up this CPU's part: its private interrupts off, but for the software interrupts and the hypervisor's timer.
pub fn init_cpu() -> Result<(), GicError> {
    either!(kind()?, gic => gic.init_cpu())?;
    set_priority(timer::HYPERVISOR_TIMER_INTID, PRIORITY_WATCHDOG)?;
    set_trigger(timer::HYPERVISOR_TIMER_INTID, Trigger::Level)?;
    for intid in [KICK_INTID, STOP_INTID, timer::HYPERVISOR_TIMER_INTID] {
        enable(intid)?;
    }
    Ok(())
}

fn kind() -> Result<&'static Kind, GicError> {
    GIC.get().map(|gic| &gic.kind).ok_or(GicError::NotReady)
}

/// The one that takes messages.
fn v3() -> Result<&'static GicV3, GicError> {
    match kind()? {
        Kind::V3(gic) => Ok(gic),
        Kind::V2(_) => Err(GicError::NoGic),
    }
}

/// The virtual CPU interface of a GICv2; that of a GICv3 is system registers.
pub fn virtual_interface() -> Option<&'static VirtualInterface> {
    match kind().ok()? {
        Kind::V2(gic) => Some(gic.virtual_interface()),
        Kind::V3(_) => None,
    }
}

/// The private interrupt by which the virtual CPU interface says that it wants attention.
pub fn maintenance_interrupt() -> u32 {
    GIC.get().map_or(MAINTENANCE_INTERRUPT, |gic| gic.maintenance)
}

/// Whether an interrupt is a device's, which any CPU can take, and not one that each CPU has for itself.
pub const fn is_shared(intid: u32) -> bool {
    intid >= FIRST_SHARED
}

/// Lets an interrupt fire; a private one on this CPU.
pub fn enable(intid: u32) -> Result<(), GicError> {
    either!(kind()?, gic => gic.enable(intid))
}

/// Keeps an interrupt from firing, and returns when it no longer can; a private one on this CPU.
pub fn disable(intid: u32) -> Result<(), GicError> {
    either!(kind()?, gic => gic.disable(intid))
}

/// Forgets that an interrupt is pending or active; a private one on this CPU.
pub fn clear(intid: u32) -> Result<(), GicError> {
    either!(kind()?, gic => gic.clear(intid))
}

/// Sets an interrupt's priority; smaller is more urgent; a private one on this CPU.
pub fn set_priority(intid: u32, priority: u8) -> Result<(), GicError> {
    let _lock = CONFIGURING.lock();
    either!(kind()?, gic => gic.set_priority(intid, priority))
}

/// Says what makes an interrupt pending; while it is off; a private one on this CPU.
pub fn set_trigger(intid: u32, trigger: Trigger) -> Result<(), GicError> {
    let _lock = CONFIGURING.lock();
    either!(kind()?, gic => gic.set_trigger(intid, trigger))
}

/// Sends a shared interrupt to a CPU from now on.
pub fn route(intid: u32, cpu: &PerCpu) -> Result<(), GicError> {
    match kind()? {
        Kind::V2(gic) => {
            let _lock = CONFIGURING.lock();
            gic.route(intid, cpu)
        }
        Kind::V3(gic) => gic.route(intid, cpu.affinity()),
    }
}

/// Takes the most urgent pending interrupt: it is active from now on. Software interrupts of the core are dealt with here,
/// and reported as well.
pub fn acknowledge() -> Option<u32> {
    let intid = match kind().ok()? {
        Kind::V2(gic) => gic.acknowledge()?,
        Kind::V3(_) => icc::acknowledge()?,
    };
    if intid == STOP_INTID {
        cpu::park();
    }
    Some(intid)
}

/// Drops the running priority to what it was before `intid` was acknowledged.
pub fn end(intid: u32) {
    match kind() {
        Ok(Kind::V2(gic)) => gic.end(intid),
        Ok(Kind::V3(_)) => icc::end(intid),
        Err(_) => {}
    }
}

/// Makes an acknowledged interrupt inactive: it can fire again.
pub fn deactivate(intid: u32) {
    match kind() {
        Ok(Kind::V2(gic)) => gic.deactivate(intid),
        Ok(Kind::V3(_)) => icc::deactivate(intid),
        Err(_) => {}
    }
}

/// Chooses which interrupts may interrupt this CPU.
pub fn set_mask(mask: Mask) {
    let mask = match mask {
        Mask::Open => MASK_OPEN,
        Mask::WatchdogOnly => MASK_WATCHDOG,
    };
    match kind() {
        Ok(Kind::V2(gic)) => gic.set_priority_mask(mask),
        Ok(Kind::V3(_)) => icc::set_priority_mask(mask),
        Err(_) => {}
    }
}

/// Makes another CPU leave its guest or its `wfi` and look around. Nothing happens before [`init`].
pub fn kick(cpu: &PerCpu) {
    match kind() {
        Ok(Kind::V2(gic)) => gic.send(KICK_INTID, cpu),
        Ok(Kind::V3(_)) => icc::send(KICK_INTID, cpu.affinity()),
        Err(_) => {}
    }
}

/// Makes every other CPU rest for good as soon as it looks at its interrupts.
pub fn stop_others() {
    match kind() {
        Ok(Kind::V2(gic)) => gic.send_to_others(STOP_INTID),
        Ok(Kind::V3(_)) => icc::send_to_others(STOP_INTID),
        Err(_) => {}
    }
}
