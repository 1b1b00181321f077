//! Components that fail on purpose, each in one way that the core has to survive.
//!
//! They are signed and loaded like any other. Each has a driver whose probe misbehaves; [`misbehaving!`] writes the rest.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub use component_glue;

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
