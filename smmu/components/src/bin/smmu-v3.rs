//! The component for SMMUs of version 3: the driver of `smmu/v3`, in the words of the ABI.
#![cfg_attr(target_os = "none", no_std, no_main)]

use component_glue::driver_abi::{
    Domain, FaultRecord, InterruptLine, IpaRange, ProbeReport, SmmuInfo, Status, Stream, features,
};
use component_glue::v3::{self, failed};
use component_glue::{
    Component, HostClock, HostMemory, Instances, Parts, SmmuDriver, bits, component, record, warn,
};
use mmio::Region;
use smmu_v3::{Driver, Setup};

component! {
    driver: Smmu,
    name: "smmu-v3",
    version: [0, 1, 0],
    compatible: "arm,smmu-v3",
    // A linear stream table of 16 bits is the largest thing that it may need.
    table_memory: 5 << 20,
}

/// One SMMU.
#[derive(Debug)]
struct Smmu(Driver<Region, HostMemory, HostClock>);

impl SmmuDriver for Smmu {
    fn component() -> &'static Component<Self> {
        &COMPONENT
    }

    fn probe(parts: Parts, info: &SmmuInfo) -> Result<(Self, ProbeReport), Status> {
        let setup = Setup {
            max_stream: info.max_stream,
            coherent: info.coherent != 0,
        };
        let driver =
            Driver::probe(parts.registers, parts.memory, parts.clock, &setup).map_err(failed("probe"))?;
        let found = driver.features();
        let flags = [
            (driver.two_level(), features::FEATURE_TWO_LEVEL),
            (found.range_invalidation, features::FEATURE_RANGE_INVALIDATION),
            (driver.coherent(), features::FEATURE_COHERENT),
        ];
        let report = ProbeReport {
            instance: Instances::<Self>::NONE,
            features: bits(flags),
            stream_bits: driver.stream_bits().into(),
            output_bits: found.output_bits.into(),
            vmid_bits: found.vmid_bits.into(),
            groups: 0,
            banks: 0,
        };
        Ok((Smmu(driver), report))
    }

    fn attach(&mut self, streams: &[Stream], domain: &Domain) -> Result<(), Status> {
        v3::attach(&mut self.0, streams, domain)
    }

    fn detach(&mut self, streams: &[Stream]) -> Result<(), Status> {
        v3::detach(&mut self.0, streams)
    }

    fn invalidate(&mut self, range: &IpaRange) -> Result<(), Status> {
        let range = smmu_v3::IpaRange {
            vmid: range.vmid,
            ipa: range.ipa,
            size: range.size,
        };
        self.0.invalidate(&range).map_err(failed("invalidate"))
    }

    fn interrupt(&mut self, _: InterruptLine, report: &mut dyn FnMut(FaultRecord)) -> Result<(), Status> {
        // The driver looks at every cause, whichever wire fired.
        let outcome = self.0.interrupt(|event| report(record(event)));
        if let Some(fault) = outcome.command_fault {
            warn("interrupt", &fault);
        }
        if outcome.global_errors != 0 {
            warn(
                "interrupt",
                &format_args!("SMMU_GERROR {:#x}", outcome.global_errors),
            );
        }
        if outcome.more { Err(Status::AGAIN) } else { Ok(()) }
    }

    fn quiesce(&mut self) -> Result<(), Status> {
        self.0.quiesce().map_err(failed("quiesce"))
    }

    fn release(self) -> Result<(), (Self, Status)> {
        match self.0.release() {
            Ok(_) => Ok(()),
            Err(kept) => Err((Smmu(kept.driver), failed("release")(kept.error))),
        }
    }
}
