//! Late-loaded drivers: from a file in the bundle to calls that always come back.
//!
//! [`LoadedComponent::load`] verifies, checks, maps and starts a component; the other methods are the operations
//! of [`driver_abi`]. A component that panics, faults or does not come back is dead from then on: it is never
//! called again, whatever state its SMMUs are in. Whoever owns them shuts their gates.

mod death;
mod guard;
mod host;
mod image;
mod services;

pub use death::Death;
pub use image::ImageError;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use component_loader::{ComponentManifest, LoadError, LoadPlan, Protection, TrustedKey, verify};
use core::fmt;
use driver_abi::{
    ABI_VERSION, Domain, DriverOps, FaultRecord, HostServices, Instance, InterruptLine, IpaRange,
    MAX_STREAMS, ProbeReport, SmmuInfo, Status, Stream,
};
use guard::Ending;
use host::Host;
use image::Image;
use spin::Mutex;

/// Why a file did not become a component. Each is one line, to be printed after the file's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadFailure {
    /// The file is not signed, not suitable, or of another ABI.
    #[error(transparent)]
    Refused(#[from] LoadError),
    /// It drives other SMMUs than those of this machine.
    #[error("it drives {drives}, and no SMMU that waits for a driver is that")]
    NoSmmu {
        /// The `compatible` strings of its manifest.
        drives: String,
    },
    /// There is no memory for it.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Its entry point failed.
    #[error("entry point: {0}")]
    Entry(CallError),
    /// What it offers is not usable.
    #[error("{0}")]
    Operations(#[from] OperationsError),
}

/// Why the operations that a component offers are not called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperationsError {
    /// They are of another ABI version than the manifest says.
    #[error("operations of ABI {version} with {size} bytes, core speaks {ABI_VERSION} with {}", size_of::<DriverOps>())]
    Abi {
        /// The version that they name.
        version: u32,
        /// The size that they name.
        size: u32,
    },
    /// One is missing.
    #[error("operation {0} is missing")]
    Missing(&'static str),
    /// One is not code of the component.
    #[error("operation {name} at {address:#x} is not code of the component")]
    NotCode {
        /// The operation.
        name: &'static str,
        /// Where it points.
        address: usize,
    },
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The driver refused or failed, and lives on.
    #[error("{} (status {}){}", status.describe(), status.0, Said(said))]
    Failed {
        /// How.
        status: Status,
        /// The last warning that it printed in this call, if it printed one: that has the numbers.
        said: Arc<str>,
    },
    /// The component died in this call.
    #[error("{0}")]
    Died(Death),
    /// It had died before, and was not called.
    #[error("not called any more since it died: {0}")]
    Dead(Death),
}

/// What a driver said of a failure, after it in a message.
struct Said<'s>(&'s str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => Ok(()),
            text => write!(out, "; the driver says: {text}"),
        }
    }
}

/// Bytes of a component by protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Code.
    pub rx: usize,
    /// Constants.
    pub ro: usize,
    /// Variables, without the stack.
    pub rw: usize,
}

/// The addresses of the operations, each checked to be code of the component.
#[derive(Debug, Clone, Copy)]
struct Operations {
    probe: usize,
    attach: usize,
    detach: usize,
    invalidate: usize,
    interrupt: usize,
    quiesce: usize,
    release: usize,
}

/// A component that is mapped, started and ready to probe SMMUs.
///
/// One call at a time enters it; another CPU waits, for as long as a call may take. Dropping it unmaps it; table memory
/// that its drivers have not given back is lost, because an SMMU may still read it.
#[derive(Debug)]
pub struct LoadedComponent {
    manifest: ComponentManifest,
    sizes: Sizes,
    operations: Operations,
    called: Called,
}

/// What is called: the component without what is known of it beforehand.
#[derive(Debug)]
struct Called {
    image: Image,
    host: Host,
    /// The table that the component may look at during its calls.
    services: Box<HostServices>,
    /// Held during a call. Why there are no more, once it died.
    death: Mutex<Option<Death>>,
}

impl LoadedComponent {
    /// Takes a file with its signature. `present` are the `compatible` strings of the SMMUs that have no driver.
    pub fn load(
        file: &[u8],
        signature: &[u8],
        key: &TrustedKey,
        present: &[&str],
    ) -> Result<Self, LoadFailure> {
        let image = verify(file, signature, key).map_err(LoadError::from)?;
        let plan = LoadPlan::new(image)?;
        let manifest = *plan.manifest();
        if !present.iter().any(|compatible| manifest.drives(compatible)) {
            return Err(LoadFailure::NoSmmu {
                drives: alloc::format!("{}", manifest.compatible()),
            });
        }
        let image = Image::new(&plan)?;
        let host = Host::new(
            manifest.name().into(),
            image.parts().to_vec(),
            manifest.table_memory(),
        );
        let services = Box::new(services::table(host.context()));
        let called = Called {
            image,
            host,
            services,
            death: Mutex::new(None),
        };
        let offered = called.start(plan.entry()).map_err(LoadFailure::Entry)?;
        let operations = called.check(&offered)?;
        let sizes = Sizes {
            rx: plan.size(Protection::ReadExecute),
            ro: plan.size(Protection::ReadOnly),
            rw: plan.size(Protection::ReadWrite),
        };
        Ok(LoadedComponent {
            manifest,
            sizes,
            operations,
            called,
        })
    }

    /// Whether it died. If another CPU is calling it, this waits for the end of that call.
    pub fn is_dead(&self) -> bool {
        self.called.death.lock().is_some()
    }

    /// What the component says of itself.
    pub fn manifest(&self) -> &ComponentManifest {
        &self.manifest
    }

    /// Its sizes, for the console.
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Bytes of memory that it takes, with stack and guard pages.
    pub fn memory(&self) -> usize {
        self.called.image.size()
    }

    /// [`DriverOps::probe`]. The gate of the SMMU must be shut. After an error it still is, unless the component died
    /// in this call: then its gate has to be shut again.
    pub fn probe(&self, info: &SmmuInfo) -> Result<ProbeReport, CallError> {
        let mut report = ProbeReport::EMPTY;
        self.called.host.begin_probe(info);
        let arguments = [address(info), address_mut(&mut report), 0, 0];
        let result = self.called.call(self.operations.probe, arguments);
        self.called.host.end_probe(result.is_ok());
        result.map(|()| report)
    }

    /// [`DriverOps::attach`], for [`MAX_STREAMS`] at most.
    pub fn attach(&self, instance: Instance, streams: &[Stream], domain: &Domain) -> Result<(), CallError> {
        let (first, count) = list(streams)?;
        self.called.call(
            self.operations.attach,
            [instance.0, first, count, address(domain)],
        )
    }

    /// [`DriverOps::detach`], for [`MAX_STREAMS`] at most.
    pub fn detach(&self, instance: Instance, streams: &[Stream]) -> Result<(), CallError> {
        let (first, count) = list(streams)?;
        self.called
            .call(self.operations.detach, [instance.0, first, count, 0])
    }

    /// [`DriverOps::invalidate`].
    pub fn invalidate(&self, instance: Instance, range: &IpaRange) -> Result<(), CallError> {
        self.called
            .call(self.operations.invalidate, [instance.0, address(range), 0, 0])
    }

    /// [`DriverOps::interrupt`]: whether there is more to do, so that it has to be called again soon. What it found is
    /// in [`take_faults`](Self::take_faults).
    pub fn interrupt(&self, instance: Instance, line: InterruptLine) -> Result<bool, CallError> {
        match self
            .called
            .call(self.operations.interrupt, [instance.0, line.0.into(), 0, 0])
        {
            Ok(()) => Ok(false),
            Err(CallError::Failed {
                status: Status::AGAIN,
                ..
            }) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// [`DriverOps::quiesce`].
    pub fn quiesce(&self, instance: Instance) -> Result<(), CallError> {
        self.called.call(self.operations.quiesce, [instance.0, 0, 0, 0])
    }

    /// [`DriverOps::release`]. The handle is stale afterwards.
    pub fn release(&self, instance: Instance) -> Result<(), CallError> {
        self.called.call(self.operations.release, [instance.0, 0, 0, 0])?;
        self.called.host.end_release();
        Ok(())
    }

    /// The faults that were reported since the last call of this. If there were too many to keep, the last
    /// one says how many are missing.
    pub fn take_faults(&self) -> Vec<(Instance, FaultRecord)> {
        self.called.host.take_faults()
    }
}

impl Called {
    /// Calls the entry point, and returns what it offers.
    fn start(&self, entry: usize) -> Result<DriverOps, CallError> {
        let mut operations = DriverOps::EMPTY;
        self.call(
            self.image.address(entry),
            [address(&*self.services), address_mut(&mut operations), 0, 0],
        )?;
        Ok(operations)
    }

    /// Checks every operation before it is called for the first time.
    fn check(&self, offered: &DriverOps) -> Result<Operations, OperationsError> {
        if offered.abi_version != ABI_VERSION || offered.size as usize != size_of::<DriverOps>() {
            return Err(OperationsError::Abi {
                version: offered.abi_version,
                size: offered.size,
            });
        }
        let code = |name, operation: Option<usize>| {
            let address = operation.ok_or(OperationsError::Missing(name))?;
            if self.image.is_code(address) {
                Ok(address)
            } else {
                Err(OperationsError::NotCode { name, address })
            }
        };
        Ok(Operations {
            probe: code("probe", offered.probe.map(|function| function as usize))?,
            attach: code("attach", offered.attach.map(|function| function as usize))?,
            detach: code("detach", offered.detach.map(|function| function as usize))?,
            invalidate: code("invalidate", offered.invalidate.map(|function| function as usize))?,
            interrupt: code("interrupt", offered.interrupt.map(|function| function as usize))?,
            quiesce: code("quiesce", offered.quiesce.map(|function| function as usize))?,
            release: code("release", offered.release.map(|function| function as usize))?,
        })
    }

    /// Calls a function of the component, unless it is dead.
    fn call(&self, function: usize, arguments: [u64; 4]) -> Result<(), CallError> {
        let mut death = self.death.lock();
        if let Some(death) = &*death {
            return Err(CallError::Dead(death.clone()));
        }
        self.host.begin_call();
        let died = match self.enter(function, arguments) {
            Ending::Returned(Status::OK) => return Ok(()),
            Ending::Returned(status) => {
                let said = self.host.take_warning();
                return Err(CallError::Failed { status, said });
            }
            Ending::Faulted(place) => Death::of_fault(&place, &self.image),
            Ending::TimedOut(place) => Death::of_timeout(&place, &self.image),
            Ending::Panicked => Death::Panicked(self.host.take_panic()),
        };
        *death = Some(died.clone());
        Err(CallError::Died(died))
    }

    #[expect(
        unsafe_code,
        reason = "the one place where the core runs code that was loaded"
    )]
    fn enter(&self, function: usize, arguments: [u64; 4]) -> Ending {
        // SAFETY: `function` is the entry point of the load plan or was checked by `check`: code of this image, which is
        // mapped as long as `self` lives. The image has a stack of that size, and `death` is locked, so nothing else
        // uses it. Pointers among the arguments are to structures that the callers borrow for the call.
        unsafe { guard::call(function, arguments, self.image.stack_top(), &self.host) }
    }
}

/// Address and number of the streams of a call.
fn list(streams: &[Stream]) -> Result<(u64, u64), CallError> {
    if !(1..=MAX_STREAMS).contains(&streams.len()) {
        return Err(CallError::Failed {
            status: Status::INVALID,
            said: Arc::default(),
        });
    }
    Ok((streams.as_ptr().expose_provenance() as u64, streams.len() as u64))
}

/// The address of a structure that a component reads during a call.
fn address<T>(structure: &T) -> u64 {
    core::ptr::from_ref(structure).expose_provenance() as u64
}

/// The address of a structure that a component fills in during a call.
fn address_mut<T>(structure: &mut T) -> u64 {
    core::ptr::from_mut(structure).expose_provenance() as u64
}
