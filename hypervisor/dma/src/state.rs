//! The states of a master, and what the partition file says about it.

use partition::{Dma, OnFault};

/// An SMMU of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SmmuId(pub usize);

/// A master of the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MasterId(pub usize);

/// A guest, by its place in the partition file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestId(pub usize);

/// Where a master stands. In every state but `Live` and `Uncovered` each of its transactions aborts, unless its SMMU could not
/// be shut: then it is `Refused`, and only kept off the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// One of its SMMUs has no driver yet; the gate blocks it.
    Pending,
    /// All its SMMUs are live and abort its streams.
    Held,
    /// It translates through the guest's stage 2.
    Live(GuestId),
    /// It was live, faulted, and its streams abort until someone decides otherwise.
    Faulted(GuestId),
    /// It will never be live in this run.
    Refused,
    /// No SMMU describes it: nothing can stop its DMA but keeping its registers away from everyone.
    Uncovered,
}

impl State {
    /// The word for messages.
    pub const fn word(self) -> &'static str {
        match self {
            State::Pending => "pending",
            State::Held => "held",
            State::Live(_) => "live",
            State::Faulted(_) => "faulted",
            State::Refused => "refused",
            State::Uncovered => "uncovered",
        }
    }
}

/// A device given to a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Assignment {
    /// To whom.
    pub guest: GuestId,
    /// Whether the guest may have it although nothing isolates its DMA.
    pub dma: Dma,
    /// What a fault leads to.
    pub on_fault: OnFault,
}
