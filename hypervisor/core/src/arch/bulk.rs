//! Much memory at once: cleared and copied by the widest instructions that a core without vector registers has.
//!
//! The compiler's own `memset` and `memcpy` for this target move a word at a time, and bytes where source and target are
//! aligned differently: starting a guest of 256 MiB took 200 million instructions more with them.

use core::arch::asm;

/// Blocks that one turn of a loop clears.
const UNROLLED: usize = 8;

/// Writes zeroes.
pub fn clear(bytes: &mut [u8]) {
    let Some(block) = zero_block() else {
        return bytes.fill(0);
    };
    let start = bytes.as_ptr().addr();
    let head = (start.next_multiple_of(block) - start).min(bytes.len());
    let (head, rest) = bytes.split_at_mut(head);
    let (blocks, tail) = rest.split_at_mut(rest.len() & !(block - 1));
    head.fill(0);
    tail.fill(0);
    let (turns, last) = blocks.split_at_mut(blocks.len() & !(UNROLLED * block - 1));
    for part in turns.chunks_exact_mut(UNROLLED * block) {
        // SAFETY: the blocks are aligned, and are all of `part` (DDI 0487, DC ZVA).
        unsafe {
            asm!(
                ".rept {count}",
                "dc zva, {at}",
                "add {at}, {at}, {block}",
                ".endr",
                count = const UNROLLED,
                at = inout(reg) part.as_mut_ptr() => _,
                block = in(reg) block,
                options(nostack, preserves_flags)
            );
        }
    }
    for part in last.chunks_exact_mut(block) {
        // SAFETY: as above.
        unsafe { asm!("dc zva, {}", in(reg) part.as_mut_ptr(), options(nostack, preserves_flags)) };
    }
}

/// Bytes that `DC ZVA` clears, if it may be used (DDI 0487, DCZID_EL0).
fn zero_block() -> Option<usize> {
    let value: u64;
    // SAFETY: reading an identification register.
    unsafe { asm!("mrs {}, dczid_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    (value & 1 << 4 == 0).then_some(4 << (value & 0xf))
}

/// Copies as much as both have.
pub fn copy(target: &mut [u8], source: &[u8]) {
    const STEP: usize = 32;
    let size = target.len().min(source.len());
    let (target, source) = (target.split_at_mut(size).0, source.split_at(size).0);
    let (to, to_rest) = target.as_chunks_mut::<STEP>();
    let (from, from_rest) = source.as_chunks::<STEP>();
    for (to, from) in to.iter_mut().zip(from) {
        // SAFETY: both are 32 bytes; normal memory takes unaligned pairs (DDI 0487 B2.7).
        unsafe {
            asm!(
                "ldp {a}, {b}, [{from}]",
                "ldp {c}, {d}, [{from}, #16]",
                "stp {a}, {b}, [{to}]",
                "stp {c}, {d}, [{to}, #16]",
                a = out(reg) _,
                b = out(reg) _,
                c = out(reg) _,
                d = out(reg) _,
                from = in(reg) from.as_ptr(),
                to = in(reg) to.as_mut_ptr(),
                options(nostack, preserves_flags)
            );
        }
    }
    to_rest.copy_from_slice(from_rest);
}
