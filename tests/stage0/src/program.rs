//! What the stage 0 does.

use crate::edu::Edu;
use aarch64_cpu::asm;
use core::panic::PanicInfo;
use mmio::{Bus, Region};

core::arch::global_asm!(
    include_str!("entry.S"),
    arm = sym arm,
    core = const 0x4400_0000_u64,
    // Reserved fields of the core's Image header: its code and constants are what it looks after to the end of the run.
    target = const 0x4400_0020_u64,
    ecam = const 0x40_1000_0000_u64,
);

/// What the device writes.
const MARKER: [u64; 2] = [u64::from_le_bytes(*b"STAGE0-D"), u64::from_le_bytes(*b"MA-MARK!")];
/// Bytes of a transfer, and 64-bit words of it. No more than the header's fields hold, so that nobody runs them.
const SIZE: usize = 16;
const WORDS: usize = SIZE / 8;
/// The PL011 of `virt`: its data register is the first.
const UART: usize = 0x0900_0000;

/// Called by `entry.S` with the page to aim at, the address of two buffers and that of configuration space; the core is started
/// when it returns.
extern "C" fn arm(target: u64, buffers: usize, ecam: usize) {
    let Some(edu) = Edu::open(ecam) else {
        print("stage0: FAILED: no edu device on bus 0\n");
        return;
    };
    // SAFETY: `entry.S` reserves two buffers there that nothing else uses.
    let memory = unsafe { Region::new(buffers, 2 * SIZE) };
    (0..WORDS).for_each(|word| memory.write64(word * 8, marker(word)));
    (WORDS..2 * WORDS).for_each(|word| memory.write64(word * 8, 0));
    let moved = edu.fetch(buffers as u64, SIZE as u64) && edu.store((buffers + SIZE) as u64, SIZE as u64);
    if !moved || (0..WORDS).any(|word| memory.read64(SIZE + word * 8) != marker(word)) {
        print("stage0: FAILED: the device's DMA does not arrive even before the core runs\n");
        return;
    }
    edu.arm(target, SIZE as u64);
    print("stage0: armed edu 00:");
    print_hex(edu.slot as u64, 2);
    print(".0: writes to 0x");
    print_hex(target, 8);
    print(", fires in 100 ms\n");
}

fn marker(word: usize) -> u64 {
    let [first, second] = MARKER;
    if word.is_multiple_of(2) { first } else { second }
}

fn print(text: &str) {
    // SAFETY: `virt` has its PL011 there; QEMU's takes characters at any time.
    let uart = unsafe { Region::new(UART, 0x1000) };
    text.bytes().for_each(|byte| uart.write32(0, u32::from(byte)));
}

/// Prints the last `digits` digits. Formatting machinery would need relocations.
fn print_hex(value: u64, digits: u32) {
    for place in (0..digits).rev() {
        let digit = (value >> (4 * place) & 0xf) as u8;
        let letter = if digit < 10 {
            b'0' + digit
        } else {
            b'a' + digit - 10
        };
        print(core::str::from_utf8(&[letter]).unwrap_or("?"));
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    print("stage0: FAILED: panic\n");
    loop {
        asm::wfe();
    }
}
