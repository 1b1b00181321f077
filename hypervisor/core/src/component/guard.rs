//! Calls into a component that come back whatever the component does.
//!
//! A call runs on the component's stack and ends in one of four ways ([`Ending`]): it returns, it faults, it panics, or the
//! watchdog cuts it off. In the last three the core goes on as if the call had returned (`guard.S`). This contains
//! mistakes; it does not isolate: a component is EL2 code that a trusted key has signed.
#![expect(
    unsafe_code,
    reason = "the switch to the component's stack and back is what this file is for"
)]

use super::host::Host;
use super::services;
use crate::arch::gic::{self, Mask};
use crate::arch::percpu::{self, PerCpu};
use crate::arch::timer;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;
use core::sync::atomic::Ordering;
use driver_abi::{CALL_LIMIT_US, Status};

core::arch::global_asm!(
    include_str!("guard.S"),
    registers = const offset_of!(Context, registers),
    place = const offset_of!(Context, place),
    stack_top = const offset_of!(Context, stack_top),
    periods = const offset_of!(Context, periods),
    period_ticks = const offset_of!(Context, period_ticks),
    guard = const offset_of!(PerCpu, guard),
    allocate = sym services::allocate,
    free = sym services::free,
    clean = sym services::clean,
    map_mmio = sym services::map_mmio,
    now_us = sym services::now_us,
    log = sym services::log,
    report_fault = sym services::report_fault,
    panic = sym services::panic,
);

/// How many more periods of [`CALL_LIMIT_US`] a call gets after the first.
const MORE_PERIODS: u64 = 1;

/// A call in progress, as `guard.S` knows it.
#[repr(C)]
struct Context {
    /// x19 to x30, SP_EL2 and SP_EL0 of the caller.
    registers: [u64; 14],
    place: Place,
    stack_top: u64,
    periods: u64,
    period_ticks: u64,
    /// The [`Host`] of who is called, for the services.
    host: *const c_void,
}

/// Where a component was when it was left.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Address of the instruction.
    pub(super) pc: u64,
    /// `ESR_EL2`.
    pub(super) syndrome: u64,
    /// `FAR_EL2`.
    pub(super) address: u64,
    /// The component's stack pointer.
    pub(super) sp: u64,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It returned this status.
    Returned(Status),
    /// It took an exception there.
    Faulted(Place),
    /// It did not return in time, and was there.
    TimedOut(Place),
    /// It called the panic service.
    Panicked,
}

/// What `component_call` returns in x0 and x1.
#[repr(C)]
struct Outcome {
    how: u64,
    /// A status: 32 bits, whatever stands above them in the register.
    value: u32,
}

unsafe extern "C" {
    fn component_call(context: *mut Context, function: usize, arguments: *const [u64; 4]) -> Outcome;
}

/// Calls `function` of a component on the stack that ends at `stack_top`.
///
/// # Safety
/// - `function` is a C function in the component's text, which takes these arguments, and the component is mapped;
/// - `stack_top` is 16-byte aligned, with [`driver_abi::STACK_SIZE`] bytes of mapped stack below it that nothing else uses;
/// - pointers among the arguments are good for the call.
pub(super) unsafe fn call(function: usize, arguments: [u64; 4], stack_top: usize, host: &Host) -> Ending {
    let mut context = Context {
        registers: [0; 14],
        place: Place {
            pc: 0,
            syndrome: 0,
            address: 0,
            sp: 0,
        },
        stack_top: stack_top as u64,
        periods: MORE_PERIODS,
        period_ticks: timer::us_to_ticks(CALL_LIMIT_US),
        host: ptr::from_ref(host).cast(),
    };
    let guard = &percpu::this().guard;
    guard.store((&raw mut context).cast(), Ordering::Relaxed);
    // Whoever waits for this CPU's timer gets it back afterwards.
    let setting = timer::setting();
    gic::set_mask(Mask::WatchdogOnly);
    timer::arm(CALL_LIMIT_US);
    // SAFETY: our caller's promise for function, stack and arguments; `context` lives until the call has ended.
    let outcome = unsafe { component_call(&raw mut context, function, &raw const arguments) };
    timer::restore(&setting);
    gic::set_mask(Mask::Open);
    guard.store(ptr::null_mut(), Ordering::Relaxed);
    match outcome.how {
        0 => Ending::Returned(Status(outcome.value)),
        1 => Ending::Faulted(context.place),
        2 => Ending::TimedOut(context.place),
        _ => Ending::Panicked,
    }
}

/// The component that this CPU is in a call of, for the services.
pub(super) fn current<R>(look: impl FnOnce(&Host) -> R) -> Option<R> {
    let context = percpu::this().guard.load(Ordering::Relaxed).cast::<Context>();
    // SAFETY: `call` points it at a live context before it enters the component, and clears it after.
    let context = unsafe { context.as_ref() }?;
    // SAFETY: `call` borrows the host for longer than the context lives.
    Some(look(unsafe { &*context.host.cast::<Host>() }))
}
