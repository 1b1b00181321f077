//! What comes up from the software below: calls, and accesses to the emulated devices.

use core::sync::atomic::{AtomicU64, Ordering};

use bench_firmware::decode;

use super::gic::{self, Distributor};
use super::system::{barrier, read, write};
use super::uart::{fatal, print};
use super::{MACHINE, Machine, physical, psci, time};

/// The general-purpose registers of the software below, as `entry.S` keeps them.
#[repr(C)]
pub(super) struct Frame {
    registers: [u64; 31],
    unused: u64,
}

/// Exception classes (DDI 0487, ESR_EL3.EC).
const SMC: u64 = 0x17;
const GRANULE_PROTECTION: u64 = 0x1e;
/// Of a granule protection fault: on an instruction fetch, on a walk of stage 2, on a walk of stage 1.
const NO_DATA_ACCESS: u64 = 1 << 20 | 1 << 21 | 1 << 7;
/// MFAR_EL3: the address of the page.
const PAGE_ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const IN_PAGE: u64 = 0xfff;
/// A line that stays asserted is looked at again so much later.
const REPEAT_US: u64 = 1_000;

/// How many accesses were answered, and what that took of the CPUs' time.
static ACCESSES: AtomicU64 = AtomicU64::new(0);
static TIME_NS: AtomicU64 = AtomicU64::new(0);

/// A synchronous exception of the software below.
pub(super) extern "C" fn synchronous(frame: &mut Frame) {
    let syndrome = read!("esr_el3");
    match syndrome >> 26 & 0x3f {
        SMC => {
            let [function, first, second, third, ..] = frame.registers;
            let answer = psci::call(function, [first, second, third]);
            let [result, ..] = &mut frame.registers;
            *result = answer.cast_unsigned();
        }
        GRANULE_PROTECTION if syndrome & NO_DATA_ACCESS == 0 => {
            let before = time::now_ns();
            access(frame);
            ACCESSES.fetch_add(1, Ordering::Relaxed);
            TIME_NS.fetch_add(time::now_ns() - before, Ordering::Relaxed);
        }
        _ => unexpected(frame, 8),
    }
}

/// Prints what a driver left unfinished, and what the run cost.
pub(super) fn report() {
    let left = MACHINE.lock().as_ref().map(|machine| machine.board.unsettled());
    for what in left.unwrap_or_default() {
        print(format_args!("bench: unsettled: {what}\n"));
    }
    let (accesses, time) = (ACCESSES.load(Ordering::Relaxed), TIME_NS.load(Ordering::Relaxed));
    let each = time.checked_div(accesses).unwrap_or(0);
    print(format_args!(
        "bench: {accesses} accesses to emulated devices, {each} ns each\n"
    ));
}

/// An exception that nobody can answer.
pub(super) extern "C" fn unexpected(_frame: &mut Frame, vector: u64) {
    fatal(format_args!(
        "exception at vector {vector}: ESR {:#x}, ELR {:#x}, FAR {:#x}, MFAR {:#x}, SPSR {:#x}",
        read!("esr_el3"),
        read!("elr_el3"),
        read!("far_el3"),
        read!("s3_6_c6_c0_5"),
        read!("spsr_el3"),
    ))
}

/// An interrupt of the firmware's own.
pub(super) extern "C" fn interrupt(_frame: &mut Frame) {
    take_interrupts();
}

/// Handles the firmware's interrupts that are pending.
pub(super) fn take_interrupts() {
    while let Some(id) = gic::take() {
        if id == gic::TIMER
            && let Some(machine) = MACHINE.lock().as_mut()
        {
            serve(machine);
        }
    }
}

/// An access to an emulated device.
fn access(frame: &mut Frame) {
    let at = read!("elr_el3");
    let address = read!("s3_6_c6_c0_5") & PAGE_ADDRESS | read!("far_el3") & IN_PAGE;
    let Some(word) = fetch(at) else {
        fatal(format_args!(
            "the instruction at {at:#x} that accesses {address:#x} cannot be read"
        ))
    };
    let Some(instruction) = decode(word) else {
        fatal(format_args!(
            "{word:#010x} at {at:#x} accesses {address:#x}: not decoded"
        ))
    };
    let mut machine = MACHINE.lock();
    let Some(machine) = machine.as_mut() else {
        fatal(format_args!("an access to {address:#x} before there are devices"))
    };
    // What is due comes first, so that it does not see what is written now.
    let board = &mut machine.board;
    board.advance(time::now_us());
    instruction.execute(&mut frame.registers, |offset, size, value| {
        let address = address + offset;
        match value {
            None => board.read(address, size),
            Some(value) => {
                board.write(address, size, value, time::now_us());
                0
            }
        }
    });
    serve(machine);
    write!("elr_el3", at.wrapping_add(4));
}

/// Lets devices do what is due, tells the GIC, and sets the timer for what comes next.
fn serve(machine: &mut Machine) {
    let now = time::now_us();
    machine.board.advance(now);
    let asserted = machine.lines.settle(machine.board.lines(), &Distributor);
    let again = asserted.then(|| now + REPEAT_US);
    let next = [machine.board.next_us(), again].into_iter().flatten().min();
    time::wake_at(next);
}

/// Translates an address as the software below does for a load; the answer is in PAR_EL1.
macro_rules! translate {
    ($regime:literal, $at:expr) => {
        // SAFETY: address translation instructions change nothing but PAR_EL1, which the caller puts back.
        unsafe { core::arch::asm!(concat!("at ", $regime, ", {}"), in(reg) $at, options(nostack, preserves_flags)) }
    };
}

/// The instruction at an address of the software below.
fn fetch(at: u64) -> Option<u32> {
    let before = read!("par_el1");
    match read!("spsr_el3") >> 2 & 3 {
        2 => translate!("s1e2r", at),
        1 => translate!("s12e1r", at),
        _ => translate!("s12e0r", at),
    }
    barrier();
    let result = read!("par_el1");
    write!("par_el1", before);
    let translated = result & 1 == 0;
    translated
        .then_some(result & PAGE_ADDRESS | at & IN_PAGE)
        .and_then(physical::instruction)
}
