// From QEMU's boot loader to Rust, and on to the core.

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

// Offset 64, 72 and 80: words that whoever builds the image may change.
core_address:
    .quad   {core}                  // where the core was loaded
target_address:
    .quad   {target}                // what the armed transfer overwrites
ecam_address:
    .quad   {ecam}                  // where configuration space is

.section .text.entry, "ax"

// x0: address of the device tree. The MMU is off. Rust uses no bss but the stack and the DMA buffers.
entry:
    mov     x19, x0
    adrp    x0, stack_top
    add     x0, x0, :lo12:stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    ldr     x0, target_address
    adrp    x1, dma_buffers
    add     x1, x1, :lo12:dma_buffers
    ldr     x2, ecam_address
    bl      {arm}
    mov     x0, x19
    mov     x1, xzr
    mov     x2, xzr
    mov     x3, xzr
    ldr     x4, core_address
    br      x4

.section .bss.stack, "aw", @nobits
.balign 16
    .skip   0x4000
stack_top:
.balign 64
dma_buffers:
    .skip   128
