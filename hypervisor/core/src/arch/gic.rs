//! The physical interrupt controller, behind an interface that a GICv2 can have too.
//!
//! Interrupts come to EL2, which keeps them masked and polls: a pending one ends a guest's run or a `wfi`, and is then
//! taken with [`acknowledge`]. Dropping its priority ([`end`]) and making it able to fire again ([`deactivate`]) are two
//! steps, so that a guest can own the second one through a hardware-linked list register.

mod icc;
pub mod messages;
mod v3;

use super::mmu::MapError;
use super::percpu::PerCpu;
use super::{cpu, timer};
use devicetree::{ReadError, Tree, Trigger};
use mmio::Timeout;
use spin::{Mutex, Once};
use v3::GicV3;

/// Priority of an ordinary interrupt; smaller is more urgent.
const PRIORITY_NORMAL: u8 = 0xa0;
/// Priority of the timer that guards calls into components.
const PRIORITY_WATCHDOG: u8 = 0x40;

/// The software interrupt that makes a CPU look around.
const KICK_INTID: u32 = 0;
/// The software interrupt after which a CPU rests for good.
const STOP_INTID: u32 = 1;

/// A problem with the interrupt controller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GicError {
    /// The tree has none that the core can drive.
    #[error("the device tree has no enabled node that is compatible with \"arm,gic-v3\"")]
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

static GIC: Once<GicV3> = Once::new();
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

/// Finds the controller in the tree and sets up what its CPUs share: every shared interrupt off, in group 1, at normal
/// priority, routed to this CPU. On the boot CPU, before [`init_cpu`].
pub fn init(tree: &Tree) -> Result<(), GicError> {
    let gic = GicV3::find(tree)?;
    gic.init_distributor()?;
    GIC.call_once(|| gic);
    messages::find(tree);
    Ok(())
}

/// Sets up this CPU's part: its private interrupts off, but for the software interrupts and the hypervisor's timer.
pub fn init_cpu() -> Result<(), GicError> {
    let gic = gic()?;
    gic.init_redistributor()?;
    icc::init()?;
    set_priority(timer::HYPERVISOR_TIMER_INTID, PRIORITY_WATCHDOG)?;
    set_trigger(timer::HYPERVISOR_TIMER_INTID, Trigger::Level)?;
    for intid in [KICK_INTID, STOP_INTID, timer::HYPERVISOR_TIMER_INTID] {
        enable(intid)?;
    }
    Ok(())
}

fn gic() -> Result<&'static GicV3, GicError> {
    GIC.get().ok_or(GicError::NotReady)
}

/// Whether an interrupt is a device's, which any CPU can take, and not one that each CPU has for itself.
pub const fn is_shared(intid: u32) -> bool {
    intid >= v3::FIRST_SHARED
}

/// Lets an interrupt fire; a private one on this CPU.
pub fn enable(intid: u32) -> Result<(), GicError> {
    gic()?.enable(intid)
}

/// Keeps an interrupt from firing, and returns when it no longer can; a private one on this CPU.
pub fn disable(intid: u32) -> Result<(), GicError> {
    gic()?.disable(intid)
}

/// Forgets that an interrupt is pending or active; a private one on this CPU.
pub fn clear(intid: u32) -> Result<(), GicError> {
    gic()?.clear(intid)
}

/// Sets an interrupt's priority; smaller is more urgent; a private one on this CPU.
pub fn set_priority(intid: u32, priority: u8) -> Result<(), GicError> {
    let _lock = CONFIGURING.lock();
    gic()?.set_priority(intid, priority)
}

/// Says what makes an interrupt pending; while it is off; a private one on this CPU.
pub fn set_trigger(intid: u32, trigger: Trigger) -> Result<(), GicError> {
    let _lock = CONFIGURING.lock();
    gic()?.set_trigger(intid, trigger)
}

/// Sends a shared interrupt to a CPU from now on.
pub fn route(intid: u32, cpu: &PerCpu) -> Result<(), GicError> {
    gic()?.route(intid, cpu.affinity())
}

/// Takes the most urgent pending interrupt: it is active from now on. Software interrupts of the core are dealt with here,
/// and reported as well.
pub fn acknowledge() -> Option<u32> {
    let intid = icc::acknowledge()?;
    if intid == STOP_INTID {
        cpu::park();
    }
    Some(intid)
}

/// Drops the running priority to what it was before `intid` was acknowledged.
pub fn end(intid: u32) {
    icc::end(intid);
}

/// Makes an acknowledged interrupt inactive: it can fire again.
pub fn deactivate(intid: u32) {
    icc::deactivate(intid);
}

/// Chooses which interrupts may interrupt this CPU.
pub fn set_mask(mask: Mask) {
    icc::set_priority_mask(match mask {
        Mask::Open => 0xf0,
        Mask::WatchdogOnly => PRIORITY_NORMAL - 0x20,
    });
}

/// Makes another CPU leave its guest or its `wfi` and look around. Nothing happens before [`init`].
pub fn kick(cpu: &PerCpu) {
    if GIC.is_completed() {
        icc::send(KICK_INTID, cpu.affinity());
    }
}

/// Makes every other CPU rest for good as soon as it looks at its interrupts.
pub fn stop_others() {
    if GIC.is_completed() {
        icc::send_to_others(STOP_INTID);
    }
}
