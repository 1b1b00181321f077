//! Everything that one instance holds, behind one register frame.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::bank::Bank;
use super::faults::Resumed;
use super::host::Host;
use super::params::Params;
use super::registers::{acr, cr0, gfsr, s2cr, smr};
use super::sync::{Pending, Sync};
use crate::stage2::Tlb;
use crate::{Rule, Violation};

/// A register, and whether software wrote it since reset.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Word {
    pub value: u32,
    pub written: bool,
}

/// The global fault registers of one security state.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GlobalFault {
    pub gfsr: u32,
    pub gfar: u64,
    pub gfsynr: [u32; 3],
}

/// The state of an instance.
pub(super) struct Instance<H> {
    pub params: Params,
    pub host: H,
    pub cr0: u32,
    pub cr2: u32,
    pub acr: u32,
    pub fault: GlobalFault,
    pub smrs: Vec<Word>,
    pub s2crs: Vec<Word>,
    pub banks: Vec<Bank>,
    pub tlb: Tlb,
    /// TLB invalidations that no finished synchronisation covers.
    pub pending: Vec<Pending>,
    pub sync: Sync,
    /// Synchronisations never end.
    pub sync_stuck: bool,
    /// Grows with every access and tick: what was before what.
    pub moment: u64,
    pub next_ticket: u32,
    pub resumed: Vec<Resumed>,
}

impl<H: Host> Instance<H> {
    pub(super) fn new(params: Params, host: H) -> Self {
        let noisy = |noise: u32| Word {
            value: if params.noise { noise } else { 0 },
            written: false,
        };
        let smrs = (0..params.mappings())
            .map(|_| noisy(smr::VALID | 0x0010))
            .collect();
        let s2crs = (0..params.mappings()).map(|_| noisy(1 << 16 | 0x3)).collect();
        let mut instance = Instance {
            params,
            host,
            cr0: cr0::CLIENTPD,
            cr2: 0,
            acr: if params.mmu500 { acr::RESET } else { 0 },
            fault: GlobalFault::default(),
            smrs,
            s2crs,
            banks: (0..params.banks())
                .map(|index| Bank::after_reset(&params, index))
                .collect(),
            tlb: Tlb::default(),
            pending: Vec::new(),
            sync: Sync::default(),
            sync_stuck: false,
            moment: 0,
            next_ticket: 0,
            resumed: Vec::new(),
        };
        if params.noise {
            instance.fault.gfsr = gfsr::USF | gfsr::MULTI;
            instance.fault.gfsynr = [0x2, 0x77, 0];
        }
        if params.conflicts_always_fault {
            instance.cr0 |= cr0::SMCFCFG;
        }
        instance
    }

    /// Whether transactions meet the SMMU at all.
    pub(super) fn client_port_enabled(&self) -> bool {
        self.cr0 & cr0::CLIENTPD == 0
    }

    /// CR0.EXIDENABLE.
    pub(super) fn extended_ids(&self) -> bool {
        self.cr0 & cr0::EXIDENABLE != 0
    }

    /// CR0.VMID16EN.
    pub(super) fn vmid16(&self) -> bool {
        self.cr0 & cr0::VMID16EN != 0
    }

    /// The context banks that transactions may be translated by at this moment.
    pub(super) fn live_banks(&self) -> Vec<usize> {
        if !self.client_port_enabled() {
            return Vec::new();
        }
        let mut live: Vec<usize> = (0..self.s2crs.len())
            .filter_map(|index| self.bank_of(index))
            .filter(|&bank| self.banks.get(bank).is_some_and(Bank::enabled))
            .collect();
        live.sort_unstable();
        live.dedup();
        live
    }

    /// The bank that a valid mapping translates through, whether it exists or not.
    pub(super) fn bank_of(&self, index: usize) -> Option<usize> {
        let value = self.s2crs.get(index)?.value;
        let translates = self.is_valid(index) && value & s2cr::TYPE == 0;
        translates.then_some((value & s2cr::CBNDX) as usize)
    }

    /// Writes a violation down.
    pub(super) fn violation(
        &self,
        rule: Rule,
        subject: impl Into<String>,
        value: impl Into<u64>,
        section: &'static str,
        detail: impl Into<String>,
    ) {
        self.host.violation(Violation {
            rule,
            subject: subject.into(),
            value: value.into(),
            detail: detail.into(),
            section,
        });
    }

    /// Bits that have to be zero.
    pub(super) fn reserved(&self, name: &str, value: u64, fields: u64, section: &'static str) {
        if value & !fields != 0 {
            let detail = format!("reserved bits {:#x}", value & !fields);
            self.violation(Rule::Reserved, name, value, section, detail);
        }
    }

    /// A field that holds a reserved encoding.
    pub(super) fn encoding(&self, name: &str, value: u64, section: &'static str) {
        self.violation(Rule::Reserved, name, value, section, "reserved encoding");
    }

    /// One step of time.
    pub(super) fn tick(&mut self) {
        self.moment += 1;
        self.tick_syncs();
    }

    /// The level of the global fault interrupt.
    pub(super) fn global_interrupt(&self) -> bool {
        let faults = self.fault.gfsr;
        self.cr0 & cr0::GFIE != 0 && faults & (gfsr::FAULTS | gfsr::MULTI) & !gfsr::CAF != 0
            || self.cr0 & cr0::GCFGFIE != 0 && faults & gfsr::CAF != 0
    }
}
