//! Jumps into its own variables.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::sync::atomic::{AtomicU32, Ordering};

misbehaving_components::misbehaving!("runs-data", runs_data);

static VARIABLE: AtomicU32 = AtomicU32::new(0);

fn runs_data(_: Parts) -> Status {
    // `ret`.
    VARIABLE.store(0xd65f_03c0, Ordering::SeqCst);
    let variable = VARIABLE.as_ptr().cast_const();
    // SAFETY: none. That variables cannot be executed is what the test is about.
    let function = unsafe { core::mem::transmute::<*const u32, extern "C" fn()>(variable) };
    function();
    Status::OK
}
