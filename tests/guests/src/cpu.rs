//! The assembly, and what of it Rust calls.

core::arch::global_asm!(include_str!("entry.S"));

/// What `probe_load` returns in `x0` and `x1`.
#[repr(C)]
struct Probe {
    value: u64,
    loaded: u64,
}

unsafe extern "C" {
    safe fn probe_load(address: u64) -> Probe;
}

/// Loads the word at `address`; `None` if that takes an external abort.
pub fn probe_read32(address: u64) -> Option<u32> {
    let probe = probe_load(address);
    (probe.loaded == 1).then_some(u32::try_from(probe.value).unwrap_or(u32::MAX))
}
