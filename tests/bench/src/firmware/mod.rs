//! The firmware proper: what runs at EL3.

mod gic;
mod gpt;
mod heap;
mod physical;
mod power;
mod psci;
mod setup;
mod system;
mod time;
mod trap;
mod uart;

use bench_firmware::{Board, Iommu, Kind, Lines, NoIommu, Smmu, Two, map};

use alloc::boxed::Box;
use physical::Physical;
use spin::Mutex;

/// CPUs that there is room for.
const CPUS: usize = 4;
/// Bytes of each CPU's stack: `STACK_SHIFT` of `entry.S`.
const STACK: usize = 1 << 16;
/// Secure memory of QEMU's virt machine, which software below EL3 cannot reach. The firmware lies at its beginning; its last
/// word says that it does.
const MEMORY: usize = 0x0e00_0000;
const MEMORY_END: usize = 0x0f00_0000;

core::arch::global_asm!(
    include_str!("entry.S"),
    memory = const MEMORY,
    memory_end = const MEMORY_END,
    stacks = sym STACKS,
    main = sym main,
    park = sym psci::park,
    synchronous = sym trap::synchronous,
    interrupt = sym trap::interrupt,
    unexpected = sym trap::unexpected,
);

#[repr(C, align(16))]
struct Stacks([[u8; STACK]; CPUS]);

#[unsafe(link_section = ".bss..stacks")]
static mut STACKS: Stacks = Stacks([[0; STACK]; CPUS]);

/// The emulated devices, and their interrupt lines.
struct Machine {
    board: Board<Box<dyn Iommu + Send>, Physical>,
    lines: Lines,
}

/// There once the first CPU has made it. Traps of all CPUs take turns.
static MACHINE: Mutex<Option<Machine>> = Mutex::new(None);

unsafe extern "C" {
    /// The number of the SMMU's kind, 0 if there is none; whoever builds the image may change it.
    static smmu_kind: u64;
}

/// Entered by `entry.S` on every CPU, in secure memory, with a stack.
extern "C" fn main(cpu: usize) -> ! {
    if cpu >= CPUS {
        power::rest();
    }
    if cpu != 0 {
        while MACHINE.lock().is_none() {
            core::hint::spin_loop();
        }
        setup::cpu(cpu);
        psci::park();
    }
    gpt::protect(&map::EMULATED);
    gic::init_distributor();
    setup::cpu(cpu);
    // SAFETY: a word of our image that nobody writes.
    let number = unsafe { (&raw const smmu_kind).read_volatile() };
    let kind = Kind::numbered(number);
    let iommu: Box<dyn Iommu + Send> = match kind {
        Some(kind) if kind.beside => Box::new(Two::new(kind, Physical)),
        Some(kind) => Box::new(Smmu::new(kind, Physical)),
        None => Box::new(NoIommu),
    };
    *MACHINE.lock() = Some(Machine {
        board: Board::new(iommu, Physical),
        lines: Lines::new(),
    });
    let title = kind.map_or("no SMMU", |kind| kind.title);
    uart::print(format_args!(
        "bench: firmware at EL3, {title}, 3 PCI functions, a platform device\n"
    ));
    psci::start_first()
}
