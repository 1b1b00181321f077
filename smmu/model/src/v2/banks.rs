//! Writes to context banks and their attributes (SMMU_CBARn, SMMU_CBA2Rn, SMMU_CBn_*).

use alloc::format;

use super::bank::{Bank, Stages, written};
use super::host::Host;
use super::instance::Instance;
use super::params::Version;
use super::registers::{cb, cba2r, cbar, fsr, sctlr};
use crate::Rule;
use crate::bits::field;

const CBAR: &str = "IHI 0062 SMMU_CBARn";
const CBA2R: &str = "IHI 0062 SMMU_CBA2Rn";
const SCTLR: &str = "IHI 0062 SMMU_CBn_SCTLR";
const ACTLR: &str = "IHI 0062 SMMU_CBn_ACTLR";
const FSR: &str = "IHI 0062 SMMU_CBn_FSR";
const TABLES: &str = "IHI 0062 SMMU_CBn_TTBR0, SMMU_CBn_TCR";

impl<H: Host> Instance<H> {
    pub(super) fn read_bank(&self, index: usize, register: usize) -> Option<u32> {
        let bank = self.banks.get(index)?;
        let [fsynr0, fsynr1] = bank.fsynr;
        let word = match register {
            cb::SCTLR => bank.sctlr,
            cb::ACTLR => bank.actlr,
            cb::TCR2 => bank.tcr2,
            cb::TCR => bank.tcr,
            cb::FSR => bank.fsr,
            cb::FSYNR0 => fsynr0,
            cb::FSYNR1 => fsynr1,
            cb::TLBSTATUS => bank.sync.is_active().into(),
            _ => return None,
        };
        Some(word)
    }

    pub(super) fn write_bank(&mut self, index: usize, register: usize, value: u32) -> bool {
        match register {
            cb::SCTLR => self.write_sctlr(index, value),
            cb::ACTLR => self.write_actlr(index, value),
            cb::RESUME => self.write_resume(index, value),
            cb::TCR2 => self.write_tcr2(index, value),
            cb::TCR => self.write_tcr(index, value),
            cb::FSR | cb::FSRRESTORE => self.write_fsr(index, value, register == cb::FSRRESTORE),
            cb::FSYNR0 | cb::FSYNR1 => self.change_bank(index, |bank| {
                let [first, second] = &mut bank.fsynr;
                *(if register == cb::FSYNR0 { first } else { second }) = value;
            }),
            cb::TLBSYNC => self.start_bank_sync(index),
            cb::TLBSTATUS => return self.read_only("TLBSTATUS", value),
            _ => return false,
        }
        true
    }

    /// Writes a 64-bit register; `halves` says which words of it came from software.
    pub(super) fn write_bank_wide(
        &mut self,
        index: usize,
        register: usize,
        value: u64,
        halves: (bool, bool),
    ) {
        match register {
            cb::TTBR0 => {
                self.check_not_live(index, "TTBR0", value, |bank| bank.ttbr0 != value);
                self.change_bank(index, |bank| {
                    bank.ttbr0 = value;
                    bank.written |= if halves.0 { written::TTBR0_LOW } else { 0 };
                    bank.written |= if halves.1 { written::TTBR0_HIGH } else { 0 };
                });
            }
            cb::TTBR1 => {
                if value != 0
                    && self
                        .banks
                        .get(index)
                        .is_some_and(|bank| bank.stages() == Stages::Second)
                {
                    self.violation(
                        Rule::Reserved,
                        format!("CB{index}_TTBR1"),
                        value,
                        TABLES,
                        "not used by stage 2",
                    );
                }
                self.change_bank(index, |bank| bank.ttbr1 = value);
            }
            cb::FAR => self.change_bank(index, |bank| bank.far = value),
            _ => self.change_bank(index, |bank| bank.ipafar = value),
        }
    }

    fn change_bank(&mut self, index: usize, change: impl FnOnce(&mut Bank)) {
        if let Some(bank) = self.banks.get_mut(index) {
            change(bank);
        }
    }

    /// What describes the tables must not change under transactions.
    fn check_not_live(&self, index: usize, name: &str, value: u64, changes: impl Fn(&Bank) -> bool) {
        let changed = self.banks.get(index).is_some_and(changes);
        if changed && self.live_banks().contains(&index) {
            let detail = "changed while a valid stream mapping translates through the bank";
            self.violation(Rule::Guarded, format!("CB{index}_{name}"), value, TABLES, detail);
        }
    }

    /// The attributes of a bank must not change while it is enabled.
    fn check_disabled(&self, index: usize, name: &str, value: u32, section: &'static str) {
        if self.banks.get(index).is_some_and(Bank::enabled) {
            let detail = "written while SCTLR.M of the bank is set";
            self.violation(Rule::Guarded, format!("{name}{index}"), value, section, detail);
        }
    }

    pub(super) fn write_cbar(&mut self, index: usize, value: u32) {
        self.check_disabled(index, "CBAR", value, CBAR);
        let kind = field(value.into(), 17, 16);
        let mut fields = if kind == 0 {
            cbar::TYPE | cbar::VMID
        } else {
            0x00ff_ffff
        };
        if self.vmid16() {
            fields &= !cbar::VMID;
        }
        if self.params.version == Version::V1 {
            fields |= cbar::IRPTNDX;
            let interrupt = field(value.into(), 31, 24);
            if interrupt >= self.params.context_interrupts() {
                let detail = format!("IDR0.NUMIRPT is {}", self.params.context_interrupts());
                self.violation(Rule::IllegalContextBank, "CBAR.IRPTNDX", interrupt, CBAR, detail);
            }
        }
        self.reserved("CBAR", value.into(), fields.into(), CBAR);
        let complaint = match kind {
            0 if !self.params.stage2() => Some("stage 2 without IDR0.S2TS"),
            0 => None,
            _ if index < self.params.stage2_only_banks() => Some("stage 1 in a bank below IDR1.NUMS2CB"),
            _ if !self.params.stage1() => Some("stage 1 without IDR0.S1TS"),
            3 if !self.params.nested() => Some("both stages without IDR0.NTS"),
            _ => None,
        };
        if let Some(detail) = complaint {
            self.violation(
                Rule::IllegalContextBank,
                format!("CBAR{index}.TYPE"),
                kind,
                CBAR,
                detail,
            );
        }
        self.change_bank(index, |bank| {
            bank.cbar = value & fields;
            bank.written |= written::CBAR;
        });
    }

    pub(super) fn write_cba2r(&mut self, index: usize, value: u32) {
        self.check_disabled(index, "CBA2R", value, CBA2R);
        let mut fields = cba2r::VA64 | cba2r::MONC;
        if self.vmid16() {
            fields |= cba2r::VMID16;
        }
        self.reserved("CBA2R", value.into(), fields.into(), CBA2R);
        self.change_bank(index, |bank| {
            bank.cba2r = value & fields;
            bank.written |= written::CBA2R;
        });
    }

    fn write_sctlr(&mut self, index: usize, value: u32) {
        let fields = sctlr::M
            | sctlr::TRE
            | sctlr::AFE
            | sctlr::AFFD
            | sctlr::E
            | sctlr::CFRE
            | sctlr::CFIE
            | sctlr::CFCFG
            | sctlr::HUPCF
            | sctlr::PTW
            | sctlr::ATTRIBUTES;
        if self
            .banks
            .get(index)
            .is_some_and(|bank| bank.stages() == Stages::Second)
        {
            self.reserved(&format!("CB{index}_SCTLR"), value.into(), fields.into(), SCTLR);
        }
        let goes_off = value & sctlr::M == 0;
        if goes_off
            && self
                .banks
                .get(index)
                .is_some_and(|bank| bank.enabled() && bank.in_flight.is_some())
        {
            let detail =
                "switched off while transactions that got this far may be in flight: they pass untranslated";
            self.violation(Rule::Bypass, format!("CB{index}_SCTLR.M"), value, SCTLR, detail);
        }
        self.change_bank(index, |bank| {
            bank.sctlr = value & fields;
            bank.written |= written::SCTLR;
        });
    }

    fn write_tcr(&mut self, index: usize, value: u32) {
        self.check_not_live(index, "TCR", value.into(), |bank| bank.tcr != value);
        self.change_bank(index, |bank| {
            bank.tcr = value;
            bank.written |= written::TCR;
        });
    }

    fn write_tcr2(&mut self, index: usize, value: u32) {
        if value != 0
            && self
                .banks
                .get(index)
                .is_some_and(|bank| bank.stages() == Stages::Second)
        {
            self.violation(
                Rule::Reserved,
                format!("CB{index}_TCR2"),
                value,
                TABLES,
                "not used by stage 2",
            );
        }
        self.change_bank(index, |bank| bank.tcr2 = value);
    }

    /// IMPLEMENTATION DEFINED: only the MMU-500's is known.
    fn write_actlr(&mut self, index: usize, value: u32) {
        if !self.params.mmu500 {
            let detail = "an IMPLEMENTATION DEFINED register of an unknown implementation";
            self.violation(Rule::Reserved, format!("CB{index}_ACTLR"), value, ACTLR, detail);
        } else if self.cache_locked() {
            let detail = "ignored, since ACR.CACHE_LOCK is set";
            self.violation(Rule::Guarded, format!("CB{index}_ACTLR"), value, ACTLR, detail);
            return;
        }
        self.change_bank(index, |bank| bank.actlr = value);
    }

    fn write_fsr(&mut self, index: usize, value: u32, restore: bool) {
        let fields = fsr::FAULTS | fsr::MULTI | fsr::SS | fsr::FORMAT;
        self.reserved(&format!("CB{index}_FSR"), value.into(), fields.into(), FSR);
        let faults = value & (fsr::FAULTS | fsr::MULTI);
        let noise = self.params.noise;
        self.change_bank(index, |bank| {
            let had_fault = bank.has_fault();
            if restore {
                bank.fsr |= faults;
            } else {
                bank.fsr &= !faults;
            }
            if had_fault && !bank.has_fault() {
                bank.forget_syndrome(noise);
            }
        });
    }
}
