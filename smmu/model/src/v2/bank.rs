//! The registers of a translation context bank, with its attributes from global space 1.

use alloc::vec::Vec;

use super::format::{self, Bad, Raw};
use super::params::Params;
use super::registers::{ACTLR_CMTLB, ACTLR_CPRE, cba2r, cbar, fsr, sctlr};
use super::sync::Sync;
use super::transaction::Access;
use crate::bits::{field, low16};
use crate::stage2::Regime;

/// Which registers software wrote since reset.
pub(super) mod written {
    pub(crate) const CBAR: u32 = 1;
    pub(crate) const CBA2R: u32 = 1 << 1;
    pub(crate) const SCTLR: u32 = 1 << 2;
    pub(crate) const TTBR0_LOW: u32 = 1 << 3;
    pub(crate) const TTBR0_HIGH: u32 = 1 << 4;
    pub(crate) const TCR: u32 = 1 << 5;
}

/// What SMMU_CBARn.TYPE says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stages {
    /// Stage 2 only.
    Second,
    /// Stage 1, with stage 2 bypassed.
    First,
    /// Stage 1, with a fault as stage 2.
    FirstThenFault,
    /// Stage 1, then stage 2.
    Nested,
}

/// A context bank.
#[derive(Debug, Clone, Default)]
pub(super) struct Bank {
    pub cbar: u32,
    pub cba2r: u32,
    pub cbfrsynra: u32,
    pub sctlr: u32,
    pub actlr: u32,
    pub tcr: u32,
    pub tcr2: u32,
    pub ttbr0: u64,
    pub ttbr1: u64,
    pub fsr: u32,
    pub far: u64,
    pub ipafar: u64,
    pub fsynr: [u32; 2],
    /// Bits of [`written`].
    pub written: u32,
    pub sync: Sync,
    /// When a transaction got here last, unless an invalidation was waited for since that covers it: it may be in flight.
    pub in_flight: Option<u64>,
    /// Transactions that wait for SMMU_CBn_RESUME, by ticket.
    pub stalled: Vec<(u32, Access)>,
}

impl Bank {
    pub(super) fn after_reset(params: &Params, index: usize) -> Self {
        let mut bank = Bank::default();
        if params.noise {
            let salt = low16(index as u64);
            bank.cbar = 0x0002_0001 + u32::from(salt);
            bank.cba2r = if params.vmid16() { 0x0a5a_0000 } else { 0 };
            bank.cbfrsynra = 0x1234;
            bank.sctlr = sctlr::HUPCF;
            bank.tcr = 0x8002_3559;
            bank.ttbr0 = 0x5a00_0003_c3c3_c001;
            bank.fsr = fsr::TF | fsr::MULTI;
            bank.far = 0xa5a5_5a5a;
        }
        if params.mmu500 {
            bank.actlr = ACTLR_CPRE | ACTLR_CMTLB;
        }
        bank
    }

    pub(super) fn stages(&self) -> Stages {
        match field(self.cbar.into(), 17, 16) {
            0 => Stages::Second,
            1 => Stages::First,
            2 => Stages::FirstThenFault,
            _ => Stages::Nested,
        }
    }

    /// SCTLR.M.
    pub(super) fn enabled(&self) -> bool {
        self.sctlr & sctlr::M != 0
    }

    /// The VMID that tags its translations.
    pub(super) fn vmid(&self, vmid16: bool) -> u16 {
        if vmid16 {
            low16(u64::from(self.cba2r) >> 16)
        } else {
            low16((self.cbar & cbar::VMID).into())
        }
    }

    pub(super) fn aarch64(&self) -> bool {
        self.cba2r & cba2r::VA64 != 0
    }

    /// What its tables look like.
    pub(super) fn regime(&self, params: &Params) -> Result<Regime, Bad> {
        let raw = Raw {
            tcr: self.tcr,
            ttbr0: self.ttbr0,
            aarch64: self.aarch64(),
            access_flag_ignored: self.sctlr & sctlr::AFFD != 0,
        };
        format::regime(&raw, params)
    }

    /// Whether a fault is recorded that software did not clear.
    pub(super) fn has_fault(&self) -> bool {
        self.fsr & fsr::FAULTS != 0
    }

    /// The fault is cleared: the next one may be recorded before software looks again.
    pub(super) fn forget_syndrome(&mut self, noise: bool) {
        self.fsr &= !fsr::FORMAT;
        if noise {
            self.far = 0x5a5a_a5a5_5a5a;
            self.ipafar = 0x5a5a_a5a5_5000;
            self.fsynr = [0x10, 0];
            self.cbfrsynra = 0x4321;
        }
    }

    /// The level of its interrupt: faults, and a stalled transaction.
    pub(super) fn interrupt(&self) -> bool {
        self.sctlr & sctlr::CFIE != 0 && self.fsr & (fsr::FAULTS | fsr::MULTI | fsr::SS) != 0
    }
}
