//! Writes to an address where nothing is mapped.
#![cfg_attr(target_os = "none", no_std, no_main)]

misbehaving_components::misbehaving!("faults", faults);

fn faults(_: Parts) -> Status {
    // SAFETY: none. That the core survives this is what the test is about.
    unsafe { core::ptr::without_provenance_mut::<u64>(0x10).write_volatile(0) };
    Status::OK
}
