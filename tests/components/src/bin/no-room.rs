//! Has no room for any stream. It leaves the SMMU as shut as it found it, so that its registers are no matter.
#![cfg_attr(target_os = "none", no_std, no_main)]

use component_glue::driver_abi::{
    Domain, FaultRecord, InterruptLine, IpaRange, ProbeReport, SmmuInfo, Status, Stream,
};
use component_glue::{Component, Parts, SmmuDriver, component, warn};
use misbehaving_components::component_glue;

component! {
    driver: Full,
    name: "no-room",
    version: [0, 0, 0],
    compatible: "arm,smmu-v3",
    table_memory: 0,
}

/// A driver all of whose groups are taken.
#[derive(Debug)]
struct Full;

impl SmmuDriver for Full {
    fn component() -> &'static Component<Self> {
        &COMPONENT
    }
    fn probe(_: Parts, _: &SmmuInfo) -> Result<(Self, ProbeReport), Status> {
        let report = ProbeReport {
            groups: 7,
            banks: 3,
            ..ProbeReport::EMPTY
        };
        Ok((Full, report))
    }
    fn attach(&mut self, streams: &[Stream], _: &Domain) -> Result<(), Status> {
        warn(
            "attach",
            &format_args!("groups needed: {}, of 7 free: 0", streams.len()),
        );
        Err(Status::NO_ROOM)
    }
    fn detach(&mut self, _: &[Stream]) -> Result<(), Status> {
        Ok(())
    }
    fn invalidate(&mut self, _: &IpaRange) -> Result<(), Status> {
        Ok(())
    }
    fn interrupt(&mut self, _: InterruptLine, _: &mut dyn FnMut(FaultRecord)) -> Result<(), Status> {
        Ok(())
    }
    fn quiesce(&mut self) -> Result<(), Status> {
        Ok(())
    }
    fn release(self) -> Result<(), (Self, Status)> {
        Ok(())
    }
}
