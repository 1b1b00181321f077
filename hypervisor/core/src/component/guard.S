// Calls into a component and the ways back from it.
//
// The core runs on SP_EL2 (EL2h). A component runs on SP_EL0 (EL2t), its own stack, so an exception says by its vector
// whose it is, and lands on the core's stack however broken the component's is. The context of the call in
// progress is found through TPIDR_EL2 (`PerCpu::guard`).

// How a call ended: `Ending` in guard.rs.
.equ RETURNED, 0
.equ FAULTED, 1
.equ TIMED_OUT, 2
.equ PANICKED, 3

.section .text.component, "ax"

// extern "C" fn component_call(context: *mut Context, function: usize, arguments: *const [u64; 4]) -> Outcome
// Interrupts are masked; only the watchdog's priority gets through the mask of the interrupt controller.
.global component_call
component_call:
    stp     x19, x20, [x0, #{registers}]
    stp     x21, x22, [x0, #{registers} + 16]
    stp     x23, x24, [x0, #{registers} + 32]
    stp     x25, x26, [x0, #{registers} + 48]
    stp     x27, x28, [x0, #{registers} + 64]
    stp     x29, x30, [x0, #{registers} + 80]
    mov     x9, sp
    mrs     x10, sp_el0                 // a guest's stack pointer
    stp     x9, x10, [x0, #{registers} + 96]
    ldr     x9, [x0, #{stack_top}]
    mov     x10, x1
    ldp     x0, x1, [x2]
    ldp     x2, x3, [x2, #16]
    mov     x29, xzr
    msr     sp_el0, x9
    msr     spsel, #0
    msr     daifclr, #2
    blr     x10
    msr     daifset, #2
    msr     spsel, #1
    mov     x1, x0
    mov     x0, #RETURNED
    mrs     x9, tpidr_el2
    ldr     x9, [x9, #{guard}]

// x9: context, x0: how it ended, x1: value. Returns from `component_call`, on the stack it was called on.
component_leave:
    ldp     x10, x11, [x9, #{registers} + 96]
    mov     sp, x10
    msr     sp_el0, x11
    ldp     x19, x20, [x9, #{registers}]
    ldp     x21, x22, [x9, #{registers} + 16]
    ldp     x23, x24, [x9, #{registers} + 32]
    ldp     x25, x26, [x9, #{registers} + 48]
    ldp     x27, x28, [x9, #{registers} + 64]
    ldp     x29, x30, [x9, #{registers} + 80]
    ret

// Keeps where the component was, for the report. x9: context.
.macro keep_place
    mrs     x10, elr_el2
    mrs     x11, esr_el2
    stp     x10, x11, [x9, #{place}]
    mrs     x10, far_el2
    mrs     x11, sp_el0
    stp     x10, x11, [x9, #{place} + 16]
.endm

// Vector 0x000: the component faulted. Taking the exception has masked interrupts and selected SP_EL2, so it is left by
// returning from the call, not from the exception.
.global component_guard_sync
component_guard_sync:
    mrs     x9, tpidr_el2
    ldr     x9, [x9, #{guard}]
    keep_place
    mov     x0, #FAULTED
    mov     x1, xzr
    b       component_leave

// Vector 0x080: the watchdog. The first time the component gets another period: it may be the whole machine that was
// held up (firmware, an emulator on a busy host). The second time it is left as after a fault.
.global component_guard_irq
component_guard_irq:
    stp     x9, x10, [sp, #-16]!
    mrs     x9, cnthp_ctl_el2
    tbz     x9, #2, 1f                  // ISTATUS: the interrupt went away while it was being taken
    mrs     x9, tpidr_el2
    ldr     x9, [x9, #{guard}]
    ldr     x10, [x9, #{periods}]
    cbz     x10, 2f
    sub     x10, x10, #1
    str     x10, [x9, #{periods}]
    ldr     x10, [x9, #{period_ticks}]
    msr     cnthp_tval_el2, x10
    isb
1:  ldp     x9, x10, [sp], #16
    eret
2:  keep_place
    mov     x0, #TIMED_OUT
    mov     x1, xzr
    b       component_leave

// A service of the core, as the component calls it. The body runs on the core's stack with interrupts masked, so
// a component is never left while the core holds a lock.
.macro service name, body
.global \name
\name:
    stp     x29, x30, [sp, #-16]!
    msr     daifset, #2
    msr     spsel, #1
    bl      \body
    msr     spsel, #0
    msr     daifclr, #2
    ldp     x29, x30, [sp], #16
    ret
.endm

    service component_allocate, {allocate}
    service component_free, {free}
    service component_clean, {clean}
    service component_map_mmio, {map_mmio}
    service component_now_us, {now_us}
    service component_log, {log}
    service component_report_fault, {report_fault}

// The service that does not come back.
.global component_panic
component_panic:
    msr     daifset, #2
    msr     spsel, #1
    bl      {panic}
    mov     x0, #PANICKED
    mov     x1, xzr
    mrs     x9, tpidr_el2
    ldr     x9, [x9, #{guard}]
    b       component_leave
