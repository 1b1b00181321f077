//! What each CPU has for itself: a structure behind `TPIDR_EL2` and its stacks.

use super::exceptions::FaultFrame;
use super::{cpu, native};
use aarch64_cpu::registers::{MPIDR_EL1, TPIDR_EL2};
use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};
use core::ptr;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
use tock_registers::interfaces::Readable;

/// The most CPUs the core runs; more in the tree are left off, with a line that says so.
pub const MAX_CPUS: usize = 8;
/// Stack of a CPU, in bytes.
pub const STACK_SIZE: usize = 64 << 10;
/// The unmapped pages below each stack, in bytes.
pub const GUARD_SIZE: usize = 4 << 10;
/// The stack on which a fault in the core is reported, in bytes.
const FAULT_STACK_SIZE: usize = 16 << 10;

/// One CPU's own data. Assembly finds it in `TPIDR_EL2` at EL2, and the fields through `offset_of!`.
#[repr(C)]
#[derive(Debug)]
pub struct PerCpu {
    /// Registers at a fault of the core, saved by `exceptions.S`.
    pub(super) fault: UnsafeCell<FaultFrame>,
    /// Where the report of a fault has its stack.
    pub(super) fault_stack_top: AtomicU64,
    /// For the guest entry and exit code: the vCPU that runs here, or null.
    pub vcpu: AtomicPtr<u8>,
    /// For the guarded component call: its saved context, or null outside a call.
    pub guard: AtomicPtr<u8>,
    /// Number of the CPU.
    index: AtomicU64,
    /// Affinity bits of `MPIDR_EL1`: Aff3 in bits 39:32, Aff2 to Aff0 in bits 23:0.
    affinity: AtomicU64,
    /// It runs.
    online: AtomicBool,
}

// SAFETY: `fault` is written by its own CPU's exception entry only, with interrupts masked; everything else is atomic.
unsafe impl Sync for PerCpu {}

impl PerCpu {
    const fn new() -> Self {
        PerCpu {
            fault: UnsafeCell::new(FaultFrame::ZERO),
            fault_stack_top: AtomicU64::new(0),
            vcpu: AtomicPtr::new(ptr::null_mut()),
            guard: AtomicPtr::new(ptr::null_mut()),
            index: AtomicU64::new(0),
            affinity: AtomicU64::new(0),
            online: AtomicBool::new(false),
        }
    }

    /// The number of the CPU: 0 for the boot CPU, the others in the order of the tree's `/cpus`.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "only an index below MAX_CPUS is ever stored"
    )]
    pub fn index(&self) -> usize {
        self.index.load(Ordering::Relaxed) as usize
    }

    /// Affinity bits of the CPU's `MPIDR_EL1`, as in the tree's `reg`.
    pub fn affinity(&self) -> u64 {
        self.affinity.load(Ordering::Relaxed)
    }

    /// Whether the CPU runs.
    pub fn is_online(&self) -> bool {
        self.online.load(Ordering::Acquire)
    }

    /// Says that the CPU runs.
    pub fn set_online(&self) {
        self.online.store(true, Ordering::Release);
    }

    /// Names the CPU; before it starts, or as the boot CPU.
    pub fn set_identity(&self, index: usize, affinity: u64) {
        let fault_stacks = (&raw const STACKS).addr() + offset_of!(Stacks, fault);
        let fault_stack_top = fault_stacks + (index + 1) * FAULT_STACK_SIZE;
        self.fault_stack_top
            .store(fault_stack_top as u64, Ordering::Relaxed);
        self.index.store(index as u64, Ordering::Relaxed);
        self.affinity.store(affinity, Ordering::Relaxed);
    }
}

/// Everyone's data. `entry.S` gives the first to the boot CPU.
pub(super) static PER_CPU: [PerCpu; MAX_CPUS] = [const { PerCpu::new() }; MAX_CPUS];

/// A stack, growing down towards a page that is not mapped.
#[repr(C, align(4096))]
pub(super) struct Stack {
    guard: MaybeUninit<[u8; GUARD_SIZE]>,
    memory: MaybeUninit<[u8; STACK_SIZE]>,
}

/// All stacks: one for each CPU, then one for faults of each CPU.
#[repr(C)]
pub(super) struct Stacks {
    normal: [Stack; MAX_CPUS],
    fault: [MaybeUninit<[u8; FAULT_STACK_SIZE]>; MAX_CPUS],
}

#[repr(transparent)]
pub(super) struct StackMemory(UnsafeCell<MaybeUninit<Stacks>>);

// SAFETY: Rust code never makes a reference into it; each CPU uses its own stack through SP.
unsafe impl Sync for StackMemory {}

#[unsafe(link_section = ".bss..stacks")]
pub(super) static STACKS: StackMemory = StackMemory(UnsafeCell::new(MaybeUninit::uninit()));

/// What a CPU needs to know to start, read by `entry.S` with the MMU off. It looks for its own by its affinity: a spin
/// table, other than PSCI, passes nothing on.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct SecondaryStart {
    /// The affinity bits of its `MPIDR_EL1`.
    pub(super) affinity: u64,
    /// `TTBR0_EL2`.
    pub(super) root: u64,
    /// `SCTLR_EL2`.
    pub(super) control: u64,
    /// Its [`PerCpu`].
    pub(super) per_cpu: u64,
    /// Its first stack pointer.
    pub(super) stack_top: u64,
}

/// The context of each CPU's start.
#[repr(transparent)]
pub(super) struct Starts(UnsafeCell<[SecondaryStart; MAX_CPUS]>);

// SAFETY: only the boot CPU writes, and all elements before the first CPU that reads them starts.
unsafe impl Sync for Starts {}

pub(super) static STARTS: Starts = Starts(UnsafeCell::new([const { SecondaryStart::NOBODY }; MAX_CPUS]));

impl SecondaryStart {
    const NOBODY: SecondaryStart = SecondaryStart {
        affinity: u64::MAX,
        root: 0,
        control: 0,
        per_cpu: 0,
        stack_top: 0,
    };

    /// Fills in the start of the CPU of that data, in memory. On the boot CPU, before that CPU starts.
    pub(super) fn prepare(per_cpu: &'static PerCpu, root: u64, control: u64) {
        let start = SecondaryStart {
            affinity: per_cpu.affinity(),
            root,
            control,
            per_cpu: ptr::from_ref(per_cpu).expose_provenance() as u64,
            stack_top: stack_top(per_cpu.index()) as u64,
        };
        let slots = STARTS.0.get().cast::<SecondaryStart>();
        let slot = slots.wrapping_add(per_cpu.index().min(MAX_CPUS - 1));
        // SAFETY: the slot lies in `STARTS`, and no CPU that could read it runs yet.
        unsafe { slot.write(start) };
        // It is read with caches off.
        cpu::clean_invalidate_to_coherency(slot.addr()..slot.addr() + size_of::<SecondaryStart>());
    }
}

/// This CPU's data.
pub fn this() -> &'static PerCpu {
    let address = TPIDR_EL2.get();
    // SAFETY: `entry.S` points TPIDR_EL2 at an element of `PER_CPU` before any Rust code runs on a CPU, and nothing
    // else writes it.
    unsafe { &*ptr::with_exposed_provenance::<PerCpu>(native(address)) }
}

/// The data of the CPU with that index.
pub fn of(index: usize) -> Option<&'static PerCpu> {
    PER_CPU.get(index)
}

/// CPUs that run, boot CPU included.
pub fn online() -> impl Iterator<Item = &'static PerCpu> {
    PER_CPU.iter().filter(|cpu| cpu.is_online())
}

/// Affinity bits of the CPU this runs on.
pub fn own_affinity() -> u64 {
    MPIDR_EL1.get() & 0xff_00ff_ffff
}

/// The guard page below the stack of the CPU with that index.
pub fn guard_page(index: usize) -> core::ops::Range<usize> {
    let start = (&raw const STACKS).addr() + index * size_of::<Stack>();
    start..start + GUARD_SIZE
}

/// The first stack pointer of the CPU with that index.
pub(super) fn stack_top(index: usize) -> usize {
    (&raw const STACKS).addr() + (index + 1) * size_of::<Stack>()
}
