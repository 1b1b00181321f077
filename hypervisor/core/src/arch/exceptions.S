// The exception vectors of EL2 (DDI 0487 D1.3.1). 128 bytes each.
//
// - Current EL with SP_EL0: a component is running (EL2t). Sync and IRQ belong to the guarded call.
// - Current EL with SP_ELx: the core itself. It never takes an exception on purpose, so each is a fault.
// - Lower EL: a guest. They belong to the guest exit code.

// Which vector it was, for the report.
.equ FROM_CORE_SYNC, 0
.equ FROM_CORE_IRQ, 1
.equ FROM_CORE_FIQ, 2
.equ FROM_CORE_SERROR, 3
.equ FROM_COMPONENT_FIQ, 4
.equ FROM_COMPONENT_SERROR, 5
.equ FROM_GUEST_AARCH32, 6

// A fault is final, so SP_EL0 may hold x0 meanwhile; the stack may be the cause, so it is not touched.
.macro fault_vector from
    .balign 128
    msr     sp_el0, x0
    mrs     x0, tpidr_el2
    str     x1, [x0, #{fault} + 8]
    mov     x1, #\from
    b       core_fault_entry
.endm

.macro branch_vector target
    .balign 128
    b       \target
.endm

.section .text.vectors, "ax"
.balign 2048
.global vectors
vectors:
    branch_vector component_guard_sync
    branch_vector component_guard_irq
    fault_vector FROM_COMPONENT_FIQ
    fault_vector FROM_COMPONENT_SERROR

    fault_vector FROM_CORE_SYNC
    fault_vector FROM_CORE_IRQ
    fault_vector FROM_CORE_FIQ
    fault_vector FROM_CORE_SERROR

    branch_vector guest_exit_sync
    branch_vector guest_exit_irq
    branch_vector guest_exit_fiq
    branch_vector guest_exit_serror

    fault_vector FROM_GUEST_AARCH32
    fault_vector FROM_GUEST_AARCH32
    fault_vector FROM_GUEST_AARCH32
    fault_vector FROM_GUEST_AARCH32

// x0: per-CPU structure, x1: which vector, SP_EL0: x0 at the fault; x1 at the fault is saved.
core_fault_entry:
    stp     x2, x3, [x0, #{fault} + 16]
    stp     x4, x5, [x0, #{fault} + 32]
    stp     x6, x7, [x0, #{fault} + 48]
    stp     x8, x9, [x0, #{fault} + 64]
    stp     x10, x11, [x0, #{fault} + 80]
    stp     x12, x13, [x0, #{fault} + 96]
    stp     x14, x15, [x0, #{fault} + 112]
    stp     x16, x17, [x0, #{fault} + 128]
    stp     x18, x19, [x0, #{fault} + 144]
    stp     x20, x21, [x0, #{fault} + 160]
    stp     x22, x23, [x0, #{fault} + 176]
    stp     x24, x25, [x0, #{fault} + 192]
    stp     x26, x27, [x0, #{fault} + 208]
    stp     x28, x29, [x0, #{fault} + 224]
    mov     x3, sp
    stp     x30, x3, [x0, #{fault} + 240]
    mrs     x2, sp_el0
    str     x2, [x0, #{fault}]
    ldr     x3, [x0, #{fault_stack_top}]
    mov     sp, x3
    mov     x29, xzr
    mov     x30, xzr
    b       {core_fault}
