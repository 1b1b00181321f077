//! Components that fail on purpose, each in one way that the core has to survive.
//!
//! They are signed and loaded like any other. Either the driver's probe misbehaves, and [`misbehaving!`] writes the rest; or it
//! drives nothing at all, and one of its operations misbehaves once devices count as live: then [`pretending!`] does.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub use component_glue;
pub use mmio;

use component_glue::driver_abi::Status;
use mmio::Region;

/// A driver that drives nothing: it leaves its SMMU as shut as it found it, so that what counts as live is blocked. What it does
/// not say otherwise succeeds.
pub trait Pretender: Send + 'static {
    /// For the SMMU with these registers, the `number`th that the component was given.
    fn new(registers: Region, number: usize) -> Self;
    /// Attaches nothing.
    fn attach(&mut self) -> Status {
        Status::OK
    }
    /// Invalidates nothing.
    fn invalidate(&mut self) -> Status {
        Status::OK
    }
    /// Finds no fault.
    fn interrupt(&mut self) -> Status {
        Status::OK
    }
}

/// A component called `$name` of a [`Pretender`] for SMMUs that are compatible with `$compatible`.
#[macro_export]
macro_rules! pretending {
    ($name:literal, $compatible:literal, $pretender:ty) => {
        $crate::component_glue::component! {
            driver: Pretending,
            name: $name,
            version: [0, 0, 0],
            compatible: $compatible,
            table_memory: 0,
        }

        use $crate::component_glue::driver_abi::{
            Domain, FaultRecord, InterruptLine, IpaRange, ProbeReport, SmmuInfo, Status, Stream,
        };
        use $crate::component_glue::{Component, Parts, SmmuDriver};

        struct Pretending($pretender);

        fn result(status: Status) -> Result<(), Status> {
            if status == Status::OK {
                Ok(())
            } else {
                Err(status)
            }
        }

        impl SmmuDriver for Pretending {
            fn component() -> &'static Component<Self> {
                &COMPONENT
            }
            fn probe(parts: Parts, _: &SmmuInfo) -> Result<(Self, ProbeReport), Status> {
                use core::sync::atomic::{AtomicUsize, Ordering};
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                let number = NEXT.fetch_add(1, Ordering::SeqCst);
                let pretender = $crate::Pretender::new(parts.registers, number);
                Ok((Pretending(pretender), ProbeReport::EMPTY))
            }
            fn attach(&mut self, _: &[Stream], _: &Domain) -> Result<(), Status> {
                result($crate::Pretender::attach(&mut self.0))
            }
            fn detach(&mut self, _: &[Stream]) -> Result<(), Status> {
                Ok(())
            }
            fn invalidate(&mut self, _: &IpaRange) -> Result<(), Status> {
                result($crate::Pretender::invalidate(&mut self.0))
            }
            fn interrupt(&mut self, _: InterruptLine, _: &mut dyn FnMut(FaultRecord)) -> Result<(), Status> {
                result($crate::Pretender::interrupt(&mut self.0))
            }
            fn quiesce(&mut self) -> Result<(), Status> {
                Ok(())
            }
            fn release(self) -> Result<(), (Self, Status)> {
                Ok(())
            }
        }
    };
}

/// A component called `$name` whose probe returns what `$probe` returns for the SMMU, if it returns.
#[macro_export]
macro_rules! misbehaving {
    ($name:literal, $probe:expr) => {
        $crate::misbehaving!(
            $name,
            "arm,smmu-v3\0arm,mmu-500",
            $crate::component_glue::driver_abi::ABI_VERSION,
            $probe
        );
    };
    ($name:literal, $compatible:literal, $abi_version:expr, $probe:expr) => {
        $crate::component_glue::component! {
            driver: Misbehaving,
            name: $name,
            version: [0, 0, 0],
            compatible: $compatible,
            table_memory: 0x10000,
            abi_version: $abi_version,
        }

        /// A driver that never drives anything.
        #[derive(Debug)]
        enum Misbehaving {}

        use $crate::component_glue::driver_abi::{
            Domain, FaultRecord, InterruptLine, IpaRange, ProbeReport, SmmuInfo, Status, Stream,
        };
        use $crate::component_glue::{Component, Parts, SmmuDriver};

        impl SmmuDriver for Misbehaving {
            fn component() -> &'static Component<Self> {
                &COMPONENT
            }
            fn probe(parts: Parts, _: &SmmuInfo) -> Result<(Self, ProbeReport), Status> {
                let probe: fn(Parts) -> Status = $probe;
                Err(probe(parts))
            }
            fn attach(&mut self, _: &[Stream], _: &Domain) -> Result<(), Status> {
                match *self {}
            }
            fn detach(&mut self, _: &[Stream]) -> Result<(), Status> {
                match *self {}
            }
            fn invalidate(&mut self, _: &IpaRange) -> Result<(), Status> {
                match *self {}
            }
            fn interrupt(&mut self, _: InterruptLine, _: &mut dyn FnMut(FaultRecord)) -> Result<(), Status> {
                match *self {}
            }
            fn quiesce(&mut self) -> Result<(), Status> {
                match *self {}
            }
            fn release(self) -> Result<(), (Self, Status)> {
                match self {}
            }
        }
    };
}
