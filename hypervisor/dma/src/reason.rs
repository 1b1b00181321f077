//! Why a master is in the state it is in, as data and as a sentence.

use alloc::string::String;
use core::fmt;

/// Why a transition happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// These SMMUs (paths, comma-separated) have no driver yet.
    NoDriver(String),
    /// No SMMU lists the master.
    NoSmmu,
    /// What the device tree describes, or the partition file asks for, cannot be; the text says why.
    Graph(String),
    /// An SMMU in its path cannot be shut or driven.
    UnusableSmmu(String),
    /// An SMMU in its path has no driver and was not measured shut.
    OpenSmmu(String),
    /// The last driver it waited for went live.
    DriverLive(String),
    /// A driver for one of its SMMUs failed.
    DriverFailed(String),
    /// Loading was sealed while these SMMUs had no driver.
    Sealed(String),
    /// No SMMU keeps it apart from a device that another guest, or nobody, was given.
    GroupSplit {
        /// The device.
        other: String,
        /// Whose that is.
        owner: Option<String>,
        /// What they have in common.
        shared: String,
    },
    /// Nothing isolates it, and the partition file does not accept that.
    NotTrusted,
    /// Nothing isolates it, and the partition file accepts that.
    Trusted,
    /// It was attached to its guest's stage 2.
    Attached,
    /// The driver would not attach it.
    AttachFailed(String),
    /// Its guest stopped.
    GuestStopped,
    /// It faulted and its policy is to quarantine.
    FaultPolicy(String),
    /// Another master that shares its streams, or what they are attached with, was quarantined after a fault.
    PeerFault(String, String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::NoDriver(smmus) => write!(f, "{smmus} has no driver yet"),
            Reason::NoSmmu => write!(f, "no SMMU describes it; nothing can stop its DMA"),
            Reason::Graph(text) => f.write_str(text),
            Reason::UnusableSmmu(text) => write!(f, "its SMMU cannot be used: {text}"),
            Reason::OpenSmmu(text) => {
                write!(f, "its SMMU IS OPEN, and the device is kept off the bus: {text}")
            }
            Reason::DriverLive(component) => write!(f, "{component} drives its SMMU"),
            Reason::DriverFailed(text) => write!(f, "the driver failed: {text}"),
            Reason::Sealed(smmus) => write!(f, "loading is sealed and {smmus} has no driver"),
            Reason::GroupSplit { other, owner, shared } => {
                let owner = owner.as_deref().unwrap_or("nobody");
                write!(
                    f,
                    "it cannot be kept apart from {other}, which {owner} was given: {shared}; give the whole group to one guest"
                )
            }
            Reason::NotTrusted => {
                write!(
                    f,
                    "its DMA is not isolated; the partition file must say dma = \"trusted\" to accept that"
                )
            }
            Reason::Trusted => write!(f, "NOT ISOLATED, accepted by dma = \"trusted\""),
            Reason::Attached => write!(f, "attached to its guest's stage 2"),
            Reason::AttachFailed(text) => write!(f, "it could not be attached: {text}"),
            Reason::GuestStopped => write!(f, "its guest stopped"),
            Reason::FaultPolicy(text) => write!(f, "quarantined after a fault: {text}"),
            Reason::PeerFault(name, text) => {
                write!(
                    f,
                    "quarantined with {name}, which shares its streams and faulted: {text}"
                )
            }
        }
    }
}
