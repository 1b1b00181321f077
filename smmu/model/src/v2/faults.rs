//! How faults are recorded, and how stalled transactions go on (SMMU_sGFSR, SMMU_CBn_FSR, SMMU_CBn_RESUME).

use alloc::format;
use alloc::vec::Vec;

use super::host::Host;
use super::instance::Instance;
use super::params::Version;
use super::registers::{cr0, fsr, gfsr, sctlr};
use super::route::{Blocked, FaultKind, Outcome};
use super::transaction::Access;
use crate::Rule;
use crate::bits::{low32, mask};

/// What became of a stalled transaction, by ticket.
pub(super) type Resumed = (u32, Outcome);

/// Transactions that may wait in a bank; more are terminated.
const MOST_STALLED: usize = 64;

impl<H: Host> Instance<H> {
    /// A fault before translation.
    pub(super) fn global_fault(&mut self, kind: FaultKind, access: Access) -> Outcome {
        let bit = match kind {
            FaultKind::UnidentifiedStream => gfsr::USF,
            FaultKind::StreamMatchConflict => gfsr::SMCF,
            FaultKind::UnimplementedBank => gfsr::UCBF,
            FaultKind::UnimplementedInterrupt => gfsr::UCIF,
            _ => gfsr::ICF,
        };
        if self.fault.gfsr & gfsr::FAULTS != 0 {
            // The syndrome is of the first.
            self.fault.gfsr |= gfsr::MULTI;
        } else {
            self.fault.gfsr |= bit;
            self.fault.gfar = access.address;
            let syndrome = if access.write { gfsr::SYNDROME_WNR } else { 0 };
            self.fault.gfsynr = [syndrome, access.stream, 0];
        }
        Err(Blocked {
            kind,
            aborted: self.cr0 & cr0::GFRE != 0,
            stalled: None,
        })
    }

    /// A fault of translation, found at `level`.
    pub(super) fn context_fault(
        &mut self,
        index: usize,
        kind: FaultKind,
        level: u32,
        access: Access,
    ) -> Outcome {
        let bit = match kind {
            FaultKind::AccessFlag => fsr::AFF,
            FaultKind::Permission => fsr::PF,
            FaultKind::External => fsr::EF,
            FaultKind::AddressSize if self.params.version == Version::V2 => fsr::ASF,
            _ => fsr::TF,
        };
        // A walk that met a bus error cannot be tried again by software that mends the tables.
        let may_stall = kind != FaultKind::External;
        if let Some(bank) = self.banks.get_mut(index) {
            if bank.has_fault() {
                bank.fsr |= fsr::MULTI;
            } else {
                let format = if bank.aarch64() {
                    fsr::FORMAT_AARCH64
                } else {
                    fsr::FORMAT_AARCH32_LONG
                };
                bank.fsr = bank.fsr & (fsr::SS | fsr::MULTI) | bit | format;
                bank.far = access.address;
                bank.ipafar = access.address & mask(47, 12);
                let direction = if access.write { fsr::SYNDROME_WNR } else { 0 };
                bank.fsynr = [direction | level & 3, 0];
                bank.cbfrsynra = access.stream;
            }
        }
        self.stop(index, kind, may_stall, access)
    }

    /// Ends or stalls a transaction of a bank.
    pub(super) fn stop(&mut self, index: usize, kind: FaultKind, may_stall: bool, access: Access) -> Outcome {
        let stalls = self.cr0 & cr0::STALLD == 0 && may_stall;
        let ticket = self.next_ticket;
        let mut blocked = Blocked {
            kind,
            aborted: false,
            stalled: None,
        };
        let Some(bank) = self.banks.get_mut(index) else {
            return Err(blocked);
        };
        if stalls && bank.sctlr & sctlr::CFCFG != 0 && bank.stalled.len() < MOST_STALLED {
            bank.fsr |= fsr::SS;
            bank.stalled.push((ticket, access));
            self.next_ticket = ticket.wrapping_add(1);
            blocked.stalled = Some(ticket);
        } else {
            blocked.aborted = bank.sctlr & sctlr::CFRE != 0;
        }
        Err(blocked)
    }

    /// SMMU_CBn_RESUME: stalled transactions are tried again, or ended.
    pub(super) fn write_resume(&mut self, index: usize, value: u32) {
        const SECTION: &str = "IHI 0062 SMMU_CBn_RESUME";
        self.reserved("RESUME", value.into(), 1, SECTION);
        let Some(bank) = self.banks.get_mut(index) else {
            return;
        };
        let aborted = bank.sctlr & sctlr::CFRE != 0;
        let mut waiting = core::mem::take(&mut bank.stalled);
        if self.params.resumes_singly && waiting.len() > 1 {
            bank.stalled = waiting.split_off(1);
        } else {
            bank.fsr &= !fsr::SS;
        }
        if waiting.is_empty() {
            let detail = "no transaction is stalled";
            self.violation(
                Rule::StallProtocol,
                format!("CB{index}_RESUME"),
                value,
                SECTION,
                detail,
            );
        }
        for (ticket, access) in waiting {
            let outcome = if value & 1 == 0 {
                self.transaction(access)
            } else {
                Err(Blocked {
                    kind: FaultKind::Terminated,
                    aborted,
                    stalled: None,
                })
            };
            self.resumed.push((ticket, outcome));
            if self.resumed.len() > MOST_STALLED {
                self.resumed.drain(..1);
            }
        }
    }

    /// What became of a stalled transaction, once.
    pub(super) fn take_resumed(&mut self, ticket: u32) -> Option<Outcome> {
        let position = self.resumed.iter().position(|&(resumed, _)| resumed == ticket)?;
        Some(self.resumed.remove(position).1)
    }

    /// The context banks whose interrupt is asserted.
    pub(super) fn interrupting_banks(&self) -> Vec<usize> {
        let asserted = self.banks.iter().enumerate().filter(|(_, bank)| bank.interrupt());
        asserted.map(|(index, _)| index).collect()
    }

    /// The index of the context interrupt of a bank: its own, or SMMU_CBARn.IRPTNDX on SMMUv1.
    pub(super) fn interrupt_of(&self, index: usize) -> usize {
        let shared = self.banks.get(index).map_or(0, |bank| bank.cbar >> 24);
        match self.params.version {
            Version::V1 => low32(shared.into()) as usize,
            Version::V2 => index,
        }
    }
}
