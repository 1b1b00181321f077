//! Panics in probe.
#![cfg_attr(target_os = "none", no_std, no_main)]

misbehaving_components::misbehaving!("panics", panics);

#[expect(clippy::panic, reason = "it is what this component is for")]
fn panics(parts: Parts) -> Status {
    panic!(
        "no driver in here, but {} bytes of registers",
        parts.registers.size()
    )
}
