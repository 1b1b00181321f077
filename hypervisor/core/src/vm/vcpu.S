// Into a guest and back (DDI 0487 D1.3, D1.4).
//
// The guest's general registers and SP_EL0, which EL2 has uses for, live in a `Frame` while EL2 runs. Everything else
// of EL1 stays in the CPU: a vCPU has its CPU to itself. SP_EL2 at an exit is what it was at the entry, so the exit
// finds our own registers there.

.section .text.guest, "ax"

// extern "C" fn guest_enter(frame: *mut Frame) -> u64: runs the guest until its next exit; returns which vector.
.global guest_enter
guest_enter:
    stp     x29, x30, [sp, #-96]!
    stp     x19, x20, [sp, #16]
    stp     x21, x22, [sp, #32]
    stp     x23, x24, [sp, #48]
    stp     x25, x26, [sp, #64]
    stp     x27, x28, [sp, #80]
    mrs     x1, tpidr_el2
    str     x0, [x1, #{vcpu}]
    ldp     x2, x3, [x0, #{elr}]
    msr     elr_el2, x2
    msr     spsr_el2, x3
    ldr     x2, [x0, #{sp}]
    msr     sp_el0, x2
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    // Nothing behind an ERET is to be executed, not even speculatively.
    dsb     nsh
    isb

.macro guest_exit which
    stp     x0, x1, [sp, #-16]!
    mov     x1, #\which
    b       guest_exit_common
.endm

.global guest_exit_sync, guest_exit_irq, guest_exit_fiq, guest_exit_serror
guest_exit_sync:
    guest_exit 0
guest_exit_irq:
    guest_exit 1
guest_exit_fiq:
    guest_exit 2
guest_exit_serror:
    guest_exit 3

guest_exit_common:
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{vcpu}]
    stp     x2, x3, [x0, #16]
    stp     x4, x5, [x0, #32]
    stp     x6, x7, [x0, #48]
    stp     x8, x9, [x0, #64]
    stp     x10, x11, [x0, #80]
    stp     x12, x13, [x0, #96]
    stp     x14, x15, [x0, #112]
    stp     x16, x17, [x0, #128]
    stp     x18, x19, [x0, #144]
    stp     x20, x21, [x0, #160]
    stp     x22, x23, [x0, #176]
    stp     x24, x25, [x0, #192]
    stp     x26, x27, [x0, #208]
    stp     x28, x29, [x0, #224]
    str     x30, [x0, #240]
    ldp     x2, x3, [sp], #16
    stp     x2, x3, [x0]
    mrs     x2, elr_el2
    mrs     x3, spsr_el2
    stp     x2, x3, [x0, #{elr}]
    mrs     x2, esr_el2
    mrs     x3, far_el2
    stp     x2, x3, [x0, #{esr}]
    mrs     x2, hpfar_el2
    mrs     x3, sp_el0
    str     x2, [x0, #{hpfar}]
    str     x3, [x0, #{sp}]
    mov     x0, x1
    ldp     x19, x20, [sp, #16]
    ldp     x21, x22, [sp, #32]
    ldp     x23, x24, [sp, #48]
    ldp     x25, x26, [sp, #64]
    ldp     x27, x28, [sp, #80]
    ldp     x29, x30, [sp], #96
    ret

.macro clear registers:vararg
    .irp register, \registers
    msr     \register, xzr
    .endr
.endm

// extern "C" fn guest_reset(has_keys: u64): EL1's registers as a guest finds them when its vCPU is turned on, and its
// floating point registers. MMU and caches off, timer off. CPTR_EL2 must not trap floating point.
.global guest_reset
guest_reset:
    // SCTLR_EL1 with only its RES1 bits (DDI 0487 D23.2.137).
    mov     w1, #0x0800
    movk    w1, #0x30d0, lsl #16
    msr     sctlr_el1, x1
    clear   ttbr0_el1, ttbr1_el1, tcr_el1, mair_el1, amair_el1, contextidr_el1, vbar_el1
    clear   cpacr_el1, csselr_el1, par_el1, esr_el1, far_el1, afsr0_el1, afsr1_el1
    clear   elr_el1, spsr_el1, sp_el1, tpidr_el0, tpidrro_el0, tpidr_el1
    clear   mdscr_el1, cntkctl_el1, cntv_ctl_el0, cntv_cval_el0, cntp_ctl_el0, cntp_cval_el0
    cbz     x0, 1f
    // The keys of pointer authentication: APIA, APIB, APDA, APDB, APGA, low and high.
    clear   s3_0_c2_c1_0, s3_0_c2_c1_1, s3_0_c2_c1_2, s3_0_c2_c1_3
    clear   s3_0_c2_c2_0, s3_0_c2_c2_1, s3_0_c2_c2_2, s3_0_c2_c2_3
    clear   s3_0_c2_c3_0, s3_0_c2_c3_1
1:  .arch_extension fp
    .arch_extension simd
    clear   fpcr, fpsr
    .irp number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
    movi    v\number\().2d, #0
    .endr
    .arch_extension nosimd
    .arch_extension nofp
    isb
    ret
