//! Offers an operation that is not code of the component.
#![cfg_attr(target_os = "none", no_std, no_main)]

use misbehaving_components::component_glue::driver_abi::{
    ABI_VERSION, DriverOps, HostServices, ProbeReport, SmmuInfo, Status,
};
use misbehaving_components::component_glue::{manifest, panic_handler};

manifest! {
    name: "bad-ops",
    version: [0, 0, 0],
    compatible: "arm,smmu-v3",
    table_memory: 0,
}
panic_handler! {}

/// What looks like instructions, where there are none.
static NOT_CODE: [u32; 4] = [0xd65f_03c0; 4];

unsafe extern "C" fn with_pointers(_: *const SmmuInfo, _: *mut ProbeReport) -> Status {
    Status::UNSUPPORTED
}

/// The entry point.
///
/// # Safety
/// `ops` is null or points to such a structure.
#[unsafe(no_mangle)]
unsafe extern "C" fn component_entry(_: *const HostServices, ops: *mut DriverOps) -> Status {
    // SAFETY: the core's promise.
    let Some(ops) = (unsafe { ops.as_mut() }) else {
        return Status::INVALID;
    };
    // SAFETY: none. That the core looks where an operation points before it calls it is what the test is about.
    let stray = unsafe {
        core::mem::transmute::<*const u32, unsafe extern "C" fn(_, _, _, _) -> _>(NOT_CODE.as_ptr())
    };
    *ops = DriverOps {
        abi_version: ABI_VERSION,
        size: 64,
        probe: Some(with_pointers),
        attach: Some(stray),
        ..DriverOps::EMPTY
    };
    Status::OK
}
