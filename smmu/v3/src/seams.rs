//! The three things the driver is built over, kept together.

use crate::error::{Error, Register};
use mmio::{Bus, Clock, TableMemory, wait_until};

/// How long a register has to take a value, in microseconds.
pub(crate) const REGISTER_TIMEOUT_US: u64 = 10_000;

/// Registers, table memory and time of one SMMU.
#[derive(Debug)]
pub(crate) struct Seams<B, M, C> {
    pub(crate) bus: B,
    pub(crate) memory: M,
    pub(crate) clock: C,
}

impl<B: Bus, M: TableMemory, C: Clock> Seams<B, M, C> {
    /// Waits until `read` returns `wanted`; `register` names the culprit if it does not.
    pub(crate) fn settle(
        &self,
        register: Register,
        wanted: u32,
        read: impl Fn(&B) -> u32,
    ) -> Result<(), Error> {
        wait_until(&self.clock, REGISTER_TIMEOUT_US, || read(&self.bus) == wanted).map_err(|timeout| {
            Error::Register {
                register,
                wanted,
                read: read(&self.bus),
                waited_us: timeout.waited_us,
            }
        })
    }
}
