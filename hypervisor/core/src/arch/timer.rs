//! Time: the system counter, and the hypervisor's own physical timer (DDI 0487 D12).

use aarch64_cpu::asm::barrier;
use aarch64_cpu::registers::{CNTFRQ_EL0, CNTHP_CTL_EL2, CNTPCT_EL0};
use core::sync::atomic::{AtomicU64, Ordering};
use mmio::Clock;
use tock_registers::interfaces::{Readable, Writeable};

/// The counter when the core started.
static START: AtomicU64 = AtomicU64::new(0);

/// The CPU's private interrupt of the hypervisor's physical timer (Arm BSA 1.0, 3.6).
pub const HYPERVISOR_TIMER_INTID: u32 = 26;

/// Takes this moment as zero.
pub fn start_clock() {
    START.store(ticks(), Ordering::Relaxed);
}

/// The system counter.
pub fn ticks() -> u64 {
    // Without it the counter may be read before earlier accesses are done.
    barrier::isb(barrier::SY);
    CNTPCT_EL0.get()
}

/// Ticks of the system counter in a second; at least 1, whatever firmware left in `CNTFRQ_EL0`.
pub fn frequency_hz() -> u64 {
    CNTFRQ_EL0.get().max(1)
}

/// Microseconds since the core started.
pub fn now_us() -> u64 {
    ticks_to_us(ticks().saturating_sub(START.load(Ordering::Relaxed)))
}

/// Ticks of the system counter, rounded down to microseconds.
pub fn ticks_to_us(ticks: u64) -> u64 {
    let frequency = frequency_hz();
    let (seconds, rest) = (ticks / frequency, ticks % frequency);
    seconds
        .saturating_mul(1_000_000)
        .saturating_add(rest.saturating_mul(1_000_000) / frequency)
}

/// Microseconds, rounded up to ticks of the system counter.
pub fn us_to_ticks(us: u64) -> u64 {
    let frequency = frequency_hz();
    let (seconds, rest) = (us / 1_000_000, us % 1_000_000);
    seconds
        .saturating_mul(frequency)
        .saturating_add(rest.saturating_mul(frequency).div_ceil(1_000_000))
}

/// The clock that waits are bounded by.
#[derive(Debug, Clone, Copy)]
pub struct Now;

impl Clock for Now {
    fn now_us(&self) -> u64 {
        now_us()
    }

    /// Rests until the hypervisor's timer is due, which then stands as it stood before.
    fn pause(&self, us: u64) {
        let before = setting();
        let end = now_us().saturating_add(us);
        loop {
            let left = end.saturating_sub(now_us());
            if left == 0 {
                break;
            }
            arm(left);
            // Any interrupt that is pending ends it, and is taken later.
            super::cpu::wait_for_interrupt();
        }
        restore(&before);
    }
}

/// Lets this CPU's hypervisor timer fire `us` microseconds from now, and until [`disarm`].
pub fn arm(us: u64) {
    set_compare(ticks().saturating_add(us_to_ticks(us)));
    CNTHP_CTL_EL2.write(CNTHP_CTL_EL2::ENABLE::SET + CNTHP_CTL_EL2::IMASK::CLEAR);
    barrier::isb(barrier::SY);
}

/// Stops this CPU's hypervisor timer; its interrupt goes away.
pub fn disarm() {
    CNTHP_CTL_EL2.write(CNTHP_CTL_EL2::ENABLE::CLEAR + CNTHP_CTL_EL2::IMASK::SET);
    barrier::isb(barrier::SY);
}

/// What a CPU's hypervisor timer is set to.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    control: u64,
    compare: u64,
}

/// What this CPU's hypervisor timer is set to.
pub fn setting() -> Setting {
    let compare;
    // SAFETY: reading the compare value changes nothing.
    unsafe {
        core::arch::asm!("mrs {}, cnthp_cval_el2", out(reg) compare, options(nomem, nostack, preserves_flags))
    };
    Setting {
        control: CNTHP_CTL_EL2.get(),
        compare,
    }
}

/// Sets this CPU's hypervisor timer to what it was.
pub fn restore(setting: &Setting) {
    set_compare(setting.compare);
    CNTHP_CTL_EL2.set(setting.control);
    barrier::isb(barrier::SY);
}

/// `CNTHP_CVAL_EL2`, which aarch64-cpu lacks.
fn set_compare(value: u64) {
    // SAFETY: writing the compare value of a timer whose interrupt EL2 alone handles.
    unsafe {
        core::arch::asm!("msr cnthp_cval_el2, {}", in(reg) value, options(nomem, nostack, preserves_flags))
    };
}
