//! Making the SMMU forget (IHI 0062 5.4).

use crate::error::Error;
use crate::registers::{Registers, TLBIVMID};
use mmio::{Bus, Clock, wait_until};
use smmu_driver::IpaRange;
use smmu_gate::v2::registers::TLBSTATUS;
use smmu_gate::v2::{Smmu, TIMEOUT_US};
use tock_registers::interfaces::{Readable, Writeable};

/// How long one synchronization may take, in microseconds: as long as the gate's, and for its reason.
pub(crate) const SYNC_TIMEOUT_US: u64 = TIMEOUT_US;

/// How many pages are forgotten one by one. Beyond it, forgetting the whole VMID costs less than the writes would.
pub(crate) const PAGE_LIMIT: u64 = 64;

/// Pages that the smallest table has entries for. Whoever removes a table has everything forgotten that it led to, so that
/// many at least.
const PAGES_OF_TABLE: u64 = 512;

// A removed table, and a block that a table replaces, go with their whole VMID. The SMMUs of Tegra194 and 234 need that:
// they look for a table entry at another place of their walk cache when it is invalidated by IPA than when it was cached,
// and keep it (Linux, arm-smmu-nvidia.c, which makes no blocks there for that reason).
const _: () = assert!(PAGE_LIMIT < PAGES_OF_TABLE);

/// A VMID as the SMMU has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vmid(pub(crate) u16);

/// Asks to forget everything of a VMID. [`Smmu::sync`] waits for it.
pub(crate) fn forget_vmid<B: Bus>(smmu: &Smmu<B>, vmid: Vmid) {
    Registers(smmu)
        .tlbivmid()
        .write(TLBIVMID::VMID.val(vmid.0.into()));
}

/// The first page and the number of pages of a range, of which there are 0 if everything of the VMID is meant.
pub(crate) fn pages(range: &IpaRange, input_bits: u8) -> Result<(u64, u64), Error> {
    let limit = 1 << input_bits.min(48);
    let end = range.ipa.checked_add(range.size);
    let fits = range.ipa < limit && end.is_some_and(|end| end <= limit);
    if !fits || !range.ipa.is_multiple_of(4096) || !range.size.is_multiple_of(4096) {
        return Err(Error::Range {
            ipa: range.ipa,
            size: range.size,
        });
    }
    Ok((range.ipa >> 12, range.size >> 12))
}

/// Forgets pages of the bank's address space, and returns when no transaction uses them any more. SMMUv2 only.
pub(crate) fn forget_pages<B: Bus>(
    smmu: &Smmu<B>,
    clock: &impl Clock,
    bank: u16,
    pages: core::ops::Range<u64>,
) -> Result<(), Error> {
    let registers = Registers(smmu);
    for page in pages {
        registers.tlbiipas2(bank).set(page);
    }
    registers.tlbsync(bank).set(0);
    for frame in smmu.each_frame() {
        let status = || Registers(&frame).tlbstatus(bank);
        wait_until(clock, SYNC_TIMEOUT_US, || !status().is_set(TLBSTATUS::ACTIVE))?;
    }
    Ok(())
}
