//! What a guest's accesses to configuration space ask of physical functions.

use pci::{Bdf, Msi, MsiX};

/// How a physical function is to stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    /// The function's place in the guest's segment.
    pub at: Bdf,
    /// The physical function.
    pub physical: Bdf,
    /// Its switches.
    pub switches: Switches,
    /// It is to be reset. It does not answer the guest until [`finish_reset`](super::Ecam::finish_reset).
    pub reset: bool,
}

/// What is switched in a physical function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Switches {
    /// Whether it may emit transactions.
    pub bus_master: bool,
    /// Whether it may raise INTx.
    pub intx: bool,
    /// Its message signalled interrupts, if the guest sees any.
    pub msi: Option<Msi>,
    /// Its extended message signalled interrupts, if the guest sees any.
    pub msi_x: Option<MsiX>,
}
