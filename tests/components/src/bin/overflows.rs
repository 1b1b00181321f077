//! Uses more stack than there is.
#![cfg_attr(target_os = "none", no_std, no_main)]

misbehaving_components::misbehaving!("overflows", |_| Status(deeper(0)));

/// Recurses far beyond any stack; the frame is used after the call, so it cannot become a loop.
fn deeper(depth: u32) -> u32 {
    let frame = core::hint::black_box([depth; 64]);
    let below = if depth == u32::MAX { 0 } else { deeper(depth + 1) };
    core::hint::black_box(frame)
        .iter()
        .fold(below, |sum, word| sum ^ word)
}
