//! TLB invalidation, and its synchronisation (SMMU_TLBI*, SMMU_sTLBGSYNC, SMMU_CBn_TLBIIPAS2, SMMU_CBn_TLBSYNC).

use alloc::format;
use alloc::vec::Vec;

use super::host::Host;
use super::instance::Instance;
use crate::Rule;
use crate::bits::{low16, mask};
use crate::stage2::IpaRange;

/// An invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    /// SMMU_TLBIALLNSNH.
    All,
    /// SMMU_TLBIALLH: nothing that is modelled is tagged as Hyp.
    Hyp,
    /// SMMU_TLBIVMID.
    Vmid(u16),
    /// SMMU_CBn_TLBIIPAS2 and TLBIIPAS2L, by bank.
    Ipa(usize, IpaRange),
}

/// An invalidation that need not have happened yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pending {
    operation: Operation,
    /// When it was written: what is cached later stays.
    issued: u64,
}

/// A synchronisation.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sync {
    /// Ticks to go, while it is active.
    left: Option<u32>,
    /// It covers what was written before this moment.
    started: u64,
}

impl Sync {
    pub(super) fn is_active(&self) -> bool {
        self.left.is_some()
    }

    /// One tick; whether it ends now.
    fn tick(&mut self) -> bool {
        match self.left {
            None => false,
            Some(left) if left > 1 => {
                self.left = Some(left - 1);
                false
            }
            Some(_) => {
                self.left = None;
                true
            }
        }
    }
}

/// Invalidations that are remembered; older ones than these happen without being synchronised.
const MOST_PENDING: usize = 1024;
const TLBIVMID: &str = "IHI 0062 SMMU_TLBIVMID";
const TLBIIPAS2: &str = "IHI 0062 SMMU_CBn_TLBIIPAS2";

impl<H: Host> Instance<H> {
    pub(super) fn tlbi_vmid(&mut self, value: u32) {
        let most = if self.vmid16() { 0xffff } else { 0xff };
        self.reserved("TLBIVMID", value.into(), most, TLBIVMID);
        self.issue(Operation::Vmid(low16(u64::from(value) & most)));
    }

    /// SMMU_CBn_TLBIIPAS2 and, with `leaf`, TLBIIPAS2L: bits 47:12 of the IPA are in bits 35:0.
    pub(super) fn tlbi_ipa(&mut self, index: usize, value: u64, leaf: bool) {
        self.reserved("TLBIIPAS2", value, mask(35, 0), TLBIIPAS2);
        let vmid16 = self.vmid16();
        let Some(bank) = self.banks.get(index) else {
            return;
        };
        if bank.cbar & super::registers::cbar::TYPE != 0 {
            let detail = "the context bank does not do stage 2";
            self.violation(
                Rule::IllegalContextBank,
                format!("CB{index}_TLBIIPAS2"),
                value,
                TLBIIPAS2,
                detail,
            );
            return;
        }
        let range = IpaRange {
            vmid: bank.vmid(vmid16),
            start: (value & mask(35, 0)) << 12,
            range: None,
            leaf,
        };
        self.issue(Operation::Ipa(index, range));
    }

    pub(super) fn issue(&mut self, operation: Operation) {
        match operation {
            Operation::All => self.check_tables_published(None),
            Operation::Vmid(vmid) => self.check_tables_published(Some(vmid)),
            Operation::Ipa(_, range) => self.check_tables_published(Some(range.vmid)),
            Operation::Hyp => {}
        }
        let issued = self.moment;
        self.pending.push(Pending { operation, issued });
        if self.pending.len() > MOST_PENDING {
            let oldest = self.pending.remove(0);
            self.perform(oldest);
        }
    }

    /// SMMU_sTLBGSYNC: covers every invalidation so far, those of context banks too.
    pub(super) fn start_global_sync(&mut self) {
        self.sync = Sync {
            left: Some(self.params.sync_delay),
            started: self.moment,
        };
        self.end_immediate_syncs();
    }

    /// SMMU_CBn_TLBSYNC: covers the invalidations through that context bank.
    pub(super) fn start_bank_sync(&mut self, index: usize) {
        let sync = Sync {
            left: Some(self.params.sync_delay),
            started: self.moment,
        };
        if let Some(bank) = self.banks.get_mut(index) {
            bank.sync = sync;
        }
        self.end_immediate_syncs();
    }

    fn end_immediate_syncs(&mut self) {
        if self.params.sync_delay == 0 {
            self.tick_syncs();
        }
    }

    pub(super) fn tick_syncs(&mut self) {
        if self.sync_stuck {
            return;
        }
        if self.sync.tick() {
            let started = self.sync.started;
            self.complete(|pending| pending.issued <= started);
        }
        for index in 0..self.banks.len() {
            let Some(bank) = self.banks.get_mut(index) else {
                continue;
            };
            if bank.sync.tick() {
                let started = bank.sync.started;
                let through = |operation| matches!(operation, Operation::Ipa(bank, _) if bank == index);
                self.complete(|pending| pending.issued <= started && through(pending.operation));
            }
        }
    }

    fn complete(&mut self, covered: impl Fn(&Pending) -> bool) {
        let (done, left): (Vec<Pending>, Vec<Pending>) =
            self.pending.iter().partition(|pending| covered(pending));
        self.pending = left;
        for pending in done {
            self.perform(pending);
        }
    }

    fn perform(&mut self, Pending { operation, issued }: Pending) {
        let vmid16 = self.vmid16();
        for bank in &mut self.banks {
            let covered = match operation {
                Operation::All => true,
                Operation::Vmid(vmid) => bank.vmid(vmid16) == vmid,
                Operation::Ipa(..) | Operation::Hyp => false,
            };
            if covered {
                bank.in_flight = bank.in_flight.filter(|&since| since > issued);
            }
        }
        match operation {
            Operation::All => self.tlb.invalidate_all(issued),
            Operation::Vmid(vmid) => self.tlb.invalidate_vmid(vmid, issued),
            Operation::Ipa(_, range) => {
                self.tlb.invalidate_range(&range, issued);
            }
            Operation::Hyp => {}
        }
    }

    /// The tables that were walked for a VMID must not hold unpublished changes when its TLB is invalidated.
    fn check_tables_published(&self, vmid: Option<u16>) {
        for (base, bytes) in self.tlb.tables(vmid) {
            if let Some(word) = self.host.first_unpublished(base, bytes) {
                let detail = "the TLB is invalidated before this descriptor was published";
                self.violation(
                    Rule::Unpublished,
                    "translation table",
                    word,
                    "mmio::TableMemory::publish",
                    detail,
                );
            }
        }
    }
}
