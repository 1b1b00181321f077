//! What a context bank needs before transactions may reach it.

use alloc::format;

use super::bank::{Bank, Stages, written};
use super::format::{Bad, root_bytes};
use super::host::Host;
use super::instance::Instance;
use super::params::Version;
use super::registers::{ACTLR_CPRE, sctlr};
use crate::Rule;
use crate::bits::field;

const CBAR: &str = "IHI 0062 SMMU_CBARn";
const ACTLR: &str = "IHI 0062 SMMU_CBn_ACTLR";
const TABLES: &str = "IHI 0062 SMMU_CBn_TTBR0, SMMU_CBn_TCR";

impl<H: Host> Instance<H> {
    /// Transactions can reach a bank from now on: everything they depend on has to be right.
    pub(super) fn check_live(&self, index: usize) {
        let Some(bank) = self.banks.get(index) else {
            return;
        };
        let subject = format!("context bank {index}");
        let mut needed =
            written::CBAR | written::SCTLR | written::TCR | written::TTBR0_LOW | written::TTBR0_HIGH;
        if self.params.version == Version::V2 {
            needed |= written::CBA2R;
        }
        if bank.written & needed != needed {
            let detail = format!(
                "registers {:#x} still have their UNKNOWN reset values",
                needed & !bank.written
            );
            self.violation(Rule::Unknown, &subject, needed & !bank.written, TABLES, detail);
        }
        if self.tlb.unknown {
            let detail = "nothing invalidated the TLB since reset, or the invalidation is not synchronised";
            self.violation(Rule::Unknown, "TLB", 0u32, "IHI 0062 SMMU_TLBIALLNSNH", detail);
        }
        if self.params.mmu500 && bank.actlr & ACTLR_CPRE != 0 {
            let detail = "the prefetcher is on, which errata 826419 and 841119 of the MMU-500 forbid";
            self.violation(
                Rule::Erratum,
                format!("CB{index}_ACTLR.CPRE"),
                bank.actlr,
                ACTLR,
                detail,
            );
        }
        let walks = field(bank.tcr.into(), 11, 8);
        if walks != 0 && !self.params.coherent_walks() {
            let detail =
                "walks are cacheable, while IDR0.CTTW says that they cannot look into the CPUs' caches";
            self.violation(
                Rule::IllegalContextBank,
                format!("CB{index}_TCR.IRGN0"),
                walks,
                TABLES,
                detail,
            );
        }
        if let Some(bad) = self.unusable(bank) {
            self.violation(
                Rule::IllegalContextBank,
                format!("CB{index} {}", bad.field),
                bad.value,
                TABLES,
                bad.detail,
            );
            return;
        }
        self.check_address_space(index, bank);
    }

    fn check_address_space(&self, index: usize, bank: &Bank) {
        let Ok(regime) = bank.regime(&self.params) else {
            return;
        };
        let tree = regime.tree;
        let vmid = bank.vmid(self.vmid16());
        if !self.host.is_allocated(tree.root, root_bytes(&tree)) {
            let detail = format!("its {} bytes do not lie in an allocated block", root_bytes(&tree));
            self.violation(
                Rule::NotAllocated,
                format!("CB{index}_TTBR0"),
                tree.root,
                TABLES,
                detail,
            );
        }
        if let Some(word) = self.host.first_unpublished(tree.root, root_bytes(&tree)) {
            let detail = "transactions can walk it before this descriptor was published";
            self.violation(
                Rule::Unpublished,
                "root table",
                word,
                "mmio::TableMemory::publish",
                detail,
            );
        }
        let same_vmid = self
            .live_banks()
            .into_iter()
            .filter(|&other| other != index)
            .any(|other| {
                self.banks.get(other).is_some_and(|other| {
                    other.vmid(self.vmid16()) == vmid
                        && other.regime(&self.params).map(|regime| regime.tree) != Ok(tree)
                })
            });
        if same_vmid || self.tlb.foreign(vmid, &tree) {
            let detail =
                "another live bank has it with other tables, or the TLB holds entries of another tree";
            self.violation(Rule::VmidReuse, "VMID", vmid, CBAR, detail);
        }
    }

    /// Why transactions cannot be translated by a bank.
    pub(super) fn unusable(&self, bank: &Bank) -> Option<Bad> {
        let bad = |field, value, detail| Some(Bad { field, value, detail });
        if bank.stages() != Stages::Second {
            return bad(
                "CBAR.TYPE",
                bank.cbar.into(),
                "stage 1 is not used by this project, and not modelled",
            );
        }
        if bank.sctlr & sctlr::E != 0 {
            return bad(
                "SCTLR.E",
                1,
                "big-endian tables are not used by this project, and not modelled",
            );
        }
        bank.regime(&self.params).err()
    }
}
