//! Uses more stack than there is.
#![cfg_attr(target_os = "none", no_std, no_main)]

misbehaving_components::misbehaving!("overflows", |_| Status(deeper(&[0; 64])));

/// Recurses far beyond any stack; the values keep the compiler from making a loop of it.
fn deeper(frame: &[u32; 64]) -> u32 {
    let [first, rest @ ..] = core::hint::black_box(*frame);
    if first == u32::MAX {
        return 0;
    }
    let mut next = [first.wrapping_add(1); 64];
    next.iter_mut().zip(rest).for_each(|(next, old)| *next ^= old);
    deeper(&next).wrapping_add(core::hint::black_box(first))
}
