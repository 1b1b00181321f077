//! Passes pointers to the core's services that are not its own memory. Each has to be refused, not followed.
#![cfg_attr(target_os = "none", no_std, no_main)]

use component_glue::Host;
use component_glue::driver_abi::{Instance, LogLevel, MappedMemory};
use core::ptr;
use misbehaving_components::component_glue;

misbehaving_components::misbehaving!("bad-pointer", bad_pointers);

/// Read-only for the component.
static CONSTANT: MappedMemory = MappedMemory { address: 1, size: 2 };

fn bad_pointers(parts: Parts) -> Status {
    let Some(host) = Host::get() else {
        return Status::UNSUPPORTED;
    };
    let services = host.services();
    let context = services.context;
    let nowhere = 0x10;
    let core = (services.now_us as usize) & !7;
    let constant = ptr::from_ref(&CONSTANT).addr();
    let registers = parts.registers.base();
    let own = MappedMemory { address: 0, size: 0 };
    let own_end = (ptr::from_ref(&own).addr() & !0xfff) + 0x10_0000;
    for text in [nowhere, core, registers, own_end] {
        // SAFETY: none. That the core refuses the pointer is what the test is about.
        let status = unsafe { (services.log)(context, LogLevel::INFO, ptr::without_provenance(text), 64) };
        expect(status, "log", text);
        // SAFETY: as above.
        let status = unsafe { (services.report_fault)(context, Instance(0), ptr::without_provenance(text)) };
        expect(status, "report_fault", text);
    }
    // SAFETY: as above: the text is the component's own, its size is not.
    let status = unsafe {
        (services.log)(
            context,
            LogLevel::INFO,
            ptr::without_provenance(constant),
            u64::MAX,
        )
    };
    expect(status, "log of a size that wraps", constant);
    for out in [nowhere, core, constant, registers, own_end] {
        // SAFETY: as above.
        let status = unsafe { (services.allocate)(context, 4096, 4096, ptr::without_provenance_mut(out)) };
        expect(status, "allocate", out);
    }
    for memory in [nowhere, core, constant] {
        // SAFETY: as above.
        let status = unsafe { (services.free)(context, memory as u64) };
        expect(status, "free", memory);
        // SAFETY: as above.
        let status = unsafe { (services.clean)(context, memory as u64, 64) };
        expect(status, "clean", memory);
    }
    let mut mapped = 0;
    for memory in [nowhere, core] {
        // SAFETY: as above; the pointer itself is good.
        let status = unsafe { (services.map_mmio)(context, memory as u64, 4096, &raw mut mapped) };
        expect(status, "map_mmio", memory);
    }
    host.log(LogLevel::INFO, format_args!("every bad pointer was refused"));
    Status::INVALID
}

#[expect(
    clippy::panic,
    reason = "a pointer that is not refused is the failure that this component is to find"
)]
fn expect(status: Status, service: &str, pointer: usize) {
    if status != Status::INVALID {
        panic!("{service} with {pointer:#x}: {}", status.describe());
    }
}
