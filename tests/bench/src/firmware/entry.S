// From reset to Rust, from Rust to EL2, and from a trap to Rust and back.

// Booting arm64 Linux, Documentation/arch/arm64/booting.rst, section 4: the Image header, only because whoever builds images
// looks for it. This one is entered at its first byte, in flash, on every CPU at once.
.section .text.header, "ax"
.global image_header
image_header:
    b       entry
    .long   0
    .global smmu_kind
smmu_kind:                          // offset 8: a word that whoever builds the image may change
    .quad   1
    .quad   image_size
    .quad   0
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

.equ STACK_SHIFT, 16                // 64 KiB for each CPU
.equ READY, 0x1de                   // "moved", in the last word of secure memory
.equ R_AARCH64_RELATIVE, 1027
// SCTLR_EL2 and SCTLR_EL3 with only their RES1 bits: MMU and caches off, little-endian (DDI 0487 D23.2.138).
.equ SCTLR_RES1_LOW, 0x0830
.equ SCTLR_RES1_HIGH, 0x30c5
.equ SPSR_EL2H_MASKED, 0x3c9

.section .text.entry, "ax"
entry:
    msr     daifset, #0xf
    movz    x0, #SCTLR_RES1_LOW
    movk    x0, #SCTLR_RES1_HIGH, lsl #16
    msr     sctlr_el3, x0
    isb
    ldr     x20, ={memory}          // where secure memory begins
    ldr     x21, ={memory_end} - 8
    mrs     x22, mpidr_el1
    and     x22, x22, #0xff         // the machine has one cluster
    cbnz    x22, 4f

    // The first CPU copies the image and relocates the copy.
    adrp    x0, image_start
    adrp    x1, data_end
    add     x1, x1, :lo12:data_end
    sub     x1, x1, x0
    mov     x2, x20
1:  ldp     x3, x4, [x0], #16
    stp     x3, x4, [x2], #16
    subs    x1, x1, #16
    b.hi    1b
    adrp    x1, rela_start
    add     x1, x1, :lo12:rela_start
    adrp    x2, rela_end
    add     x2, x2, :lo12:rela_end
2:  cmp     x1, x2
    b.hs    3f
    ldp     x3, x4, [x1], #16       // offset, type
    ldr     x5, [x1], #8            // addend
    cmp     w4, #R_AARCH64_RELATIVE
    b.ne    .
    add     x5, x5, x20
    str     x5, [x20, x3]
    b       2b
3:  mov     x0, #READY
    dsb     sy
    str     x0, [x21]

4:  ldr     x0, [x21]
    cmp     x0, #READY
    b.eq    5f
    yield
    b       4b
5:  ic      iallu
    dsb     sy
    isb
    adrp    x0, moved
    add     x0, x0, :lo12:moved
    adrp    x1, image_start
    sub     x0, x0, x1
    add     x0, x0, x20
    br      x0

// In secure memory, on every CPU.
moved:
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el3, x0
    isb
    bl      own_stack
    mov     x0, x22
    bl      {main}
    b       .

// x22: the number of this CPU. The stack pointer is put to the top of its stack.
own_stack:
    adrp    x0, {stacks}
    add     x0, x0, :lo12:{stacks}
    add     x1, x22, #1
    add     x0, x0, x1, lsl #STACK_SHIFT
    msr     spsel, #1
    mov     sp, x0
    mov     x29, xzr
    ret

// Leaves for EL2. x0: address, x1: context. This CPU's stack is empty afterwards.
.global launch
launch:
    mov     x19, x0
    mov     x20, x1
    mrs     x22, mpidr_el1
    and     x22, x22, #0xff
    bl      own_stack
    movz    x0, #SCTLR_RES1_LOW
    movk    x0, #SCTLR_RES1_HIGH, lsl #16
    msr     sctlr_el2, x0
    msr     hcr_el2, xzr
    mov     x0, #SPSR_EL2H_MASKED
    msr     spsr_el3, x0
    msr     elr_el3, x19
    mov     x0, x20
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    isb
    eret

// Goes on where a CPU that was turned off is parked, on an empty stack.
.global restart
restart:
    mrs     x22, mpidr_el1
    and     x22, x22, #0xff
    bl      own_stack
    bl      {park}
    b       .

.macro save
    sub     sp, sp, #256
    stp     x0, x1, [sp, #0]
    stp     x2, x3, [sp, #16]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
.endm

.macro vector handler, number
.balign 128
    save
    mov     x0, sp
    mov     x1, #\number
    bl      \handler
    b       restore
.endm

// DDI 0487 D1.4.1.
.balign 2048
vectors:
    vector {unexpected}, 0
    vector {unexpected}, 1
    vector {unexpected}, 2
    vector {unexpected}, 3
    vector {unexpected}, 4
    vector {unexpected}, 5
    vector {unexpected}, 6
    vector {unexpected}, 7
    vector {synchronous}, 8
    vector {unexpected}, 9
    vector {interrupt}, 10
    vector {unexpected}, 11
    vector {unexpected}, 12
    vector {unexpected}, 13
    vector {unexpected}, 14
    vector {unexpected}, 15

.balign 128
restore:
    ldp     x2, x3, [sp, #16]
    ldp     x4, x5, [sp, #32]
    ldp     x6, x7, [sp, #48]
    ldp     x8, x9, [sp, #64]
    ldp     x10, x11, [sp, #80]
    ldp     x12, x13, [sp, #96]
    ldp     x14, x15, [sp, #112]
    ldp     x16, x17, [sp, #128]
    ldp     x18, x19, [sp, #144]
    ldp     x20, x21, [sp, #160]
    ldp     x22, x23, [sp, #176]
    ldp     x24, x25, [sp, #192]
    ldp     x26, x27, [sp, #208]
    ldp     x28, x29, [sp, #224]
    ldr     x30, [sp, #240]
    ldp     x0, x1, [sp, #0]
    add     sp, sp, #256
    eret
.ltorg
