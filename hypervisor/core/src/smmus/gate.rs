//! One gate for each SMMU architecture, behind one face.

use alloc::format;
use alloc::string::{String, ToString};
use mmio::Region;
use smmu_gate::{Found, v2, v3};
use topology::Smmu;

/// What the core has to know of an SMMU that was shut.
#[derive(Debug)]
pub struct Report {
    /// What it is, in words.
    pub version: String,
    /// Bits of stream ID that it tells apart.
    pub stream_bits: u8,
    /// How many streams it matches at once; nothing if it does not match them.
    pub match_registers: Option<usize>,
    /// The widest IPA that it translates, in bits.
    pub input_bits: u8,
    /// The widest physical address that it emits, in bits.
    pub output_bits: u8,
    /// How firmware left it.
    pub found: Found,
}

/// The registers of an SMMU, and which gate they need.
#[derive(Debug)]
pub enum Gate {
    /// SMMUv1 or v2.
    V2(v2::Smmu<Region>),
    /// SMMUv3.
    V3(Region),
}

impl Gate {
    /// Finds out which gate an SMMU needs. Registers are not changed yet.
    pub fn find(smmu: &Smmu, mut map: impl FnMut(usize) -> Result<Region, String>) -> Result<Gate, String> {
        match (smmu.kind.name, smmu.frames.as_slice()) {
            ("SMMUv3", [_]) => Ok(Gate::V3(map(0)?)),
            ("SMMUv1" | "SMMUv2", [frame, rest @ ..]) if rest.len() <= 1 => {
                let frames = match rest {
                    [] => v2::Frames::one(map(0)?),
                    [second, ..] if second.size() < frame.size() => {
                        return Err("its second register frame is smaller than the first".to_string());
                    }
                    _ => v2::Frames::two(map(0)?, map(1)?),
                };
                let frames = if smmu.halves { frames.in_halves() } else { frames };
                let size = usize::try_from(frame.size()).unwrap_or(usize::MAX);
                v2::Smmu::identify(frames, size, smmu.secure_config_access)
                    .map(Gate::V2)
                    .map_err(|error| error.to_string())
            }
            (kind, frames) => Err(format!(
                "it has {} register frames, more than the gate for {kind} knows",
                frames.len()
            )),
        }
    }

    /// Shuts the SMMU, whatever state it is in.
    pub fn shut(&self) -> Result<Report, String> {
        match self {
            Gate::V2(smmu) => {
                let found = close_v2(smmu)?;
                Ok(report_v2(smmu.features(), found))
            }
            Gate::V3(registers) => {
                let (features, found) = close_v3(registers)?;
                Ok(report_v3(&features, found))
            }
        }
    }

    /// Why it is not true that every stream faults, as the registers are now; nothing if it is.
    pub fn opening(&self) -> Option<String> {
        match self {
            Gate::V2(smmu) => v2::opening(smmu).map(|opening| format!("{opening} lets streams pass")),
            Gate::V3(registers) => (!v3::is_shut(registers))
                .then(|| "CR0 and GBPA do not say that everything aborts".to_string()),
        }
    }

    /// What it lacks to isolate anything, if it lacks something.
    pub fn lacks(&self) -> Option<&'static str> {
        let can = match self {
            Gate::V2(smmu) => {
                let features = smmu.features();
                features.stage2 && (features.aarch64_tables || features.aarch32_tables)
            }
            Gate::V3(registers) => {
                let features = v3::Features::read(registers);
                features.stage2 && features.aarch64_tables && features.little_endian && features.granule_4k
            }
        };
        (!can).then_some("it cannot translate stage 2 with tables of 4 KiB pages")
    }
}

fn report_v2(features: &v2::Features, found: Found) -> Report {
    let (input_bits, output_bits) = features.table_bits();
    Report {
        version: format!(
            "SMMUv{} r{}p{}, {} stream {}, {} context banks",
            if features.version_2 { 2 } else { 1 },
            features.major,
            features.minor,
            features.groups,
            if features.stream_match {
                "matches"
            } else {
                "indices"
            },
            features.banks
        ),
        stream_bits: features.compared_bits(),
        match_registers: features.stream_match.then_some(features.groups.into()),
        input_bits,
        output_bits,
        found,
    }
}

fn report_v3(features: &v3::Features, found: Found) -> Report {
    Report {
        version: format!("SMMUv{}.{}", features.major, features.minor),
        stream_bits: features.stream_bits,
        match_registers: None,
        input_bits: features.output_bits,
        output_bits: features.output_bits,
        found,
    }
}

#[cfg(not(feature = "sabotage-skip-gate"))]
fn close_v2(smmu: &v2::Smmu<Region>) -> Result<Found, String> {
    let report = smmu_gate::shut_v2(smmu, &crate::arch::timer::Now).map_err(|error| error.to_string())?;
    #[cfg(feature = "sabotage-bypass-stream")]
    leave_bypass(smmu);
    Ok(report.found)
}

/// What a gate does that forgets one stream mapping group: all streams match it, and pass. For the test which shows
/// that it is the groups' S2CR that blocks, on an SMMU that is otherwise shut.
#[cfg(all(feature = "sabotage-bypass-stream", not(feature = "sabotage-skip-gate")))]
fn leave_bypass(smmu: &v2::Smmu<Region>) {
    use tock_registers::interfaces::Writeable;
    use v2::registers::{S2CR, SMR};
    log::warn!(target: "smmu", "SABOTAGE: this test build leaves S2CR 0 in bypass, and every stream matches it");
    smmu.s2cr(0).write(S2CR::TYPE::Bypass);
    smmu.smr(0).write(SMR::VALID::SET + SMR::MASK.val(0x7fff));
}

#[cfg(not(feature = "sabotage-skip-gate"))]
fn close_v3(registers: &Region) -> Result<(v3::Features, Found), String> {
    let report =
        smmu_gate::shut_v3(registers, &crate::arch::timer::Now).map_err(|error| error.to_string())?;
    Ok((report.features, report.found))
}

/// What a core without a gate does: it looks, and leaves the SMMU as firmware did. For the test which shows that the
/// gate is what blocks.
#[cfg(feature = "sabotage-skip-gate")]
fn close_v2(_: &v2::Smmu<Region>) -> Result<Found, String> {
    log::warn!(target: "smmu", "SABOTAGE: this test build skips the gate; devices can reach all memory");
    Ok(Found::Open)
}

/// The same for SMMUv3.
#[cfg(feature = "sabotage-skip-gate")]
fn close_v3(registers: &Region) -> Result<(v3::Features, Found), String> {
    log::warn!(target: "smmu", "SABOTAGE: this test build skips the gate; devices can reach all memory");
    Ok((v3::Features::read(registers), Found::Open))
}
