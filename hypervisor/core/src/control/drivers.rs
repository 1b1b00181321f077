//! SMMU drivers: components out of the bundle, which SMMU each of them drives, and what happens when one fails.

use crate::arch::timer;
use crate::component::{CallError, LoadFailure, LoadedComponent};
use crate::smmus::Unit;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bundle::Bundle;
use component_loader::{SignatureError, TrustedKey};
use dma::{Open, Seat, SmmuId};
use driver_abi::{Domain, FaultRecord, Instance, InterruptLine, IpaRange, ProbeReport, Stream, features};
use spin::Mutex;

/// The key that components must be signed with, as the build handed it in.
static PUBLIC_KEY: &[u8; 32] = include_bytes!(env!("PORTCULLIS_PUBLIC_KEY"));
/// What the key is called in messages. A release build names its own.
const KEY_LABEL: &str = match option_env!("PORTCULLIS_KEY_LABEL") {
    Some(label) => label,
    None => "development key",
};

/// Folder and endings of components in the bundle.
const FOLDER: &str = "components/";
const COMPONENT_END: &str = ".elf";
const SIGNATURE_END: &str = ".elf.sig";

/// One SMMU's driver.
#[derive(Debug)]
struct Driver {
    component: Arc<LoadedComponent>,
    instance: Instance,
}

/// A driver failed in a call; its SMMU is to be given up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {error}")]
pub struct DriverError {
    /// In which operation.
    pub operation: &'static str,
    /// How.
    pub error: CallError,
}

impl DriverError {
    /// Whether it is more than a refusal: what the SMMU does now is not known.
    pub fn is_fatal(&self) -> bool {
        match self.error {
            CallError::Failed { status, .. } => !status.is_refusal(),
            CallError::Died(_) | CallError::Dead(_) => true,
        }
    }
}

/// The drivers, by SMMU.
///
/// A seat is locked from before its driver or its gate is touched until after that. So nobody calls a driver that somebody else
/// is letting go, and nobody believes a gate shut that is being shut.
#[derive(Debug)]
pub struct Drivers {
    seats: Vec<Mutex<Seat<Driver>>>,
}

/// A component of the bundle.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'b> {
    /// Its name: the file's, without folder and ending.
    pub name: &'b str,
    file: &'b [u8],
    signature: Option<&'b [u8]>,
}

/// All components of a bundle.
pub fn candidates<'b>(bundle: &Bundle<'b>) -> Vec<Candidate<'b>> {
    let candidate = |member: bundle::Member<'b>| {
        let name = member.name.strip_prefix(FOLDER)?.strip_suffix(COMPONENT_END)?;
        let signature = bundle.find(&format!("{FOLDER}{name}{SIGNATURE_END}"));
        Some(Candidate {
            name,
            file: member.data,
            signature,
        })
    };
    bundle.members().filter_map(candidate).collect()
}

/// The key components are checked against.
fn trusted_key() -> Result<TrustedKey, SignatureError> {
    TrustedKey::new(PUBLIC_KEY, KEY_LABEL)
}

impl Candidate<'_> {
    /// Verifies, maps and starts it, if it drives one of `wanted`.
    pub fn load(&self, wanted: &[&str]) -> Result<LoadedComponent, NotLoaded> {
        let signature = self.signature.ok_or_else(|| {
            NotLoaded::Refused(format!(
                "it is not signed: the bundle has no {FOLDER}{}{SIGNATURE_END}",
                self.name
            ))
        })?;
        let key = trusted_key().map_err(|error| NotLoaded::Refused(error.to_string()))?;
        LoadedComponent::load(self.file, signature, &key, wanted).map_err(|error| match error {
            LoadFailure::NoSmmu { .. } => NotLoaded::NotNeeded(error.to_string()),
            error => NotLoaded::Refused(error.to_string()),
        })
    }
}

/// Why a component of the bundle is not loaded.
#[derive(Debug)]
pub enum NotLoaded {
    /// It drives other SMMUs than those that wait for a driver.
    NotNeeded(String),
    /// It cannot be trusted, or does not start.
    Refused(String),
}

impl Drivers {
    /// No driver yet, for these SMMUs.
    pub fn new(units: &[Unit]) -> Drivers {
        let seat = |unit: &Unit| unit.open.clone().map_or(Seat::shut(), Seat::open);
        Drivers {
            seats: units.iter().map(|unit| Mutex::new(seat(unit))).collect(),
        }
    }

    /// Whether an SMMU's gate is shut, and no driver has it.
    pub fn is_free(&self, smmu: SmmuId) -> bool {
        self.seats.get(smmu.0).is_some_and(|seat| seat.lock().is_free())
    }

    /// Whether an SMMU has a driver.
    pub fn is_live(&self, smmu: SmmuId) -> bool {
        let has_driver = |seat: &Mutex<Seat<Driver>>| seat.lock().driver().is_some();
        self.seats.get(smmu.0).is_some_and(has_driver)
    }

    /// Lets a component take over an SMMU whose gate is shut. Nothing if it is not, or has a driver. After an error it is to be
    /// given up.
    pub fn probe(
        &self,
        smmu: SmmuId,
        unit: &Unit,
        max_stream: u32,
        component: &Arc<LoadedComponent>,
    ) -> Option<Result<String, DriverError>> {
        let mut found = String::new();
        let probe = || {
            let report = component.probe(&unit.info(max_stream))?;
            found = describe(&report);
            Ok(Driver {
                component: component.clone(),
                instance: report.instance,
            })
        };
        let result = self.seats.get(smmu.0)?.lock().take_over(probe)?;
        let failed = |error| DriverError {
            operation: "probe",
            error,
        };
        Some(result.map(|()| found).map_err(failed))
    }

    /// An SMMU whose driver's component died.
    pub fn dead(&self) -> Option<SmmuId> {
        let is_dead = |seat: &Mutex<Seat<Driver>>| {
            seat.lock()
                .driver()
                .is_some_and(|driver| driver.component.is_dead())
        };
        self.seats.iter().position(is_dead).map(SmmuId)
    }

    /// Forgets an SMMU's driver, and shuts the gate behind it.
    pub fn give_up(&self, smmu: SmmuId, unit: &Unit) -> Result<(), Open> {
        self.seats
            .get(smmu.0)
            .map_or(Ok(()), |seat| seat.lock().give_up(|| unit.shut_again()))
    }

    /// Whether an SMMU uses nothing that its driver was told to forget, or would have been told if it had one.
    pub fn confirm(&self, smmu: SmmuId, unit: &Unit, vmid: u16) -> Result<(), Open> {
        self.seats
            .get(smmu.0)
            .map_or(Ok(()), |seat| seat.lock().confirm(vmid, || unit.shut_again()))
    }

    /// Calls one operation of an SMMU's driver. `None` if it has none.
    fn call<R>(
        &self,
        smmu: SmmuId,
        operation: &'static str,
        work: impl FnOnce(&LoadedComponent, Instance) -> Result<R, CallError>,
    ) -> Option<Result<R, DriverError>> {
        let seat = self.seats.get(smmu.0)?.lock();
        let driver = seat.driver()?;
        Some(work(&driver.component, driver.instance).map_err(|error| DriverError { operation, error }))
    }

    /// Makes streams translate through a domain: all of them, or none.
    pub fn attach(
        &self,
        smmu: SmmuId,
        streams: &[Stream],
        domain: &Domain,
    ) -> Option<Result<(), DriverError>> {
        self.seats.get(smmu.0)?.lock().attaching(domain.vmid);
        self.call(smmu, "attach", |component, instance| {
            component.attach(instance, streams, domain)
        })
    }

    /// Makes streams abort that were attached by one call.
    pub fn detach(&self, smmu: SmmuId, streams: &[Stream]) -> Option<Result<(), DriverError>> {
        self.call(smmu, "detach", |component, instance| {
            component.detach(instance, streams)
        })
    }

    /// Forgets cached translations.
    pub fn invalidate(&self, smmu: SmmuId, range: &IpaRange) -> Option<Result<(), DriverError>> {
        self.call(smmu, "invalidate", |component, instance| {
            component.invalidate(instance, range)
        })
    }

    /// Makes an SMMU abort everything, disables it, lets its driver go, and shuts the gate behind it. `None` if it has no driver.
    /// The second part is what the driver could not do.
    pub fn release(&self, smmu: SmmuId, unit: &Unit) -> Option<(Result<(), Open>, Result<(), DriverError>)> {
        let mut seat = self.seats.get(smmu.0)?.lock();
        let Driver { component, instance } = seat.driver()?;
        let failed = |operation| move |error| DriverError { operation, error };
        let quiesced = component.quiesce(*instance).map_err(failed("quiesce"));
        let released = quiesced.and_then(|()| component.release(*instance).map_err(failed("release")));
        Some((seat.give_up(|| unit.shut_again()), released))
    }

    /// Handles an interrupt: the faults it brought, and whether there is more to do.
    pub fn interrupt(
        &self,
        smmu: SmmuId,
        line: InterruptLine,
    ) -> Option<Result<(Vec<FaultRecord>, bool), DriverError>> {
        self.call(smmu, "interrupt", |component, instance| {
            let more = component.interrupt(instance, line)?;
            let mine = |(of, fault): (Instance, FaultRecord)| (of == instance).then_some(fault);
            Ok((
                component.take_faults().into_iter().filter_map(mine).collect(),
                more,
            ))
        })
    }
}

/// What a driver found, for the console.
fn describe(report: &ProbeReport) -> String {
    let has = |bit| report.features & bit != 0;
    format!(
        "{}, {}-bit IDs, {}{} walks, {}-bit VMIDs",
        if has(features::FEATURE_STREAM_MATCH) {
            "stream matching"
        } else if has(features::FEATURE_TWO_LEVEL) {
            "2-level stream table"
        } else {
            "linear stream table"
        },
        report.stream_bits,
        if has(features::FEATURE_RANGE_INVALIDATION) {
            "range invalidation, "
        } else {
            ""
        },
        if has(features::FEATURE_COHERENT) {
            "coherent"
        } else {
            "non-coherent"
        },
        report.vmid_bits,
    ) + &resources(report)
}

/// What an SMMU has few of, where its architecture limits it.
fn resources(report: &ProbeReport) -> String {
    let mut text = String::new();
    for (count, what) in [
        (report.groups, "stream mapping groups"),
        (report.banks, "context banks"),
    ] {
        if count != 0 {
            text += &format!(", {count} {what}");
        }
    }
    text
}

/// Prints what was loaded.
pub fn announce(component: &LoadedComponent, name: &str, started_us: u64) {
    let (manifest, sizes) = (component.manifest(), component.sizes());
    let (major, minor, patch) = manifest.version();
    log::info!(target: "component",
        "{name} {major}.{minor}.{patch}: signature ok ({KEY_LABEL}), abi {}, rx {} B, ro {} B, rw {} B, {} KiB with stack, loaded in {} us",
        manifest.abi_version(), sizes.rx, sizes.ro, sizes.rw, component.memory() >> 10,
        timer::now_us().saturating_sub(started_us));
}
