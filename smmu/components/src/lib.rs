//! What every SMMU component has around its driver.
//!
//! A component is a binary of a few lines: a type that implements [`SmmuDriver`] and one [`component!`] that names
//! it. This library is the rest: the entry point and the C functions of [`driver_abi`], the core's services as
//! [`mmio`]'s seams ([`HostMemory`], [`HostClock`], [`mmio::Region`]), driver instances behind handles with generations,
//! and the panic handler. There is no heap. [`v2`] and [`v3`] say what lists of streams and errors are to either driver.
//!
//! `unsafe` stands where C pointers come in (`entry`) and where the core is called or table memory is accessed (`host`,
//! `memory`).
#![cfg_attr(not(test), no_std)]
#![deny(unsafe_code)]

mod entry;
mod host;
mod instances;
mod memory;
mod panic;
mod report;
#[cfg(test)]
mod tests;
pub mod v2;
pub mod v3;

pub use driver_abi;
pub use entry::{Component, enter};
pub use host::{Host, HostClock};
pub use instances::{Instances, MAX_INSTANCES};
pub use memory::{HostMemory, MAX_BLOCKS};
pub use panic::panic;
pub use report::{bits, record, warn};

use driver_abi::{Domain, FaultRecord, InterruptLine, IpaRange, ProbeReport, SmmuInfo, Status, Stream};
use mmio::Region;

/// What a driver is given for one SMMU.
#[derive(Debug)]
pub struct Parts {
    /// The SMMU's registers.
    pub registers: Region,
    /// A second frame that is programmed as one SMMU with the first.
    pub second: Option<Region>,
    /// Memory for the tables and queues that the SMMU reads by itself.
    pub memory: HostMemory,
    /// The time.
    pub clock: HostClock,
}

/// One driver, for one SMMU at a time. The operations are those of [`driver_abi::DriverOps`].
pub trait SmmuDriver: Sized + Send + 'static {
    /// The component that this driver is packed in; [`component!`] writes this.
    fn component() -> &'static Component<Self>;

    /// Takes over the SMMU: every stream aborts, translation is on. The handle in the report is filled in by the glue.
    fn probe(parts: Parts, info: &SmmuInfo) -> Result<(Self, ProbeReport), Status>;

    /// Makes streams translate through a domain: all of them, or after an error none.
    fn attach(&mut self, streams: &[Stream], domain: &Domain) -> Result<(), Status>;

    /// Makes streams abort.
    fn detach(&mut self, streams: &[Stream]) -> Result<(), Status>;

    /// Forgets cached translations of a range.
    fn invalidate(&mut self, range: &IpaRange) -> Result<(), Status>;

    /// Handles an interrupt; each fault goes to `report`. [`Status::AGAIN`] if there is more to do.
    fn interrupt(&mut self, line: InterruptLine, report: &mut dyn FnMut(FaultRecord)) -> Result<(), Status>;

    /// Aborts every stream and waits until nothing is in flight.
    fn quiesce(&mut self) -> Result<(), Status>;

    /// Disables translation with the gate shut, and gives the table memory back. A driver that could not comes back
    /// with the reason.
    fn release(self) -> Result<(), (Self, Status)>;
}

/// Makes a binary of a driver: its manifest, its entry point, its instances and its panic handler.
///
/// ```ignore
/// component! {
///     driver: Smmu,
///     name: "smmu-v3",
///     version: [0, 1, 0],
///     compatible: "arm,smmu-v3",
///     table_memory: 1 << 20,
/// }
/// ```
#[macro_export]
macro_rules! component {
    (driver: $driver:ty, $($manifest:tt)*) => {
        $crate::manifest! { $($manifest)* }
        $crate::panic_handler! {}

        static COMPONENT: $crate::Component<$driver> = $crate::Component::new();

        /// The entry point: [`driver_abi::Entry`].
        ///
        /// # Safety
        /// `host` and `ops` are null or point to such structures, for as long as the call lasts.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn component_entry(
            host: *const $crate::driver_abi::HostServices,
            ops: *mut $crate::driver_abi::DriverOps,
        ) -> $crate::driver_abi::Status {
            // SAFETY: the core's promise is handed on.
            unsafe { $crate::enter::<$driver>(host, ops) }
        }
    };
}

/// Makes the manifest of a component, which has to stand in the binary itself: see [`component!`].
#[macro_export]
macro_rules! manifest {
    (name: $name:expr, version: $version:expr, compatible: $compatible:expr, table_memory: $table_memory:expr $(,)?) => {
        $crate::manifest! {
            name: $name,
            version: $version,
            compatible: $compatible,
            table_memory: $table_memory,
            abi_version: $crate::driver_abi::ABI_VERSION,
        }
    };
    (name: $name:expr, version: $version:expr, compatible: $compatible:expr, table_memory: $table_memory:expr,
     abi_version: $abi_version:expr $(,)?) => {
        /// What the core reads before it maps anything.
        #[used]
        #[unsafe(link_section = ".note.portcullis")]
        static MANIFEST: $crate::driver_abi::ManifestNote = {
            let [major, minor, patch] = $version;
            $crate::driver_abi::ManifestNote::new($crate::driver_abi::Manifest {
                abi_version: $abi_version,
                version: [major, minor, patch, 0],
                table_memory: $table_memory,
                name: $crate::driver_abi::packed($name),
                compatible: $crate::driver_abi::packed($compatible),
            })
        };
    };
}

/// Makes the panic handler of a component: see [`component!`].
#[macro_export]
macro_rules! panic_handler {
    () => {
        #[cfg(target_os = "none")]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            $crate::panic(info)
        }

        /// On the host a component only shows that it compiles.
        #[cfg(not(target_os = "none"))]
        fn main() {}
    };
}
