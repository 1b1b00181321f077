//! Lists of streams, and errors, as the driver of `smmu/v2` has them.

use crate::warn;
use arrayvec::ArrayVec;
use driver_abi::{Domain, MAX_STREAMS, Status, Stream};
use mmio::{Bus, Clock};
use smmu_v2::{DomainError, Driver, Error};

/// The streams of one call.
type Streams = ArrayVec<smmu_v2::Stream, MAX_STREAMS>;

/// Makes streams translate: all of them, or none. Those that a group can match together share it.
pub fn attach<B: Bus, C: Clock>(
    driver: &mut Driver<B, C>,
    streams: &[Stream],
    domain: &Domain,
) -> Result<(), Status> {
    let domain = smmu_v2::Domain {
        root: domain.root,
        vmid: domain.vmid,
        ipa_bits: domain.ipa_bits,
        pa_bits: domain.pa_bits,
        start_level: domain.start_level,
    };
    driver.attach(&own(streams)?, &domain).map_err(failed("attach"))
}

/// Makes streams fault.
pub fn detach<B: Bus, C: Clock>(driver: &mut Driver<B, C>, streams: &[Stream]) -> Result<(), Status> {
    driver.detach(&own(streams)?).map_err(failed("detach"))
}

/// The ABI's streams as the driver's.
fn own(streams: &[Stream]) -> Result<Streams, Status> {
    let mut own = Streams::new();
    for &Stream { id, mask } in streams {
        own.try_push(smmu_v2::Stream { id, mask })
            .map_err(|_| Status::INVALID)?;
    }
    Ok(own)
}

/// Prints what the driver says of an error, which a status cannot carry, and turns it into a status.
pub fn failed(operation: &'static str) -> impl Fn(Error) -> Status {
    move |error| {
        warn(operation, &error);
        match error {
            Error::GateOpen(_) | Error::Gate(_) | Error::Register { .. } => Status::DEVICE_ERROR,
            Error::Unsupported(_) => Status::UNSUPPORTED,
            Error::Sync(_) => Status::TIMEOUT,
            Error::StreamRange { .. } => Status::STREAM_RANGE,
            Error::Attached { .. } | Error::VmidTaken { .. } | Error::PartOfGroup { .. } => Status::BUSY,
            Error::Groups { .. } | Error::Banks { .. } | Error::Domain(DomainError::Vmid { .. }) => {
                Status::NO_ROOM
            }
            Error::Overlap { .. } | Error::Domain(_) | Error::Range { .. } => Status::INVALID,
        }
    }
}

#[cfg(test)]
#[path = "v2_tests.rs"]
mod tests;
