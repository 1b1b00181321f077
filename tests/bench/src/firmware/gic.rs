//! The GICv3 from its secure side (IHI 0069): everything belongs to the software below but for the firmware's own timer and wake-up
//! call, and devices' lines are played by making interrupts pending.

use bench_firmware::Gic;

use super::system::{barrier, read, write};
use super::{CPUS, uart};

const DISTRIBUTOR: u64 = 0x0800_0000;
const REDISTRIBUTORS: u64 = 0x080a_0000;
const REDISTRIBUTOR_SIZE: u64 = 0x2_0000;
const SGI_FRAME: u64 = 0x1_0000;
/// Interrupts of the machine: groups of 32, the private ones included.
const GROUPS: u64 = 9;

/// Registers (IHI 0069 12.9, 12.11).
const GICD_CTLR: u64 = 0x0000;
const GICR_WAKER: u64 = 0x0014;
const IGROUPR: u64 = 0x0080;
const ISENABLER: u64 = 0x0100;
const ISPENDR: u64 = 0x0200;
const ICPENDR: u64 = 0x0280;
const ISACTIVER: u64 = 0x0300;
/// GICD_CTLR: affinity routing on both sides, group 0, group 1 of the non-secure side.
const CTLR: u32 = 1 << 5 | 1 << 4 | 1 << 1 | 1 << 0;
/// GICR_WAKER.
const PROCESSOR_SLEEP: u32 = 1 << 1;
const CHILDREN_ASLEEP: u32 = 1 << 2;
/// How often WAKER is read until the redistributor must be awake.
const PATIENCE: u32 = 100_000;

/// The firmware's own interrupts, which are in group 0: the secure timer, and what wakes a parked CPU.
pub(super) const TIMER: u32 = 29;
const WAKE: u32 = 8;
/// Identifiers from here on mean that there is none.
const SPECIAL: u64 = 1020;

fn get(address: u64) -> u32 {
    // SAFETY: callers pass addresses of registers of the GIC.
    unsafe { (address as *const u32).read_volatile() }
}

fn set(address: u64, value: u32) {
    // SAFETY: as above.
    unsafe { (address as *mut u32).write_volatile(value) };
}

/// All shared interrupts belong to the non-secure side.
pub(super) fn init_distributor() {
    set(DISTRIBUTOR + GICD_CTLR, CTLR);
    for group in 1..GROUPS {
        set(DISTRIBUTOR + IGROUPR + 4 * group, u32::MAX);
    }
    barrier();
}

/// This CPU's redistributor and CPU interface.
pub(super) fn init_cpu(cpu: usize) {
    let redistributor = REDISTRIBUTORS + cpu as u64 * REDISTRIBUTOR_SIZE;
    let waker = redistributor + GICR_WAKER;
    set(waker, get(waker) & !PROCESSOR_SLEEP);
    if (0..PATIENCE).all(|_| get(waker) & CHILDREN_ASLEEP != 0) {
        uart::fatal(format_args!("the redistributor of CPU {cpu} stays asleep"));
    }
    let own = 1 << TIMER | 1 << WAKE;
    set(redistributor + SGI_FRAME + IGROUPR, !own);
    set(redistributor + SGI_FRAME + ISENABLER, own);
    // ICC_SRE_EL3 and EL2: system registers, nothing bypassed, and lower levels may do the same.
    write!("icc_sre_el3", 0xf);
    barrier();
    write!("icc_sre_el2", 0xf);
    write!("icc_pmr_el1", 0xff);
    write!("icc_igrpen0_el1", 1);
    barrier();
}

/// Takes an interrupt of the firmware's own, if one is pending, and ends it.
pub(super) fn take() -> Option<u32> {
    let id = read!("icc_iar0_el1") & 0xff_ffff;
    barrier();
    if id >= SPECIAL {
        return None;
    }
    write!("icc_eoir0_el1", id);
    barrier();
    u32::try_from(id).ok()
}

/// Wakes a parked CPU.
pub(super) fn wake(cpu: usize) {
    if cpu < CPUS {
        barrier();
        write!("icc_sgi0r_el1", u64::from(WAKE) << 24 | 1 << cpu);
        barrier();
    }
}

/// The distributor, for devices' lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Distributor;

fn place(array: u64, interrupt: u32) -> (u64, u32) {
    let word = u64::from(interrupt / 32) * 4;
    (DISTRIBUTOR + array + word, 1 << (interrupt % 32))
}

impl Gic for Distributor {
    fn state(&self, interrupt: u32) -> (bool, bool) {
        let is_set = |array| {
            let (address, bit) = place(array, interrupt);
            get(address) & bit != 0
        };
        (is_set(ISPENDR), is_set(ISACTIVER))
    }
    fn pend(&self, interrupt: u32) {
        let (address, bit) = place(ISPENDR, interrupt);
        set(address, bit);
    }
    fn unpend(&self, interrupt: u32) {
        let (address, bit) = place(ICPENDR, interrupt);
        set(address, bit);
    }
}
