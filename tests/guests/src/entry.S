// From the hypervisor to Rust, exceptions, and a load that may abort.

// Booting arm64 Linux, Documentation/arch/arm64/booting.rst, section 4: the Image header.
.section .text.header, "ax"
.global image_header
image_header:
    b       entry
    .long   0
    .quad   0x80000                 // text_offset
    .quad   image_size              // effective size, with bss
    .quad   (1 << 3) | (1 << 1)     // anywhere in memory, 4 KiB pages, little-endian
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

.equ R_AARCH64_RELATIVE, 1027

.section .text.entry, "ax"

// x0: address of the device tree. EL1, MMU off.
entry:
    mov     x20, x0
    adrp    x0, image_start
    adrp    x1, rela_start
    add     x1, x1, :lo12:rela_start
    adrp    x2, rela_end
    add     x2, x2, :lo12:rela_end
1:  cmp     x1, x2
    b.hs    2f
    ldp     x3, x4, [x1], #16       // offset, type
    ldr     x5, [x1], #8            // addend
    cmp     w4, #R_AARCH64_RELATIVE
    b.ne    park
    add     x5, x5, x0
    str     x5, [x0, x3]
    b       1b

2:  adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, bss_end
    add     x1, x1, :lo12:bss_end
3:  cmp     x0, x1
    b.hs    4f
    stp     xzr, xzr, [x0], #16
    b       3b

4:  adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0
    isb
    adrp    x0, stack_top
    add     x0, x0, :lo12:stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      guest_start
park:
    wfi
    b       park

// x0: address. Returns the word there in x0 and 1 in x1; 0 in x1 if the load aborted.
.global probe_load
probe_load:
    mov     x1, #1
probe_instruction:
    ldr     w0, [x0]
    ret
probe_aborted:
    mov     x1, xzr
    ret

.macro vector
    .balign 128
    b       unexpected
.endm

.balign 2048
vectors:
    vector                          // with SP_EL0: synchronous, IRQ, FIQ, SError
    vector
    vector
    vector
    .balign 128                     // with SP_EL1: synchronous
    b       synchronous
    vector                          // IRQs stay masked: they are taken by polling
    vector
    vector
    .rept   8                       // from EL0, AArch64 and AArch32
    vector
    .endr

// Only `probe_load` may fault, and it keeps nothing in x9 and x10.
synchronous:
    mrs     x9, elr_el1
    adr     x10, probe_instruction
    cmp     x9, x10
    b.ne    unexpected
    adr     x10, probe_aborted
    msr     elr_el1, x10
    eret

unexpected:
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    adrp    x3, stack_top
    add     x3, x3, :lo12:stack_top
    mov     sp, x3
    bl      guest_exception
    b       park

.section .bss.stack, "aw", @nobits
.balign 16
    .skip   0x4000
stack_top:
