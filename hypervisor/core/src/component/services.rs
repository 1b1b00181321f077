//! The services of the core: C functions that a component calls through `guard.S`.
//!
//! Every pointer of a component is checked against the component's own memory before it is followed: a fault in here would
//! be the core's.
#![expect(unsafe_code, reason = "C pointers of a component come in here")]

use super::guard::current;
use super::host::Host;
use core::ptr;
use driver_abi::{ABI_VERSION, Context, FaultRecord, HostServices, Instance, LogLevel, MappedMemory, Status};

/// The most bytes of text that are taken.
const TEXT_LIMIT: usize = 4096;

/// The size of the table, as the ABI states it.
const SERVICES_SIZE: u32 = 80;
const _: () = assert!(size_of::<HostServices>() == SERVICES_SIZE as usize);

// The entries in `guard.S`, which call the functions of the same name below on the core's stack.
unsafe extern "C" {
    fn component_allocate(context: Context, size: u64, align: u64, out: *mut MappedMemory) -> Status;
    fn component_free(context: Context, address: u64) -> Status;
    fn component_clean(context: Context, address: u64, size: u64) -> Status;
    fn component_map_mmio(context: Context, address: u64, size: u64, out: *mut u64) -> Status;
    fn component_now_us(context: Context) -> u64;
    fn component_log(context: Context, level: LogLevel, text: *const u8, size: u64) -> Status;
    fn component_report_fault(context: Context, instance: Instance, fault: *const FaultRecord) -> Status;
    fn component_panic(context: Context, text: *const u8, size: u64) -> !;
}

/// The table that a component is given.
pub(super) fn table(context: Context) -> HostServices {
    HostServices {
        abi_version: ABI_VERSION,
        size: SERVICES_SIZE,
        context,
        allocate: component_allocate,
        free: component_free,
        clean: component_clean,
        map_mmio: component_map_mmio,
        now_us: component_now_us,
        log: component_log,
        report_fault: component_report_fault,
        panic: component_panic,
    }
}

/// Does something for the component that is being called, if it names itself rightly.
fn serve(context: Context, work: impl FnOnce(&Host) -> Result<(), Status>) -> Status {
    let serve = |host: &Host| {
        if host.context() == context {
            work(host)
        } else {
            Err(Status::STALE_HANDLE)
        }
    };
    match current(serve) {
        Some(Ok(())) => Status::OK,
        Some(Err(status)) => status,
        None => Status::INVALID,
    }
}

/// A place for a result, in the component's own writable memory.
struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    fn new(host: &Host, pointer: *mut T) -> Result<Self, Status> {
        let good = pointer.is_aligned() && host.owns(pointer.addr(), size_of::<T>(), true);
        if good {
            Ok(Out(ptr::with_exposed_provenance_mut(pointer.addr())))
        } else {
            Err(Status::INVALID)
        }
    }

    fn write(self, value: T) {
        // SAFETY: `new` checked that these bytes are the component's, mapped for writing, and aligned. The component does
        // not run while its service does.
        unsafe { self.0.write(value) };
    }
}

/// A text in the component's own memory.
fn text(host: &Host, pointer: *const u8, size: u64) -> Result<&[u8], Status> {
    let size = usize::try_from(size).map_err(|_| Status::INVALID)?;
    if size > TEXT_LIMIT || !host.owns(pointer.addr(), size, false) {
        return Err(Status::INVALID);
    }
    // SAFETY: the bytes are the component's and mapped for reading. It does not run while its service does, and the core
    // writes none of its memory meanwhile.
    Ok(unsafe { core::slice::from_raw_parts(ptr::with_exposed_provenance(pointer.addr()), size) })
}

pub(super) extern "C" fn allocate(context: Context, size: u64, align: u64, out: *mut MappedMemory) -> Status {
    serve(context, |host| {
        let out = Out::new(host, out)?;
        let range = host.allocate(size, align)?;
        out.write(MappedMemory {
            address: range.start as u64,
            size: range.len() as u64,
        });
        Ok(())
    })
}

pub(super) extern "C" fn free(context: Context, address: u64) -> Status {
    serve(context, |host| host.free(address))
}

pub(super) extern "C" fn clean(context: Context, address: u64, size: u64) -> Status {
    serve(context, |host| host.clean(address, size))
}

pub(super) extern "C" fn map_mmio(context: Context, address: u64, size: u64, out: *mut u64) -> Status {
    serve(context, |host| {
        let out = Out::new(host, out)?;
        out.write(host.map_registers(address, size)?);
        Ok(())
    })
}

pub(super) extern "C" fn now_us(_: Context) -> u64 {
    Host::now_us()
}

pub(super) extern "C" fn log(context: Context, level: LogLevel, pointer: *const u8, size: u64) -> Status {
    serve(context, |host| host.print(level, text(host, pointer, size)?))
}

pub(super) extern "C" fn report_fault(
    context: Context,
    instance: Instance,
    fault: *const FaultRecord,
) -> Status {
    serve(context, |host| {
        if !fault.is_aligned() || !host.owns(fault.addr(), size_of::<FaultRecord>(), false) {
            return Err(Status::INVALID);
        }
        let fault = ptr::with_exposed_provenance::<FaultRecord>(fault.addr());
        // SAFETY: the bytes are the component's, mapped for reading, and aligned; every value of them is a record.
        host.keep_fault(instance, unsafe { fault.read() });
        Ok(())
    })
}

/// Keeps the message; `guard.S` leaves the component afterwards.
pub(super) extern "C" fn panic(_: Context, pointer: *const u8, size: u64) {
    // Whatever context it names: it ends in any case.
    let _ = current(|host| host.keep_panic(text(host, pointer, size).unwrap_or(b"(no readable message)")));
}
