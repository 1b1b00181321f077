//! A device's access, from stream ID to outcome.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::bank::Bank;
use super::host::Host;
use super::instance::Instance;
use super::registers::sctlr;
use super::route::{Blocked, Bypass, FaultKind, How, Outcome, Passed, Route};
use crate::Rule;
use crate::stage2::{Leaf, Regime, Tagged, WalkFault, walk};

/// An access under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    pub stream: u32,
    pub address: u64,
    pub write: bool,
}

const DESCRIPTORS: &str = "DDI 0487 D8.3";

impl<H: Host> Instance<H> {
    pub(super) fn transaction(&mut self, access: Access) -> Outcome {
        self.moment += 1;
        match self.route(access.stream) {
            Route::Bypass(reason) => {
                if reason == Bypass::StreamMatchConflict {
                    let detail =
                        "several stream mappings match, and SMCFCFG is clear: the outcome is UNPREDICTABLE";
                    self.violation(
                        Rule::StreamMatchConflict,
                        "stream ID",
                        access.stream,
                        "IHI 0062 SMMU_sCR0.SMCFCFG",
                        detail,
                    );
                }
                Ok(Passed {
                    address: access.address,
                    how: How::Bypassed(reason),
                })
            }
            Route::Fault(kind) => self.global_fault(kind, access),
            Route::Bank(index) => self.translate(index, access),
        }
    }

    fn translate(&mut self, index: usize, access: Access) -> Outcome {
        let blocked = |kind| {
            Err(Blocked {
                kind,
                aborted: true,
                stalled: None,
            })
        };
        let Some(bank) = self.banks.get(index) else {
            return blocked(FaultKind::UnimplementedBank);
        };
        if bank.has_fault() && bank.sctlr & sctlr::HUPCF == 0 {
            return self.stop(index, FaultKind::UnderFault, true, access);
        }
        let Some(regime) = self.usable_regime(index, bank) else {
            return blocked(FaultKind::IllegalContextBank);
        };
        let vmid = bank.vmid(self.vmid16());
        if let Some(bank) = self.banks.get_mut(index) {
            bank.in_flight = Some(self.moment);
        }
        if self.tlb.foreign(vmid, &regime.tree) {
            let detail = "the TLB holds entries of another tree under it, or two banks disagree on the tree";
            self.violation(Rule::VmidReuse, "VMID", vmid, "IHI 0062 SMMU_CBARn", detail);
        }
        let hit = self.tlb.leaf(vmid, access.address);
        let found = hit.map_or_else(|| self.walk(&regime, vmid, access.address), Ok);
        let leaf = match found {
            Ok(leaf) => leaf,
            Err((fault, level)) => return self.context_fault(index, kind_of(fault), level, access),
        };
        if !(if access.write {
            leaf.writable
        } else {
            leaf.readable
        }) {
            return self.context_fault(index, FaultKind::Permission, leaf.level, access);
        }
        Ok(Passed {
            address: leaf.output + (access.address - leaf.start),
            how: How::Translated {
                attributes: leaf.attributes,
                cached: hit.is_some(),
            },
        })
    }

    fn usable_regime(&self, index: usize, bank: &Bank) -> Option<Regime> {
        let regime = match self.unusable(bank) {
            None => bank.regime(&self.params),
            Some(bad) => Err(bad),
        };
        if let Err(bad) = regime {
            let subject = format!("CB{index} {}", bad.field);
            self.violation(
                Rule::IllegalContextBank,
                subject,
                bad.value,
                "IHI 0062 SMMU_CBn_TCR",
                bad.detail,
            );
        }
        regime.ok()
    }

    /// Walks the tables, and caches what it finds.
    fn walk(&mut self, regime: &Regime, vmid: u16, address: u64) -> Result<Leaf, (WalkFault, u32)> {
        let (tree, born) = (regime.tree, self.moment);
        let cached = self.tlb.branch(vmid, address);
        let host = self.host.clone();
        let (found, result) = walk(regime, address, cached, |at| host.read(at));
        for (at, descriptor, detail) in found.complaints {
            let subject = format!("descriptor at {at:#x}");
            self.violation(Rule::IllegalDescriptor, subject, descriptor, DESCRIPTORS, detail);
        }
        for (base, bytes) in found.tables {
            self.tlb.remember_table(vmid, base, bytes);
        }
        for item in found.branches {
            self.tlb.insert_branch(Tagged {
                vmid,
                tree,
                born,
                item,
            });
        }
        result.map_err(|fault| (fault, found.level))?;
        let leaf = found.leaf.ok_or((WalkFault::Translation, found.level))?;
        for old in self.tlb.conflicts(vmid, &leaf) {
            let detail = format!(
                "{:#x} bytes from it, while {:#x} bytes at {:#x} are cached",
                leaf.bytes, old.bytes, old.start
            );
            self.violation(Rule::BreakBeforeMake, "IPA", leaf.start, "DDI 0487 D8.16", detail);
        }
        self.tlb.insert_leaf(Tagged {
            vmid,
            tree,
            born,
            item: leaf,
        });
        self.tlb.limit(self.params.tlb_entries);
        Ok(leaf)
    }

    /// Cached translations that a fresh walk would not find, and what else is not settled.
    pub(super) fn unsettled(&self, left: &mut Vec<String>) {
        let fresh = |tree, address| {
            let regime = Regime {
                tree,
                access_flag_ignored: true,
                force_write_back: true,
                break_before_make_level: 0,
            };
            walk(&regime, address, None, |at| self.host.peek(at)).0
        };
        for Tagged { vmid, tree, item, .. } in self.tlb.leaves() {
            if fresh(*tree, item.start).leaf != Some(*item) {
                let detail = "the cached translation is not what the tables say";
                left.push(format!("VMID {vmid}, IPA {:#x}: {detail}", item.start));
            }
        }
        for Tagged { vmid, tree, item, .. } in self.tlb.branches() {
            if !fresh(*tree, item.start).branches.contains(item) {
                let detail = "the cached table descriptor is not what the tables say";
                left.push(format!("VMID {vmid}, IPA {:#x}: {detail}", item.start));
            }
        }
        if !self.pending.is_empty() {
            left.push(format!(
                "{} TLB invalidations are not synchronised",
                self.pending.len()
            ));
        }
        for (index, bank) in self.banks.iter().enumerate() {
            if bank.sync.is_active() {
                left.push(format!(
                    "the TLB synchronisation of context bank {index} is under way"
                ));
            }
            for (ticket, access) in &bank.stalled {
                left.push(format!(
                    "transaction {ticket} of stream {:#x} is stalled",
                    access.stream
                ));
            }
        }
        if self.sync.is_active() {
            left.push("the global TLB synchronisation is under way".into());
        }
    }
}

const fn kind_of(fault: WalkFault) -> FaultKind {
    match fault {
        WalkFault::Translation => FaultKind::Translation,
        WalkFault::AddressSize => FaultKind::AddressSize,
        WalkFault::AccessFlag => FaultKind::AccessFlag,
        WalkFault::Abort(_) => FaultKind::External,
    }
}
