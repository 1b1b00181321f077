// The first instructions: from the boot loader to Rust, and from PSCI CPU_ON or a spin table to Rust.
//
// Until `relocate` is done, nothing here reads a pointer from memory: every address is formed relative to the
// program counter, so the image runs wherever it was put (4 KiB aligned).

// Booting arm64 Linux, Documentation/arch/arm64/booting.rst, section 4: the Image header.
.section .text.header, "ax"
.global image_header
image_header:
    b       entry
    .long   0
    .quad   0                       // text_offset: none
    .quad   image_size              // effective size, with bss
    .quad   (1 << 3) | (1 << 1)     // anywhere in memory, 4 KiB pages, little-endian
    .quad   0
    .quad   0
    .quad   0
    .ascii  "ARM\x64"
    .long   0

// SCTLR_EL2 with only its RES1 bits: MMU and caches off, little-endian (DDI 0487 D23.2.138).
.equ SCTLR_RES1, 0x30c50830
.equ SCTLR_MMU_CACHES, (1 << 12) | (1 << 3) | (1 << 2) | (1 << 0)   // I, SA, C, M
.equ TCR_BASE, (1 << 31) | (1 << 23) | (3 << 12) | (1 << 10) | (1 << 8) | 16
.equ MAIR_VALUE, 0xff04             // 0: Device-nGnRE, 1: Normal write-back
.equ EARLY_BLOCK, 0x745             // AF, inner shareable, RES1, attribute 1, block
.equ EARLY_TABLES, 5                // one level 0; level 1 and level 2 twice, if the image straddles 512 GiB
.equ R_AARCH64_RELATIVE, 1027

.macro load32 register, value
    movz    \register, #((\value) & 0xffff)
    movk    \register, #(((\value) >> 16) & 0xffff), lsl #16
.endm

.section .text.entry, "ax"

// x0: physical address of the device tree.
entry:
    msr     daifset, #0xf
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    park                    // no console is known here, and none of our registers exists
    mov     x20, x0

    // The boot protocol promises the MMU off. If firmware left it on, what it wrote of us may be in caches only.
    mrs     x1, sctlr_el2
    tbz     x1, #2, 1f              // SCTLR_EL2.C
    adrp    x0, image_start
    adrp    x1, image_end
    bl      clean_invalidate
1:  bl      reset_el2

    // A first map: 2 MiB blocks over the image, readable, writable and executable, until Rust has built the real one.
    adrp    x21, early_tables
    add     x22, x21, #4096
    // The boot protocol cleans what it loaded, which bss is not: a dirty line must not be written back over a table.
    mov     x0, x21
    mov     x1, #(EARLY_TABLES * 4096)
    add     x1, x1, x21
    bl      clean_invalidate
    mov     x0, x21
    mov     x1, #(EARLY_TABLES * 4096)
    add     x1, x1, x21
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b
    adrp    x0, image_start
    and     x0, x0, #~0x1fffff
    adrp    x6, image_end
2:  bl      map_early_block
    add     x0, x0, #0x200000
    cmp     x0, x6
    b.lo    2b
    // The tables were written past the caches: nothing stale may answer the walker.
    mov     x0, x21
    mov     x1, #(EARLY_TABLES * 4096)
    add     x1, x1, x21
    bl      clean_invalidate
    mov     x0, x21
    bl      early_translation
    bl      enable_mmu

    // R_AARCH64_RELATIVE only; the linker is told to make no other, and the addresses count from 0.
    adrp    x0, image_start
    adrp    x1, rela_start
    add     x1, x1, :lo12:rela_start
    adrp    x2, rela_end
    add     x2, x2, :lo12:rela_end
3:  cmp     x1, x2
    b.hs    4f
    ldp     x3, x4, [x1], #16       // offset, type
    ldr     x5, [x1], #8            // addend
    cmp     w4, #R_AARCH64_RELATIVE
    b.ne    park
    add     x5, x5, x0
    str     x5, [x0, x3]
    b       3b

4:  adrp    x0, bss_start
    add     x0, x0, :lo12:bss_start
    adrp    x1, bss_end
    add     x1, x1, :lo12:bss_end
5:  cmp     x0, x1
    b.hs    6f
    stp     xzr, xzr, [x0], #16
    b       5b

6:  adrp    x0, {per_cpu}
    add     x0, x0, :lo12:{per_cpu}
    msr     tpidr_el2, x0
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el2, x0
    isb
    adrp    x0, {stacks}
    add     x0, x0, #{stack_stride}
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      {rust_main}
park:
    wfi
    b       park

// Where PSCI CPU_ON or a spin table sends a CPU. Its `SecondaryStart`, cleaned to memory, is the one with its affinity.
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    park
    mrs     x1, mpidr_el1
    movz    x2, #0xffff
    movk    x2, #0x00ff, lsl #16
    movk    x2, #0x00ff, lsl #32
    and     x1, x1, x2              // Aff3, Aff2, Aff1, Aff0
    adrp    x19, {starts}
    add     x19, x19, :lo12:{starts}
    mov     x2, #{start_count}
1:  ldr     x3, [x19, #{start_affinity}]
    cmp     x3, x1
    b.eq    2f
    add     x19, x19, #{start_size}
    subs    x2, x2, #1
    b.ne    1b
    b       park                    // nobody wanted this CPU
2:  bl      reset_el2
    ldp     x0, x3, [x19, #{start_root}]    // root table, SCTLR_EL2
    mov     x20, x3
    bl      early_translation
    mov     x3, x20
    bl      enable_mmu
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el2, x0
    ldp     x0, x1, [x19, #{start_per_cpu}] // per-CPU structure, top of stack
    msr     tpidr_el2, x0
    isb
    mov     sp, x1
    mov     x29, xzr
    mov     x30, xzr
    bl      {secondary_main}
    b       park

// EL2 as if out of reset: MMU off first, because HCR_EL2.E2H changes what the other registers mean.
reset_el2:
    load32  x1, SCTLR_RES1
    msr     sctlr_el2, x1
    isb
    mov     x1, #(1 << 31)          // RW: EL1 is AArch64; E2H, VM and every trap off
    msr     hcr_el2, x1
    isb
    msr     spsel, #1
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    ret

// x0: root table. Returns the arguments of `enable_mmu` in x0 to x3.
early_translation:
    mrs     x4, id_aa64mmfr0_el1
    and     x4, x4, #0xf
    cmp     x4, #5                  // 48 bits are the most that 4 KiB descriptors without LPA2 can say
    mov     x5, #5
    csel    x4, x4, x5, lo
    load32  x1, TCR_BASE
    orr     x1, x1, x4, lsl #16     // PS: what this CPU can address
    load32  x2, MAIR_VALUE
    load32  x3, SCTLR_RES1 | SCTLR_MMU_CACHES
    ret

// x0: TTBR0_EL2, x1: TCR_EL2, x2: MAIR_EL2, x3: SCTLR_EL2. Runs from an identity mapping and touches no memory, so the
// MMU can be switched off in between: tables with other block sizes never meet in the TLB.
.global enable_mmu
enable_mmu:
    mrs     x4, sctlr_el2
    bic     x4, x4, #(1 << 0)
    bic     x4, x4, #(1 << 2)
    dsb     ish
    msr     sctlr_el2, x4
    isb
    tlbi    alle2
    dsb     nsh
    msr     mair_el2, x2
    msr     tcr_el2, x1
    msr     ttbr0_el2, x0
    isb
    msr     sctlr_el2, x3
    isb
    ret

// x0: start, x1: end. Cleans and invalidates data caches to the point of coherency.
clean_invalidate:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4
    mov     x3, #4
    lsl     x2, x3, x2              // smallest line
    sub     x3, x2, #1
    bic     x0, x0, x3
1:  dc      civac, x0
    add     x0, x0, x2
    cmp     x0, x1
    b.lo    1b
    dsb     sy
    ret

// x0: an address whose 2 MiB block is to be mapped; x21: level 0 table; x22: next free table.
map_early_block:
    mov     x5, x21
    mov     x4, #39
1:  lsr     x1, x0, x4
    and     x1, x1, #511
    ldr     x2, [x5, x1, lsl #3]
    cbnz    x2, 2f
    orr     x2, x22, #3
    str     x2, [x5, x1, lsl #3]
    add     x22, x22, #4096
2:  and     x5, x2, #0x0000fffffffff000
    sub     x4, x4, #9
    cmp     x4, #21
    b.ne    1b
    lsr     x1, x0, #21
    and     x1, x1, #511
    mov     x2, #EARLY_BLOCK
    orr     x2, x2, x0
    str     x2, [x5, x1, lsl #3]
    ret

.section .bss..early_tables, "aw", @nobits
.balign 4096
early_tables:
    .skip   EARLY_TABLES * 4096
