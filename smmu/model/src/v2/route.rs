//! What becomes of a transaction, before and after translation.

use super::bank::Stages;
use super::host::Host;
use super::instance::Instance;
use super::params::Version;
use crate::bits::field;
use crate::stage2::Attributes;

/// Why a transaction is not translated and not stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// SMMU_sCR0.CLIENTPD.
    ClientPortDisabled,
    /// No stream mapping matches, and SMMU_sCR0.USFCFG is clear.
    Unidentified,
    /// Several match, and SMMU_sCR0.SMCFCFG is clear.
    StreamMatchConflict,
    /// SMMU_S2CRn.TYPE of this stream mapping says so.
    StreamMapping(usize),
    /// SMMU_CBn_SCTLR.M of this context bank is clear.
    BankDisabled(usize),
}

/// Why a transaction is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// No stream mapping matches (SMMU_sGFSR.USF).
    UnidentifiedStream,
    /// Several stream mappings match (SMMU_sGFSR.SMCF).
    StreamMatchConflict,
    /// The stream mapping says fault, or the context bank's stage 2 does (SMMU_sGFSR.ICF).
    InvalidContext,
    /// The stream mapping names a context bank that does not exist (SMMU_sGFSR.UCBF).
    UnimplementedBank,
    /// The context bank names an interrupt that does not exist (SMMU_sGFSR.UCIF).
    UnimplementedInterrupt,
    /// No valid descriptor (SMMU_CBn_FSR.TF).
    Translation,
    /// The access flag is clear (SMMU_CBn_FSR.AFF).
    AccessFlag,
    /// The descriptor does not allow it (SMMU_CBn_FSR.PF).
    Permission,
    /// A descriptor could not be read (SMMU_CBn_FSR.EF).
    External,
    /// A table or output address is too large (SMMU_CBn_FSR.ASF; TF on SMMUv1).
    AddressSize,
    /// The context bank has a fault that software did not clear, and SMMU_CBn_SCTLR.HUPCF is clear; nothing is
    /// recorded.
    UnderFault,
    /// The context bank's registers are not legal, which is a violation as well; nothing is recorded.
    IllegalContextBank,
    /// Software ended it with SMMU_CBn_RESUME; nothing is recorded.
    Terminated,
}

/// What the configuration says of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// It is not translated.
    Bypass(Bypass),
    /// It is stopped with a global fault.
    Fault(FaultKind),
    /// It is translated through this context bank.
    Bank(usize),
}

/// A transaction that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Where to.
    pub address: u64,
    /// How it got there.
    pub how: How,
}

/// How a transaction got to its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// By stage 2.
    Translated {
        /// How the memory there is to be used.
        attributes: Attributes,
        /// Whether a cached translation served it.
        cached: bool,
    },
    /// Untranslated.
    Bypassed(Bypass),
}

/// A transaction that does not go on, or not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blocked {
    /// Why.
    pub kind: FaultKind,
    /// Whether the device is told by an abort; otherwise its writes vanish and its reads see zero (GFRE, CFRE).
    pub aborted: bool,
    /// The ticket of a transaction that waits for SMMU_CBn_RESUME.
    pub stalled: Option<u32>,
}

/// What became of a transaction.
pub type Outcome = Result<Passed, Blocked>;

impl<H: Host> Instance<H> {
    /// What a context bank does with what a stream mapping sends to it.
    pub(super) fn route_to(&self, index: usize) -> Route {
        let Some(bank) = self.banks.get(index) else {
            return Route::Fault(FaultKind::UnimplementedBank);
        };
        let interrupt = field(bank.cbar.into(), 31, 24);
        if self.params.version == Version::V1 && interrupt >= self.params.context_interrupts() {
            return Route::Fault(FaultKind::UnimplementedInterrupt);
        }
        match bank.stages() {
            Stages::FirstThenFault => Route::Fault(FaultKind::InvalidContext),
            _ if !bank.enabled() => Route::Bypass(Bypass::BankDisabled(index)),
            _ => Route::Bank(index),
        }
    }
}
