//! Global register space 0 (IHI 0062, registers SMMU_sCR0 to SMMU_sTLBGSTATUS).

use alloc::format;

use super::host::Host;
use super::instance::Instance;
use super::registers::{PIDR_MMU500, acr, cr0, cr2, gfsr, gr0};
use super::sync::Operation;
use crate::Rule;
use crate::bits::field;

const CR0: &str = "IHI 0062 SMMU_sCR0";
const GFSR: &str = "IHI 0062 SMMU_sGFSR";

/// The index of a register in a table that begins at `base`.
const fn entry(register: usize, base: usize) -> usize {
    (register - base) / 4
}

const SMR_END: usize = gr0::S2CR - 1;
const S2CR_END: usize = gr0::PIDR4 - 1;

impl<H: Host> Instance<H> {
    pub(super) fn read_global0(&self, register: usize) -> Option<u32> {
        let word = match register {
            gr0::CR0 => self.cr0,
            gr0::CR2 => self.cr2,
            gr0::ACR => self.acr,
            gr0::IDR0..=gr0::IDR7 => *self.params.idr.get(entry(register, gr0::IDR0))?,
            gr0::GFSR => self.fault.gfsr,
            gr0::GFSYNR0..=gr0::GFSYNR2 => *self.fault.gfsynr.get(entry(register, gr0::GFSYNR0))?,
            gr0::TLBGSTATUS => self.sync.is_active().into(),
            gr0::SMR..=SMR_END if self.params.stream_matching() => {
                self.smrs.get(entry(register, gr0::SMR))?.value
            }
            gr0::S2CR..=S2CR_END => self.s2crs.get(entry(register, gr0::S2CR))?.value,
            // IMPLEMENTATION DEFINED: only the MMU-500's are known.
            gr0::PIDR0..=gr0::PIDR2 if !self.params.mmu500 => 0,
            gr0::PIDR0..=gr0::PIDR2 => *PIDR_MMU500.get(entry(register, gr0::PIDR0))?,
            _ => return None,
        };
        Some(word)
    }

    /// What a secure access sees of the secure side: it is after reset, and nobody's business here.
    pub(super) fn read_secure(&self, register: usize) -> u32 {
        match register {
            gr0::CR0 => cr0::CLIENTPD | cr0::SMCFCFG,
            gr0::ACR => self.acr,
            _ => 0,
        }
    }

    pub(super) fn write_global0(&mut self, register: usize, value: u32) -> bool {
        match register {
            gr0::CR0 => self.write_cr0(value),
            gr0::CR2 => {
                self.reserved("CR2", value.into(), cr2::BPVMID.into(), "IHI 0062 SMMU_sCR2");
                self.cr2 = value & cr2::BPVMID;
            }
            gr0::ACR => self.write_acr(value),
            gr0::IDR0..=gr0::IDR7 => return self.read_only("IDR", value),
            gr0::PIDR0..=gr0::PIDR2 => return self.read_only("PIDR", value),
            gr0::TLBGSTATUS => return self.read_only("TLBGSTATUS", value),
            gr0::GFSR => {
                self.reserved("GFSR", value.into(), (gfsr::FAULTS | gfsr::MULTI).into(), GFSR);
                self.clear_global_fault(value);
            }
            gr0::GFSRRESTORE => {
                self.reserved(
                    "GFSRRESTORE",
                    value.into(),
                    (gfsr::FAULTS | gfsr::MULTI).into(),
                    GFSR,
                );
                self.fault.gfsr |= value & (gfsr::FAULTS | gfsr::MULTI);
            }
            gr0::GFSYNR0..=gr0::GFSYNR2 => {
                if let Some(word) = self.fault.gfsynr.get_mut(entry(register, gr0::GFSYNR0)) {
                    *word = value;
                }
            }
            gr0::TLBIVMID => self.tlbi_vmid(value),
            gr0::TLBIALLNSNH => self.issue(Operation::All),
            gr0::TLBIALLH => self.issue(Operation::Hyp),
            gr0::TLBGSYNC => self.start_global_sync(),
            gr0::SMR..=SMR_END => {
                let index = entry(register, gr0::SMR);
                if !self.params.stream_matching() || index >= self.smrs.len() {
                    return false;
                }
                self.write_smr(index, value);
            }
            gr0::S2CR..=S2CR_END => {
                let index = entry(register, gr0::S2CR);
                if index >= self.s2crs.len() {
                    return false;
                }
                self.write_s2cr(index, value);
            }
            _ => return false,
        }
        true
    }

    fn write_cr0(&mut self, value: u32) {
        let mut fields = cr0::CLIENTPD
            | cr0::GFRE
            | cr0::GFIE
            | cr0::GCFGFRE
            | cr0::GCFGFIE
            | cr0::TRANSIENTCFG
            | cr0::STALLD
            | cr0::USFCFG
            | cr0::VMIDPNE
            | cr0::PTM
            | cr0::FB
            | cr0::BSU
            | cr0::MEM_ATTR
            | cr0::MTCFG
            | cr0::SMCFCFG
            | cr0::SHCFG
            | cr0::RACFG
            | cr0::WACFG;
        if self.params.extended_stream_ids() {
            fields |= cr0::EXIDENABLE;
        }
        if self.params.vmid16() {
            fields |= cr0::VMID16EN;
        }
        self.reserved("CR0", value.into(), fields.into(), CR0);
        for (name, low) in [("RACFG", 24), ("WACFG", 26)] {
            if field(value.into(), low + 1, low) == 1 {
                self.encoding(&format!("CR0.{name}"), 1, CR0);
            }
        }
        let changed = (value ^ self.cr0) & fields;
        let in_use = self.client_port_enabled() && self.any_valid();
        self.cr0 = value & fields;
        for (name, bit) in [("EXIDENABLE", cr0::EXIDENABLE), ("VMID16EN", cr0::VMID16EN)] {
            if changed & bit != 0 && (in_use || self.client_port_enabled() && self.any_valid()) {
                let detail =
                    "changed while stream mappings are valid: it gives other registers another meaning";
                self.violation(Rule::Guarded, format!("CR0.{name}"), value, CR0, detail);
            }
        }
        if self.params.conflicts_always_fault {
            self.cr0 |= cr0::SMCFCFG;
        }
        if self.params.mmu500 {
            // DDI 0517 2.3.4: there is no override of the fault model.
            self.cr0 &= !cr0::STALLD;
        }
        if !self.params.configuration_faults {
            self.cr0 &= !(cr0::GCFGFRE | cr0::GCFGFIE);
        }
    }

    fn clear_global_fault(&mut self, value: u32) {
        let had_fault = self.fault.gfsr & gfsr::FAULTS != 0;
        self.fault.gfsr &= !value;
        if had_fault && self.fault.gfsr & gfsr::FAULTS == 0 && self.params.noise {
            // The next fault may be recorded before software looks again.
            self.fault.gfar = 0x5a5a_a5a5_5a5a;
            self.fault.gfsynr = [0x2, 0x4321, 0];
        }
    }

    /// IMPLEMENTATION DEFINED: only the MMU-500's is known.
    fn write_acr(&mut self, value: u32) {
        if !self.params.mmu500 {
            let detail = "an IMPLEMENTATION DEFINED register of an unknown implementation";
            self.violation(Rule::Reserved, "ACR", value, "IHI 0062 SMMU_sACR", detail);
        }
        self.acr = value;
    }

    /// Whether SMMU_CBn_ACTLR is locked, from r2p0 of the MMU-500 on.
    pub(super) fn cache_locked(&self) -> bool {
        self.params.major() >= 2 && self.acr & acr::CACHE_LOCK != 0
    }
}
