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
use dma::SmmuId;
use driver_abi::{
    Domain, FaultRecord, Instance, InterruptLine, IpaRange, ProbeReport, Status, Stream, features,
};
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
            CallError::Failed { status, .. } => matches!(status, Status::TIMEOUT | Status::DEVICE_ERROR),
            CallError::Died(_) | CallError::Dead(_) => true,
        }
    }
}

/// The drivers, by SMMU.
#[derive(Debug)]
pub struct Drivers {
    slots: Vec<Mutex<Option<Driver>>>,
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
    /// No driver yet, for `count` SMMUs.
    pub fn new(count: usize) -> Drivers {
        Drivers {
            slots: (0..count).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// Whether an SMMU has a driver.
    pub fn is_live(&self, smmu: SmmuId) -> bool {
        self.slots.get(smmu.0).is_some_and(|slot| slot.lock().is_some())
    }

    /// Lets a component take over an SMMU whose gate is shut. The driver becomes visible as the last step.
    pub fn probe(
        &self,
        smmu: SmmuId,
        unit: &Unit,
        max_stream: u32,
        component: &Arc<LoadedComponent>,
    ) -> Result<String, DriverError> {
        let failed = |error| DriverError {
            operation: "probe",
            error,
        };
        let report = component.probe(&unit.info(max_stream)).map_err(failed)?;
        if let Some(slot) = self.slots.get(smmu.0) {
            *slot.lock() = Some(Driver {
                component: component.clone(),
                instance: report.instance,
            });
        }
        let has = |bit| report.features & bit != 0;
        Ok(format!(
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
        ) + &resources(&report))
    }

    /// An SMMU whose driver's component died.
    pub fn dead(&self) -> Option<SmmuId> {
        let is_dead = |slot: &Mutex<Option<Driver>>| {
            slot.lock()
                .as_ref()
                .is_some_and(|driver| driver.component.is_dead())
        };
        self.slots.iter().position(is_dead).map(SmmuId)
    }

    /// Forgets an SMMU's driver.
    pub fn remove(&self, smmu: SmmuId) {
        if let Some(slot) = self.slots.get(smmu.0) {
            *slot.lock() = None;
        }
    }

    /// Calls one operation of an SMMU's driver. `None` if it has none.
    ///
    /// The slot stays locked meanwhile: nobody calls a driver that somebody else is letting go.
    fn call<R>(
        &self,
        smmu: SmmuId,
        operation: &'static str,
        work: impl FnOnce(&LoadedComponent, Instance) -> Result<R, CallError>,
    ) -> Option<Result<R, DriverError>> {
        let slot = self.slots.get(smmu.0)?.lock();
        let driver = slot.as_ref()?;
        Some(work(&driver.component, driver.instance).map_err(|error| DriverError { operation, error }))
    }

    /// Makes streams translate through a domain: all of them, or none.
    pub fn attach(
        &self,
        smmu: SmmuId,
        streams: &[Stream],
        domain: &Domain,
    ) -> Option<Result<(), DriverError>> {
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

    /// Makes an SMMU abort everything, disables it, and lets its driver go.
    pub fn release(&self, smmu: SmmuId) -> Option<Result<(), DriverError>> {
        let driver = self.slots.get(smmu.0)?.lock().take()?;
        let quiesced = driver.component.quiesce(driver.instance);
        let failed = |operation| move |error| DriverError { operation, error };
        Some(quiesced.map_err(failed("quiesce")).and_then(|()| {
            driver
                .component
                .release(driver.instance)
                .map_err(failed("release"))
        }))
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
