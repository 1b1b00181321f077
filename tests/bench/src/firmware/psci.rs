//! The Power State Coordination Interface (DEN0022), called by SMC.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bench_firmware::map::{CORE, TREE};

use super::system::read;
use super::{CPUS, gic, power, trap};

/// States of a CPU, which are also what AFFINITY_INFO answers.
const ON: u32 = 0;
const OFF: u32 = 1;
const ON_PENDING: u32 = 2;

struct Cpu {
    state: AtomicU32,
    entry: AtomicU64,
    context: AtomicU64,
}

static CPU: [Cpu; CPUS] = [const {
    Cpu {
        state: AtomicU32::new(OFF),
        entry: AtomicU64::new(0),
        context: AtomicU64::new(0),
    }
}; CPUS];

/// Function identifiers without the bit that says 64-bit.
const WIDE: u64 = 1 << 30;
const VERSION: u64 = 0x8400_0000;
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0x8400_0003;
const AFFINITY_INFO: u64 = 0x8400_0004;
const MIGRATE_INFO_TYPE: u64 = 0x8400_0006;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
const FEATURES: u64 = 0x8400_000a;
const KNOWN: [u64; 8] = [
    VERSION,
    CPU_OFF,
    CPU_ON,
    AFFINITY_INFO,
    MIGRATE_INFO_TYPE,
    SYSTEM_OFF,
    SYSTEM_RESET,
    FEATURES,
];
/// Answers.
const VERSION_1_1: i64 = 0x1_0001;
const NO_MIGRATION: i64 = 2;
const SUCCESS: i64 = 0;
const NOT_SUPPORTED: i64 = -1;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;
const PENDING: i64 = -5;
/// Affinity fields of MPIDR_EL1 above the lowest, and the lowest.
const UPPER_AFFINITY: u64 = 0xff_00ff_ff00;
const LOWEST_AFFINITY: u64 = 0xff;

unsafe extern "C" {
    fn launch(entry: u64, context: u64) -> !;
    fn restart() -> !;
}

/// Answers a call.
pub(super) fn call(function: u64, [first, second, third]: [u64; 3]) -> i64 {
    match function & !WIDE {
        VERSION => VERSION_1_1,
        CPU_OFF => turn_off(),
        CPU_ON => turn_on(first, second, third),
        AFFINITY_INFO => find(first).map_or(INVALID_PARAMETERS, |(_, cpu)| {
            cpu.state.load(Ordering::Acquire).into()
        }),
        MIGRATE_INFO_TYPE => NO_MIGRATION,
        SYSTEM_OFF => {
            trap::report();
            power::off()
        }
        SYSTEM_RESET => power::reset(),
        FEATURES if KNOWN.contains(&(first & !WIDE)) => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

/// Starts the core on the first CPU.
pub(super) fn start_first() -> ! {
    let [first, ..] = &CPU;
    first.state.store(ON, Ordering::Release);
    // SAFETY: it leaves EL3; nothing of this stack is used again.
    unsafe { launch(CORE, TREE) }
}

fn turn_on(affinity: u64, entry: u64, context: u64) -> i64 {
    let Some((number, cpu)) = find(affinity) else {
        return INVALID_PARAMETERS;
    };
    let claimed = cpu
        .state
        .compare_exchange(OFF, ON_PENDING, Ordering::AcqRel, Ordering::Acquire);
    match claimed {
        Err(ON) => ALREADY_ON,
        Err(_) => PENDING,
        Ok(_) => {
            cpu.context.store(context, Ordering::Release);
            cpu.entry.store(entry | 1, Ordering::Release);
            gic::wake(number);
            SUCCESS
        }
    }
}

fn turn_off() -> ! {
    if let Some(cpu) = this() {
        cpu.state.store(OFF, Ordering::Release);
    }
    // SAFETY: it empties this CPU's stack and parks it; nothing of this stack is used again.
    unsafe { restart() }
}

/// Waits on this CPU, which is off, until somebody turns it on. Devices go on meanwhile.
pub(super) extern "C" fn park() -> ! {
    let Some(cpu) = this() else { power::rest() };
    loop {
        // The lowest bit, which no entry has, says that the other two words are there.
        let entry = cpu.entry.swap(0, Ordering::AcqRel);
        if entry != 0 {
            cpu.state.store(ON, Ordering::Release);
            let context = cpu.context.load(Ordering::Acquire);
            // SAFETY: it leaves EL3; nothing of this stack is used again.
            unsafe { launch(entry & !1, context) }
        }
        // A pending interrupt ends it, although it is masked (DDI 0487 D1.6).
        // SAFETY: waiting has no effect on memory.
        unsafe { core::arch::asm!("wfi", options(nomem, nostack)) };
        trap::take_interrupts();
    }
}

fn this() -> Option<&'static Cpu> {
    CPU.get((read!("mpidr_el1") & LOWEST_AFFINITY) as usize)
}

fn find(affinity: u64) -> Option<(usize, &'static Cpu)> {
    let number = (affinity & LOWEST_AFFINITY) as usize;
    let cpu = CPU.get(number)?;
    (affinity & UPPER_AFFINITY == 0).then_some((number, cpu))
}
