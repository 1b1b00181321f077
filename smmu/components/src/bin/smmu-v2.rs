//! The component for SMMUs of version 1 and 2: the driver of `smmu/v2`, in the words of the ABI.
#![cfg_attr(target_os = "none", no_std, no_main)]

use component_glue::driver_abi::{
    Domain, FaultRecord, InterruptLine, IpaRange, ProbeReport, SmmuInfo, Status, Stream, features,
};
use component_glue::v2::{self, failed};
use component_glue::{Component, HostClock, Instances, Parts, SmmuDriver, bits, component, record, warn};
use mmio::Region;
use smmu_v2::{Driver, Frames, Setup, Smmu};

component! {
    driver: Unit,
    name: "smmu-v2",
    version: [0, 1, 0],
    compatible: "arm,smmu-v2\0arm,smmu-v1\0arm,mmu-500\0arm,mmu-401\0arm,mmu-400\0cavium,smmu-v2",
    // It keeps everything in registers.
    table_memory: 0,
}

/// One SMMU.
#[derive(Debug)]
struct Unit(Driver<Region, HostClock>);

impl SmmuDriver for Unit {
    fn component() -> &'static Component<Self> {
        &COMPONENT
    }

    fn probe(parts: Parts, info: &SmmuInfo) -> Result<(Self, ProbeReport), Status> {
        let setup = Setup {
            coherent: info.coherent != 0,
            // The core's VMIDs are those of the whole machine: SMMUs that share theirs have nothing to keep apart.
            vmid_base: 0,
        };
        let frames = match parts.second {
            None => Frames::one(parts.registers),
            Some(second) => Frames::two(parts.registers, second),
        };
        let frames = if info.quirks & features::QUIRK_HALVES != 0 {
            frames.in_halves()
        } else {
            frames
        };
        let secure = info.quirks & features::QUIRK_SECURE_CONFIG_ACCESS != 0;
        let size = usize::try_from(info.size).map_err(|_| Status::INVALID)?;
        let smmu = Smmu::identify(frames, size, secure).map_err(|error| {
            warn("probe", &error);
            Status::UNSUPPORTED
        })?;
        let driver = Driver::probe(smmu, parts.clock, &setup).map_err(failed("probe"))?;
        if driver.prefetches() {
            warn(
                "probe",
                &"firmware has locked the prefetcher, which errata 826419 and 841119 are about",
            );
        }
        let found = driver.features();
        let report = ProbeReport {
            instance: Instances::<Self>::NONE,
            features: bits([
                (found.stream_match, features::FEATURE_STREAM_MATCH),
                (driver.coherent(), features::FEATURE_COHERENT),
            ]),
            stream_bits: u16::BITS - driver.limits().id_bits.leading_zeros(),
            output_bits: found.output_bits.into(),
            vmid_bits: found.vmid_bits.into(),
            groups: driver.groups().into(),
            banks: driver.banks().into(),
        };
        Ok((Unit(driver), report))
    }

    fn attach(&mut self, streams: &[Stream], domain: &Domain) -> Result<(), Status> {
        v2::attach(&mut self.0, streams, domain)
    }

    fn detach(&mut self, streams: &[Stream]) -> Result<(), Status> {
        v2::detach(&mut self.0, streams)
    }

    fn invalidate(&mut self, range: &IpaRange) -> Result<(), Status> {
        let range = smmu_v2::IpaRange {
            vmid: range.vmid,
            ipa: range.ipa,
            size: range.size,
        };
        self.0.invalidate(&range).map_err(failed("invalidate"))
    }

    fn interrupt(&mut self, _: InterruptLine, report: &mut dyn FnMut(FaultRecord)) -> Result<(), Status> {
        // The driver looks at every cause, whichever wire fired.
        let outcome = self.0.interrupt(|event| report(record(event)));
        if outcome.global_errors != 0 {
            warn(
                "interrupt",
                &format_args!("SMMU_GFSR {:#x}", outcome.global_errors),
            );
        }
        if outcome.dead {
            warn("interrupt", &"its fault registers read all ones: nobody answers");
            return Err(Status::DEVICE_ERROR);
        }
        if outcome.more { Err(Status::AGAIN) } else { Ok(()) }
    }

    fn quiesce(&mut self) -> Result<(), Status> {
        self.0.quiesce().map_err(failed("quiesce"))
    }

    fn release(self) -> Result<(), (Self, Status)> {
        match self.0.release() {
            Ok(_) => Ok(()),
            Err(kept) => Err((Unit(kept.driver), failed("release")(kept.error))),
        }
    }
}
