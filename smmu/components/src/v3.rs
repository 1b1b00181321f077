//! Lists of streams, and errors, as the driver of `smmu/v3` has them: it takes one stream at a time.

use crate::warn;
use driver_abi::{Domain, Status, Stream};
use mmio::{Bus, Clock, TableMemory};
use smmu_v3::{DomainError, Driver, Error};

/// Makes streams translate: all of them, or none. If the SMMU does not answer ([`Status::TIMEOUT`]) nothing is known, and
/// it has to be shut; to wait for it once more for each stream would take longer than a call may.
pub fn attach<B: Bus, M: TableMemory, C: Clock>(
    driver: &mut Driver<B, M, C>,
    streams: &[Stream],
    domain: &Domain,
) -> Result<(), Status> {
    let domain = smmu_v3::Domain {
        root: domain.root,
        vmid: domain.vmid,
        ipa_bits: domain.ipa_bits,
        pa_bits: domain.pa_bits,
        start_level: domain.start_level,
    };
    for (index, stream) in streams.iter().enumerate() {
        let attached = exact(stream).and_then(|id| driver.attach(id, &domain).map_err(failed("attach")));
        if let Err(error) = attached {
            if error != Status::TIMEOUT {
                // A stream that cannot be detached may translate, which matters more than why it is to be detached.
                detach(driver, streams.get(..index).unwrap_or_default())?;
            }
            return Err(error);
        }
    }
    Ok(())
}

/// Makes streams abort. What comes after one that cannot be detached is left: the SMMU has to be shut then.
pub fn detach<B: Bus, M: TableMemory, C: Clock>(
    driver: &mut Driver<B, M, C>,
    streams: &[Stream],
) -> Result<(), Status> {
    for stream in streams {
        driver.detach(exact(stream)?).map_err(failed("detach"))?;
    }
    Ok(())
}

/// SMMUv3 compares every bit of a stream ID.
fn exact(stream: &Stream) -> Result<u32, Status> {
    if stream.mask == 0 {
        Ok(stream.id)
    } else {
        Err(Status::INVALID)
    }
}

/// Prints what the driver says of an error, which a status cannot carry, and turns it into a status.
pub fn failed(operation: &'static str) -> impl Fn(Error) -> Status {
    move |error| {
        warn(operation, &error);
        match error {
            Error::GateOpen { .. } | Error::Command(_) => Status::DEVICE_ERROR,
            Error::Unsupported(_) => Status::UNSUPPORTED,
            Error::NoMemory(_) => Status::NO_MEMORY,
            Error::Register { .. } | Error::CommandTimeout { .. } => Status::TIMEOUT,
            Error::StreamRange { .. } => Status::STREAM_RANGE,
            Error::Attached { .. } | Error::VmidTaken { .. } => Status::BUSY,
            Error::Domain(DomainError::Vmid { .. }) => Status::NO_ROOM,
            Error::Domain(_) | Error::Range { .. } => Status::INVALID,
        }
    }
}

#[cfg(test)]
#[path = "v3_tests.rs"]
mod tests;
