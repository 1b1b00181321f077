//! The C functions that the core calls.
#![expect(unsafe_code, reason = "C pointers from the core come in here")]

use crate::host::{Host, HostClock};
use crate::instances::Instances;
use crate::memory::HostMemory;
use crate::{Parts, SmmuDriver};
use driver_abi::{
    ABI_VERSION, Domain, DriverOps, HostServices, Instance, InterruptLine, IpaRange, MAX_STREAMS,
    ProbeReport, SmmuInfo, Status, Stream,
};
use spin::Mutex;

/// The size of the operations as the ABI states it.
const OPS_SIZE: u32 = 64;
const _: () = assert!(size_of::<DriverOps>() == OPS_SIZE as usize);

/// The drivers of a component, as a static.
#[derive(Debug)]
pub struct Component<D> {
    /// The core lets one call in at a time. The lock says so to the compiler, and is never waited for.
    instances: Mutex<Instances<D>>,
}

impl<D> Default for Component<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D> Component<D> {
    /// No drivers yet.
    pub const fn new() -> Self {
        Component {
            instances: Mutex::new(Instances::new()),
        }
    }

    /// Runs `call` on the driver of a handle.
    pub(crate) fn on(&self, instance: Instance, call: impl FnOnce(&mut D) -> Result<(), Status>) -> Status {
        let result = match self.instances.try_lock() {
            Some(mut instances) => instances.get_mut(instance).and_then(call),
            None => Err(Status::BUSY),
        };
        status(result)
    }
}

/// Remembers the core and offers the operations of driver `D`.
///
/// # Safety
/// `host` and `ops` are null or point to such structures, for as long as the call lasts.
pub unsafe extern "C" fn enter<D: SmmuDriver>(host: *const HostServices, ops: *mut DriverOps) -> Status {
    // SAFETY: the caller's promise.
    let host = unsafe { host.as_ref() };
    // SAFETY: as above.
    let ops = unsafe { ops.as_mut() };
    let (Some(host), Some(ops)) = (host, ops) else {
        return Status::INVALID;
    };
    if let Err(refused) = Host::remember(host) {
        return refused;
    }
    *ops = DriverOps {
        abi_version: ABI_VERSION,
        size: OPS_SIZE,
        probe: Some(probe::<D>),
        attach: Some(attach::<D>),
        detach: Some(detach::<D>),
        invalidate: Some(invalidate::<D>),
        interrupt: Some(interrupt::<D>),
        quiesce: Some(quiesce::<D>),
        release: Some(release::<D>),
    };
    Status::OK
}

/// # Safety
/// As [`enter`], for `info` and `report`.
unsafe extern "C" fn probe<D: SmmuDriver>(info: *const SmmuInfo, report: *mut ProbeReport) -> Status {
    // SAFETY: the caller's promise.
    let info = unsafe { info.as_ref() };
    // SAFETY: as above.
    let report = unsafe { report.as_mut() };
    let (Some(info), Some(report)) = (info, report) else {
        return Status::INVALID;
    };
    match take_over::<D>(info) {
        Ok(found) => {
            *report = found;
            Status::OK
        }
        Err(failed) => failed,
    }
}

/// Gives the driver what it needs, and keeps it.
fn take_over<D: SmmuDriver>(info: &SmmuInfo) -> Result<ProbeReport, Status> {
    let host = Host::get().ok_or(Status::UNSUPPORTED)?;
    let mut instances = D::component().instances.try_lock().ok_or(Status::BUSY)?;
    if instances.is_full() {
        return Err(Status::BUSY);
    }
    let registers = host.map_registers(info.base, info.size)?;
    let second = match info.second_base {
        0 => None,
        base => Some(host.map_registers(base, info.size)?),
    };
    let memory = HostMemory::new(host, info.coherent != 0);
    let (driver, found) = D::probe(
        Parts {
            registers,
            second,
            memory,
            clock: HostClock(host),
        },
        info,
    )?;
    Ok(ProbeReport {
        instance: instances.insert(driver)?,
        ..found
    })
}

/// # Safety
/// As [`enter`], for `count` structures at `streams` and for `domain`.
unsafe extern "C" fn attach<D: SmmuDriver>(
    instance: Instance,
    streams: *const Stream,
    count: u32,
    domain: *const Domain,
) -> Status {
    // SAFETY: the caller's promise.
    let streams = unsafe { list(streams, count) };
    // SAFETY: as above.
    let domain = unsafe { domain.as_ref() };
    let (Some(streams), Some(domain)) = (streams, domain) else {
        return Status::INVALID;
    };
    D::component().on(instance, |driver| driver.attach(streams, domain))
}

/// # Safety
/// As [`enter`], for `count` structures at `streams`.
unsafe extern "C" fn detach<D: SmmuDriver>(instance: Instance, streams: *const Stream, count: u32) -> Status {
    // SAFETY: the caller's promise.
    let Some(streams) = (unsafe { list(streams, count) }) else {
        return Status::INVALID;
    };
    D::component().on(instance, |driver| driver.detach(streams))
}

/// The streams of a call, if there are as many as a call may have.
///
/// # Safety
/// `streams` is null or points to `count` streams that nobody writes, for as long as the slice is used.
unsafe fn list<'s>(streams: *const Stream, count: u32) -> Option<&'s [Stream]> {
    let count = usize::try_from(count).ok()?;
    if streams.is_null() || !streams.is_aligned() || !(1..=MAX_STREAMS).contains(&count) {
        return None;
    }
    // SAFETY: our caller's promise, for a pointer that is neither null nor misaligned.
    Some(unsafe { core::slice::from_raw_parts(streams, count) })
}

/// # Safety
/// As [`enter`], for `range`.
unsafe extern "C" fn invalidate<D: SmmuDriver>(instance: Instance, range: *const IpaRange) -> Status {
    // SAFETY: the caller's promise.
    let Some(range) = (unsafe { range.as_ref() }) else {
        return Status::INVALID;
    };
    D::component().on(instance, |driver| driver.invalidate(range))
}

/// # Safety
/// None beyond the ABI: there are no pointers.
unsafe extern "C" fn interrupt<D: SmmuDriver>(instance: Instance, line: InterruptLine) -> Status {
    let Some(host) = Host::get() else {
        return Status::UNSUPPORTED;
    };
    D::component().on(instance, |driver| {
        driver.interrupt(line, &mut |fault| host.report_fault(instance, &fault))
    })
}

/// # Safety
/// None beyond the ABI: there are no pointers.
unsafe extern "C" fn quiesce<D: SmmuDriver>(instance: Instance) -> Status {
    D::component().on(instance, D::quiesce)
}

/// # Safety
/// None beyond the ABI: there are no pointers.
unsafe extern "C" fn release<D: SmmuDriver>(instance: Instance) -> Status {
    let Some(mut instances) = D::component().instances.try_lock() else {
        return Status::BUSY;
    };
    status(instances.release(instance, D::release))
}

/// Turns a result into a status.
fn status(result: Result<(), Status>) -> Status {
    result.map_or_else(|failed| failed, |()| Status::OK)
}
