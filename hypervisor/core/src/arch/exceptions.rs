//! Faults of the core: what happened, where, with which registers; then the run ends.

use super::percpu::{self, MAX_CPUS, PerCpu};
use super::{PhysicalAddress, image};
use aarch64_cpu::registers::{ELR_EL2, ESR_EL2, FAR_EL2, SPSR_EL2};
use core::fmt;
use core::mem::offset_of;
use tock_registers::interfaces::Readable;

core::arch::global_asm!(
    include_str!("exceptions.S"),
    fault = const offset_of!(PerCpu, fault),
    fault_stack_top = const offset_of!(PerCpu, fault_stack_top),
    core_fault = sym core_fault,
);

/// The general registers at a fault, as `exceptions.S` saves them.
#[repr(C)]
#[derive(Debug)]
pub(super) struct FaultFrame {
    /// x0 to x30.
    x: [u64; 31],
    /// The stack pointer.
    sp: u64,
}

impl FaultFrame {
    pub(super) const ZERO: FaultFrame = FaultFrame { x: [0; 31], sp: 0 };
}

/// What a vector number of `exceptions.S` means.
fn describe_vector(from: u64) -> &'static str {
    match from {
        0 => "synchronous exception in the core",
        1 => "interrupt in the core, where they are masked",
        2 => "fast interrupt in the core, where they are masked",
        3 => "system error in the core",
        4 => "fast interrupt in a component, where they are masked",
        5 => "system error in a component",
        _ => "exception of a guest in AArch32, which guests do not have",
    }
}

/// Called by `exceptions.S` on the CPU's fault stack.
extern "C" fn core_fault(per_cpu: &PerCpu, from: u64) -> ! {
    // SAFETY: the exception entry of this CPU has written it. If the report faults, the frame is overwritten, and
    // `report` prints nothing more.
    let frame = unsafe { &*per_cpu.fault.get() };
    let syndrome = ESR_EL2.get();
    crate::panic::report(format_args!(
        "PANIC: {} on CPU {}: {}\n  at   {}{}\n  sp   {}\n  esr  {:#010x}, spsr {:#010x}\n{}",
        describe_vector(from),
        per_cpu.index(),
        Syndrome(syndrome),
        Place(ELR_EL2.get()),
        FaultAddress {
            syndrome,
            address: FAR_EL2.get()
        },
        Place(frame.sp),
        syndrome,
        SPSR_EL2.get(),
        Registers(frame),
    ))
}

/// `FAR_EL2`, where the exception class gives it a meaning.
struct FaultAddress {
    syndrome: u64,
    address: u64,
}

impl fmt::Display for FaultAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match exception_class(self.syndrome) {
            0x20..=0x22 | 0x24 | 0x25 => write!(f, "\n  addr {}", Place(self.address)),
            _ => Ok(()),
        }
    }
}

/// `ESR_EL2.EC`.
fn exception_class(syndrome: u64) -> u64 {
    (syndrome >> 26) & 0x3f
}

struct Registers<'a>(&'a FaultFrame);

impl fmt::Display for Registers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, value) in self.0.x.iter().enumerate().take(30) {
            let end = if index % 4 == 3 || index == 29 { "\n" } else { "" };
            write!(f, "  x{index:<2} {value:#018x}{end}")?;
        }
        let link = self.0.x.last().copied().unwrap_or_default();
        write!(f, "  lr   {}", Place(link))
    }
}

/// An address, and what lies there.
struct Place(u64);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ok(address) = PhysicalAddress::try_from(self.0) else {
            return write!(f, "{:#018x}", self.0);
        };
        write!(f, "{address:#018x} ")?;
        let guards = (0..MAX_CPUS).find(|&index| percpu::guard_page(index).contains(&address));
        if let Some(index) = guards {
            return write!(
                f,
                "(stack guard of CPU {index}: its stack of {} KiB overflowed)",
                percpu::STACK_SIZE >> 10
            );
        }
        let region = if image::text().contains(&address) {
            "text"
        } else if image::rodata().contains(&address) {
            "rodata"
        } else if image::data().contains(&address) {
            "data"
        } else {
            return write!(f, "(outside the image)");
        };
        write!(f, "(image+{:#x}, {region})", address - image::whole().start)
    }
}

/// `ESR_EL2`, in words (DDI 0487 D23.2.37).
#[derive(Debug, Clone, Copy)]
pub struct Syndrome(pub u64);

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = exception_class(self.0);
        match class {
            0x00 => write!(f, "undefined instruction"),
            0x07 => write!(f, "floating point, SVE or SME used"),
            0x0e => write!(f, "illegal execution state"),
            0x20 | 0x21 => write!(f, "instruction fetch: {}", FaultStatus(self.0)),
            0x22 => write!(f, "misaligned program counter"),
            0x24 | 0x25 => {
                let direction = if self.0 & (1 << 6) == 0 { "read" } else { "write" };
                write!(f, "data {direction}: {}", FaultStatus(self.0))
            }
            0x26 => write!(f, "misaligned stack pointer"),
            0x2f => write!(f, "system error, syndrome {:#x}", self.0 & 0x1ff_ffff),
            0x3c => write!(f, "brk {:#x}", self.0 & 0xffff),
            _ => write!(f, "exception class {class:#04x}"),
        }
    }
}

/// The fault status code of an abort's syndrome, in words.
struct FaultStatus(u64);

impl fmt::Display for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, level) = (self.0 & 0x3f, self.0 & 0x3);
        match code {
            0x00..=0x03 => write!(f, "address too large, level {level}"),
            0x04..=0x07 => write!(f, "not mapped, level {level}"),
            0x08..=0x0b => write!(f, "access flag clear, level {level}"),
            0x0c..=0x0f => write!(f, "not permitted, level {level}"),
            0x10 => write!(f, "external abort"),
            0x14..=0x17 => write!(f, "external abort in a table walk, level {level}"),
            0x21 => write!(f, "misaligned"),
            0x30 => write!(f, "TLB conflict"),
            _ => write!(f, "status {code:#04x}"),
        }
    }
}
