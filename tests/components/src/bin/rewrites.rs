//! Writes to its own code.
#![cfg_attr(target_os = "none", no_std, no_main)]

misbehaving_components::misbehaving!("rewrites", rewrites);

fn rewrites(_: Parts) -> Status {
    let code = rewrites as fn(Parts) -> Status as usize;
    // SAFETY: none. That code cannot be written is what the test is about.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(code).write_volatile(0) };
    Status::OK
}
